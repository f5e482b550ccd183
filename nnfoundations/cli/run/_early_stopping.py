"""Early stopping of `fit`: by Lightning's callback, on the metric that chooses the best checkpoint."""

from collections.abc import Iterator
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.cli import LightningArgumentParser

from nnfoundations.cli.config._settings import CommandError
from nnfoundations.cli.run._resume import RunCheckpoint

__all__ = ["RunEarlyStopping", "add_early_stopping", "check_early_stopping", "early_stopping", "outcome"]


class RunEarlyStopping(EarlyStopping):
    """Lightning's early stopping; a resumed run continues its count with the patience of its own command."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.wait_count, self.best_score = state_dict["wait_count"], state_dict["best_score"]


def add_early_stopping(parser: LightningArgumentParser) -> None:
    """Add the options.

    They have no metric of their own: the weights that are tested are those of the best checkpoint, so a run
    stops when the metric of its checkpoints no longer improves.

    Args:
        parser: of a command.
    """
    parser.add_argument(
        "--early_stopping.patience",
        type=int | None,
        default=None,
        help="Validations without a better `checkpoint.monitor` after which `fit` stops. The best checkpoint "
        "is tested. Default: never stops.",
    )
    parser.add_argument(
        "--early_stopping.min_delta",
        type=float,
        default=0.0,
        help="Smallest change of the metric that counts as better.",
    )


def check_early_stopping(options: Namespace, checkpoint: RunCheckpoint, trainer: Namespace) -> None:
    """Refuse options of early stopping that cannot work, before anything is written.

    Args:
        options: of early stopping.
        checkpoint: the callback that saves the best weights.
        trainer: the options of the Trainer.

    Raises:
        CommandError: an option is out of its range, or the run has no best checkpoint.
    """
    if options.patience is None:
        return
    for name, value, least in (("patience", options.patience, 1), ("min_delta", options.min_delta, 0)):
        if not value >= least:
            raise CommandError(
                f"`early_stopping.{name}` cannot be `{value}`.\nIt takes a number of at least {least}."
            )
    if checkpoint.monitor is None:
        raise CommandError(
            "`early_stopping.patience` needs a metric, that of the best checkpoint.\n"
            "Give one: `--checkpoint.monitor val/loss`."
        )
    if trainer.enable_checkpointing is False or checkpoint.save_top_k == 0:
        raise CommandError(
            "`early_stopping.patience` needs the best checkpoint, and this run saves none.\n"
            "Leave out `trainer.enable_checkpointing: false` and `checkpoint.save_top_k: 0`."
        )


def early_stopping(options: Namespace, checkpoint: ModelCheckpoint) -> list[RunEarlyStopping]:
    """Build the callback.

    Args:
        options: of early stopping, checked.
        checkpoint: whose metric it follows.

    Returns:
        The callback in a list, which is empty without a patience.
    """
    if options.patience is None or checkpoint.monitor is None:
        return []
    given = {"patience": options.patience, "min_delta": options.min_delta}
    return [RunEarlyStopping(checkpoint.monitor, mode=checkpoint.mode, **given)]


def outcome(trainer: Trainer) -> Iterator[str]:
    """Say when and why a run stopped early, and which epoch's weights are the best.

    Args:
        trainer: after `fit`, and after its test if there was one.

    Yields:
        Lines of the summary.
    """
    stopping, checkpoint = trainer.early_stopping_callback, trainer.checkpoint_callback
    if isinstance(stopping, RunEarlyStopping) and stopping.stopping_reason is not _GOES_ON:
        not_finite = stopping.stopping_reason is EarlyStoppingReason.NON_FINITE_METRIC
        why = "is not finite" if not_finite else f"did not improve in {stopping.patience} validations"
        yield f"Stopped      after epoch {stopping.stopped_epoch + 1}: {stopping.monitor} {why}"
    if isinstance(checkpoint, RunCheckpoint) and checkpoint.best_epoch:
        best = f"{checkpoint.monitor} {float(checkpoint.best_model_score or 0):.4f}"
        if trainer.state.fn == "test" and trainer.ckpt_path == checkpoint.best_model_path:
            yield f"Tested       the weights of epoch {checkpoint.best_epoch}, the best: {best}"
        else:
            yield f"Best         epoch {checkpoint.best_epoch}: {best}"


_GOES_ON = EarlyStoppingReason.NOT_STOPPED
