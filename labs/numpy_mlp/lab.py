"""A network by hand: what each step of a recipe buys, and which check finds which wrong gradient.

The layers are those of `nnfoundations.numpy`. The ladder adds one change at a time to the same 235,146 weights.
The museum trains networks whose gradients are wrong as in published code.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnfoundations.labs._runner.lab import Arm, Lab, Measured, Preset

if TYPE_CHECKING:
    import numpy as np

__all__ = ["LAB", "LADDER"]

LADDER = ("sgd", "momentum", "schedule", "adamw", "deform", "norm", "average")
ACCURACY_LOST = 0.01
"""An exhibit whose validation accuracy is this far below its sound partner is caught by its accuracy."""


def measure(folder: Path) -> Measured:
    """Read the metrics of a run, and what its weights say.

    Args:
        folder: of a run.

    Returns:
        Values: accuracy and loss on the validation part at the end, accuracy after epoch 5, test accuracy if
        it was tested; for the museum the share of the faults that each check caught; for the regression the
        errors of each loss. Curves: accuracy and loss by epoch; the fits; the museum's checks by exhibit.
    """
    import torch

    curves = _scalars(folder)
    accuracy = curves.get("val/accuracy", [])
    values = {
        "accuracy": accuracy[-1][1] if accuracy else float("nan"),
        "accuracy_epoch_5": accuracy[4][1] if len(accuracy) > 4 else float("nan"),
        "train_accuracy": _last(curves, "train/accuracy"),
        "loss": _last(curves, "val/loss"),
        "test_accuracy": _last(curves, "test/accuracy"),
    }
    kept = {name.replace("/", "_"): curves[name] for name in ("val/accuracy", "val/loss") if name in curves}
    checkpoint = folder / "checkpoints" / "end.ckpt"
    if not checkpoint.exists():  # the weights of a run that diverged are not saved
        return Measured(values, kept)
    saved = torch.load(checkpoint, weights_only=True)
    if any(name.startswith("by_loss.") for name in saved["state_dict"]):
        return _of_regression(saved, values, kept)
    if "net.sound.0.weight" in saved["state_dict"]:
        return _of_museum(saved, values, kept)
    return Measured(values, kept)


def _last(curves: dict[str, list[tuple[float, float]]], name: str) -> float:
    return curves[name][-1][1] if name in curves else float("nan")


def _scalars(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """The metrics that were logged, by epoch from 1."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: dict[str, list[tuple[float, float]]] = {}
    for file in sorted(folder.glob("events*")):  # the test has a file of its own
        events = EventAccumulator(str(file), size_guidance={"scalars": 0}).Reload()
        for name in events.Tags()["scalars"]:
            found.setdefault(name, []).extend((0.0, float(one.value)) for one in events.Scalars(name))
    return {name: [(float(i + 1), y) for i, (_, y) in enumerate(points)] for name, points in found.items()}


Curves = dict[str, list[tuple[float, float]]]


def _of_regression(saved: dict[str, Any], values: dict[str, float], curves: Curves) -> Measured:
    import torch

    from nnfoundations.datamodules import NoisyCurveDataModule
    from nnfoundations.models import MLP

    x = torch.linspace(-2, 2, 81).unsqueeze(1)
    truth = NoisyCurveDataModule.function(x)
    for name in ("MSE", "Huber", "L1"):
        net = MLP([1, 32, 1], activation="Tanh")
        start = f"by_loss.{name}."
        state = {
            key.removeprefix(start): one for key, one in saved["state_dict"].items() if key.startswith(start)
        }
        net.load_state_dict(state)
        with torch.no_grad():
            y = net(x)
        values[f"error_{name.lower()}"] = float((y - truth).square().mean().sqrt())
        curves[f"fit_{name}"] = [(float(a), float(b)) for a, b in zip(x, y, strict=True)]
    values["mse_over_l1"] = values["error_mse"] / values["error_l1"]
    values["mse_over_huber"] = values["error_mse"] / values["error_huber"]
    return Measured(values, curves)


def _of_museum(saved: dict[str, Any], values: dict[str, float], curves: Curves) -> Measured:
    import numpy as np

    from nnfoundations.datamodules import MNISTDataModule
    from nnfoundations.labs.numpy_mlp.catch import CHECKS, caught
    from nnfoundations.labs.numpy_mlp.museum import EXHIBITS

    given = saved["datamodule_hyper_parameters"]
    data = MNISTDataModule(root=given["root"], batch_size=5000)  # all of the validation part at once
    data.setup("fit")
    (x, y), *_ = data.val_dataloader()
    rows, classes, seed = x.flatten(1).numpy(), y.numpy(), int(given["seed"] or 0)
    found = {}
    for i, name in enumerate(EXHIBITS):
        if f"net.{name}.0.weight" not in saved["state_dict"]:
            continue
        accuracy = _accuracy(name, saved["state_dict"], rows, classes)
        found[name] = accuracy, caught(name, rows[:64], classes[:64], seed)
        curves.setdefault("exhibit_accuracy", []).append((float(i), accuracy))
    table = {}
    for i, (name, (accuracy, checks)) in enumerate(found.items()):
        partner = EXHIBITS[name][1] or name
        worse = not accuracy >= found.get(partner, (accuracy, []))[0] - ACCURACY_LOST
        table[name] = [*checks, worse]
        for check, one in zip(CHECKS, table[name], strict=True):
            curves.setdefault(f"caught_{check.replace(' ', '_')}", []).append((float(i), float(one)))
    faulty = np.array([table[name] for name in table if EXHIBITS[name][1]])
    sound = np.array([table[name] for name in table if not EXHIBITS[name][1]])
    for check, share in zip(CHECKS, faulty.mean(0), strict=True):
        values[f"share_{check.replace(' ', '_')}"] = float(share)
    values["gradient_minus_one_batch"] = values["share_gradient"] - values["share_one_batch"]
    values["share_any"] = float(faulty.any(1).mean())
    values["false_alarms"] = float(sound.sum())
    return Measured(values, curves)


def _accuracy(name: str, state: dict[str, Any], rows: "np.ndarray", classes: "np.ndarray") -> float:
    import numpy as np

    from nnfoundations.labs.numpy_mlp.museum import build

    net, start = build(name, 0), f"net.{name}."
    net.bind({key.removeprefix(start): one.numpy() for key, one in state.items() if key.startswith(start)})
    net.eval()
    with np.errstate(all="ignore"):
        return float((net(rows).argmax(1) == classes).mean())


LAB = Lab(
    name="numpy_mlp",
    question="Which step of a recipe buys how much on MNIST, and which check finds which wrong gradient?",
    setup={
        "data": "MNIST: 55,000 training and 5,000 validation images, one fixed stratified split. Choices are made on "
        "the validation part; the test part is for the arms that were chosen",
        "model": "784-256-128-10, ReLU, 235,146 weights, He's initial values. `nnfoundations.numpy`, by hand; the "
        "ladder on torch",
        "plain": "SGD, batches of 64, rate 0.01, 10 epochs",
        "ladder": "one change per rung: SGD, momentum, schedule, AdamW, deformations, batch norm, moving average; "
        "batches of 128, 20 epochs each",
        "museum": "784-64-32-10, 10,000 images, 4 epochs, rate 0.05: wrong and sound networks on the same batches",
        "a seed": "determines initial values, order and augmentation; arms with the same seed are paired",
    },
    arms=(
        Arm("unit", "pixels 0 to 1"),
        Arm("plain", "plain, rate .01", options=("--test", "true")),
        Arm(
            "rate_0001", "rate .001", "numpy_mlp/plain", ("--model.init_args.optimizer.init_args.lr", "0.001")
        ),
        Arm("rate_01", "rate .1", "numpy_mlp/plain", ("--model.init_args.optimizer.init_args.lr", "0.1")),
        Arm("rate_1", "rate 1", "numpy_mlp/plain", ("--model.init_args.optimizer.init_args.lr", "1.0")),
        Arm("linear", "no hidden layer"),
        Arm("wide", "one layer of 1024"),
        Arm("deep", "six layers of 128"),
        Arm("numpy_decay", "NumPy, momentum and decay", options=("--test", "true")),
        Arm("sgd", "SGD"),
        Arm("momentum", "+ momentum"),
        Arm("schedule", "+ schedule"),
        Arm("adamw", "AdamW for SGD"),
        Arm("deform", "+ deformations"),
        Arm("norm", "+ batch norm"),
        Arm("average", "+ moving average", options=("--test", "true")),
        Arm("outliers", "curve with outliers"),
        Arm("museum", "museum"),
    ),
    presets={
        "smoke": Preset(
            1,
            30,
            (
                *("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2"),
                *("--trainer.limit_val_batches", "1", "--figures.every_n_epochs", "0"),
            ),
            notebook=False,
        ),
        "quick": Preset(5, 120, ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "100")),
        "full": Preset(5, 6600),
    },
    measure=measure,
    table={
        "accuracy": "validation accuracy",
        "train_accuracy": "training accuracy",
        "test_accuracy": "test accuracy",
    },
    comparisons=(
        *(("plain", "unit"), ("rate_01", "plain"), ("wide", "plain"), ("deep", "plain"), ("linear", "plain")),
        *zip(LADDER[1:], LADDER[:-1], strict=True),
    ),
    main_figure="ladder",
)
