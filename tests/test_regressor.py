"""Regressor in a real Trainer, and the figure that compares widths and losses on a curve."""

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, TensorDataset

from nnfoundations import numpy
from nnfoundations.cli import main
from nnfoundations.datamodules import NoisyCurveDataModule
from nnfoundations.errors import OptionError
from nnfoundations.lightning_modules import Classifier, CurveRegressor, ManualClassifier, Regressor
from nnfoundations.models import MLP
from nnfoundations.optim import Adam

QUIET = {
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "accelerator": "cpu",
    "devices": 1,
    "log_every_n_steps": 1,
}


def figures(folder):
    """The steps at which `val/curves` was drawn."""
    steps = []
    for events in folder.rglob("events.out.tfevents.*"):
        found = EventAccumulator(str(events)).Reload()
        if "val/curves" in found.Tags()["images"]:
            steps += [image.step for image in found.Images("val/curves")]
    return steps


def one_cycle(optimizer, **options):
    return OneCycleLR(optimizer, max_lr=0.1, **options)


@pytest.mark.parametrize("loss", [torch.nn.MSELoss, torch.nn.L1Loss, lambda: torch.nn.HuberLoss(delta=0.5)])
def test_a_regressor_takes_any_loss(loss, tmp_path):
    torch.manual_seed(0)
    data = NoisyCurveDataModule(outliers=0.0, batch_size=64)
    module = Regressor(MLP([1, 32, 1], activation="Tanh"), loss=loss, optimizer=lambda p: Adam(p, lr=0.03))
    trainer = Trainer(max_epochs=50, default_root_dir=tmp_path, logger=False, **QUIET)
    trainer.fit(module, datamodule=data)
    (found,) = trainer.test(module, datamodule=data, verbose=False)
    assert found["test/rmse"] < 0.25
    with pytest.raises(RuntimeError, match="predictions of y's shape"):
        module._predicted((torch.zeros(3, 1), torch.zeros(3)))


def test_a_batch_is_predicted_once(tmp_path):
    """A hook counts: training, validation and test use one forward pass for loss and metrics."""
    net, calls = MLP([1, 4, 1]), []
    net.register_forward_hook(lambda *_: calls.append(1))
    module, data = Regressor(net), NoisyCurveDataModule(points=128, batch_size=64)
    trainer = Trainer(max_epochs=1, num_sanity_val_steps=0, default_root_dir=tmp_path, logger=False, **QUIET)
    trainer.fit(module, datamodule=data)
    assert len(calls) == 2 + 1
    trainer.test(module, datamodule=data, verbose=False)
    assert len(calls) == 2 + 1 + 1


@pytest.mark.parametrize(
    ("limit", "drawn"),
    [({"max_epochs": 5}, [4, 8, 10]), ({"max_steps": 5}, [4, 5]), ({"max_epochs": 4}, [4, 8]),
     ({"max_epochs": 5, "limit_val_batches": 0}, [4, 8, 10])],
)  # fmt: skip
def test_the_last_figure_is_that_of_the_end(limit, drawn, tmp_path):
    """In every second epoch of two steps, and at the end of any run; never twice at one step."""
    module = CurveRegressor(MLP([1, 4, 1]), widths=(2,), every_n_epochs=2)
    logger = TensorBoardLogger(tmp_path)
    trainer = Trainer(**limit, logger=logger, default_root_dir=tmp_path, **QUIET)
    trainer.fit(module, datamodule=NoisyCurveDataModule(points=128, batch_size=64))
    assert sorted(figures(tmp_path)) == drawn


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_points_that_no_datamodule_tells_of_are_fitted_without_a_figure(tmp_path):
    x = torch.linspace(-1, 1, 32).unsqueeze(1)
    loader = DataLoader(TensorDataset(x, x.square()), 32)
    module = CurveRegressor(MLP([1, 4, 1]), widths=(2,))
    trainer = Trainer(max_epochs=1, logger=TensorBoardLogger(tmp_path), default_root_dir=tmp_path, **QUIET)
    trainer.fit(module, loader, loader)
    assert figures(tmp_path) == []
    assert "val/rmse" in trainer.callback_metrics


@pytest.mark.slow
def test_the_regression_config_keeps_its_goal_and_draws(tmp_path, capsys):
    assert main(["fit", "--config", "regression", "--trainer.default_root_dir", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    (row,) = (line for line in printed.out.splitlines() if "test/rmse " in line)
    assert float(row.split()[-1]) <= 0.15
    assert "to estimate number of stepping batches" not in printed.err + printed.out
    assert figures(tmp_path) == [80, 160, 240, 320]


@pytest.mark.parametrize("epochs", ["2", pytest.param("81", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_its_schedule_is_as_long_as_the_run(epochs, tmp_path):
    """The rate rises, and is almost 0 at the end of a run of any length."""
    folder = ["--trainer.default_root_dir", str(tmp_path)]
    assert main(["fit", "--config", "regression", "--trainer.max_epochs", epochs, *folder]) == 0
    found = [EventAccumulator(str(events)).Reload() for events in tmp_path.rglob("events.out.tfevents.*")]
    (run,) = (events for events in found if "lr" in events.Tags()["scalars"])
    rates = [scalar.value for scalar in run.Scalars("lr")]
    assert rates[-1] < 0.02 * max(rates)


@pytest.mark.slow
def test_a_schedule_that_is_too_short_is_said(tmp_path, capsys):
    key = "--model.init_args.lr_scheduler.init_args.total_steps"
    arguments = ["--trainer.max_epochs", "3", "--trainer.default_root_dir", str(tmp_path)]
    assert main(["fit", "--config", "regression", key, "11", *arguments]) == 1
    error = capsys.readouterr().err
    assert "OneCycleLR needs a total_steps of at least the run's 12; got 11. Leave it out" in error
    assert "Traceback" not in error
    assert main(["fit", "--config", "regression", key, "11", "--verbose", *arguments]) == 1
    assert "Traceback" in capsys.readouterr().err
    assert main(["fit", "--config", "regression", key, "12", *arguments]) == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: Classifier(MLP([2, 2]), 2, lr_scheduler=one_cycle),
        lambda: ManualClassifier(numpy.MLP([2, 2], seed=0), 2, lr_scheduler=one_cycle),
    ],
)
def test_classifiers_fit_it_to_the_run_as_well(make, tmp_path):
    from nnfoundations.datamodules import XORDataModule

    trainer = Trainer(max_epochs=3, default_root_dir=tmp_path, logger=False, **QUIET)
    trainer.fit(make(), datamodule=XORDataModule(batch_size=32))
    (config,) = trainer.lr_scheduler_configs
    assert config.scheduler.total_steps == config.scheduler.last_epoch == trainer.global_step


def test_a_run_without_an_end_has_no_cycle(tmp_path):
    trainer = Trainer(max_epochs=-1, default_root_dir=tmp_path, logger=False, **QUIET)
    with pytest.raises(OptionError, match=r"a run of known length; this one has no end. Set"):
        trainer.fit(Regressor(MLP([1, 1]), lr_scheduler=one_cycle), datamodule=NoisyCurveDataModule())


def test_curves_are_fitted_apart():
    """The gradient of each MLP comes from its own loss: they share no parameters."""
    module = CurveRegressor(MLP([1, 4, 1]), widths=(2, 4))
    assert set(module.by_loss) == {"MSE", "L1", "Huber"}
    assert len({id(p) for p in module.parameters()}) == 4 * 6


@pytest.mark.slow
def test_a_cycle_that_is_resumed_for_longer_is_said_before_a_step(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--config", "regression", "--trainer.max_epochs", "2", "--quiet"]) == 0
    longer = ["--trainer.max_epochs", "4", "--ckpt_path", "last"]
    assert main(["fit", "--config", "regression", *longer]) == 1
    err = capsys.readouterr().err
    assert "OneCycleLR needs a total_steps of at least the run's 16; got 8." in err
    assert "Traceback" not in err


def test_a_cycle_that_cannot_be_told_its_length_is_said(tmp_path):
    trainer = Trainer(max_epochs=1, default_root_dir=tmp_path, logger=False, **QUIET)
    module = Regressor(MLP([1, 4, 1]), lr_scheduler=lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1))
    with pytest.raises(OptionError, match="takes no total_steps"):
        trainer.fit(module, datamodule=NoisyCurveDataModule())


def test_the_other_nets_need_a_width():
    with pytest.raises(OptionError, match=r"widths of at least 1; got \[\]"):
        CurveRegressor(MLP([1, 4, 1]), widths=[])
