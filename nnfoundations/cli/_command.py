"""fit, validate, test and predict: Lightning's command line with run folders and a closing table."""

import logging
import sys
import warnings
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar, RichProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import RichProgressBarTheme
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.model_helpers import is_overridden

# Short class names on the command line reach what has been imported.
import nnfoundations.datamodules
import nnfoundations.lightning_modules
import nnfoundations.models  # noqa: F401  # imported for its names
from nnfoundations.callbacks import (
    ClassificationFigures,
    Diagnostics,
    ParameterHistograms,
    PredictionTable,
    TensorBoardOverview,
)
from nnfoundations.cli._device import device_name
from nnfoundations.cli._environment import gpu_warning
from nnfoundations.cli._record import RunRecord
from nnfoundations.cli._summary import print_summary


class FoundationsCLI(LightningCLI):
    """Parse the arguments, run the command, say what came out.

    What is not in Lightning's: a run folder ``ROOT/NAME/TIMESTAMP`` (ROOT is ``--trainer.default_root_dir``,
    else ``runs``) that holds all that a run writes; the standing callbacks as argument groups of their own,
    so that a callback list in a config cannot remove them; the test at the end of ``fit``.
    """

    def __init__(self, args: list[str], name: str) -> None:
        self.args, self.name = args, name
        super().__init__(
            LightningModule,
            None,  # any datamodule, or none: a module may bring loaders of its own
            subclass_mode_model=True,
            save_config_callback=RunRecord,
            save_config_kwargs={"save_to_log_dir": False, "name": name},
            seed_everything_default=0,
            trainer_defaults={"devices": 1},
            auto_configure_optimizers=False,
        )

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        return super().init_parser(**{**kwargs, "prog": "nnfoundations"})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults({"checkpoint.save_last": True})
        parser.add_lightning_class_args(StandingDiagnostics, "diagnostics")
        parser.add_lightning_class_args(ParameterHistograms, "histograms")
        parser.add_lightning_class_args(ClassificationFigures, "figures")
        parser.add_lightning_class_args(TensorBoardOverview, "overview")
        parser.add_lightning_class_args(PredictionTable, "predictions")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        # Lightning's own warns where a program with arguments of its own passes some.
        self.config = parser.parse_args(self.args)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        quiet_lightning()
        given = self._get(self.config_init, "trainer")
        self.root = Path(given.default_root_dir or "runs")
        if given.fast_dev_run:  # it leaves no run behind
            return super().instantiate_trainer(**kwargs)
        folder = new_run_folder(self.root / self.name)
        if given.logger in (None, True):
            kwargs["logger"] = TensorBoardLogger(
                folder.parent, name="", version=folder.name, default_hp_metric=False
            )
        return super().instantiate_trainer(default_root_dir=str(folder), **kwargs)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        (checkpoint,) = (callback for callback in callbacks if isinstance(callback, ModelCheckpoint))
        if config["fast_dev_run"] or config["enable_checkpointing"] is False:
            callbacks.remove(checkpoint)  # Lightning 2.6.6 saves the last one even in a fast_dev_run
        elif checkpoint.dirpath is None:  # else a logger of the user's own would take it elsewhere
            checkpoint.dirpath = str(Path(config["default_root_dir"]) / "checkpoints")
        (diagnostics,) = (callback for callback in callbacks if isinstance(callback, StandingDiagnostics))
        of_ones_own = any(isinstance(callback, Diagnostics) for callback in config["callbacks"] or [])
        if self.subcommand != "fit" or of_ones_own or not diagnostics.enabled:
            callbacks.remove(diagnostics)
        own_bar = any(isinstance(callback, ProgressBar) for callback in config["callbacks"] or [])
        if config["enable_progress_bar"] is not False and not own_bar:
            callbacks.append(Bar())
        trainer = super()._instantiate_trainer(config, callbacks)
        announce(trainer)
        return trainer

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            super()._run_subcommand(subcommand)
        except BaseException:
            with suppress(OSError):  # a run that failed before it wrote anything leaves no folder
                Path(self.trainer.default_root_dir).rmdir()
            raise

    def before_validate(self) -> None:
        if self._get(self.config, "ckpt_path") is None:
            print("Warning: no --ckpt_path is given: these are weights before training.", file=sys.stderr)

    before_test = before_predict = before_validate

    def after_fit(self) -> None:
        source = self.datamodule or self.model
        if is_overridden("test_step", self.model) and is_overridden("test_dataloader", source):
            checkpoint = self.trainer.checkpoint_callback
            best = isinstance(checkpoint, ModelCheckpoint) and checkpoint.best_model_path
            self.trainer.test(
                self.model,
                datamodule=self.datamodule,
                ckpt_path="best" if best else None,
                verbose=False,
            )
        print_summary(self.trainer, self.root, self.name)

    def after_validate(self) -> None:
        print_summary(self.trainer, self.root, self.name)

    def after_test(self) -> None:
        print_summary(self.trainer, self.root, self.name)

    def after_predict(self) -> None:
        print_summary(self.trainer, self.root, self.name)


class StandingDiagnostics(Diagnostics):
    """Those of every `fit`, with a flag to turn them off.

    Args:
        enabled: watch the run; ``false`` leaves it alone.
    """

    def __init__(self, *, enabled: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.enabled = enabled


class Bar(RichProgressBar):
    """Lightning's, with four decimals and without the logger's version: it is the run's folder."""

    def __init__(self) -> None:
        super().__init__(theme=RichProgressBarTheme(metrics_format=".4f"))

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


def new_run_folder(parent: Path) -> Path:
    """A folder named for this second that no run has; made by the first process only."""
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    candidate, n = parent / stamp, 1
    while candidate.exists():
        n += 1
        candidate = parent / f"{stamp}_{n}"
    if getattr(rank_zero_only, "rank", 0) == 0:
        candidate.mkdir(parents=True)
    return candidate


@rank_zero_only
def announce(trainer: Trainer) -> None:
    print(f"Device: {device_name(trainer)}")
    if warning := gpu_warning():
        print(f"Warning: {warning}", file=sys.stderr)


def quiet_lightning() -> None:
    """Drop lines that are no news here: tips for other products, and the devices that are not used."""

    def is_news(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return not text.startswith(("💡", "GPU available", "TPU available", "HPU available"))

    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(is_news)
    # Every command has a run folder of its own: that a checkpoint comes from another one is no news either.
    warnings.filterwarnings("ignore", message="The dirpath has changed")
    warnings.filterwarnings("ignore", message=".*LeafSpec")  # Lightning 2.6.6 on torch 2.15
