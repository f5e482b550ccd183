"""Normalization: rates, depth, batch sizes, and wrong gradients.

A small network for MNIST without a norm and with BatchNorm, LayerNorm, RMSNorm and GroupNorm: at its own
learning rate and at six common ones, with 2 to 12 hidden layers, and with batches of 2 to 512. Two further
arms train with a wrong gradient that published code has.
"""

from pathlib import Path

from nnfoundations.labs._runner.lab import Arm, Choice, Lab, Measured, Preset
from nnfoundations.labs._runner.tuning import RATE
from nnfoundations.labs.normalization.data import IMAGES
from nnfoundations.labs.normalization.tuning import GRID, TUNING

__all__ = ["BATCHES", "DEPTHS", "LAB", "NETS", "NORMS", "RATES", "TUNED_ARMS", "batch_arm", "measure"]

NORMS = {"none": "no norm", "batch": "BatchNorm", "layer": "LayerNorm", "rms": "RMSNorm",
         "group": "GroupNorm"}  # fmt: skip
NETS = tuple(f"net_{norm}" for norm in NORMS)
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
DEPTHS = (6, 12)
BATCHES = (2, 4, 8, 16, 64, 512)
STEPS = 320
NET = "--model.init_args.net.init_args"
TUNED = TUNING.rates()


def measure(folder: Path) -> Measured:
    """Read a run, and compare training and evaluation mode at its last weights.

    Args:
        folder: of the run.

    Returns:
        Values: `accuracy` on validation data in %, `loss` there; `train_loss`, the mean of the last ten
        logged steps; `steps`; `diverged`: 1 if the loss is not finite; `too_noisy`: 1 if Diagnostics says
        that the statistics of the batches are. In training mode, with batches of the run's size,
        `batch_accuracy` in %, and `disagreement`, the % of validation images that get another class than in
        evaluation mode. With a norm, two layers, batches of 64 and a rate of its own also `gradient_error`
        of the input gradient of the first norm, and the cosines of the first weight gradient with wrong ones:
        `cosine_mask`, `cosine_mean`, `cosine_variance`. Curves: loss by step; mean and standard deviation of
        each feature and sample in front of and after the first norm.
    """
    from nnfoundations.labs.normalization.measure import read  # imports torch

    return read(folder)


def batch_arm(norm: str, size: int) -> str:
    """The arm of a norm with batches of a size, at its own rate.

    Args:
        norm: a key of `NORMS`.
        size: images per batch.

    Returns:
        Its name. With batches of 64 it is the arm that all comparisons share.
    """
    return f"net_{norm}" if size == 64 else f"batch_{size}_{norm}"


def _arm(name: str, label: str, norm: str, *options: str, rate: float | None = None) -> Arm:
    own = TUNED.get(name, GRID[0]) if rate is None else rate
    given = (f"{NET}.norm", norm, *options, RATE, str(own))
    return Arm(name, f"{NORMS[norm]}{label}", "normalization/net", given)


def _batch(norm: str, size: int) -> Arm:
    """As many steps as all others: part of the images for small batches, several epochs for large ones."""
    epochs = -(-STEPS * size // IMAGES)
    options = {"--data.init_args.batch_size": size, "--trainer.max_epochs": epochs,
               "--trainer.limit_train_batches": STEPS // epochs,
               "--trainer.check_val_every_n_epoch": epochs}  # fmt: skip
    given = [str(text) for pair in options.items() for text in pair]
    return _arm(batch_arm(norm, size), f", batches of {size}", norm, *given)


TUNED_ARMS = (
    *(_arm(f"net_{norm}", "", norm) for norm in NORMS),
    *(_batch(norm, size) for size in BATCHES if size != 64 for norm in NORMS if norm != "rms"),
    *(
        _arm(f"deep_{depth}_{norm}", f", {depth} layers", norm, f"{NET}.depth", str(depth))
        for depth in DEPTHS
        for norm in NORMS
    ),
    *(_arm(f"mask_{norm}", ", wrong mask", norm, f"{NET}.mask", "before") for norm in ("batch", "layer")),
)
"""The arms with a rate of their own."""

LAB = Lab(
    name="normalization",
    question="Does a norm between the layers make a network more accurate, or only easier to train: at which "
    "rates, at which depth, and from which batch size?",
    setup={
        "data": "MNIST: 5,120 images for training, 5,000 for validation, the same for each seed",
        "network": "784-64-64-10: linear layer, norm, ReLU. He's initial weights; with one seed they are the "
        "same for all norms. The norms are those of `nnfoundations.nn`; GroupNorm has groups of 16 units",
        "training": f"{STEPS} steps of SGD with momentum 0.9 and a constant rate, batches of 64: 4 epochs",
        "own rate": "the best of 0.01, 0.03 and 0.1 on the validation data with seed 100, the trial seed; an "
        "arm whose best rate is at an end gets further ones; of equally good rates the middle one is taken",
        "rates": f"{', '.join(map(str, RATES))}, the same for each norm. A rate is usable if its mean "
        "accuracy is at most 2 points below the best of the norm",
        "depth": "6 and 12 hidden layers of 64 units, each at its own rate",
        "batches": f"2 to 512 images, {STEPS} steps each, so larger batches see more images; each at its own "
        "rate. Norms are compared at one batch size",
        "wrong mask": "the backward pass takes ReLU's mask from before the norm",
        "a seed": "determines initial values and order; arms of one batch size with one seed are paired",
        "preset `quick`": "2 arms, 2 epochs each",
        "chosen for the test": "the norm with the largest mean accuracy with batches of 64",
    },
    arms=(
        *TUNED_ARMS,
        *(
            _arm(f"rate_{rate}_{norm}", f", rate {rate:g}", norm, rate=rate)
            for rate in RATES
            for norm in NORMS
        ),
    ),
    presets={
        "smoke": Preset(
            1,
            8,
            ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "30"),
            ("net_none", "net_batch"),
            notebook=False,
        ),
        "quick": Preset(5, 57, ("--trainer.max_epochs", "2"), ("net_none", "net_batch")),
        "full": Preset(5, 2400),
    },
    measure=measure,
    table={
        "accuracy": "validation accuracy, %",
        "train_loss": "training loss",
        "disagreement": "disagreement of the modes, %",
        "diverged": "diverged",
    },
    comparisons=tuple((arm, "net_none") for arm in NETS if arm != "net_none"),
    main_figure="window",
    choices=(Choice("accuracy", "largest", NETS),),
    data=("MNIST",),
)
