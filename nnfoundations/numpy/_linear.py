"""The affine map of rows."""

import numpy as np

from nnfoundations._errors import OptionError
from nnfoundations.formulas import initialization, linear, linear_backward
from nnfoundations.numpy._check import check_dtype, check_gradient, check_sizes, rows_of
from nnfoundations.numpy._layer import XP, Array, Layer

__all__ = ["Generator", "Linear", "generator_of", "he", "xavier"]

Generator = np.random.Generator


def generator_of(seed: int | Generator | None) -> Generator:
    """A generator of one's own; for None its seed comes from NumPy's global one, which programs do seed."""
    if isinstance(seed, Generator):
        return seed
    return np.random.default_rng(np.random.randint(2**31) if seed is None else seed)


def he(shape: tuple[int, int], *, gain: float, generator: Generator) -> Array:
    """Normal weights (out, in) of deviation gain / sqrt(in): He et al. 2015, eq. 10."""
    return generator.normal(0.0, initialization.he_std(shape[1], gain), shape)


def xavier(shape: tuple[int, int], *, gain: float, generator: Generator) -> Array:
    """Normal weights (out, in) of deviation gain sqrt(2 / (in + out)): Glorot and Bengio 2010, eq. 12."""
    return generator.normal(0.0, initialization.xavier_std(shape[1], shape[0], gain), shape)


_INITS = {"he": he, "xavier": xavier}


class Linear(Layer):
    r"""y = x W^T + b.

    Shape: x `(N, in)` -> `(N, out)`; weight `(out, in)`, bias `(out,)`: as in torch.
    Args:
        in_features, out_features: in and out.
        init: "he", weights of deviation gain / sqrt(in), or "xavier", gain sqrt(2 / (in + out)).
        gain: for what follows: sqrt(2) before a rectifier, 1 before nothing.
        seed: of the weights, or a generator; None draws one from NumPy's global state. Biases are zero.
        dtype: of the parameters; x in the same one, or of integers, gives y in it.
    Raises: OptionError: an init that is not known. ShapeError: a size below 1; x is no rows of `in` features.
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
                f"Linear's init must be 'he' or 'xavier'; got {init!r}. Take 'he' for rectifiers."
            )
        if not gain >= 0:
            raise OptionError(f"Linear needs a gain of at least 0; got {gain}. sqrt(2) is for rectifiers.")
        check_sizes("Linear", in_features=in_features, out_features=out_features)
        check_dtype("Linear", dtype)
        weight = _INITS[init]((out_features, in_features), gain=gain, generator=generator_of(seed))
        self.parameters = {"weight": weight.astype(dtype), "bias": np.zeros(out_features, dtype)}

    def forward(self, x: Array) -> Array:
        weight = self.parameters["weight"]
        x = rows_of("Linear", x, weight.shape[1], weight.dtype)
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
