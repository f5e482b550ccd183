"""Dropout."""

from nnfoundations import formulas
from nnfoundations.errors import OptionError
from nnfoundations.numpy._check import check_array, check_gradient
from nnfoundations.numpy._layer import XP, Array, Layer
from nnfoundations.numpy._linear import Generator, generator_of

__all__ = ["Dropout"]


class Dropout(Layer):
    r"""Set a random fraction p of the entries to zero in training; do nothing in evaluation.

    In training y = m x, where the mask m is 0 with probability p, else 1 / (1 - p), so that the mean of y
    is x ("inverted" dropout).

    Args:
        p: probability of a zero, at least 0 and less than 1.
        seed: random seed of the masks, or a generator; None draws a seed from NumPy's global generator.

    Raises:
        OptionError: p is outside [0, 1).

    Source: Srivastava et al. 2014, section 4.
    """

    def __init__(self, p: float = 0.5, *, seed: int | Generator | None = None) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise OptionError(
                f"Dropout's p must be at least 0 and less than 1; got {p}. 0.1 to 0.5 is usual."
            )
        self.p, self.generators = p, [generator_of(seed)]

    def forward(self, x: Array) -> Array:
        check_array("Dropout", x)
        if not self.training or not self.p:
            self._kept = (None, x.shape)
            return x
        keep = self.generators[0].random(x.shape, "float32") >= self.p
        mask = keep.astype(x.dtype) / x.dtype.type(1 - self.p)
        self._kept = (mask, x.shape)
        y: Array = formulas.dropout(x, mask, xp=XP)
        return y

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        mask, shape = self.kept
        check_gradient("Dropout", grad_output, shape)
        if not grad_input:
            return None
        if mask is None:
            return grad_output
        grad: Array = formulas.dropout_backward(grad_output, mask, xp=XP)
        return grad

    def __repr__(self) -> str:
        return f"Dropout(p={self.p})"
