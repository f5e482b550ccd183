"""Networks written by hand under a real Trainer: they learn, and are what they are outside of it."""

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from nnfoundations import autograd
from nnfoundations import numpy as ours
from nnfoundations._errors import OptionError
from nnfoundations.callbacks import Diagnostics
from nnfoundations.cli import main
from nnfoundations.datamodules import DigitsDataModule, NoisyCurveDataModule, SetosaDataModule
from nnfoundations.lightning_modules import CurveRegressor, ManualClassifier, NumPyModule, NumPySGD, Regressor
from nnfoundations.models import MLP
from nnfoundations.optim import Adam

QUIET = {
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
    "devices": 1,
}


def sgd(**options):
    return lambda params: NumPySGD(params, **options)


def test_under_lightning_it_is_the_loop_written_by_hand(tmp_path):
    """Bit for bit the same weights, with momentum, a schedule and BatchNorm's statistics."""

    def net():
        return ours.Sequential(
            ours.Linear(64, 16, seed=0), ours.BatchNorm(16), ours.ReLU(), ours.Linear(16, 10, seed=1)
        )

    class Flat(ours.Sequential):
        def forward(self, x):
            return super().forward(x.reshape(len(x), -1))

    data = DigitsDataModule(batch_size=32)
    module = ManualClassifier(
        Flat(*net().layers),
        optimizer=sgd(lr=0.1, momentum=0.9),
        lr_scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, 1, 0.5),
    )
    trainer = Trainer(max_epochs=2, default_root_dir=tmp_path, enable_checkpointing=False, **QUIET)
    trainer.fit(module, datamodule=data)

    bare, data = Flat(*net().layers), DigitsDataModule(batch_size=32)
    data.setup()
    optimizer, loader = ours.SGD(bare, lr=0.1, momentum=0.9), data.train_dataloader()
    for epoch in range(2):
        optimizer.lr = 0.1 * 0.5**epoch
        for x, y in loader:
            bare.differentiate(x.numpy(), y.numpy())
            optimizer.step()
    state = module.net.state_dict()
    assert set(state) == {*bare.parameters, *bare.buffers}
    for name, value in {**bare.parameters, **bare.buffers}.items():
        np.testing.assert_array_equal(state[name].numpy(), value)


@pytest.mark.parametrize(
    ("net", "data", "lr", "least"),
    [
        (lambda: ours.MLP([64, 32, 10], seed=0), DigitsDataModule(batch_size=32), 0.1, 0.9),
        (lambda: autograd.MLP([64, 32, 10], seed=0), DigitsDataModule(batch_size=32), 0.1, 0.9),
        (lambda: ours.Perceptron(4), SetosaDataModule(batch_size=8), 1.0, 1.0),
    ],
    ids=["numpy", "autograd", "perceptron"],
)
def test_each_kind_learns_and_comes_back_from_a_checkpoint(net, data, lr, least, tmp_path):
    module = ManualClassifier(net(), data.num_classes, optimizer=sgd(lr=lr))
    trainer = Trainer(max_epochs=5, default_root_dir=tmp_path, **QUIET)
    trainer.fit(module, datamodule=data)
    (before,) = trainer.test(module, datamodule=data, verbose=False)
    assert before["test/accuracy"] >= least
    path = tmp_path / "saved.ckpt"
    trainer.save_checkpoint(path)
    again = ManualClassifier.load_from_checkpoint(path, net=net(), num_classes=data.num_classes)
    (after,) = Trainer(default_root_dir=tmp_path, **QUIET).test(again, datamodule=data, verbose=False)
    assert after == before


def test_torchs_optimizers_move_it_and_diagnostics_see_it(tmp_path):
    """A rate that is far too high is named as for any module."""
    diagnostics = Diagnostics(verbose=False)
    module = ManualClassifier(
        ours.MLP([64, 32, 10], seed=0), optimizer=lambda params: torch.optim.SGD(params, lr=30.0)
    )
    trainer = Trainer(
        max_epochs=2, default_root_dir=tmp_path, callbacks=[diagnostics], enable_checkpointing=False, **QUIET
    )
    trainer.fit(module, datamodule=DigitsDataModule(batch_size=32))
    assert "learning-rate-too-high" in {finding.fault for finding in diagnostics.findings}


def test_another_device_is_one_clear_error():
    module = NumPyModule(ours.MLP([4, 2], seed=0))
    with pytest.raises(OptionError, match=r"MLP runs on NumPy and needs the CPU; got meta. Set --trainer"):
        module(torch.zeros(1, 4, device="meta"))
    with pytest.raises(OptionError, match="needs the CPU; got meta"):
        module.to("meta")(torch.zeros(1, 4))


@pytest.mark.parametrize("loss", [torch.nn.MSELoss, torch.nn.L1Loss, lambda: torch.nn.HuberLoss(delta=0.5)])
def test_a_regressor_takes_any_loss(loss, tmp_path):
    torch.manual_seed(0)
    data = NoisyCurveDataModule(outliers=0.0, batch_size=64)
    module = Regressor(MLP([1, 32, 1], activation="Tanh"), loss=loss, optimizer=lambda p: Adam(p, lr=0.03))
    trainer = Trainer(
        max_epochs=50, default_root_dir=tmp_path, enable_checkpointing=False, log_every_n_steps=4, **QUIET
    )
    trainer.fit(module, datamodule=data)
    (found,) = trainer.test(module, datamodule=data, verbose=False)
    assert found["test/rmse"] < 0.25
    with pytest.raises(RuntimeError, match="predictions of y's shape"):
        module._loss((torch.zeros(3, 1), torch.zeros(3)))


def test_the_regression_config_keeps_its_goal_and_draws(tmp_path, capsys):
    assert main(["fit", "--config", "regression", "--trainer.default_root_dir", str(tmp_path)]) == 0
    (row,) = (line for line in capsys.readouterr().out.splitlines() if "test/rmse " in line)
    assert float(row.split()[-1]) <= 0.15
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folders = {events.parent for events in tmp_path.rglob("events.out.tfevents.*")}
    assert any("val/curves" in EventAccumulator(str(f)).Reload().Tags()["images"] for f in folders)


@pytest.mark.parametrize(("name", "least"), [("perceptron_iris", 1.0), ("autograd_xor", 0.99)])
def test_the_small_configs_keep_their_goals(name, least, tmp_path, capsys):
    assert main(["fit", "--config", name, "--trainer.default_root_dir", str(tmp_path)]) == 0
    (row,) = (line for line in capsys.readouterr().out.splitlines() if "test/accuracy " in line)
    assert float(row.split()[-1]) >= least


def test_curves_are_fitted_apart():
    """A rival's gradient is that of its own loss: nothing of the others is in it."""
    module = CurveRegressor(MLP([1, 4, 1]), widths=(2, 4))
    assert set(module.by_loss) == {"MSE", "L1", "Huber"}
    assert len({id(p) for p in module.parameters()}) == 4 * 6
