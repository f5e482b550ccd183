"""Ctrl-C and SIGTERM: finish the batch, write a checkpoint, close what is open, say how to go on."""

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

from nnfoundations.cli._configs import packaged_configs
from nnfoundations.cli._signals import Interrupted
from nnfoundations.cli._voice import Voice

FILE = "interrupted.ckpt"


class InterruptCheckpoint(Callback):
    """On a signal, a checkpoint at the end of this batch, then `Interrupted`. A second one ends at once.

    Not within the batch: an optimizer stopped between two parameters leaves weights of two steps.

    Args: resume: the command that goes on.
    """

    def __init__(self, resume: str) -> None:
        self.resume = resume
        self.signum: int | None = None
        self.began = False
        self._steps = False
        self._process = os.getpid()

    def receive(self, signum: int, frame: FrameType | None) -> None:
        """The handler. Where no batch trains, there is nothing to wait for."""
        second, self.signum = self.signum is not None, signum
        if os.getpid() != self._process:  # a worker of a loader: this batch still needs it
            if second:
                os._exit(128 + signum)
            return
        if second or not self._steps:
            raise Interrupted(signum)
        print(f"\n{signal.Signals(signum).name}: saving after this batch ...", file=sys.stderr, flush=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.receive)  # Lightning has put its own before it
        self.began = self._steps = True

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._stop_if_asked(trainer)

    def on_validation_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        if self._steps:
            self._stop_if_asked(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop_if_asked(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._steps = False

    def _stop_if_asked(self, trainer: Trainer) -> None:
        if self.signum is None:
            return
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]  # set by its connector
            path = Path(trainer.default_root_dir) / "checkpoints" / FILE
            trainer.save_checkpoint(path, weights_only=False)
            print(f"Stopped at step {trainer.global_step}. Checkpoint  {path}", file=sys.stderr)
            print(f"Go on with  {self.resume}", file=sys.stderr, flush=True)
        self._steps = False
        raise Interrupted(self.signum, told=True)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """A validation that was broken off starts again: its metrics so far are not in a checkpoint."""
        if self.signum is not None and trainer.validating:
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            for count in ("current", "total"):
                progress[count] = dict.fromkeys(progress[count], 0)
            progress["is_last_batch"] = False


def say_what_is_kept(stop: Interrupted, trainer: Trainer, test: str) -> None:
    """Of a run that a signal ended where it did not train: before its first batch, in its test.

    Args: test: the command that tests what is kept.
    """
    callback = trainer.checkpoint_callback
    folder = callback.dirpath if isinstance(callback, ModelCheckpoint) else None
    files = sorted(Path(folder).glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns) if folder else []
    kept = f"the newest checkpoint is {files[-1]}" if files else "no checkpoint was written"
    print(f"\n{stop}: stopped; {kept}.", file=sys.stderr, flush=True)
    if files and trainer.state.fn == "test":
        print(f"Go on with  {test}", file=sys.stderr, flush=True)
    stop.told = True


def command_that_goes_on(command: str, args: list[str], voice: Voice, checkpoint: str) -> str:
    """As one types it: with the names of packaged configs, and `last` or `best` for a checkpoint."""
    words = iter(args)
    kept: list[str] = []
    for word in words:
        if word == "--ckpt_path":
            next(words, None)
        elif not word.startswith("--ckpt_path="):
            kept.append(word)
    names = {str(path): name for name, path in packaged_configs().items()}
    prefix = "uv run " if "UV" in os.environ else ""  # uv sets it for what it runs
    voices = [voice.value] if voice.value else []
    return prefix + shlex.join(
        [
            "nnfoundations",
            command,
            *(names.get(word, word) for word in kept),
            *voices,
            "--ckpt_path",
            checkpoint,
        ]
    )
