"""What helps a network that memorizes 1,000 digits: penalties, dropout, max-norm, stopping, augmentation.

A network of 235,146 weights learns 1,000 images of MNIST by heart. Each arm adds one remedy at one strength,
or two. All else is the same for all arms, so that a difference is due to the remedy.
"""

from pathlib import Path

from nnfoundations.labs._runner.lab import Arm, Choice, Lab, Measured, Preset
from nnfoundations.labs._runner.run_folder import read_config, read_findings
from nnfoundations.labs._runner.scalars import logged_by_epoch

__all__ = ["DROPOUT", "L1", "L2", "LAB", "MAX_NORM", "grid_arm", "measure"]

L2 = ("0.0003", "0.001", "0.003", "0.01", "0.03", "0.1")
L1 = ("0.0001", "0.0003", "0.001")
DROPOUT = ("0.2", "0.5", "0.7")
MAX_NORM = ("0.5", "1", "1.5")
GRID_L2 = ("0.001", "0.01", "0.1")
"""The strengths of the heat map, beside none."""


def measure(folder: Path) -> Measured:
    """Read the curves of a run, and its numbers at the weights that it keeps.

    These are the last ones, or those of the smallest validation loss if the run has stopped early.

    Args:
        folder: of the run.

    Returns:
        Values: `accuracy` and `error` on the validation images and `fit_accuracy` on the clean training
        images, in %; `gap` of the two; the data terms `loss` and `fit_loss`; the `penalty` of the training
        loss; `norm` of the weights, and `near_zero`, the % of weights below 0.001; `epoch` of the weights.
        Further `loss_rise`, the last validation loss over the smallest one; `accuracy_change` since the epoch
        of the smallest validation loss, in points; and whether Diagnostics reported overfitting, `found`.
        Curves: data terms, accuracies and norm by epoch.
    """
    logged = logged_by_epoch(folder)
    curves = {
        "loss": logged["val/loss"],
        "fit_loss": logged["fit/loss"],
        "accuracy": _percent(logged["val/accuracy"]),
        "fit_accuracy": _percent(logged["fit/accuracy"]),
        "norm": logged["weights/norm"],
    }
    losses = [loss for _, loss in curves["loss"]]
    best, last = losses.index(min(losses)), len(losses) - 1
    config = read_config(folder)
    kept = best if config["early_stopping"]["patience"] else last
    epoch = curves["loss"][kept][0]
    at = {name: dict(curve)[epoch] for name, curve in curves.items()}
    before = [value for when, value in logged.get("train/penalty", []) if when <= epoch]
    values = {
        **at,
        "error": 100 - at["accuracy"],
        "gap": at["fit_accuracy"] - at["accuracy"],
        "penalty": before[-1] if before else 0.0,
        "near_zero": dict(_percent(logged["weights/near_zero"]))[epoch],
        "epoch": epoch,
        "loss_rise": losses[last] / losses[best],
        "accuracy_change": curves["accuracy"][last][1] - curves["accuracy"][best][1],
        "found": float(_found_overfitting(folder)),
    }
    return Measured(values, {name: _thinned(curve) for name, curve in curves.items()})


def _thinned(curve: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The first ten epochs, every second one after them, and the last; in five digits."""
    kept = [(x, y) for x, y in curve if x <= 10 or x % 2 == 0 or x == curve[-1][0]]
    return [(x, float(f"{y:.5g}")) for x, y in kept]


def _percent(curve: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(epoch, round(100 * share, 4)) for epoch, share in curve]


def _found_overfitting(folder: Path) -> bool:
    return any(finding["fault"] == "overfitting" for finding in read_findings(folder))


CONFIG = "regularization/none"
_STRENGTHS = {
    "l2": ("L2", "--model.init_args.l2"),
    "l1": ("L1", "--model.init_args.l1"),
    "dropout": ("dropout", "--model.init_args.net.init_args.dropout"),
    "max_norm": ("max-norm", "--model.init_args.max_norm"),
}
_SIZES = {  # 400 steps of training, as for 1,000 images, or a few more
    "300": ("--data.init_args.train_size", "300", "--data.init_args.batch_size", "30"),
    "3000": ("--data.init_args.train_size", "3000", "--trainer.max_epochs", "14"),
}
_AUGMENT = ("--data.init_args.augment+", "affine")
_RANDOM = ("--data.init_args.label_noise", "0.9")


def _arm(*given: tuple[str, str]) -> Arm:
    """An arm of one or two remedies with their strengths."""
    name = "_".join(f"{kind}_{strength}" for kind, strength in given)
    label = " + ".join(f"{_STRENGTHS[kind][0]} {strength}" for kind, strength in given)
    options = [text for kind, strength in given for text in (_STRENGTHS[kind][1], strength)]
    return Arm(name, label, CONFIG, tuple(options))


def _changed(arm: Arm, suffix: str, text: str, options: tuple[str, ...]) -> Arm:
    return Arm(f"{arm.name}_{suffix}", f"{arm.label}, {text}", CONFIG, (*arm.options, *options))


def grid_arm(l2: str, dropout: str) -> str:
    """The arm of a cell of the heat map.

    Args:
        l2: strength, or "0".
        dropout: rate, or "0".

    Returns:
        Its name.
    """
    parts = [f"{kind}_{strength}" for kind, strength in (("l2", l2), ("dropout", dropout)) if strength != "0"]
    return "_".join(parts) or "none"


NONE = Arm("none", "none", CONFIG)
AUGMENTATION = Arm("augmentation", "augmentation", CONFIG, _AUGMENT)
SINGLE = (
    *(_arm((kind, strength)) for kind, strengths in
      (("l2", L2), ("l1", L1), ("dropout", DROPOUT), ("max_norm", MAX_NORM)) for strength in strengths),
    Arm("early_stopping", "early stopping", CONFIG,
        ("--checkpoint.monitor", "val/loss", "--early_stopping.patience", "5")),
    AUGMENTATION,
)  # fmt: skip
COMBINED = (
    *(_arm(("l2", l2), ("dropout", dropout)) for l2 in GRID_L2 for dropout in DROPOUT),
    _arm(("dropout", "0.5"), ("max_norm", "1")),
    _arm(("l2", "0.001"), ("l1", "0.0001")),
)
SIZED = tuple(
    _changed(arm, size, f"{size} images", options)
    for size, options in _SIZES.items()
    for arm in (NONE, _arm(("l2", "0.003")), AUGMENTATION)
)
RANDOM = tuple(_changed(arm, "random", "random labels", _RANDOM) for arm in (NONE, _arm(("l2", "0.003"))))

LAB = Lab(
    name="regularization",
    question="A network has learnt its 1,000 training images by heart. Which remedy helps on new images, at "
    "which strength, and do the gains of two remedies add up?",
    setup={
        "data": "MNIST: 1,000 images for training and 2,000 for validation, drawn for each seed; the 10,000 "
        "test images are read once, after the choice",
        "model": "784-256-128-10, ReLU: 235,146 weights and biases",
        "training": "40 epochs of 10 steps, batches of 100; SGD with momentum 0.9 and a constant rate of "
        "0.05. With 300 images the batches have 30, with 3,000 there are 14 epochs of 30 steps",
        "L2, L1": "λ/2 Σw² or λ Σ|w| over weight matrices, added to the training loss",
        "dropout": "after each hidden layer; Srivastava et al. also drop a fifth of the inputs",
        "max-norm": "largest norm of the weights that enter a unit",
        "early stopping": "after 5 epochs without a smaller validation loss; the weights of the best epoch "
        "count",
        "augmentation": "rotation by up to 12°, scale by 12 %, shear by 0.15, shift by 2 pixels, for each "
        "image and epoch",
        "measured": "at the last weights. The training images are evaluated without dropout and "
        "augmentation. Losses are the data term alone; the penalty is apart",
        "a seed": "determines images, initial values, order, masks and augmentation; arms with the same seed "
        "share them",
        "chosen": "by validation accuracy: a strength of L2, one of dropout, and the best of all arms on "
        "true labels of 1,000 images. These and `none` are tested",
    },
    arms=(NONE, *SINGLE, *COMBINED, *SIZED, *RANDOM),
    presets={
        "smoke": Preset(1, 6, ("--trainer.max_epochs", "1"), ("none", "l2_0.003", "l2_0.1"), notebook=False),
        "quick": Preset(5, 48, ("--trainer.max_epochs", "10", "--figures.every_n_epochs", "0"),
                        ("none", "l2_0.003", "l2_0.1", "augmentation")),
        "full": Preset(5, 1180),
    },
    measure=measure,
    table={
        "accuracy": "validation accuracy, %",
        "fit_accuracy": "training accuracy, %",
        "loss": "validation loss",
        "fit_loss": "training loss",
        "penalty": "penalty",
        "norm": "weight norm",
    },
    comparisons=tuple((arm.name, "none") for arm in SINGLE),
    main_figure="three_fits",
    choices=(
        Choice("accuracy", "largest", tuple(f"l2_{strength}" for strength in L2)),
        Choice("accuracy", "largest", tuple(f"dropout_{rate}" for rate in DROPOUT)),
        Choice("accuracy", "largest", tuple(arm.name for arm in (NONE, *SINGLE, *COMBINED))),
        Choice("accuracy", "largest", ("none",)),
    ),
    data=("MNIST",),
)  # fmt: skip
