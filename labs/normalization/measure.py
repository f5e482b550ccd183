"""Reads the folder of a run: what it has logged, and what its last weights do in both modes."""

import math
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nnfoundations.labs._runner.lab import Measured
from nnfoundations.labs._runner.run_folder import read_config, read_findings
from nnfoundations.labs._runner.scalars import logged_by_step
from nnfoundations.labs.normalization.data import FewDigitsDataModule
from nnfoundations.labs.normalization.gradients import check_gradients
from nnfoundations.labs.normalization.network import NormalizedMLP

__all__ = ["SHOWN", "modes", "read", "read_fit", "statistics"]

SHOWN = 64
"""Images and features of a histogram."""
Curve = list[tuple[float, float]]


def read(folder: Path) -> Measured:
    """Read a run. With two layers and batches of 64 it also measures what the first norm does.

    Args:
        folder: of the run.

    Returns:
        Values and curves, as `lab.measure` describes them.
    """
    fit = read_fit(folder)
    values, curves = dict(fit.values), dict(fit.curves)
    checkpoint = folder / "checkpoints" / "best.ckpt"
    if not checkpoint.exists():  # the weights of a run that diverged are not saved
        return Measured(values, curves)
    config = read_config(folder)
    given = config["model"]["init_args"]["net"]["init_args"]
    net = _load(given, checkpoint)
    x, y = _images()
    size = config["data"]["init_args"]["batch_size"]
    values["batch_accuracy"], values["disagreement"] = modes(net, x, y, size)
    if given["norm"] != "none" and given["depth"] == 2 and size == SHOWN and given["mask"] == "after":
        curves |= {name: _short(points) for name, points in statistics(net, x[:SHOWN]).items()}
        values |= check_gradients(_load(given, checkpoint), given["norm"], x[:SHOWN], y[:SHOWN])
    return Measured(values, curves)


def read_fit(folder: Path) -> Measured:
    """Read what a run has logged.

    Args:
        folder: of the run.

    Returns:
        Values: accuracy in %, loss on validation data and on training data, steps, whether it diverged, and
        whether Diagnostics says that the statistics of the batches are too noisy. Curve: training loss by
        step.
    """
    logged = logged_by_step(folder)
    losses = logged["train/loss_step"]
    loss = logged["val/loss"][-1][1]
    values = {
        "accuracy": 100 * logged["val/accuracy"][-1][1],
        "loss": loss,
        "train_loss": sum(value for _, value in losses[-10:]) / len(losses[-10:]),
        "steps": logged["val/loss"][-1][0] + 1,
        "diverged": float(not math.isfinite(loss)),
        "too_noisy": float(
            any(one["fault"] == "batch-statistics-too-noisy" for one in read_findings(folder))
        ),
    }
    return Measured(values, {"loss": _short([point for point in losses if math.isfinite(point[1])])})


@torch.no_grad()
def modes(net: NormalizedMLP, x: Tensor, y: Tensor, size: int) -> tuple[float, float]:
    """Compare training and evaluation mode.

    Args:
        net: its running statistics are kept.
        x: images, in an order that does not depend on their classes.
        y: their classes.
        size: of the batches in training mode.

    Returns:
        The accuracy in training mode in %, and the % of the images with another class than in evaluation
        mode. The last batch is left out if it is smaller.
    """
    whole = len(x) - len(x) % size
    evaluated = net.eval()(x[:whole]).argmax(1)
    training = deepcopy(net).train()
    trained = torch.cat([training(batch) for batch in x[:whole].split(size)]).argmax(1)
    return (
        100 * float((trained == y[:whole]).double().mean()),
        100 * float((trained != evaluated).double().mean()),
    )


@torch.no_grad()
def statistics(net: NormalizedMLP, x: Tensor) -> dict[str, Curve]:
    """Measure what the first norm does to a batch, in training mode.

    Args:
        net: it is not changed.
        x: images.

    Returns:
        `feature_before` and `feature_after`: mean and standard deviation of each feature over the images.
        `sample_before` and `sample_after`: those of each image over the features. After is before the weight
        and bias of the norm.
    """
    flatten, linear, norm, *_ = deepcopy(net).train().layers
    for name, parameter in norm.named_parameters():
        parameter.fill_(float(name == "weight"))
    before = linear(flatten(x))
    found = {}
    for when, values in (("before", before), ("after", norm(before))):
        for what, axis in (("feature", 0), ("sample", 1)):
            spread, mean = torch.std_mean(values.double(), axis, correction=0)
            found[f"{what}_{when}"] = list(zip(mean.tolist(), spread.tolist(), strict=True))
    return found


@cache
def _images() -> tuple[Tensor, Tensor]:
    data = FewDigitsDataModule()
    data.setup("fit")
    ((x, y),) = data.val_dataloader()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return x[order], y[order]


def _load(given: dict[str, Any], checkpoint: Path) -> NormalizedMLP:
    with torch.random.fork_rng():
        net = NormalizedMLP(**given)
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    net.load_state_dict(
        {key.removeprefix("net."): value for key, value in state.items() if key[:4] == "net."}
    )
    return net


def _short(curve: Curve) -> Curve:
    """Five digits are enough for a figure."""
    return [(float(f"{x:.5g}"), float(f"{y:.5g}")) for x, y in curve]
