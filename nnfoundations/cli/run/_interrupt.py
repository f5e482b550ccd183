"""On Ctrl-C or SIGTERM: finish the batch, save a checkpoint and close the files."""

import os
import shlex
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from nnfoundations.cli.config._packaged import packaged_configs
from nnfoundations.cli.run._averaged_weights import averages_weights
from nnfoundations.cli.run._environment import command_prefix
from nnfoundations.cli.run._signals import Interrupted
from nnfoundations.cli.run._verbosity import Verbosity

__all__ = [
    "FILE",
    "InterruptCheckpoint",
    "command_as_typed",
    "command_to_continue",
    "report_saved_checkpoint",
    "without_checkpoint",
]

FILE = "interrupted.ckpt"


class InterruptCheckpoint(Callback):
    """On a signal, save a checkpoint after this batch and raise `Interrupted`; a second signal ends at once.

    Not within the batch: an optimizer that stops between two parameters mixes the weights of two steps.
    """

    def __init__(self) -> None:
        self.file: Path | None = None  # the checkpoint that was saved
        self.signum: int | None = None
        self.started = False
        self._training = False
        self._process = os.getpid()

    def receive(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal: wait for the end of the batch, or end at once if no batch trains."""
        second, self.signum = self.signum is not None, signum
        if os.getpid() != self._process:  # a worker of a loader: the batch still needs it
            if second:
                os._exit(128 + signum)
            return
        if second or not self._training:
            raise Interrupted(signum)
        print(
            f"\n{signal.Signals(signum).name}: saving a checkpoint after this batch ...",
            file=sys.stderr,
            flush=True,
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.receive)  # Lightning has installed its own
        self.started = self._training = True

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._stop_if_asked(trainer)

    def on_validation_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        # With averaged weights, after the validation: during it, model and average are exchanged.
        if self._training and not averages_weights(trainer):
            self._stop_if_asked(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop_if_asked(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._training = False

    def _stop_if_asked(self, trainer: Trainer) -> None:
        if self.signum is None:
            return
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]  # set by its connector
            self.file = Path(trainer.default_root_dir) / "checkpoints" / FILE
            trainer.save_checkpoint(self.file, weights_only=False)
            text = f"Stopped after step {trainer.global_step}. Checkpoint: {self.file}"
            print(text, file=sys.stderr, flush=True)
        self._training = False
        raise Interrupted(self.signum, reported=True)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restart an interrupted validation: a checkpoint does not hold its metrics."""
        if self.signum is not None and trainer.validating:
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            for count in ("current", "total"):
                progress[count] = dict.fromkeys(progress[count], 0)
            progress["is_last_batch"] = False


def report_saved_checkpoint(stop: Interrupted, trainer: Trainer) -> bool:
    """Say what is saved, for a signal that came before the first batch or in the test.

    Args:
        stop: the signal.
        trainer: of the run.

    Returns:
        Whether training is over and saved, so that only the test is missing.
    """
    callback = trainer.checkpoint_callback
    folder = callback.dirpath if isinstance(callback, ModelCheckpoint) else None
    files = sorted(Path(folder).glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns) if folder else []
    saved = f"the newest checkpoint is {files[-1]}" if files else "no checkpoint was saved; start again"
    print(f"\nInterrupted by {stop}: {saved}.", file=sys.stderr, flush=True)
    stop.reported = True
    return bool(files) and trainer.state.fn == "test"


def command_to_continue(command: str, args: list[str], verbosity: Verbosity, checkpoint: str) -> str:
    """The command as a person types it: packaged configs by name, `last` or `best` as the checkpoint.

    Args:
        command: `fit` or `test`.
        args: the arguments of the run, configs as paths.
        verbosity: of the run.
        checkpoint: `last`, `best` or a path.
    """
    more = [verbosity.value] if verbosity.value else []
    kept = without_checkpoint(args)
    if command == "test":
        kept = _without(kept, "--test")
    typed = command_as_typed(command, [*kept, *more, "--ckpt_path", checkpoint])
    return command_prefix() + typed


def command_as_typed(command: str, args: list[str]) -> str:
    """The command in one line, with packaged configs by name.

    Args:
        command: such as `fit`.
        args: its arguments, configs as paths.
    """
    names = {str(path): name for name, path in packaged_configs().items()}
    return shlex.join(["nnfoundations", command, *(names.get(word, word) for word in args)])


def without_checkpoint(args: list[str]) -> list[str]:
    """The arguments without `--ckpt_path`.

    Args:
        args: of a command.
    """
    return _without(args, "--ckpt_path")


def _without(args: list[str], option: str) -> list[str]:
    """The arguments without an option and its value."""
    words = iter(args)
    kept: list[str] = []
    for word in words:
        if word == option:
            next(words, None)
        elif not word.startswith(f"{option}="):
            kept.append(word)
    return kept
