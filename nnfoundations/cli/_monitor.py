"""Is what a callback watches measured at all, and which way is better? Said as soon as it can be known."""

import re
import sys
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torchmetrics import MetricCollection

from nnfoundations.cli._resume import RunCheckpoint
from nnfoundations.cli._settings import CommandError


class MonitorCheck(Callback):
    """Before training: a metric of the validation that is watched misspelt, or upside down."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        better = {
            str(name): "max" if metric.higher_is_better else "min"
            for metrics in pl_module.modules()
            if isinstance(metrics, MetricCollection)
            for name, metric in metrics.items()
            if metric.higher_is_better is not None
        }
        for name, callback in _watching(trainer):
            mode = getattr(callback, "mode", None)
            if mode != (right := better.get(callback.monitor, mode)):
                more = "more" if right == "max" else "less"
                print(
                    f"Warning: `{name}.mode` is `{mode}`, but {more} of `{callback.monitor}` is better.\n"
                    f"Did you mean `{right}`?",
                    file=sys.stderr,
                )

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        known = list(trainer.callback_metrics)
        for name, callback in _watching(trainer):
            near = _nearest(callback.monitor, known)
            # What is like none of them may be logged later, by the training.
            if near and callback.monitor not in known and _stage(near) == _stage(callback.monitor):
                raise _unknown(
                    name, callback.monitor, near, "If it is logged later: --trainer.num_sanity_val_steps 0."
                )


def missing_metric(trainer: Trainer, error: BaseException) -> CommandError | None:
    """What a failure in mid-run comes from, where that is a watched metric that nothing has logged."""
    known = list(trainer.callback_metrics)
    for name, callback in _watching(trainer):
        if callback.monitor not in known and callback.monitor in str(error):
            listed = f"Logged are {', '.join(known)}." if known else "Nothing is logged."
            return _unknown(name, callback.monitor, _nearest(callback.monitor, known), listed)
    return None


def _watching(trainer: Trainer) -> Iterator[tuple[str, Any]]:
    """Callbacks that watch a metric, by the name that a command gives them."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set by its connector
        if getattr(callback, "monitor", None) and getattr(callback, "strict", True):
            yield "checkpoint" if isinstance(callback, RunCheckpoint) else type(callback).__name__, callback


def _nearest(metric: str, known: Iterable[str]) -> str | None:
    return next(iter(get_close_matches(metric, known, n=1, cutoff=0.7)), None)


def _stage(metric: str) -> str:
    """`val` of `val/loss` and `val_loss`."""
    return re.split(r"[/_.]", metric)[0]


def _unknown(name: str, metric: str, near: str | None, more: str) -> CommandError:
    meant = f"Did you mean `{near}`? " if near else ""
    return CommandError(f"`{name}.monitor` cannot be `{metric}`: no such metric is logged.\n{meant}{more}")
