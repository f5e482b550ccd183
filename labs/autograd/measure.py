"""Reads what counts from the folder of a run."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from nnfoundations.autograd import MLP
from nnfoundations.datamodules import NoisyCurveDataModule
from nnfoundations.formulas import Array
from nnfoundations.labs._runner.lab import Measured
from nnfoundations.labs._runner.scalars import logged_by_epoch
from nnfoundations.labs.autograd.data import split_digits, xor_table
from nnfoundations.labs.autograd.gradcheck import difference_errors, gradient_error, loss_of, passes_gradcheck

__all__ = ["read"]

Curves = dict[str, list[tuple[float, float]]]
Task = tuple[dict[str, float], Curves, Array, Array]
"""Values and curves of a task, and a batch to check the gradients on."""

GRID = torch.linspace(-2, 2, 401, dtype=torch.float64).unsqueeze(1)


def read(folder: Path) -> Measured:
    """Read a run of XOR, of the digits or of the curve: the number of inputs says which.

    Args:
        folder: of the run.

    Returns:
        Values and curves of its task, and of the check of its gradients in float64.
    """
    saved = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    options = saved["hyper_parameters"]["net"]["init_args"] | {"dtype": "float64"}
    net = MLP(**options)
    state = {name.removeprefix("net."): tensor for name, tensor in saved["state_dict"].items()}
    net.bind({name: state[name].double().numpy() for name in net.values})
    task = {2: _xor, 64: _digits}.get(options["sizes"][0], _curve)
    values, curves, x, y = task(net, saved["datamodule_hyper_parameters"])
    function, arrays = loss_of(net, x, y), list(net.parameters.values())
    errors = difference_errors(function, arrays)
    tiny, usual = (max(dict(errors)[step], 1e-16) for step in (1e-12, 1e-5))
    values |= {
        "gradient_error": gradient_error(net, options.get("activation", "relu"), x, y),
        "gradcheck": float(passes_gradcheck(function, arrays, fast=True)),
        "tiny_step_loss": float(np.log10(tiny / usual)),
    }
    curves |= {"loss": logged_by_epoch(folder)["train/loss"], "step_error": errors}
    return Measured(values, {name: [(x, _short(y)) for x, y in points] for name, points in curves.items()})


def _short(number: float) -> float:
    """Six digits are enough for a figure."""
    return float(f"{number:.6g}")


def _xor(net: MLP, given: dict[str, Any]) -> Task:
    x, y = (tensor.numpy() for tensor in xor_table())
    x = x.astype(np.float64)
    solved = bool((net.forward(x).argmax(1) == y).all())
    # Where training ends, the gradients of the four patterns cancel. Those of three do not.
    return {"solved": float(solved), "loss": net.loss(net(x), y).item()}, {}, x[:3], y[:3]


def _digits(net: MLP, given: dict[str, Any]) -> Task:
    _, test = split_digits(given["split_seed"])
    x, y = (tensor.numpy() for tensor in test)
    x = x.astype(np.float64)
    wrong = net.forward(x).argmax(1) != y
    misses = [(float(digit), 100 * float(wrong[y == digit].mean())) for digit in range(10)]
    values = {"accuracy": 100 * float(1 - wrong.mean()), "loss": net.loss(net(x), y).item()}
    return values, {"misses": misses}, x[:32], y[:32]


def _curve(net: MLP, given: dict[str, Any]) -> Task:
    x, y = GRID.numpy(), NoisyCurveDataModule.function(GRID).numpy()
    found = net.forward(x)
    fit = [(float(a), float(b)) for a, b in zip(x[::10, 0], found[::10, 0], strict=True)]
    values = {"rmse": float(np.sqrt(np.square(found - y).mean())), "loss": net.loss(net(x), y).item()}
    return values, {"fit": fit}, x[::20], y[::20]
