"""Run the command in its own process, for tests that kill it; forked from one with all imports done."""

import fcntl
import multiprocessing
import os
import pty
import signal
import struct
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

import torch
from lightning.pytorch import Callback
from torch.utils.data import DataLoader, TensorDataset

from nnfoundations.cli import main
from nnfoundations.datamodules import DigitsDataModule

torch.set_num_threads(1)  # the threads of a pool would not survive the fork


class SignalAt(Callback):
    """Send this process a signal at the end of a batch: of training, of validation or of the test.

    With the hook `group` it is sent in training, and also to the workers, as a terminal does.
    """

    def __init__(self, name: str, epoch: int, batch: int, hook: str = "train"):
        self.signum, self.epoch, self.batch, self.hook = getattr(signal, name), epoch, batch, hook

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self._send("train", trainer, batch_idx)
        self._send("group", trainer, batch_idx)

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        if not trainer.sanity_checking:
            self._send("validation", trainer, batch_idx)

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        if self.hook == "test":
            os.kill(os.getpid(), self.signum)

    def _send(self, hook, trainer, batch_idx):
        if (hook, trainer.current_epoch, batch_idx) == (self.hook, self.epoch, self.batch):
            if hook == "group":
                for worker in multiprocessing.active_children():
                    os.kill(worker.pid, self.signum)
            os.kill(os.getpid(), self.signum)


class SignalOnce(Callback):
    """Send this process a signal at the end of an epoch, if a file exists; the file is removed before."""

    def __init__(self, file: str, name: str, epoch: int = 0):
        self.file, self.signum, self.epoch = Path(file), getattr(signal, name), epoch

    def on_validation_end(self, trainer, pl_module):
        if trainer.sanity_checking or trainer.fast_dev_run:
            return
        if self.file.exists() and trainer.current_epoch == self.epoch:
            self.file.unlink()
            os.kill(os.getpid(), self.signum)


class Dropped(torch.nn.Sequential):
    """A net with dropout, which draws random numbers in every step."""

    def __init__(self, p: float = 0.3):
        layers = (torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.Dropout(p), torch.nn.ReLU())
        super().__init__(*layers, torch.nn.Linear(32, 10))


class Plain(DigitsDataModule):
    """The digits with torch's own loader, which has workers."""

    def __init__(self, num_workers: int = 0, batch_size: int = 32):
        super().__init__(batch_size=batch_size)
        self.num_workers = num_workers

    def train_dataloader(self):
        x, y = next(iter(super().train_dataloader()))
        # A process of a fork server would start its workers by another one, which imports torch each time.
        context = "fork" if self.num_workers else None
        return DataLoader(
            TensorDataset(x, y), 1, num_workers=self.num_workers, multiprocessing_context=context
        )


def wait_for(file: Path, text: str, seconds: float = 120):
    """Wait until a file contains this text."""
    end = time.monotonic() + seconds
    while not (file.exists() and text in file.read_text()):
        assert time.monotonic() < end, "the text did not appear"
        time.sleep(0.05)


def on_terminal(run, columns):
    """Call a function on a terminal with this many columns; its exit code and what the terminal received."""
    pid, leader = pty.fork()
    if not pid:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        os._exit(run())
    received = b""
    with suppress(OSError):  # the other end is closed
        while chunk := os.read(leader, 65536):
            received += chunk
    os.close(leader)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), received.decode(errors="replace")


def _child(args, folder, columns, environment):
    os.chdir(folder)
    os.environ.update(environment)
    os.environ.pop("COLUMNS", None)  # it would override the width of the terminal
    if columns:
        code, text = on_terminal(lambda: main(args), columns)
        Path("stdout").write_text(text)
        Path("stderr").touch()
        os._exit(code)
    for stream, name in ((sys.stdout, "stdout"), (sys.stderr, "stderr")):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, stream.fileno())
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    code = main(args)
    sys.stdout.flush()
    os._exit(code)  # unlike sys.exit, runs no cleanup of the parent's objects


def start(args, folder: Path, columns=0, environment=None):
    """The running process."""
    context = multiprocessing.get_context("forkserver")
    # Python 3.11 does not pass its sys.path to the server, which then preloads nothing.
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    context.set_forkserver_preload(["cli_process", "nnfoundations.cli.run._lightning_cli"])
    process = context.Process(target=_child, args=(list(args), str(folder), columns, environment or {}))
    process.start()
    return process


def run(args, folder: Path, timeout=120, **terminal):
    """Exit code (negative: killed by that signal), standard output and standard error."""
    process = start(args, folder, **terminal)
    process.join(timeout)
    assert process.exitcode is not None, "the command does not end"
    return process.exitcode, (folder / "stdout").read_text(), (folder / "stderr").read_text()
