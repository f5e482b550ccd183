"""The irises as the perceptron sees them: one species against the two others. No torch is needed."""

from typing import Literal

import numpy as np

from nnfoundations.errors import OptionError

__all__ = ["SPECIES", "Features", "Scaling", "flowers"]

SPECIES = ("setosa", "versicolor", "virginica")
Scaling = Literal["raw", "standard", "min_max"]
Features = Literal["sepals", "all"]


def flowers(
    species: str = "setosa", scaling: Scaling = "raw", features: Features = "sepals"
) -> tuple[np.ndarray, np.ndarray]:
    """All 150 irises.

    Args:
        species: the class 1; the two others are the class 0.
        scaling: `raw` in cm; `standard`: mean 0 and standard deviation 1; `min_max`: from 0 to 1.
        features: `sepals`: their length and width; `all`: petals too.

    Returns:
        x `(150, 2)` or `(150, 4)` float32 and y `(150,)` int64.

    Raises:
        OptionError: there is no such species or scaling.
    """
    from sklearn.datasets import load_iris

    lengths, target = load_iris(return_X_y=True)
    if species not in SPECIES or scaling not in ("raw", "standard", "min_max"):
        raise OptionError(
            f"species is one of {', '.join(SPECIES)}, scaling raw, standard or min_max; "
            f"got {species} and {scaling}."
        )
    x = lengths[:, :2] if features == "sepals" else lengths
    if scaling == "standard":
        x = (x - x.mean(0)) / x.std(0)
    elif scaling == "min_max":
        x = (x - x.min(0)) / (x.max(0) - x.min(0))
    y = target == SPECIES.index(species)
    return x.astype(np.float32), y.astype(np.int64)
