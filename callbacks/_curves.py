"""Draws the curves of a run into one picture, without any logger."""

import sys
from importlib import import_module
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from nnfoundations.callbacks._curves_figure import RunCurves, curves_figure
from nnfoundations.callbacks._diagnostics import Diagnostics
from nnfoundations.callbacks._epoch_metrics import Curve, EpochMetrics
from nnfoundations.callbacks._loggers import log_folder

__all__ = ["TrainingCurves"]


class TrainingCurves(EpochMetrics):
    """Draw ``curves.png`` at the end of a run, also if an exception or Ctrl-C ends it.

    Panels: the loss of training and validation; the accuracy (else the first other metric); the learning
    rate. Findings of a `Diagnostics` in the same Trainer are marked at their first step. In a notebook the
    picture is shown below the cell.

    The metrics are those that the module logs, as ``train/loss`` and ``val/loss`` or ``train_loss`` and
    ``val_loss``. If it logs no training loss per epoch, the mean of what ``training_step`` returns is drawn.
    A ``fast_dev_run`` draws nothing.

    Args:
        path: the file; None means ``curves.png`` in the folder of the first logger, and without a logger in
            the Trainer's ``default_root_dir``.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(logger=False, callbacks=[TrainingCurves()])  # doctest: +SKIP
    """

    def __init__(self, path: str | None = None) -> None:
        super().__init__()
        self.path = path
        self.file: Path | None = None  # the file that was written

    def _forget(self) -> None:
        super()._forget()
        self._rates: dict[int, Curve] = {}
        self._epochs: Curve = []  # (steps, epochs) done

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the curves of this run."""
        super().on_train_start(trainer, pl_module)
        self.file = None
        self._epochs.append((trainer.global_step, trainer.current_epoch))

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Record the learning rate, as often as the Trainer logs."""
        every_n: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by its connector
        if not self._rates or trainer.global_step % max(every_n, 1) == 0:
            self._record_rates(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the epoch that is over."""
        super().on_train_epoch_start(trainer, pl_module)
        self._epochs.append((trainer.global_step, trainer.current_epoch))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the last epoch."""
        super().on_train_end(trainer, pl_module)
        if trainer.is_last_batch:  # else max_steps ended the run within an epoch
            self._epochs.append((trainer.global_step, trainer.current_epoch))
        self._record_rates(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, after every callback has seen the end of training."""
        if self._epochs:  # a run that resumes at its last epoch trains nothing
            self._draw(trainer, "")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Draw what was recorded until now."""
        if trainer.state.fn == "fit" and self._epochs:
            self._close_mean(trainer)
            name = type(exception).__name__
            how = f"ended by {name}" if isinstance(exception, Exception) else "interrupted"
            self._draw(trainer, f"{how} at step {trainer.global_step:,}")

    def _record_rates(self, trainer: Trainer) -> None:
        for i, optimizer in enumerate(trainer.optimizers):
            if not optimizer.param_groups:  # Lightning's stand-in for no optimizer
                continue
            curve = self._rates.setdefault(i, [])
            if not curve or curve[-1][0] < trainer.global_step:
                curve.append((trainer.global_step, float(optimizer.param_groups[0]["lr"])))

    def _draw(self, trainer: Trainer, ended: str) -> None:
        if trainer.fast_dev_run or not trainer.is_global_zero:  # type: ignore[attr-defined]  # set by its connector
            return
        callbacks: list[object] = trainer.callbacks  # type: ignore[attr-defined]  # set by its connector
        found = (callback.findings for callback in callbacks if isinstance(callback, Diagnostics))
        # Neither a full disk nor an odd metric may turn a finished run into a failed one.
        try:
            figure = curves_figure(
                RunCurves(
                    train=self.curves("train"),
                    validation=self.curves("validation"),
                    rates=list(self._rates.values()),
                    findings=[finding for findings in found for finding in findings],
                    epochs=self._epochs,
                    ended=ended,
                )
            )
            path = Path(self.path or (log_folder(trainer) or Path(trainer.default_root_dir)) / "curves.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path)
            self.file = path
            show_in_notebook(path)
        except Exception as error:
            rank_zero_warn(f"TrainingCurves wrote no picture: {type(error).__name__}: {error}")


def show_in_notebook(path: Path) -> None:
    """Show a picture below the cell, if this is a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if hasattr(shell, "kernel"):  # not IPython in a terminal
        display = import_module("IPython.display")
        display.display(display.Image(filename=str(path)))
