"""Reads what counts from the folder of a run."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from nnfoundations.autograd import MLP
from nnfoundations.datamodules import DigitsDataModule, NoisyCurveDataModule
from nnfoundations.labs._runner.lab import Measured
from nnfoundations.labs.autograd.data import xor_table
from nnfoundations.labs.autograd.gradcheck import central_errors, gradient_error, passes_gradcheck

__all__ = ["measure"]

GRID = torch.linspace(-2, 2, 401).unsqueeze(1)


def measure(folder: Path) -> Measured:
    """Read a run of XOR, of the digits or of the curve: the number of inputs says which.

    Args:
        folder: of the run.

    Returns:
        Values and curves of its task, and of the check of its gradients in float64.
    """
    saved = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    options = saved["hyper_parameters"]["net"]["init_args"] | {"dtype": "float64"}
    net = MLP(**options)
    net.bind({name.removeprefix("net."): t.double().numpy() for name, t in saved["state_dict"].items()
              if name.startswith("net.")})  # fmt: skip
    task = {2: _xor, 64: _digits}.get(options["sizes"][0], _curve)
    values, curves, x, y = task(net, saved["datamodule_hyper_parameters"])
    errors = dict(central_errors(net, x, y))
    values |= {
        "gradient_error": gradient_error(net, options.get("activation", "relu"), x, y),
        "gradcheck": float(passes_gradcheck(net, x, y)),
        "tiny_step_loss": float(np.log10(max(errors[1e-12], 1e-16) / max(errors[1e-5], 1e-16))),
    }
    curves |= {"step_error": list(errors.items()), "loss": _logged(folder)}
    return Measured(values, curves)


Task = tuple[dict[str, float], dict[str, list[tuple[float, float]]], Any, Any]


def _xor(net: MLP, given: dict[str, Any]) -> Task:
    x, y = (t.numpy() for t in xor_table())
    x = x.astype(np.float64)
    solved = (net.forward(x).argmax(1) == y).all()
    return {"solved": float(solved), "loss": net.loss(net(x), y).item()}, {}, x, y


def _digits(net: MLP, given: dict[str, Any]) -> Task:
    data = DigitsDataModule(split_seed=given["split_seed"], batch_size=2000)
    data.setup()
    x, y = (t.numpy() for t in next(iter(data.test_dataloader())))
    x = x.astype(np.float64)
    wrong = net.forward(x).argmax(1) != y
    misses = [(float(d), 100 * float(wrong[y == d].mean())) for d in range(10)]
    values = {"accuracy": 100 * float(1 - wrong.mean()), "loss": net.loss(net(x), y).item()}
    return values, {"misses": misses}, x[:32], y[:32]


def _curve(net: MLP, given: dict[str, Any]) -> Task:
    x = GRID.double().numpy()
    y = NoisyCurveDataModule.function(GRID.double()).numpy()
    found = net.forward(x)
    values = {"rmse": float(np.sqrt(np.square(found - y).mean())), "loss": net.loss(net(x), y).item()}
    fit = [(float(a), float(b)) for a, b in zip(x[::8, 0], found[::8, 0], strict=True)]
    return values, {"fit": fit}, x[::20], y[::20]


def _logged(folder: Path) -> list[tuple[float, float]]:
    """The training loss of each epoch, from TensorBoard's files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for part in (folder, folder / "train"):
        events = EventAccumulator(str(part)).Reload()
        for tag in ("train/loss", "loss"):
            if tag in events.Tags()["scalars"]:
                return [(float(e + 1), one.value) for e, one in enumerate(events.Scalars(tag))]
    return []
