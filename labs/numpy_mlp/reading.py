"""Reads the folder of a finished run: metrics, predictions, fits, and the checks of the museum."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnfoundations.labs._runner.lab import Measured
from nnfoundations.labs._runner.run_folder import read_config
from nnfoundations.labs._runner.scalars import logged_by_epoch

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

__all__ = ["GALLERY", "measure"]

ACCURACY_LOST = 0.01
"""An exhibit whose validation accuracy is this far below its sound partner is caught by its accuracy."""
GALLERY = 8
"""Images in a row of the gallery."""

Curves = dict[str, list[tuple[float, float]]]


def measure(folder: Path) -> Measured:
    """Read the metrics of a run, and what its weights say.

    Args:
        folder: of a run.

    Returns:
        Values: accuracy and loss on the validation part at the end, accuracy after epoch 5, errors in
        percent; for the museum the share of the faults that each check caught; for the regression the errors
        of each loss. Curves: accuracy and loss by epoch; predictions; fits; the museum's checks by exhibit.
    """
    import torch

    scalars = logged_by_epoch(folder)
    values = {
        "accuracy": _last(scalars, "val/accuracy"),
        "error": 100 * (1 - _last(scalars, "val/accuracy")),
        "train_error": 100 * (1 - _last(scalars, "train/accuracy")),
        "accuracy_epoch_5": dict(scalars.get("val/accuracy", [])).get(5.0, float("nan")),
        "loss": _last(scalars, "val/loss"),
    }
    curves = {
        name.replace("/", "_"): scalars[name] for name in ("val/accuracy", "val/loss") if name in scalars
    }
    checkpoint = folder / "checkpoints" / "end.ckpt"
    if not checkpoint.exists():  # the weights of a run that diverged are not saved
        return Measured(values, curves)
    saved = torch.load(checkpoint, weights_only=True)
    if any(name.startswith("by_loss.") for name in saved["state_dict"]):
        return _of_regression(saved, values, curves)
    if any(name.startswith("net.sound.") for name in saved["state_dict"]):
        return _of_museum(saved, _seed(folder), values, curves)
    return Measured(values, curves | _gallery(checkpoint, saved))


def _last(curves: Curves, name: str) -> float:
    return curves[name][-1][1] if name in curves else float("nan")


def _seed(folder: Path) -> int:
    return int(read_config(folder)["seed_everything"])


def _validation_part(saved: dict[str, Any]) -> tuple["Tensor", "Tensor"]:
    """All images of the validation part of a run, and their classes."""
    from nnfoundations.datamodules import MNISTDataModule

    given = saved["datamodule_hyper_parameters"]
    data = MNISTDataModule(root=given["root"], normalize=given["normalize"], batch_size=given["val_size"])
    data.setup("fit")
    (x, y), *_ = data.val_dataloader()
    return x, y


def _gallery(checkpoint: Path, saved: dict[str, Any]) -> Curves:
    """The first images that it has right, and those that it has wrong with the highest probability.

    Each entry is a row number of the validation part with the predicted class, and with its probability.
    """
    import torch

    from nnfoundations.lightning_modules import Classifier, ManualClassifier

    by_hand = saved["hyper_parameters"]["_class_path"].endswith("ManualClassifier")
    model = (ManualClassifier if by_hand else Classifier).load_from_checkpoint(checkpoint, weights_only=True)
    x, y = _validation_part(saved)
    model.eval()
    with torch.no_grad():
        probability, predicted = torch.softmax(model(x), 1).max(1)
    right = torch.nonzero(predicted == y).flatten()
    wrong = torch.nonzero(predicted != y).flatten()
    wrong = wrong[probability[wrong].argsort(descending=True, stable=True)]
    curves = {}
    for name, rows in (("right", right[:GALLERY]), ("wrong", wrong[:GALLERY])):
        curves[f"{name}_class"] = [(float(i), float(predicted[i])) for i in rows]
        curves[f"{name}_probability"] = [(float(i), float(probability[i])) for i in rows]
    return curves


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


def _of_museum(saved: dict[str, Any], seed: int, values: dict[str, float], curves: Curves) -> Measured:
    """Apply the checks to each exhibit: a row per exhibit, a column per check."""
    import numpy as np

    from nnfoundations.labs.numpy_mlp.catch import CHECKS, caught
    from nnfoundations.labs.numpy_mlp.museum import EXHIBITS

    x, y = _validation_part(saved)
    rows, classes = x.flatten(1).numpy(), y.numpy()
    accuracy = {name: _accuracy(name, saved["state_dict"], rows, classes) for name in EXHIBITS}
    table = {}
    for name, entry in EXHIBITS.items():
        worse = not accuracy[name] >= accuracy[entry.sound or name] - ACCURACY_LOST
        table[name] = [*caught(name, rows[:64], classes[:64], seed), worse]
    curves["exhibit_accuracy"] = [(float(i), one) for i, one in enumerate(accuracy.values())]
    for check, column in zip(CHECKS, zip(*table.values(), strict=True), strict=True):
        curves[f"caught_{check.replace(' ', '_')}"] = [(float(i), float(one)) for i, one in enumerate(column)]
    faulty = np.array([row for name, row in table.items() if EXHIBITS[name].sound])
    sound = np.array([row for name, row in table.items() if not EXHIBITS[name].sound])
    for check, share in zip(CHECKS, faulty.mean(0), strict=True):
        values[f"share_{check.replace(' ', '_')}"] = float(share)
    values["gradient_minus_one_batch"] = values["share_gradient"] - values["share_one_batch"]
    values["share_any"] = float(faulty.any(1).mean())
    values["share_before_training"] = float(faulty[:, :-1].any(1).mean())
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
