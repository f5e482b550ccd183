"""Reads what counts from the folder of a run, and measures signal and gradients at initialization."""

import math
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from nnfoundations import nn
from nnfoundations.datamodules import DigitsDataModule
from nnfoundations.labs._runner.lab import Measured
from nnfoundations.labs._runner.run_folder import read_config, read_findings
from nnfoundations.labs._runner.scalars import logged_by_epoch
from nnfoundations.labs.activations.network import INITS, EqualLayers, Init

__all__ = ["DEPTH", "NO_SIGNAL", "read", "read_fit", "signal"]

DEPTH = 20
"""Hidden layers of the network that is measured at initialization."""
NO_SIGNAL = ("bad-initialization", "vanishing-gradients", "no-gradient", "no-learning")
"""Findings of Diagnostics that say that no signal gets through."""


def read(folder: Path) -> Measured:
    """Read a run. A network for clothes also measures its activation at initialization.

    Args:
        folder: of the run.

    Returns:
        Values and curves, as `lab.measure` describes them.
    """
    fit, config = read_fit(folder), read_config(folder)
    net, seed = config["model"]["init_args"]["net"]["init_args"], config["seed_everything"]
    if net["inputs"] == 64:  # digits
        return fit
    values, curves = dict(fit.values), dict(fit.curves)
    for init in INITS:
        spread, gradients = signal(net["activation"], init, seed)
        numbered = range(1, DEPTH + 1)
        curves[f"spread_{init}"] = [(float(i), _short(y)) for i, y in zip(numbered, spread, strict=True)]
        curves[f"gradient_{init}"] = [(float(i), _short(y)) for i, y in zip(numbered, gradients, strict=True)]
        if init in ("own", "he", "xavier"):
            values[f"gradient_ratio_{init}"] = gradients[0] / gradients[-1]
            values[f"spread_ratio_{init}"] = spread[-1] / spread[0]
    return Measured(values, curves)


def read_fit(folder: Path) -> Measured:
    """Read what a run has logged.

    Args:
        folder: of the run.

    Returns:
        Values: accuracy in %, loss on validation data and on training data, steps, and whether Diagnostics
        says that no signal gets through. Curves: training loss and validation accuracy of each epoch.
    """
    logged = logged_by_epoch(folder)
    accuracy = [(epoch, 100 * value) for epoch, value in logged["val/accuracy"]]
    values = {
        "accuracy": accuracy[-1][1],
        "loss": logged["val/loss"][-1][1],
        "train_loss": logged["train/loss"][-1][1],
        "steps": _steps(folder),
        "no_signal": float(any(one["fault"] in NO_SIGNAL for one in read_findings(folder))),
    }
    curves = {"train_loss": logged["train/loss"], "accuracy": accuracy}
    short = {name: [(x, _short(y)) for x, y in points] for name, points in curves.items()}
    return Measured(values, short)


def signal(activation: str, init: Init, seed: int) -> tuple[list[float], list[float]]:
    """Measure each hidden layer of a network of 20 layers that is not trained.

    Args:
        activation: the name of a module in `nnfoundations.nn`.
        init: the initial weights.
        seed: of the weights.

    Returns:
        By layer: how much the units differ from image to image (the root mean square, over the units, of the
        standard deviation over the images), and the norm of the weights' gradient.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = EqualLayers(DEPTH, activation, init)
    spread: list[float] = []

    def keep(_layer: nn.Module, _input: object, y: Tensor) -> None:
        spread.append(float(y.detach().double().var(0).mean().sqrt()))

    for layer in net.layers:
        if type(layer).__name__ == activation:
            layer.register_forward_hook(keep)
    x, y = _images()
    nn.CrossEntropyLoss()(net(x), y).backward()
    maps = [layer for layer in net.layers if isinstance(layer, nn.Linear)][:-1]
    return spread, [
        float(torch.linalg.norm(grads.double())) for layer in maps if (grads := layer.weight.grad) is not None
    ]


@cache
def _images() -> tuple[Tensor, Tensor]:
    data = DigitsDataModule(batch_size=256, val_size=360, seed=0)
    data.setup("fit")
    x, y = next(iter(data.train_dataloader()))
    return x, y


def _steps(folder: Path) -> float:
    """The steps of a run; NaN if it diverged, because no checkpoint of such weights is kept."""
    file = folder / "checkpoints" / "best.ckpt"
    return float(torch.load(file, weights_only=True)["global_step"]) if file.exists() else math.nan


def _short(number: float) -> float:
    """Six digits are enough for a figure."""
    return float(f"{number:.6g}")
