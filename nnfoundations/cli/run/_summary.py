"""What a person reads when a run starts and when it ends."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from nnfoundations.callbacks import PredictionTable, TrainingCurves, log_folder, logger_place
from nnfoundations.cli.run._device import device_name
from nnfoundations.cli.run._early_stopping import outcome
from nnfoundations.cli.run._environment import command_prefix, gpu_warning
from nnfoundations.cli.run._run_folder import earlier_runs
from nnfoundations.cli.run._verbosity import Verbosity

__all__ = ["announce", "print_files", "print_summary"]

_NEXT = {"digits": "mnist"}
"""The config to try after this one."""


@rank_zero_only
def announce(trainer: Trainer, model: LightningModule) -> None:
    """Print the device and the size of the model, and a warning if torch cannot use the GPU."""
    print(f"Device: {device_name(trainer)}")
    print(f"Model:  {type(model).__name__}, {sum(p.numel() for p in model.parameters()):,} parameters")
    if warning := gpu_warning():
        print(f"Warning: {warning}", file=sys.stderr)


@rank_zero_only
def print_summary(
    trainer: Trainer, root: Path, name: str, verbosity: Verbosity, test: str | None = None
) -> None:
    """Print the metrics that were just measured, the folder of the run, and what to do next.

    Args:
        trainer: has just finished a command.
        root: the folder of all runs.
        name: of this run.
        verbosity: if quiet, only the folder of the run is printed.
        test: the command that tests this run, if it was not tested.
    """
    loud = verbosity is not Verbosity.QUIET
    if loud:
        _print(_metrics(trainer, name))
    print_files(trainer, root, verbosity)
    if loud and test is not None:
        print(f"Test         {test}", flush=True)
    if loud and trainer.state.fn == "test" and not _findings(trainer).exists():
        _print(_next(trainer, name))


@rank_zero_only
def print_files(trainer: Trainer, root: Path, verbosity: Verbosity) -> None:
    """Print the folder and the files of the run; nothing after a `fast_dev_run`, which has none.

    Args:
        trainer: has finished a command, or was interrupted.
        root: the folder of all runs.
        verbosity: if quiet, only the folder is printed.
    """
    if trainer.fast_dev_run:  # type: ignore[attr-defined]  # set by its connector
        return
    _print([str(trainer.default_root_dir)] if verbosity is Verbosity.QUIET else _files(trainer, root))


def _print(lines: Iterable[str]) -> None:
    if text := "\n".join(lines):
        print(text, flush=True)


def _metrics(trainer: Trainer, name: str) -> Iterator[str]:
    metrics = {metric: f"{float(value):.4f}" for metric, value in sorted(trainer.callback_metrics.items())}
    if metrics:
        width = max(map(len, metrics))
        yield f"\n{name}"
        yield from (f"  {metric:<{width}}  {value}" for metric, value in metrics.items())


def _next(trainer: Trainer, name: str) -> Iterator[str]:
    if name in _NEXT and not trainer.fast_dev_run:  # type: ignore[attr-defined]  # set by its connector
        yield f"Next         {command_prefix()}nnfoundations fit --config {_NEXT[name]}"


def _findings(trainer: Trainer) -> Path:
    return (log_folder(trainer) or Path(trainer.default_root_dir)) / "findings.jsonl"


def _files(trainer: Trainer, root: Path) -> Iterator[str]:
    folder = Path(trainer.default_root_dir)
    yield f"Run          {folder}"
    if earlier := earlier_runs(folder):
        more = f" and {len(earlier) - 2} more" if len(earlier) > 2 else ""
        yield f"Earlier      {', '.join(earlier[:2])}{more}"
    if trainer.early_stopping_callback is not None:
        yield from outcome(trainer)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set by its connector
        if isinstance(callback, PredictionTable | TrainingCurves) and callback.file is not None:
            label = "Curves" if isinstance(callback, TrainingCurves) else "Predictions"
            yield f"{label:<12} {callback.file}"
    if (findings := _findings(trainer)).exists():
        yield f"Findings     {findings}"
    for logger in trainer.loggers:
        label, place = logger_place(logger)
        if label == "TensorBoard":  # the root shows this run beside the earlier ones
            place = f"{command_prefix()}tensorboard --logdir {root}"
        yield f"{label:<12} {place}"
