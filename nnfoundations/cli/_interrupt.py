"""Ctrl-C and SIGTERM: finish the batch, write a checkpoint, close what is open, say how to go on."""

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from nnfoundations.cli._signals import Interrupted

FILE = "interrupted.ckpt"


class InterruptCheckpoint(Callback):
    """On a signal, a checkpoint at the end of this batch, then `Interrupted`. A second one ends at once.

    Not within the batch: an optimizer stopped between two parameters leaves weights of two steps.

    Args: resume: the command that goes on.
    """

    def __init__(self, resume: str) -> None:
        self.resume = resume
        self.signum: int | None = None
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
        self._steps = True

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
