"""Runs as a user meets them: names, classes in one's own folder, and weights that are not finite."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml

from nnfoundations.cli import main

QUICK = ["--diagnostics.enabled", "false", "--trainer.log_every_n_steps", "1"]
DIGITS = ["--config", "digits", *QUICK]
DIVERGES = ["--trainer.max_epochs", "1", "--model.optimizer.lr", "1e20"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder that is not on Python's path, as for the console script."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    return tmp_path


@pytest.fixture
def own(here, request):
    """The same with a module of the user's own; its name is that of the test, since modules stay imported."""
    name = f"own_{abs(hash(request.node.name))}"
    shutil.copy(Path(__file__).with_name("own_classes.py"), here / f"{name}.py")
    return ["--model", f"{name}.MyModule", "--data", f"{name}.MyData", *QUICK]


def runs(name):
    return sorted(Path("runs", name).iterdir())


def refused(capsys, *args):
    """The two lines of an error, with exit code 2."""
    capsys.readouterr()
    assert main([*args]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2, lines
    return lines


@pytest.mark.slow
def test_weights_that_are_not_finite_are_never_the_best(here, capsys, monkeypatch):
    """The README's example with a learning rate that is too high, before and after a sound run."""
    monkeypatch.setenv("UV", "/usr/bin/uv")  # as in `uv run`
    assert main(["fit", *DIGITS, *DIVERGES]) == 0
    printed = capsys.readouterr()
    assert (
        "Warning: the weights at the end are not finite (`net.layers.1.weight` is the first)" in printed.err
    )
    assert "no test" in printed.err
    assert "test/accuracy" not in printed.out
    (diverged,) = runs("digits")
    assert [path.name for path in diverged.glob("checkpoints/*")] == ["last.ckpt"]
    for command in ("test", "predict", "fit"):
        nothing = refused(capsys, command, *DIGITS, "--ckpt_path", "best")
        assert "no checkpoint in `runs/digits/*/checkpoints` has finite weights" in nothing[0]
        assert f"`uv run nnfoundations fit --config digits {' '.join(QUICK)}`" in nothing[1]

    assert main(["fit", *DIGITS, "--trainer.max_epochs", "1"]) == 0
    sound = max(runs("digits"))
    assert main(["fit", *DIGITS, *DIVERGES]) == 0
    capsys.readouterr()
    assert main(["test", *DIGITS, "--ckpt_path", "best"]) == 0
    printed = capsys.readouterr()
    assert f"Checkpoint best: {sound}/checkpoints/best.ckpt" in printed.out
    assert "test/loss               nan" not in printed.out
    assert printed.err.startswith("Warning: the newest run, runs/digits/")

    before = set(runs("digits"))
    for command in ("validate", "test", "predict", "fit"):
        said = refused(capsys, command, *DIGITS, "--model.optimizer.lr", "1e20", "--ckpt_path", "last")
        assert "/checkpoints/last.ckpt` are not finite: `net.layers.1.weight` is the first." in said[0]
        assert "Give an earlier checkpoint" in said[1]
    assert set(runs("digits")) == before, "a command that is refused leaves no folder"


@pytest.mark.slow
def test_a_checkpoint_with_nan_from_another_program_is_not_the_best(here, capsys):
    """As version 0.1 wrote them: the record names a best checkpoint, whose weights are NaN."""
    assert main(["fit", *DIGITS, "--trainer.max_epochs", "1"]) == 0
    (folder,) = runs("digits")
    path = folder / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    content["state_dict"]["net.layers.3.bias"][2] = float("nan")
    torch.save(content, path)
    assert "has finite weights" in refused(capsys, "test", *DIGITS, "--ckpt_path", "best")[0]
    assert f"`{path}`" in refused(capsys, "test", *DIGITS, "--ckpt_path", str(path))[0]


def test_a_metric_that_is_not_finite_is_never_the_best(own, capsys):
    watch = ["--checkpoint.monitor", "train_loss"]
    flags = ["--trainer.max_epochs", "1", "--model.lr", "1e18", "--trainer.limit_train_batches", "2"]
    assert main(["fit", *own, *watch, *flags]) == 0
    assert "`train_loss` was never finite: the test uses the weights at the end" in capsys.readouterr().err
    (folder,) = runs("MyModule")
    assert [path.name for path in folder.glob("checkpoints/*")] == ["last.ckpt"]


def test_a_regression_that_diverges_is_not_tested(here, capsys):
    flags = ["--trainer.max_epochs", "2", "--model.optimizer", "SGD", "--model.optimizer.lr", "1e6"]
    assert main(["fit", "--config", "regression", *QUICK, *flags, "--model.lr_scheduler", "null"]) == 0
    printed = capsys.readouterr()
    assert "the weights at the end are not finite" in printed.err
    assert "test/" not in printed.out
    assert "finite weights" in refused(capsys, "test", "--config", "regression", "--ckpt_path", "best")[0]


def test_classes_in_the_working_folder(own, here, capsys):
    assert main(["fit", *own, "--trainer.max_epochs", "1"]) == 0
    (folder,) = runs("MyModule")
    assert json.loads((folder / "run.json").read_text())["command"].startswith(
        "nnfoundations fit --model own_"
    )
    for command in ("validate", "test", "predict"):
        assert main([command, *own, "--ckpt_path", "best"]) == 0
    name = own[1].partition(".")[0]
    (here / "mine.yaml").write_text(f"model: {name}.MyModule\ndata: {{class_path: {name}.MyData}}\n")
    assert main(["fit", "--config", "mine.yaml", *QUICK, "--trainer.max_epochs", "1"]) == 0
    assert len(runs("mine")) == 1
    assert main(["check", *own[:4]]) in (0, 1)
    assert str(here) not in sys.path, "the path is as before"
    assert "there is no module" in refused(capsys, "fit", "--model", "none_such.MyModule")[0]


def test_testing_and_predicting_copy_no_checkpoint(own):
    assert main(["fit", *own, "--trainer.max_epochs", "1"]) == 0
    for command in ("test", "predict"):
        before = set(runs("MyModule"))
        assert main([command, *own, "--ckpt_path", "best"]) == 0
        (folder,) = set(runs("MyModule")) - before
        assert not (folder / "checkpoints").exists()
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "run.json", "predictions.csv"}


def test_a_run_has_a_name_and_stands_beside_earlier_ones(own, capsys):
    named = ["--name", "lr/low", "--trainer.max_epochs", "1", "--model.lr", "0.01"]
    assert main(["fit", *own, *named]) == 0
    assert "Earlier" not in capsys.readouterr().out
    (first,) = runs("lr/low")
    assert main(["fit", *own, *named]) == 0
    (second,) = set(runs("lr/low")) - {first}
    assert f"Run          {second}\nEarlier      {first.name}\n" in capsys.readouterr().out
    assert main(["test", *own, "--name", "lr/low", "--ckpt_path", "best"]) == 0
    printed = capsys.readouterr().out
    assert f"Checkpoint best: {second}/" in printed
    assert "Earlier" not in printed
    for _ in range(2):
        assert main(["fit", "--config", str(second / "config.yaml")]) == 0, "its name is in its config"
    assert f"Earlier      {runs('lr/low')[-2].name}, {second.name} and 1 more" in capsys.readouterr().out
    assert "`name` cannot be `../x`" in refused(capsys, "fit", *own, "--name", "../x")[0]


def config(capsys, *args):
    capsys.readouterr()
    assert main(["fit", *args, "--print_config=skip_null"]) == 0
    return yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "RMSprop"])
def test_a_short_optimizer_name_is_torchs(name, capsys):
    given = config(capsys, "--config", "digits", "--model.optimizer", name)
    assert given["optimizer"]["class_path"] == f"torch.optim.{name}"
    full = f"nnfoundations.optim.{name}"
    given = config(capsys, "--config", "digits", "--model.optimizer", full)
    assert given["optimizer"]["class_path"] == full


def test_short_names_in_a_file(tmp_path, capsys):
    """A loss is torch's too; MLP, which torch lacks and torchvision has, is ours."""
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "model:\n  class_path: Classifier\n  init_args:\n    loss: CrossEntropyLoss\n"
        "    net: {class_path: MLP, init_args: {sizes: [64, 10]}}\n    optimizer: {class_path: Adam}\n"
        "data: DigitsDataModule\n"
    )
    given = config(capsys, "--config", str(mine))
    assert given["loss"]["class_path"] == "torch.nn.CrossEntropyLoss"
    assert given["net"]["class_path"] == "nnfoundations.MLP"
    assert given["optimizer"]["class_path"] == "torch.optim.Adam"


@pytest.mark.parametrize(
    ("name", "epochs", "lengths"),
    [
        ("digits", 60, {"total_iters": 60}),
        ("autograd_digits", 60, {"step_size": 30}),
        ("autograd_xor", 60, {"warmup": 6, "total": 60}),
        ("autograd_xor", 1, {"warmup": 1, "total": 2}),
        ("regression", 5, {}),
    ],
)
def test_a_packaged_schedule_is_as_long_as_the_run(name, epochs, lengths, capsys):
    given = config(capsys, "--config", name, "--trainer.max_epochs", str(epochs))
    options = given["lr_scheduler"]["init_args"]
    assert lengths.items() <= options.items()
    assert "total_steps" not in options, "OneCycleLR asks the run"


def test_what_the_user_says_of_a_schedule_stays(capsys):
    flags = ["--trainer.max_epochs", "60", "--model.lr_scheduler.total_iters", "20"]
    assert config(capsys, "--config", "digits", *flags)["lr_scheduler"]["init_args"]["total_iters"] == 20


@pytest.mark.slow
def test_a_longer_run_goes_on_from_a_shorter_one_with_its_own_schedule(here, capsys):
    assert main(["fit", *DIGITS, "--trainer.max_epochs", "1"]) == 0
    assert main(["fit", *DIGITS, "--trainer.max_epochs", "2", "--ckpt_path", "last"]) == 0
    assert capsys.readouterr().err == ""
    saved = torch.load(max(runs("digits")) / "checkpoints" / "last.ckpt", weights_only=True)
    (scheduler,) = saved["lr_schedulers"]
    assert (scheduler["total_iters"], scheduler["last_epoch"]) == (2, 2)
    assert saved["optimizer_states"][0]["param_groups"][0]["initial_lr"] == 0.05


@pytest.mark.parametrize("module", ["ours", "own"])
@pytest.mark.slow
def test_a_schedule_that_ends_before_the_run_is_told_before_training(module, own, capsys):
    epochs = ["--trainer.max_epochs", "3"]
    if module == "ours":
        args = [*DIGITS, *epochs, "--model.lr_scheduler.total_iters", "1"]
    else:
        args = [*own, *epochs, "--model.step_size", "1"]
    assert main(["fit", *args]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "Warning: The learning-rate schedule ends before the run: after epoch 1 of 3 the rate is 0. "
        "Set its length (total_iters, T_max) to max_epochs."
    )


def test_a_module_that_cannot_be_imported_is_two_lines(here, capsys):
    (here / "broken_module.py").write_text("def f(:\n")
    problem, fix = refused(capsys, "fit", "--model", "broken_module.MyModule")
    assert "`broken_module` cannot be imported: SyntaxError: " in problem
    assert "python -c 'import broken_module'" in fix


@pytest.mark.parametrize("name", ["a\nb", " a", "../x", "x" * 300])
def test_a_name_that_is_not_a_folder_is_refused(here, capsys, name):
    assert "cannot be" in refused_text(capsys, "fit", *DIGITS, f"--name={name}")
    assert not (here / "runs").exists()


def refused_text(capsys, *args):
    """The text of an error with exit code 2; a name with a line break takes more lines."""
    assert main([*args]) == 2
    return capsys.readouterr().err


def test_the_files_of_a_run_are_named_once(here, capsys, monkeypatch):
    """By the summary, not by the closing lines of the diagnostics too."""
    monkeypatch.setenv("UV", "/usr/bin/uv")
    short = ["--trainer.max_epochs", "2", "--trainer.limit_train_batches", "12"]
    assert main(["fit", "--config", "digits", *short, "--model.optimizer.lr", "30"]) == 0
    printed = capsys.readouterr()
    everything = printed.out + printed.err
    (run,) = runs("digits")
    assert f"Findings     {run}/findings.jsonl\n" in printed.out
    assert "TensorBoard  uv run tensorboard --logdir runs\n" in printed.out
    assert everything.count("findings.jsonl") == everything.count("tensorboard --logdir") == 1
    assert "was seen" not in printed.err, "a rule that has nothing to judge is not listed"


@pytest.mark.slow
def test_a_checkpoint_beyond_the_end_of_the_run_is_two_lines(here, capsys):
    short = [f"--trainer.limit_{stage}_batches=2" for stage in ("train", "val", "test")]
    short += ["--trainer.logger", "false"]
    assert main(["fit", *DIGITS, *short, "--trainer.max_epochs", "4"]) == 0
    resumed = ["fit", *DIGITS, *short, "--ckpt_path", "last"]
    said = refused(capsys, *resumed, "--trainer.max_epochs", "2")
    assert said == [
        "nnfoundations: nothing was trained: the checkpoint has finished 4 epochs, more than the 2 of this "
        "run.",
        "To continue, increase --trainer.max_epochs.",
    ]
    assert len(runs("digits")) == 1
    assert main([*resumed, "--trainer.max_epochs", "9", "--trainer.max_steps", "3"]) == 0
    assert "the checkpoint has finished 8 of 3 steps.\nTo continue, increase --trainer.max_steps." in (
        capsys.readouterr().err
    )
