"""Measures the cost of diagnostics per step in comparison with other tools, in alternating Lightning runs.

    python benchmarks/diagnostics_cost.py [--output ROWS.csv] [--rounds 5] [--steps 1000] [--nets mlp-64 cnn]

Every round trains once per variant from the same seed, in rotating order: without callbacks, with an idle
callback that has the same hooks, with Diagnostics(), with Lightning's grad_norm logged at each step, with
detect_anomaly, and with wandb.watch (offline, gradients every 100 steps; skipped if wandb is not installed).
A cell is the median over rounds of the time of all steps, and of the steps after the dense start (100). On
CPU it is the CPU time of the process, which other processes disturb least. On CUDA it is wall-clock time,
synchronized at both ends.
Data: MNIST from NNFOUNDATIONS_DATA.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import grad_norm
from rows import run_quietly, write_rows
from torch import Tensor, nn
from torch.nn import functional as F

from nnfoundations.callbacks import Diagnostics
from nnfoundations.datamodules import MNISTDataModule

DENSE = 100


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
    )


def cnn() -> nn.Module:
    layers: list[nn.Module] = []
    for a, b in ((1, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(288, 10))


class Transformer(nn.Module):
    """A transformer of four blocks over the 28 rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(28, 128)
        layer = nn.TransformerEncoderLayer(128, 4, 256, 0.1, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.blocks(self.embed(x.flatten(1, 2))).mean(1))
        return y


NETS: dict[str, tuple[Callable[[], nn.Module], int, float]] = {  # net, batch, share of the steps
    "mlp-64": (mlp, 64, 1.0),
    "mlp-512": (mlp, 512, 0.6),
    "cnn": (cnn, 64, 0.4),
    "transformer": (Transformer, 64, 0.3),
}


class Module(LightningModule):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 1e-3)


class Normed(Module):
    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.log_dict(grad_norm(self.net, 2))


class Idle(Callback):
    """A callback with the same hooks that does nothing."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for optimizer in trainer.optimizers:
            optimizer.register_step_post_hook(lambda *_: None)

    def on_train_batch_start(self, *_: Any) -> None:
        pass

    on_before_backward = on_before_optimizer_step = on_train_batch_start
    on_train_batch_end = on_train_batch_start


class Clock(Callback):
    """Return the seconds of all steps, and of those from step `DENSE` on."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return time.perf_counter()
        return time.process_time()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.start = self.now()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == DENSE:
            self.later = self.now()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        end = self.now()
        steps = trainer.global_step
        self.whole, self.steady = (end - self.start) / steps, (end - self.later) / (steps - DENSE)


def wandb_logger(folder: str) -> Any:
    from lightning.pytorch.loggers import WandbLogger

    return WandbLogger(save_dir=folder, project="cost", offline=True)


def arms() -> list[str]:
    names = ["nothing", "an idle callback", "Diagnostics()", "grad_norm each step", "detect_anomaly"]
    try:
        import wandb  # noqa: F401  # imported to see whether it is installed
    except ImportError:
        return names
    return [*names, "wandb.watch"]


def train(net: str, arm: str, steps: int, device: str, data: MNISTDataModule, folder: str) -> Clock:
    torch.manual_seed(0)
    make, _, _ = NETS[net]
    module = (Normed if arm.startswith("grad_norm") else Module)(make())
    clock = Clock(torch.device("cuda" if device == "gpu" else "cpu"))
    watching: list[Callback] = [Idle()] if arm == "an idle callback" else []
    if arm == "Diagnostics()":
        watching = [Diagnostics(verbose=False)]
    logger: Any = False
    if arm == "wandb.watch":
        logger = wandb_logger(folder)
        logger.watch(module, log="gradients", log_freq=100, log_graph=False)
    trainer = Trainer(
        accelerator=device,
        devices=1,
        max_steps=steps,
        max_epochs=-1,
        limit_val_batches=0,
        logger=logger,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        detect_anomaly=arm == "detect_anomaly",
        default_root_dir=folder,
        callbacks=[clock, *watching],
    )
    trainer.fit(module, datamodule=data)
    if arm == "wandb.watch":
        logger.experiment.finish()
    return clock


def measure(net: str, rounds: int, steps: int, device: str) -> Iterator[dict[str, Any]]:
    _, batch, share = NETS[net]
    data = MNISTDataModule(batch_size=batch)
    steps = max(int(steps * share), 2 * DENSE)
    names = arms()
    clocks: dict[str, list[Clock]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        train(net, "nothing", 2 * DENSE, device, data, folder)  # warm up
        for k in range(rounds):
            for name in names[k % len(names) :] + names[: k % len(names)]:
                clocks[name].append(train(net, name, steps, device, data, folder))
    for name in names:
        row: dict[str, Any] = {"net": net, "arm": name, "steps": steps, "rounds": rounds}
        for part in ("whole", "steady"):
            # Each round is compared with its own bare run, because a disturbance hits both.
            ratios = [
                getattr(clock, part) / getattr(bare, part)
                for clock, bare in zip(clocks[name], clocks["nothing"], strict=True)
            ]
            seconds = statistics.median(getattr(clock, part) for clock in clocks[name])
            bare = statistics.median(getattr(clock, part) for clock in clocks["nothing"])
            row[f"{part}_ms"] = round(1e3 * seconds, 4)
            row[f"{part}_ratio"] = round(statistics.median(ratios), 4)
            row[f"{part}_added_us"] = round(1e6 * (seconds - bare), 1)
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--nets", nargs="+", default=list(NETS), choices=list(NETS))
    parser.add_argument("--device", default="gpu" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    run_quietly(given.threads)
    machine = {
        "device": torch.cuda.get_device_name() if given.device == "gpu" else platform.machine(),
        "threads": given.threads,
        "torch": torch.__version__,
    }
    rows = []
    for net in given.nets:
        for row in measure(net, given.rounds, given.steps, given.device):
            rows.append({**row, **machine})
            print(
                "{net:12} {arm:20} {whole_ms:9.3f} ms a step, {whole_ratio:.3f} x; from step 100 on "
                "{steady_ms:9.3f} ms, {steady_ratio:.3f} x, {steady_added_us:+.0f} us".format(**row),
                flush=True,
            )
        if given.output:  # after each network, so that an interrupted run keeps its rows
            write_rows(given.output, rows)


if __name__ == "__main__":
    main()
