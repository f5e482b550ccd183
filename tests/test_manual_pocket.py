"""The perceptron's pocket in a real Trainer: the best weights at the end, and resumed runs."""

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from quiet import QUIET

from nnfoundations.cli import main
from nnfoundations.datamodules import SetosaDataModule, XORDataModule
from nnfoundations.lightning_modules import ManualClassifier, NumPySGD
from nnfoundations.numpy import Perceptron

pytestmark = [
    pytest.mark.filterwarnings("ignore:Perceptron. still"),
    # Of its own checkpoints, in another folder: nothing is reported.
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual optimization"),  # the state after it
]


def module(features):
    return ManualClassifier(Perceptron(features), 2, optimizer=lambda params: NumPySGD(params, lr=1.0))


def fitted(data, folder, *, features=2, ckpt_path=None, callbacks=(), **limits):
    trained = module(features)
    options = {"enable_checkpointing": bool(callbacks), "callbacks": list(callbacks), **limits, **QUIET}
    trainer = Trainer(default_root_dir=folder, **options)
    trainer.fit(trained, datamodule=data, ckpt_path=ckpt_path)
    return trained, trainer


def xor():
    return XORDataModule(batch_size=8)


def rows_of(data):
    data.setup()
    x, y = zip(*data.train_dataloader(), strict=True)
    return torch.cat(x).numpy(), torch.cat(y).numpy()


def errors(weight, bias, x, y):
    return int(((x @ weight + bias > 0) != (y == 1)).sum())


def errors_at_each_end(net, x, y):
    """The weights at the end of each epoch, from the history."""
    ends = {update.epoch: update for update in net.history.updates}
    assert len(ends) == len(net.history.mistakes)  # no epoch was without a mistake
    return [errors(end.weight, end.bias, x, y) for end in ends.values()]


@pytest.mark.slow
def test_the_weights_at_the_end_are_the_best_that_were_judged(tmp_path):
    """The pocket's weights are tested, validated in the last epoch, and saved."""
    saver = ModelCheckpoint(tmp_path, save_last=True)
    with pytest.warns(UserWarning, match=r"in epoch 8, the run's last; kept .* fewest errors") as caught:
        trained, trainer = fitted(xor(), tmp_path, callbacks=[saver], max_epochs=8)
    net, (x, y) = trained.net.net, rows_of(xor())
    weight, bias = trained.net.weight.detach().numpy(), trained.net.bias.detach().numpy()
    at_ends = errors_at_each_end(net, x, y)
    assert errors(weight, bias, x, y) == min(at_ends[:-1]) < at_ends[-1]
    assert (net.pocket.errors, net.pocket.rows) == (min(at_ends[:-1]), len(x))
    assert any(f"{min(at_ends[:-1])} of {len(x)}" in str(warning.message) for warning in caught)

    seen = trainer.callback_metrics["val/accuracy"].item()
    (again,) = trainer.validate(trained, datamodule=xor(), verbose=False)
    assert again["val/accuracy"] == seen
    loaded = ManualClassifier.load_from_checkpoint(saver.last_model_path, net=Perceptron(2), num_classes=2)
    assert torch.equal(loaded.net.weight, trained.net.weight)
    assert torch.equal(loaded.net.bias, trained.net.bias)
    (one,) = trainer.test(trained, datamodule=xor(), verbose=False)
    (other,) = trainer.test(module(2), datamodule=xor(), ckpt_path=saver.last_model_path, verbose=False)
    assert one == other


class Stopped(ModelCheckpoint):
    """Stops the run in the middle of the fifth epoch, as a timer would."""

    def on_train_batch_end(self, trainer, *args):
        trainer.should_stop |= trainer.current_epoch == 4


@pytest.mark.parametrize("limits", [{"max_steps": 800}, {"max_epochs": 9}], ids=str)
def test_however_a_run_ends(limits, tmp_path):
    """In the middle of the fifth epoch, which is not counted to its end: by max_steps, or by a callback."""
    callbacks = [] if "max_steps" in limits else [Stopped(save_top_k=0)]
    trained, _ = fitted(xor(), tmp_path, callbacks=callbacks, **limits)
    assert len(trained.net.net.history.mistakes) == 4
    net, (x, y) = trained.net.net, rows_of(xor())
    ends = {update.epoch: update for update in net.history.updates}
    best = min(errors(ends[epoch].weight, ends[epoch].bias, x, y) for epoch in range(3))
    assert errors(trained.net.weight.detach().numpy(), trained.net.bias.detach().numpy(), x, y) == best


def test_a_single_epoch_leaves_no_choice(tmp_path):
    with pytest.warns(UserWarning, match=r"in epoch 1, the run's last\. Either no plane"):
        trained, _ = fitted(xor(), tmp_path, max_epochs=1)
    assert trained.net.net.pocket is None
    last = trained.net.net.history.updates[-1]
    np.testing.assert_allclose(trained.net.weight.detach(), last.weight, rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_what_is_separable_has_the_weights_of_the_bare_rule(batch_size, tmp_path):
    trained, trainer = fitted(SetosaDataModule(batch_size=batch_size), tmp_path, features=4, max_epochs=100)
    bare, data = Perceptron(4), SetosaDataModule(batch_size=batch_size)
    data.setup()
    loader = data.train_dataloader()
    while not bare.converged:
        for x, y in loader:
            _, _, moved = bare.differentiate(x.numpy(), y.numpy())
            for name, value in bare.parameters.items():
                value -= moved[name]
        bare.end_epoch()
    net = trained.net.net
    assert net.converged
    assert trainer.current_epoch == len(bare.history.mistakes)
    assert net.history.mistakes == bare.history.mistakes
    for name, value in bare.parameters.items():
        np.testing.assert_array_equal(trained.net.get_parameter(name).detach(), value)


def same(one, other):
    """Bit for bit: weights, pocket, history."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            same(one[name], other[name])
    else:
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


class Each(ModelCheckpoint):
    """Every checkpoint: at each validation, at the end of each epoch, or every few steps."""

    def __init__(self, folder, **when):
        super().__init__(folder, filename="{epoch}-{step}", save_top_k=-1, **when)


@pytest.mark.parametrize(
    ("when", "name"),
    [
        ({"save_on_train_epoch_end": False}, "epoch=1-step=360"),  # at the second epoch's validation
        ({"every_n_train_steps": 100}, "epoch=2-step=500"),  # within the third epoch
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                ({"save_on_train_epoch_end": False}, "epoch=2-step=540"),  # the pocket is handed over there
                ({"save_on_train_epoch_end": True}, "epoch=1-step=360"),
                ({"save_on_train_epoch_end": True}, "epoch=2-step=540"),
                ({"every_n_train_steps": 180}, "epoch=1-step=360"),
            ]
        ),
    ],
    ids=str,
)
@pytest.mark.slow
def test_a_resumed_run_is_the_uninterrupted_one(when, name, tmp_path):
    whole, _ = fitted(xor(), tmp_path, max_epochs=6)
    fitted(xor(), tmp_path, max_epochs=3, callbacks=[Each(tmp_path, **when)])
    saver = Each(tmp_path / "resumed", **when)
    path = tmp_path / f"{name}.ckpt"
    resumed, trainer = fitted(xor(), tmp_path, max_epochs=6, ckpt_path=path, callbacks=[saver])
    assert trainer.current_epoch == len(resumed.net.net.history.mistakes) == 6
    one, other = {}, {}
    whole.on_save_checkpoint(one)
    resumed.on_save_checkpoint(other)
    same(one, other)
    same(dict(whole.state_dict()), dict(resumed.state_dict()))


@pytest.mark.parametrize("at_the_end", [True, False])
def test_a_run_that_has_converged_does_not_go_on(at_the_end, tmp_path):
    """Its last checkpoint, from the validation or from the end, has nothing left to learn."""
    saver = Each(tmp_path, save_on_train_epoch_end=at_the_end)
    data = SetosaDataModule(batch_size=8)
    trained, trainer = fitted(data, tmp_path, features=4, max_epochs=100, callbacks=[saver])
    last = tmp_path / f"epoch={trainer.current_epoch - 1}-step={trainer.global_step}.ckpt"
    data, saver = SetosaDataModule(batch_size=8), Each(tmp_path / "again", save_on_train_epoch_end=at_the_end)
    options = {"features": 4, "max_epochs": 100, "callbacks": [saver]}
    resumed, again = fitted(data, tmp_path, ckpt_path=last, **options)
    assert again.global_step == trainer.global_step
    assert resumed.net.net.converged
    assert resumed.net.net.history.mistakes == trained.net.net.history.mistakes
    same(dict(trained.state_dict()), dict(resumed.state_dict()))


def test_a_new_fit_has_a_pocket_of_its_own(tmp_path):
    """The labels are swapped: the best weights before are the worst now, and are not used."""

    class Opposite(XORDataModule):
        def read(self):
            points = super().read()
            return points._replace(labels=1 - points.labels)

    trained, _ = fitted(xor(), tmp_path, max_epochs=8)
    best = trained.net.net.pocket
    trainer = Trainer(max_epochs=3, default_root_dir=tmp_path, enable_checkpointing=False, **QUIET)
    trainer.fit(trained, datamodule=Opposite(batch_size=8))
    x, y = rows_of(xor())
    assert errors(best.weight, best.bias, x, 1 - y) > len(x) / 2
    pocket = trained.net.net.pocket
    assert pocket.errors == errors(trained.net.weight.detach().numpy(), pocket.bias, x, 1 - y) < len(x) / 2


@pytest.mark.slow
def test_from_the_command_line(tmp_path, capsys):
    """perceptron_iris converges, and its last checkpoint says so; the same config on XOR tests the pocket."""
    command = ["fit", "--config", "perceptron_iris", "--trainer.default_root_dir", str(tmp_path / "iris")]
    assert main(command) == 0
    (path,) = (tmp_path / "iris").rglob("last.ckpt")
    saved = torch.load(path, weights_only=True)["perceptron"]
    assert saved["mistakes"][-1] == 0
    assert saved["waiting"] is None
    capsys.readouterr()

    command = ["fit", "--config", "perceptron_iris", "--trainer.default_root_dir", str(tmp_path / "xor")]
    command += ["--data", "XORDataModule", "--data.batch_size", "8", "--trainer.max_epochs", "4"]
    with pytest.warns(UserWarning, match="kept the weights with the fewest errors, 3.. of 1440"):
        assert main([*command, "--model.net.features", "2"]) == 0
    (row,) = (line for line in capsys.readouterr().out.splitlines() if "test/accuracy " in line)
    assert float(row.split()[-1]) > 0.7
    (path,) = (tmp_path / "xor").rglob("last.ckpt")
    saved = torch.load(path, weights_only=True)
    assert torch.equal(saved["state_dict"]["net.weight"], saved["perceptron"]["pocket"]["weight"])
