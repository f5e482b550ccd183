"""Gates: numbers that decide how much of themselves passes, or of another half."""

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations._errors import OptionError, ShapeError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._elementwise import check_floating, conjugate, elementwise, kept, written
from nnfoundations.nn._override import overridable

__all__ = ["GELU", "GLU", "Mish", "SiLU", "SwiGLU", "Swish", "gelu", "glu", "mish", "silu", "swiglu"]

_silu = elementwise(formulas.silu, formulas.silu_backward, conjugate(formulas.silu_backward))
_gelu = elementwise(formulas.gelu, formulas.gelu_backward)
_gelu_tanh = elementwise(formulas.gelu_tanh, formulas.gelu_tanh_backward)
_mish = elementwise(formulas.mish, formulas.mish_backward)
_glu = elementwise(formulas.glu, formulas.glu_backward, formulas.glu_jvp)
_swiglu = elementwise(formulas.swiglu, formulas.swiglu_backward, formulas.swiglu_jvp)


@overridable
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """y = x sigmoid(x). Drop-in for torch.nn.functional.silu."""
    check_floating("SiLU", input, complex_too=True)
    return written(input, _silu(kept(input, inplace)), inplace)


@overridable
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """y = x tanh(log(1 + e^x)). Drop-in for torch.nn.functional.mish."""
    check_floating("Mish", input)
    return written(input, _mish(kept(input, inplace)), inplace)


@overridable
def gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
    """y = x P(X < x) for a standard normal X. Drop-in for torch.nn.functional.gelu."""
    check_floating("GELU", input)
    if approximate not in ("none", "tanh"):
        raise OptionError(f"GELU needs approximate 'none' or 'tanh'; got {approximate!r}. Take 'none'.")
    return _gelu_tanh(input) if approximate == "tanh" else _gelu(input)


@overridable
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """y = a sigmoid(b) for the halves a, b of an axis. Drop-in for torch.nn.functional.glu."""
    _check("GLU", input, dim)
    return _glu(input, axis=dim)


@overridable
def swiglu(input: Tensor, dim: int = -1) -> Tensor:
    """y = silu(a) b for the halves a, b of an axis."""
    _check("SwiGLU", input, dim)
    return _swiglu(input, axis=dim)


def _check(name: str, x: Tensor, dim: int) -> None:
    check_floating(name, x)
    if x.ndim == 0:
        raise ShapeError(f"{name} needs an axis to halve; got a scalar. Give x an axis of even size.")
    if x.shape[dim] % 2:
        raise ShapeError(
            f"{name} needs an even size on axis {dim}; got {tuple(x.shape)}. "
            "Let the layer before it give twice the features that are wanted after it."
        )


class SiLU(torch.nn.SiLU, metaclass=DropIn):
    r"""Let every number gate itself: its share that passes is its own sigmoid.

    .. math:: y = x \, \sigma(x), \qquad y' = \sigma(x) (1 + x (1 - \sigma(x)))

    Saturates below, at zero, after a dip to -0.28 at x = -1.28; not above. A smooth ReLU for deep networks;
    also known as Swish.

    Shape: x `(*)` -> `(*)`.
    Args: inplace: write y over x.
    Raises: DtypeError: x is no floating-point or complex tensor.
    Source: Elfwing et al. 2017, Ramachandran et al. 2017. Drop-in for torch.nn.SiLU.

    >>> SiLU()(torch.tensor([-2.0, 0.5, 2.0]))
    tensor([-0.2384,  0.3112,  1.7616])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return silu(input, self.inplace)


Swish = SiLU


class GELU(torch.nn.GELU, metaclass=DropIn):
    r"""Let every number pass with the chance that a normal one is smaller.

    .. math:: y = x \, \Phi(x), \qquad y' = \Phi(x) + x \, \varphi(x), \qquad
        \Phi(x) = \tfrac{1}{2} (1 + \mathrm{erf}(x / \sqrt{2})), \qquad
        \varphi(x) = e^{-x^2 / 2} / \sqrt{2 \pi}

    Saturates below, at zero, after a dip to -0.17 at x = -0.75; not above. For transformers.

    Shape: x `(*)` -> `(*)`.
    Args: approximate: "tanh" replaces the error function by tanh of a cubic, as older models do; they differ
        by at most 0.0005.
    Raises: OptionError: another approximation. DtypeError: x is no floating-point tensor.
    Source: Hendrycks and Gimpel 2016. Drop-in for torch.nn.GELU.

    >>> GELU()(torch.tensor([-2.0, 0.5, 2.0]))
    tensor([-0.0455,  0.3457,  1.9545])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return gelu(input, approximate=self.approximate)


class Mish(torch.nn.Mish, metaclass=DropIn):
    r"""A SiLU with another gate, of bounded bend.

    .. math:: y = x \, t, \qquad y' = t + x \, \sigma(x) (1 - t^2), \qquad t = \tanh \log(1 + e^x)

    Saturates below, at zero, after a dip to -0.31 at x = -1.19; not above. For detectors of the YOLO family.

    Shape: x `(*)` -> `(*)`.
    Args: inplace: write y over x.
    Raises: DtypeError: x is no floating-point tensor.
    Source: Misra 2019. Drop-in for torch.nn.Mish.

    >>> Mish()(torch.tensor([-2.0, 0.5, 2.0]))
    tensor([-0.2525,  0.3752,  1.9440])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return mish(input, self.inplace)


class GLU(torch.nn.GLU, metaclass=DropIn):
    r"""Let one half of the features decide how much of the other passes.

    .. math:: y = a \, \sigma(b), \qquad \frac{\partial y}{\partial a} = \sigma(b), \qquad
        \frac{\partial y}{\partial b} = a \, \sigma(b) (1 - \sigma(b))

    Where the gate is shut, both gradients vanish; the path through a is linear where it is open, so that deep
    stacks train. For convolutional and feed-forward layers of sequence models.

    Shape: x `(*, 2 D, *)` -> `(*, D, *)`.
    Args: dim: the axis that is halved.
    Raises: ShapeError: the size of that axis is odd. DtypeError: x is no floating-point tensor.
    Source: Dauphin et al. 2017. Drop-in for torch.nn.GLU.

    >>> GLU()(torch.tensor([1.0, 2.0, 0.0, -1.0]))
    tensor([0.5000, 0.5379])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*, 2 D, *) -> (*, D, *)."""
        return glu(input, self.dim)


class SwiGLU(torch.nn.Module):
    r"""Gate one half of the features by the SiLU of the other.

    .. math:: y = \mathrm{silu}(a) \, b, \qquad \frac{\partial y}{\partial a} = b \, \mathrm{silu}'(a),
        \qquad \frac{\partial y}{\partial b} = \mathrm{silu}(a), \qquad \mathrm{silu}(a) = a \, \sigma(a)

    The first half gates, the second is gated. Does not saturate above; where a is far below zero, both
    gradients vanish. For the feed-forward layers of transformers.

    Shape: x `(*, 2 D, *)` -> `(*, D, *)`.
    Args: dim: the axis that is halved.
    Raises: ShapeError: the size of that axis is odd. DtypeError: x is no floating-point tensor.
    Source: Shazeer 2020. Torch has no such module; its parts are torch.nn.SiLU and a product.

    >>> SwiGLU()(torch.tensor([1.0, 2.0, 3.0, -1.0]))
    tensor([ 2.1932, -1.7616])
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """(*, 2 D, *) -> (*, D, *)."""
        return swiglu(input, self.dim)

    def extra_repr(self) -> str:
        """The axis."""
        return f"dim={self.dim}"
