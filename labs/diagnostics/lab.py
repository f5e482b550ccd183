"""Diagnostics: faults on purpose, what Diagnostics says while they train, the fix, and the run after it.

Sixteen faults on MNIST, each as a broken arm, a fixed one and a sound one. Nine sound networks, some of them
twins of the faults, show false alarms.
"""

from pathlib import Path

from nnfoundations.labs._runner.lab import Arm, Lab, Measured, Preset
from nnfoundations.labs.diagnostics.catalogue import FAULTS, SOUND

__all__ = ["LAB", "measure"]


def measure(folder: Path) -> Measured:
    """Read a run, and apply the checks of `nnfoundations check` to it if it is not a fixed one.

    Args:
        folder: of the run.

    Returns:
        Values: `accuracy` on validation data in %, `val_loss`; `first_loss`, and `train_loss`, the mean of
        the last 20 steps; `at_chance`: 1 if that is within 5 % of guessing; `symptom`: the number of one of
        `SYMPTOMS`; `dead_share` at the end, of the worst layer; `update_ratio`, the median over matrices and
        steps; `gradient_ratio`, first over last matrix at the start. `findings`, their number; `named`: 1 if
        the root cause has an accepted name, `named_step`, when that was said; `suggested_rate`. A column for
        each of `CHECKS`, 1 if it says that something is wrong; with `_step`, when, for those of a run.
        Curves: training and validation loss, gradient norm of the first and the last matrix, update ratio,
        dead share, and the gradient norm by layer at the start. Texts: those of the root cause.
    """
    from nnfoundations.labs.diagnostics.measure import read  # imports torch

    return read(folder)


FIXED = {fault.fixed: fault for fault in FAULTS.values() if fault.fixed}

LAB = Lab(
    name="diagnostics",
    question="Sixteen faults, each made on purpose: what do they look like, which check finds which, does "
    "Diagnostics name them while they train, and does the fix that it names help?",
    setup={
        "data": "MNIST: 5,120 images for training (128 for overfitting), 2,000 for validation; the same for "
        "each seed",
        "training": "400 steps with batches of 64: 5 epochs (200 for overfitting). Most networks are "
        "784-64-64-10 with ReLU, He's initial weights, and SGD with rate 0.03 and momentum 0.9",
        "broken": "one thing is wrong, from the first step on",
        "fixed": "only what the remedy of the finding names is changed. Its numbers come from a run with "
        "seed 100, which is not among these. If the remedy makes the sound network, that is the fixed run",
        "sound": "the same network without the fault, and three further ones",
        "first finding": "the step in whose measurement Diagnostics first reported an accepted name; "
        "findings of severity info do not count",
        "recovered": "(fixed - broken) / (sound - broken) in accuracy, by seed; only if the fault costs at "
        "least 2 points",
        "checks": "loss explodes: a loss is not finite, or above twice the first one. Validation loss rises: "
        "at the end at least 10 % above its lowest. The others: `nnfoundations check` before the training, "
        "up to 1,500 steps on copies; notes do not count",
        "caught": "a check finds a fault if it fails in more than half of the runs",
        "preset `quick`": "2 arms",
        "test data": "are not read: nothing is chosen",
    },
    arms=(
        *(Arm(name, fault.label) for name, fault in FAULTS.items()),
        *(Arm(name, f"{fault.label}, fixed") for name, fault in FIXED.items()),
        *(Arm(name, label) for name, label in SOUND.items()),
    ),
    presets={
        "smoke": Preset(1, 22, arms=("softmax", "plain"), notebook=False),
        "quick": Preset(5, 110, arms=("softmax", "plain")),
        "full": Preset(5, 2440),
    },
    measure=measure,
    table={
        "accuracy": "validation accuracy, %",
        "train_loss": "training loss",
        "update_ratio": "update / weight",
        "dead_share": "dead units",
        "findings": "findings",
        "named_step": "named at step",
    },
    comparisons=tuple((fault.fixed_arm, name) for name, fault in FAULTS.items()),
    main_figure="catch",
    data=("MNIST",),
)
