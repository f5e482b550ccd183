"""Dropout."""

from nnfoundations import formulas
from nnfoundations._errors import OptionError
from nnfoundations.numpy._check import check_gradient, needs_array
from nnfoundations.numpy._layer import XP, Array, Layer
from nnfoundations.numpy._linear import Generator, generator_of

__all__ = ["Dropout"]


class Dropout(Layer):
    r"""In training y = m x with m 0 for a share p of the entries, else 1 / (1 - p); in evaluation y = x.

    Args: p: share of zeros, at least 0 and less than 1. seed: of the masks, as in Linear.
    Raises: OptionError: p is outside [0, 1).
    Source: Srivastava et al. 2014, section 4; scaled in training ("inverted"), so that evaluation is bare.
    """

    def __init__(self, p: float = 0.5, *, seed: int | Generator | None = None) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise OptionError(f"Dropout's p must be at least 0 and less than 1; got {p}. Take 0.1 to 0.5.")
        self.p, self.generators = p, [generator_of(seed)]

    def forward(self, x: Array) -> Array:
        needs_array("Dropout", x)
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
