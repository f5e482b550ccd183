"""The command in a process of its own, for tests that kill it: forked from one that has imported all."""

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

torch.set_num_threads(1)  # also: threads of a pool would not survive the fork


class SignalAt(Callback):
    """Send this process a signal at the end of a batch of an epoch: of training, of validation, of the test.

    At `group`, of training, its workers get it too, as from a terminal.
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


class Dropped(torch.nn.Sequential):
    """A net that draws in every step."""

    def __init__(self, p: float = 0.3):
        layers = (torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.Dropout(p), torch.nn.ReLU())
        super().__init__(*layers, torch.nn.Linear(32, 10))


class Plain(DigitsDataModule):
    """The digits through torch's own loader, which has workers."""

    def __init__(self, num_workers: int = 0, batch_size: int = 32):
        super().__init__(batch_size=batch_size)
        self.num_workers = num_workers

    def train_dataloader(self):
        x, y = next(iter(super().train_dataloader()))
        return DataLoader(TensorDataset(x, y), batch_size=1, num_workers=self.num_workers)


def wait_for(file: Path, text: str, seconds: float = 120):
    """Until this text stands in a file."""
    end = time.monotonic() + seconds
    while not (file.exists() and text in file.read_text()):
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)


def on_terminal(run, columns):
    """Call a function on a terminal of so many columns; its exit code, and what the terminal received."""
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
    os.environ.pop("COLUMNS", None)  # it would count for more than the terminal
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
    os._exit(code)  # as sys.exit: nothing of the parent's is to be torn down


def start(args, folder: Path, columns=0, environment=None):
    """The running process."""
    context = multiprocessing.get_context("forkserver")
    # Python 3.11 does not hand its sys.path to the server, which then imports nothing in advance.
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    context.set_forkserver_preload(["cli_process", "nnfoundations.cli._command"])
    process = context.Process(target=_child, args=(list(args), str(folder), columns, environment or {}))
    process.start()
    return process


def run(args, folder: Path, timeout=120, **terminal):
    """Exit code (negative: killed by that signal), what it printed, and what it complained of."""
    process = start(args, folder, **terminal)
    process.join(timeout)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode, (folder / "stdout").read_text(), (folder / "stderr").read_text()
