"""Check the metric that a callback monitors: is it logged, and does `mode` fit? As early as possible."""

import re
import sys
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torchmetrics import MetricCollection

from nnfoundations.cli.config._settings import CommandError
from nnfoundations.cli.run._early_stopping import RunEarlyStopping
from nnfoundations.cli.run._resume import RunCheckpoint

__all__ = ["MonitorCheck", "known_modes", "missing_metric"]


class MonitorCheck(Callback):
    """Find a misspelt validation metric and a wrong `mode` (min for accuracy) before training."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        better = known_modes(pl_module)
        for name, callback in _monitoring(trainer):
            mode = getattr(callback, "mode", None)
            if mode != (right := better.get(callback.monitor, mode)):
                better_is = "higher" if right == "max" else "lower"
                print(
                    f"Warning: `{name}.mode` is `{mode}`, but a {better_is} `{callback.monitor}` is better.\n"
                    f"Did you mean `{right}`?",
                    file=sys.stderr,
                )

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        known = list(trainer.callback_metrics)
        for name, callback in _monitoring(trainer):
            near = _nearest(callback.monitor, known)
            # A name unlike any of these may be logged later, by the training.
            if near and callback.monitor not in known and _stage(near) == _stage(callback.monitor):
                raise _unknown(
                    name,
                    callback.monitor,
                    near,
                    "If training logs it later, give --trainer.num_sanity_val_steps 0.",
                )


def known_modes(module: LightningModule) -> dict[str, str]:
    """The metrics that say themselves whether higher is better, each with `min` or `max`."""
    return {
        str(name): "max" if metric.higher_is_better else "min"
        for metrics in module.modules()
        if isinstance(metrics, MetricCollection)
        for name, metric in metrics.items()
        if metric.higher_is_better is not None
    }


def missing_metric(trainer: Trainer, error: BaseException) -> CommandError | None:
    """The error for a run that failed because nothing logs the metric that a callback monitors."""
    known = list(trainer.callback_metrics)
    for name, callback in _monitoring(trainer):
        if callback.monitor not in known and callback.monitor in str(error):
            listed = f"Logged metrics: {', '.join(known)}." if known else "No metric is logged."
            return _unknown(name, callback.monitor, _nearest(callback.monitor, known), listed)
    return None


def _monitoring(trainer: Trainer) -> Iterator[tuple[str, Any]]:
    """Callbacks that monitor a metric, each with its name on the command line."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set by its connector
        follows = isinstance(callback, RunEarlyStopping)  # the metric of the checkpoints
        if getattr(callback, "monitor", None) and getattr(callback, "strict", True) and not follows:
            yield "checkpoint" if isinstance(callback, RunCheckpoint) else type(callback).__name__, callback


def _nearest(metric: str, known: Iterable[str]) -> str | None:
    return next(iter(get_close_matches(metric, known, n=1, cutoff=0.7)), None)


def _stage(metric: str) -> str:
    """`val` of `val/loss` and `val_loss`."""
    return re.split(r"[/_.]", metric)[0]


def _unknown(name: str, metric: str, near: str | None, more: str) -> CommandError:
    meant = f"Did you mean `{near}`? " if near else ""
    return CommandError(f"`{name}.monitor` cannot be `{metric}`: this metric is not logged.\n{meant}{more}")
