"""Mistakes that people make: an error of two lines, the nearest match, exit code 2, nothing written."""

import pytest

from nnfoundations.cli import main
from nnfoundations.cli.run._lightning_cli import FoundationsCLI

DIGITS = "fit --config digits"
STOP = f"{DIGITS} --trainer.callbacks+=EarlyStopping"
ADAM = f"{DIGITS} --model.optimizer torch.optim.Adam"
FEW_BATCHES = "--trainer.limit_train_batches 2 --trainer.limit_val_batches 1 --trainer.limit_test_batches 1"
FEW_BATCHES += " --trainer.log_every_n_steps 1"
LR = "torch.optim.lr_scheduler"
OWN = f"{DIGITS} --config mine.yaml"
MODEL = "model: {class_path: Classifier, init_args: {net: {class_path: nnfoundations.models.MLP, init_args: {"

# the command, the content of mine.yaml, and what the error must contain
MISTAKES = [
    ("fti --config digits", "", ["`fti`", "`nnfoundations fit`"]),
    ("--config digits", "", ["no command", "nnfoundations fit --config digits"]),
    ("train --config digits", "", ["`train`", "fit, validate, test, predict"]),
    ("fit", "", ["no model is given", "--config NAME"]),
    ("fit --config digit", "", ["`digit`", "`digits`"]),
    ("fit --config mnist_plane", "", ["`mnist_plane`", "`mnist_plain`"]),
    ("fit --config nothing_like_it", "", ["`nothing_like_it`", "digits"]),
    ("fit --config mien.yaml", "trainer: {}", ["`mien.yaml`", "`mine.yaml`"]),
    ("fit --config x/none.yaml", "", ["`x/none.yaml`", "nnfoundations configs"]),
    ("fit --config", "", ["`--config` needs a value"]),
    ("fit digits", "", ["`digits` is not an option", "Did you mean `--config digits`?"]),
    (f"{DIGITS} --trainer.max_epoch 3", "", ["`--trainer.max_epoch`", "`--trainer.max_epochs`"]),
    (f"{DIGITS} --max_epochs 3", "", ["`--max_epochs`", "`--trainer.max_epochs`"]),
    (f"{DIGITS} --trainr.max_epochs 3", "", ["`--trainr.max_epochs`", "`--trainer.max_epochs`"]),
    (f"{DIGITS} --lr 0.1", "", ["`--lr`", "`--model.optimizer.lr`"]),
    (f"{DIGITS} --batch_size 8", "", ["`--batch_size`", "`--data.batch_size`"]),
    (f"{DIGITS} --ckpt-path last", "", ["`--ckpt-path`", "`--ckpt_path`"]),
    (f"{DIGITS} -trainer.max_epochs 3", "", ["one dash", "`--trainer.max_epochs`"]),
    (f"{DIGITS} --trainer.max_epochs", "", ["needs a value", "--trainer.max_epochs VALUE"]),
    (f"{DIGITS} --trainer.max_epochs ten", "", ["`trainer.max_epochs` cannot be `ten`", "integer"]),
    (f"{DIGITS} --trainer.max_epochs 1.5", "", ["`trainer.max_epochs` cannot be `1.5`", "integer"]),
    (f"{DIGITS} --trainer.precision bf61-mixed", "", ["`bf61-mixed`", "Did you mean `bf16-mixed`?"]),
    (f"{DIGITS} --trainer.accelerator cppu", "", ["cppu", "cpu"]),
    (f"{DIGITS} --trainer 3", "", ["group of options", "trainer."]),
    (f"{DIGITS} --checkpoint.mode mx", "", ["min, max", "mx"]),
    (f"{DIGITS} --seed_everything x", "", ["`seed_everything` cannot be `x`", "integer"]),
    (f"{DIGITS} --model Clasifier", "", ["`Clasifier`", "`Classifier`"]),
    (f"{DIGITS} --model.hidden 3", "", ["Classifier has no option `hidden`", "num_classes"]),
    (f"{DIGITS} --model.net.size [64,10]", "", ["MLP has no option `size`", "`--model.net.sizes`"]),
    (f"{DIGITS} --model.net.sizes abc", "", ["`model.net.sizes` cannot be `abc`", "list of integers"]),
    (f"{DIGITS} --model.optimizer torch.optim.SDG", "", ["no `SDG`", "`torch.optim.SGD`"]),
    (f"{DIGITS} --model.optimizer.lr fast", "", ["`model.optimizer.lr` cannot be `fast`", "a number"]),
    (f"{DIGITS} --model.optimizer.lr -1", "", ["`model.optimizer.lr` cannot be `-1.0`", "SGD: Invalid"]),
    (f"{DIGITS} --model.optimizer.momentum -1", "", ["`model.optimizer.momentum` cannot be `-1.0`"]),
    (f"{ADAM} --model.optimizer.betas [2,0.9]", "", ["`model.optimizer.betas` cannot be", "index 0: 2"]),
    (f"{DIGITS} --model.lr_scheduler {LR}.StepLR --model.lr_scheduler.step_size 0", "",
     ["`model.lr_scheduler.step_size` cannot be `0`", "StepLR"]),
    (f"{DIGITS} --model.lr_scheduler {LR}.CosineAnnealingLR --model.lr_scheduler.T_max 0 "
     "--model.lr_scheduler.eta_min 0.1", "", ["`model.lr_scheduler.T_max` cannot be `0`"]),
    (f"{DIGITS} --model.lr_scheduler.start_factor 2", "", ["`model.lr_scheduler.start_factor`"]),
    ("fit --config regression --model.lr_scheduler.max_lr -1", "", ["`model.lr_scheduler.max_lr`"]),
    (OWN, "model:\n  init_args:\n    optimizer: {init_args: {lr: -1}}\n",
     ["mine.yaml, line 3: `model.optimizer.lr` cannot be `-1.0`"]),
    (f"{DIGITS} --model.net nnfoundations.modles.MLP", "", ["modles", "`nnfoundations.models.MLP`"]),
    (f"{DIGITS} --model.l2 -1", "", ["l2 must be at least 0"]),
    (f"{DIGITS} --model.net torch.optim.SGD", "", ["SGD is not a Module"]),
    (f"{DIGITS} --data DigitDataModule", "", ["`DigitDataModule`", "`DigitsDataModule`"]),
    (f"{DIGITS} --data.batch_size 0", "", ["batch_size", "at least 1", "0"]),
    (f"{DIGITS} --trainer.callbacks+=EarlyStoping", "", ["`EarlyStoping`", "`EarlyStopping`"]),
    (f"{DIGITS} --trainer.callbacks+=EarlyStopping", "", ["EarlyStopping needs `monitor`"]),
    (f"{DIGITS} --confg mnist", "", ["`--confg`", "`--config`"]),
    (f"{DIGITS} --quite", "", ["`--quite`", "`--quiet`"]),
    (f"--quite {DIGITS}", "", ["`--quite`", "`--quiet`"]),
    (f"{DIGITS} --model.lrr 0.1", "", ["Classifier has no option `lrr`", "`--model.optimizer.lr`"]),
    (f"{DIGITS} --trainer.default_root_dir mine.yaml", "x", ["mine.yaml/digits", "default_root_dir"]),
    (f"{DIGITS} --checkpoint.monitor val/los", "", ["`checkpoint.monitor` cannot be", "`val/loss`"]),
    (f"{STOP} --trainer.callbacks.monitor val/los", "", ["`EarlyStopping.monitor`", "`val/loss`"]),
    ("check --config digits --trainer.precison 16", "", ["`--trainer.precison`", "`--trainer.precision`"]),
    ("check --config digits --jsn", "", ["`--jsn`", "`--json`"]),
    ("--jsn check --config digits", "", ["`--jsn`", "`--json`"]),
    ("check --config digits --ckpt_path last", "", ["`--ckpt_path` has no effect on `check`"]),
    (f"{DIGITS} --json", "", ["unknown option `--json`"]),
    ("FIT --config digits", "", ["`FIT`", "`nnfoundations fit`"]),
    ("fit --config DIGITS", "", ["`DIGITS`", "`digits`"]),
    (f"{DIGITS} --trainer.epochs 3", "", ["`--trainer.epochs`", "`--trainer.max_epochs`"]),
    (f"{DIGITS} --model.lr 0.1", "", ["Classifier has no option `lr`", "`--model.optimizer.lr`"]),
    (f"{DIGITS} --model.learning_rate 0.1", "", ["`learning_rate`", "`--model.optimizer.lr`"]),
    (f"{DIGITS} --data mnist", "", ["`mnist`", "`MNISTDataModule`"]),
    (f"{DIGITS} --trainer.callbacks+=nothing.Such", "", ["no module `nothing`", "working folder"]),
    (f"{DIGITS} --trainer.accumulate_grad_batches 0", "", ["`trainer.accumulate_grad_batches`", "above 0"]),
    (f"{DIGITS} --trainer.val_check_interval 1000", "", ["`val_check_interval` (1000)", "batches (41)"]),
    (f"{DIGITS} --checkpoint.dirpath mine.yaml/x", "", ["`checkpoint.dirpath`", "Leave this option out"]),
    ("predict --config digits --predictions.path mine.yaml/x", "", ["`predictions.path`", "Leave this"]),
    ("predict --config digits --predictions.path .", "", ["`predictions.path`", "a folder"]),
    (f"{DIGITS} --checkpoint.filename {{best", "", ["`checkpoint.filename` cannot be `{best`", "braces"]),
    (f"{DIGITS} --model.loss torch.nn.NLLLoss", "", ["label_smoothing=0.1 needs a loss that takes it"]),
    ("check --config digits --json=yes", "", ["`--json` takes no value"]),
    (f"{DIGITS} --model.optimizer null", "", ["`model.optimizer` cannot be `null`", "Optimizer"]),
    (f"{DIGITS} --data.batch_size null", "", ["`data.batch_size` cannot be `null`", "integer"]),
    (f"{DIGITS} --model null", "", ["no model is given"]),
    ("check --config digits --trainer.max_epochs 3", "", ["`--trainer.max_epochs`", "precision"]),
    ("data mnist --rot /tmp", "", ["--rot", "`--root`"]),
    ("data mnits", "", ["`mnits`", "`mnist`"]),
    ("data mnist --root", "", ["--root", "expected one argument"]),
    ("doctor digits", "", ["`doctor` takes no arguments"]),
    ("completion zsh", "", ["only bash", "~/.bashrc"]),
    ("fit --config numpy_mnist --data.augment crop", "", ["`data.augment` cannot be `crop`"]),
    (f"{DIGITS} --epochs 3", "", ["`--epochs`", "`--trainer.max_epochs`"]),
    (f"{DIGITS} --seed 3", "", ["`--seed`", "`--seed_everything`"]),
    (f"{DIGITS} --learning_rate 1", "", ["`--learning_rate`", "`--model.optimizer.lr`"]),
    (f"{DIGITS} --gpus 1", "", ["`--gpus`", "`--trainer.devices`"]),
    (f"{DIGITS} --seed_everything -3", "", ["`seed_everything` cannot be `-3`"]),
    (f"{DIGITS} --trainer.devices two", "", ["`devices`"]),
    (f"{DIGITS} --trainer.val_check_interval 0", "", ["`trainer.val_check_interval`", "above 0"]),
    (f"{DIGITS} --ckpt_path mine.yaml", "x", ["`mine.yaml` is not a complete checkpoint file"]),
    (OWN, "seed_everything: 2024-13-45\n", ["mine.yaml, line 1", "cannot be read"]),
    (OWN, "trainer: !!python/object:os.system {}\n", ["mine.yaml, line 1", "cannot be read"]),
    (f"{DIGITS} --ckpt_path last", "", ["no checkpoint", "Train first"]),
    ("test --config digits --ckpt_path best", "", ["no checkpoint", "Train first"]),
    (f"{DIGITS} --ckpt_path LAST", "", ["file `LAST` does not exist", "Did you mean `last`?"]),
    (f"{DIGITS} --ckpt_path .", "", ["`.` is a folder", "`last`"]),
    (f"{DIGITS} --ckpt_path runs/gone.ckpt", "", ["`runs/gone.ckpt`", "`last`"]),
    (OWN, "trainer:\n  max_epoch: 3\n", ["mine.yaml, line 2", "`trainer.max_epoch`", "`trainer.max_epochs`"]),
    (OWN, "trainer:\n  max_epochs: 3\n  precision: [\n", ["mine.yaml, line", "invalid YAML"]),
    (OWN, "trainer: {max_epochs: 3}\nmodle: {}\n", ["mine.yaml, line 2", "`modle`", "`model`"]),
    (OWN, "trainer:\n  max_epochs: many\n", ["mine.yaml, line 2", "`trainer.max_epochs` cannot be `many`"]),
    (OWN, "data:\n  init_args:\n    batchsize: 8\n", ["mine.yaml, line 3", "`batchsize`", "`batch_size`"]),
    (OWN, "trainer: {}\ntrainer: {}\n", ["mine.yaml, line 2: `trainer` is already defined in line 1"]),
    (OWN, "", ["mine.yaml", "is empty"]),
    ("fit --config mine.yaml --config digits", "trainer:\n  max_epoch: 3\n", ["mine.yaml, line 2"]),
    ("fit --model mypkg:MyModule --data DigitsDataModule", "", ["`mypkg:MyModule`", "`mypkg.MyModule`?"]),
    ("fit --config digits --data mypkg:D", "", ["`data` cannot be", "`mypkg.D`?"]),
    (f"{DIGITS} --model 3", "", ["`model` cannot be `3`", "LightningModule"]),
    (f"{DIGITS} --model.loss MSELoss", "", ["a loss of class indices", "MSELoss", "NLLLoss"]),
    (f"{DIGITS} --model.loss nnfoundations.nn.L1Loss", "", ["a loss of class indices", "Regressor"]),
    (f"{DIGITS} --name #c", "", ["`name` cannot be `#c`", "Give a word"]),
    (f"{DIGITS} --name ~", "", ["`name` cannot be `~`"]),
    (f"{DIGITS} --name null", "", ["`name` cannot be `null`"]),
    (f"{DIGITS} --model.lr_scheduler ReduceLROnPlateau --model.lr_scheduler.factr 1", "",
     ["no option `factr`", "`--model.lr_scheduler.factor`"]),
    ("fit --config mine.yaml", MODEL + "size: [64]}}}}", ["mine.yaml, line 1", "`size`", "`sizes`"]),
]  # fmt: skip


PARSER = ("parser", "_subcommand_parsers", "_subcommand_method_arguments")


@pytest.fixture(scope="module", autouse=True)
def one_parser_per_command():
    """Build each parser once: building it takes longer than parsing. The mistakes go through `main`."""
    built = {}
    build = FoundationsCLI.setup_parser

    def setup_parser(self, *args):
        if self.command not in built:
            build(self, *args)
            built[self.command] = {name: getattr(self, name) for name in PARSER}
        vars(self).update(built[self.command])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FoundationsCLI, "setup_parser", setup_parser)
        yield


@pytest.mark.parametrize(("command", "yaml", "said"), MISTAKES, ids=[f"{m[0]} {m[1]}" for m in MISTAKES])
def test_a_mistake_is_two_lines(command, yaml, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(yaml)
    assert main(command.split()) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 2, err
    assert err.lower().count("did you mean") <= 1
    for words in said:
        assert words in err
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"mine.yaml"}
    assert not list(tmp_path.glob("runs/*/*"))


@pytest.mark.parametrize(("metric", "near"), [("train/los", "Did you mean `train/loss`? "), ("quality", "")])
def test_a_metric_that_training_might_log_is_reported_after_an_epoch(
    metric, near, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    command = f"{STOP} --trainer.callbacks.monitor {metric} --diagnostics.enabled false {FEW_BATCHES}"
    assert main(command.split()) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].endswith(f"`EarlyStopping.monitor` cannot be `{metric}`: this metric is not logged.")
    assert said[1].startswith(f"{near}Logged metrics: ")
    assert len(said) == 2


@pytest.mark.slow
def test_a_wrong_mode_of_a_monitored_metric_triggers_a_warning(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = f"{DIGITS} --trainer.max_epochs 1 --diagnostics.enabled false {FEW_BATCHES}"
    command += " --checkpoint.monitor val/accuracy"
    assert main(command.split()) == 0
    assert "`checkpoint.mode` is `min`, but a higher `val/accuracy` is better" in capsys.readouterr().err
    assert main([*command.split(), "--checkpoint.mode", "max"]) == 0
    assert capsys.readouterr().err == ""


def test_more_processes_than_cores_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert main([*DIGITS.split(), "--trainer.accelerator", "cpu", "--trainer.devices", "2"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "`trainer.devices` cannot be `2`" in said[0]


def test_shapes_that_do_not_fit_are_one_message(tmp_path, monkeypatch, capsys):
    """The command is right and the model is wrong: exit code 1."""
    monkeypatch.chdir(tmp_path)
    assert main([*DIGITS.split(), "--model.net.sizes", "[64,20,11]"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "logits of shape (N, 10); the net returned (32, 11)" in said[0]
    assert main([*DIGITS.split(), "--model.net.sizes", "[64,20,11]", "--verbose"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_config_may_stand_before_the_command(capsys):
    assert main(["--config", "digits", "fit", "--print_config=skip_null"]) == 0
    assert "DigitsDataModule" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["fit", "test", "check"])
def test_config_and_help_are_printed_without_ending_the_process(command, capsys):
    assert main([command, "--config", "digits", "--print_config"]) == 0
    assert "DigitsDataModule" in capsys.readouterr().out
    assert main([command, "--help"]) == 0


def test_the_help_begins_with_the_usual_options(capsys):
    assert main(["fit", "--help"]) == 0
    first = capsys.readouterr().out.splitlines()[:14]
    assert max(map(len, first)) <= 80
    assert any("--config NAME" in line for line in first)
    assert any("--data.batch_size" in line for line in first)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ([], f"{LR}.ReduceLROnPlateau"),
        (["monitor", "val/accuracy"], "lightning.pytorch.cli.ReduceLROnPlateau"),
    ],
    ids=["torch's", "Lightning's, which has a monitor"],
)
def test_a_short_name_means_the_class_that_takes_the_options(options, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = [f"--model.lr_scheduler.{options[0]}", options[1]] if options else []
    args = [*DIGITS.split(), "--model.lr_scheduler", "ReduceLROnPlateau", *given]
    assert main([*args, "--print_config"]) == 0
    assert f"class_path: {name}\n" in capsys.readouterr().out
    if options:
        assert main([*args, "--trainer.fast_dev_run", "true"]) == 0
