"""The linear layer, and the initial values of its weights."""

import numpy as np

from nnfoundations.errors import OptionError
from nnfoundations.formulas import initialization, linear, linear_backward
from nnfoundations.numpy._check import as_rows, check_dtype, check_gradient, check_sizes
from nnfoundations.numpy._layer import XP, Array, Layer

__all__ = ["Generator", "Linear", "generator_of", "he", "xavier"]

Generator = np.random.Generator


def generator_of(seed: int | Generator | None) -> Generator:
    """Return a generator of this seed.

    None draws a seed from NumPy's global generator, so that `np.random.seed` still decides.
    """
    if isinstance(seed, Generator):
        return seed
    return np.random.default_rng(np.random.randint(2**31) if seed is None else seed)


def he(shape: tuple[int, int], *, gain: float, generator: Generator) -> Array:
    """Draw normal weights with standard deviation gain / sqrt(in).

    Args:
        shape: (out, in).
        gain: factor for the activation that follows: sqrt(2) for rectifiers, 1 for none.
        generator: source of the random numbers.

    Returns:
        Weights `(out, in)` in float64.

    Source: He et al. 2015, eq. 10.
    """
    return generator.normal(0.0, initialization.he_std(shape[1], gain), shape)


def xavier(shape: tuple[int, int], *, gain: float, generator: Generator) -> Array:
    """Draw normal weights with standard deviation gain sqrt(2 / (in + out)).

    Args:
        shape: (out, in).
        gain: factor for the activation that follows, 1 for none.
        generator: source of the random numbers.

    Returns:
        Weights `(out, in)` in float64.

    Source: Glorot and Bengio 2010, eq. 12.
    """
    return generator.normal(0.0, initialization.xavier_std(shape[1], shape[0], gain), shape)


_INITS = {"he": he, "xavier": xavier}


class Linear(Layer):
    r"""Linear layer: y = x W^T + b.

    Shape: x `(N, in)` -> `(N, out)`; weight `(out, in)`, bias `(out,)`: as in torch.

    Args:
        in_features: number of features of x.
        out_features: number of units, the features of y.
        init: "he", weights of standard deviation gain / sqrt(in), or "xavier", gain sqrt(2 / (in + out)).
        gain: factor for the activation that follows: sqrt(2) for rectifiers, 1 for none.
        seed: random seed of the weights, or a generator; None draws a seed from NumPy's global generator.
            Biases are zero.
        dtype: dtype of the parameters. x in this dtype, or of integers, gives y in it.

    Raises:
        OptionError: init is unknown or gain is negative.
        ShapeError: a size is below 1.
        DtypeError: dtype is not a floating-point dtype.

    Source: Goodfellow, Bengio, Courville 2016, section 6.5.

    >>> Linear(3, 2, seed=0)(np.ones((5, 3), np.float32)).shape
    (5, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        init: str = "he",
        gain: float = initialization.gain("relu"),
        seed: int | Generator | None = None,
        dtype: str = "float32",
    ) -> None:
        super().__init__()
        if init not in _INITS:
            raise OptionError(
                f"Linear's init must be 'he' or 'xavier'; got {init!r}. Use 'he' before a rectifier."
            )
        if not gain >= 0:
            raise OptionError(
                f"Linear needs a gain of at least 0; got {gain}. Use sqrt(2) before a rectifier."
            )
        check_sizes("Linear", in_features=in_features, out_features=out_features)
        check_dtype("Linear", dtype)
        weight = _INITS[init]((out_features, in_features), gain=gain, generator=generator_of(seed))
        self.parameters = {"weight": weight.astype(dtype), "bias": np.zeros(out_features, dtype)}

    def forward(self, x: Array) -> Array:
        weight = self.parameters["weight"]
        x = as_rows("Linear", x, weight.shape[1], weight.dtype)
        self._kept = (x,)
        y: Array = linear(x, weight, self.parameters["bias"], xp=XP)
        return y

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        (x,) = self.kept
        check_gradient("Linear", grad_output, (len(x), len(self.parameters["weight"])))
        grad_x, grad_weight, grad_bias = linear_backward(
            grad_output, x, self.parameters["weight"], wanted=(grad_input, True, True), xp=XP
        )
        self.gradients = {"weight": grad_weight, "bias": grad_bias}
        return grad_x
