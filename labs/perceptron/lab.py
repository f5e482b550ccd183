"""The perceptron on the irises: what converges, how fast, and what the scale of the inputs changes.

Rosenblatt's rule changes its weights only at a mistake. Novikoff (1962) bounds the number of its updates by
(R / gamma)^2 if a plane separates the classes: R is the longest sample, gamma the smallest distance of a
sample from the plane. Both depend on the scale of the inputs, although the rule has no learning rate that
could be wrong for it.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from nnfoundations.labs._runner.lab import Arm, Lab, Measured, Preset

if TYPE_CHECKING:
    import numpy as np

__all__ = ["LAB", "largest_margin_plane"]


def largest_margin_plane(x: "np.ndarray", y: "np.ndarray") -> tuple["np.ndarray", float]:
    """The plane through the origin of (x, 1) that is farthest from the nearest sample.

    It gives Novikoff's smallest bound: the shortest v with s (x, 1) v >= 1 for every sample.

    Args:
        x: rows `(N, features)`, separable.
        y: classes `(N,)`, 0 or 1.

    Returns:
        Its normal and its bias.
    """
    import numpy as np
    from scipy.optimize import minimize

    signed = np.where(y == 1, 1, -1)[:, None] * np.column_stack((x, np.ones(len(x))))
    found = minimize(
        lambda v: v @ v,
        np.zeros(signed.shape[1]),
        jac=lambda v: 2 * v,
        constraints={"type": "ineq", "fun": lambda v: signed @ v - 1, "jac": lambda v: signed},
        options={"maxiter": 1000, "ftol": 1e-12},
    )
    return found.x[:-1], float(found.x[-1])


def measure(folder: Path) -> Measured:
    """Read the history of a perceptron from its checkpoint.

    Args:
        folder: of a run.

    Returns:
        Values: epochs, updates, whether the last epoch had no mistake, errors of the final weights on all
        flowers (the pocket's, if the rule did not converge), errors of the weights after the last update and
        how many of them the pocket saved, Novikoff's bound and the updates as a share of it (NaN if no plane
        separates the classes). Curves: mistakes per epoch; weights and bias after some updates.
    """
    import numpy as np
    import torch

    from nnfoundations.labs.perceptron.drawing import chosen_updates
    from nnfoundations.labs.perceptron.flowers import flowers
    from nnfoundations.numpy import novikoff_bound

    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    given = saved["datamodule_hyper_parameters"]
    x, y = flowers(given["species"], given["scaling"], given["features"])
    x = x.astype(np.float64)
    state, final = saved["perceptron"], saved["state_dict"]
    mistakes, weights, biases = state["mistakes"], state["weights"].numpy(), state["biases"].numpy()

    def errors(weight: np.ndarray, bias: float) -> float:
        return float(((x @ weight + bias > 0) != (y == 1)).sum())

    separable = given["species"] == "setosa"
    bound = novikoff_bound(x, y, *largest_margin_plane(x, y)) if separable else np.nan
    kept = errors(final["net.weight"].numpy(), float(final["net.bias"]))
    last = errors(weights[-1], biases[-1])
    values = {
        "epochs": float(len(mistakes)),
        "updates": float(len(biases)),
        "converged": float(mistakes[-1] == 0),
        "errors": kept,
        "errors_last": last,
        "saved_by_pocket": last - kept,
        "bound": bound,
        "share_of_bound": len(biases) / bound,
    }
    updates = chosen_updates(len(biases))
    curves = {"mistakes": [(float(epoch), float(mistakes[epoch - 1])) for epoch in _thinned(len(mistakes))]}
    for i in range(weights.shape[1]):
        curves[f"weight_{i}"] = [(float(number), float(weights[number - 1, i])) for number in updates]
    curves["bias"] = [(float(number), float(biases[number - 1])) for number in updates]
    return Measured(values, curves)


def _thinned(epochs: int) -> list[int]:
    """The first 200 epochs, then every tenth, and the last."""
    return sorted({*range(1, min(epochs, 200) + 1), *range(200, epochs, 10), epochs})


LAB = Lab(
    name="perceptron",
    question="How many mistakes does the perceptron rule make before it makes none, and what decides it: "
    "the scale of the inputs, the margin between the classes, or chance?",
    setup={
        "data": "Iris, all 150 flowers: one species against the two others. No validation part: the question "
        "is about convergence on given data",
        "model": "perceptron (`nnfoundations.numpy.Perceptron`), zero initial weights, no learning rate",
        "a run": "epochs in a new random order, until an epoch has no mistake; for versicolor 200 epochs",
        "a seed": "determines all orders; arms with the same seed see the same orders",
        "measured": "updates, epochs, errors on all flowers, Novikoff's bound of the largest-margin plane",
    },
    arms=(
        Arm("raw", "sepals, cm"),
        Arm("standard", "sepals, standardized"),
        Arm("min_max", "sepals, min-max"),
        Arm("raw_all", "all four, cm"),
        Arm("standard_all", "all four, standardized"),
        Arm("versicolor", "versicolor, standardized"),
    ),
    presets={
        "smoke": Preset(1, 5, ("--trainer.max_epochs", "5"), notebook=False),
        "quick": Preset(5, 42),
        "full": Preset(20, 200),
    },
    measure=measure,
    table={"updates": "updates", "epochs": "epochs", "errors": "errors", "bound": "Novikoff's bound"},
    comparisons=(("standard", "raw"), ("min_max", "raw"), ("standard_all", "raw_all")),
    main_figure="updates",
)
