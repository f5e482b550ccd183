"""Gated activations: a factor decides how much of the input, or of its other half, passes."""

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations.errors import OptionError, ShapeError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._elementwise import (
    check_floating,
    clone_if_inplace,
    conjugate_jvp,
    elementwise,
    write_if_inplace,
)
from nnfoundations.nn._torch_function import supports_torch_function

__all__ = ["GELU", "GLU", "Mish", "SiLU", "SwiGLU", "Swish", "gelu", "glu", "mish", "silu", "swiglu"]

_silu = elementwise(formulas.silu, formulas.silu_backward, conjugate_jvp(formulas.silu_backward))
_gelu = elementwise(formulas.gelu, formulas.gelu_backward)
_gelu_tanh = elementwise(formulas.gelu_tanh, formulas.gelu_tanh_backward)
_mish = elementwise(formulas.mish, formulas.mish_backward)
_glu = elementwise(formulas.glu, formulas.glu_backward, formulas.glu_jvp)
_swiglu = elementwise(formulas.swiglu, formulas.swiglu_backward, formulas.swiglu_jvp)


@supports_torch_function
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """Apply SiLU, also called Swish: y = x sigmoid(x).

    Drop-in for torch.nn.functional.silu.

    Args:
        input: tensor of any shape.
        inplace: write the result into `input`.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        DtypeError: input is neither a floating-point nor a complex tensor.
    """
    check_floating("SiLU", input, complex_too=True)
    return write_if_inplace(input, _silu(clone_if_inplace(input, inplace)), inplace)


@supports_torch_function
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """Apply Mish: y = x tanh(log(1 + e^x)).

    Drop-in for torch.nn.functional.mish.

    Args:
        input: tensor of any shape.
        inplace: write the result into `input`.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        DtypeError: input is not a floating-point tensor.
    """
    check_floating("Mish", input)
    return write_if_inplace(input, _mish(clone_if_inplace(input, inplace)), inplace)


@supports_torch_function
def gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
    """Apply GELU: y = x P(X < x), with X standard normal.

    Drop-in for torch.nn.functional.gelu.

    Args:
        input: tensor of any shape.
        approximate: "none" or "tanh".

    Returns:
        Tensor with the shape of `input`.

    Raises:
        OptionError: approximate has another value.
        DtypeError: input is not a floating-point tensor.
    """
    check_floating("GELU", input)
    if approximate not in ("none", "tanh"):
        raise OptionError(f"GELU needs approximate 'none' or 'tanh'; got {approximate!r}. Use 'none'.")
    return _gelu_tanh(input) if approximate == "tanh" else _gelu(input)


@supports_torch_function
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """Multiply the first half a of an axis by the sigmoid of the second half b: y = a sigmoid(b).

    Drop-in for torch.nn.functional.glu.

    Args:
        input: `(*, 2 D, *)`.
        dim: axis that is halved.

    Returns:
        Tensor `(*, D, *)`.

    Raises:
        ShapeError: the size of that axis is odd.
        DtypeError: input is not a floating-point tensor.
    """
    _check("GLU", input, dim)
    return _glu(input, axis=dim)


@supports_torch_function
def swiglu(input: Tensor, dim: int = -1) -> Tensor:
    """Multiply the SiLU of the first half a of an axis by the second half b: y = silu(a) b.

    Args:
        input: `(*, 2 D, *)`.
        dim: axis that is halved.

    Returns:
        Tensor `(*, D, *)`.

    Raises:
        ShapeError: the size of that axis is odd.
        DtypeError: input is not a floating-point tensor.
    """
    _check("SwiGLU", input, dim)
    return _swiglu(input, axis=dim)


def _check(name: str, x: Tensor, dim: int) -> None:
    check_floating(name, x)
    if x.ndim == 0:
        raise ShapeError(f"{name} needs an axis to halve; got a scalar. Give x an axis of even size.")
    if x.shape[dim] % 2:
        raise ShapeError(
            f"{name} needs an even size on axis {dim}; got {tuple(x.shape)}. "
            "The previous layer must give twice as many features as the next one needs."
        )


class SiLU(torch.nn.SiLU, metaclass=DropIn):
    r"""Multiply every number by its own sigmoid.

    .. math:: y = x \, \sigma(x), \qquad y' = \sigma(x) (1 + x (1 - \sigma(x)))

    Saturates for very negative x, at zero, after a minimum of -0.28 at x = -1.28; it does not saturate for
    positive x. It is a smooth ReLU for deep networks, also known as Swish.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Args:
        inplace: write the result into `input`.

    Raises:
        DtypeError: input is neither a floating-point nor a complex tensor.

    Source:
        Elfwing et al. 2017, Ramachandran et al. 2017. Drop-in for torch.nn.SiLU.

    Example:
        >>> SiLU()(torch.tensor([-2.0, 0.5, 2.0]))
        tensor([-0.2384,  0.3112,  1.7616])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return silu(input, self.inplace)


Swish = SiLU


class GELU(torch.nn.GELU, metaclass=DropIn):
    r"""Multiply every number by the probability that a standard normal variable is smaller.

    .. math:: y = x \, \Phi(x), \qquad y' = \Phi(x) + x \, \varphi(x), \qquad
        \Phi(x) = \tfrac{1}{2} (1 + \mathrm{erf}(x / \sqrt{2})), \qquad
        \varphi(x) = e^{-x^2 / 2} / \sqrt{2 \pi}

    Saturates for very negative x, at zero, after a minimum of -0.17 at x = -0.75; it does not saturate for
    positive x. Use it in transformers.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Args:
        approximate: "none", or "tanh" for the approximation with tanh of a cubic, as in older models; they
            differ by at most 0.0005.

    Raises:
        OptionError: approximate has another value.
        DtypeError: input is not a floating-point tensor.

    Source:
        Hendrycks and Gimpel 2016. Drop-in for torch.nn.GELU.

    Example:
        >>> GELU()(torch.tensor([-2.0, 0.5, 2.0]))
        tensor([-0.0455,  0.3457,  1.9545])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return gelu(input, approximate=self.approximate)


class Mish(torch.nn.Mish, metaclass=DropIn):
    r"""Multiply every number by tanh of its softplus.

    .. math:: y = x \, t, \qquad y' = t + x \, \sigma(x) (1 - t^2), \qquad t = \tanh \log(1 + e^x)

    Saturates for very negative x, at zero, after a minimum of -0.31 at x = -1.19; it does not saturate for
    positive x. Used in detectors of the YOLO family.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Args:
        inplace: write the result into `input`.

    Raises:
        DtypeError: input is not a floating-point tensor.

    Source:
        Misra 2019. Drop-in for torch.nn.Mish.

    Example:
        >>> Mish()(torch.tensor([-2.0, 0.5, 2.0]))
        tensor([-0.2525,  0.3752,  1.9440])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return mish(input, self.inplace)


class GLU(torch.nn.GLU, metaclass=DropIn):
    r"""Multiply the first half of the features by the sigmoid of the second half.

    .. math:: y = a \, \sigma(b), \qquad \frac{\partial y}{\partial a} = \sigma(b), \qquad
        \frac{\partial y}{\partial b} = a \, \sigma(b) (1 - \sigma(b))

    If the gate is closed, both gradients vanish. If it is open, the path through a is linear, so deep stacks
    train well. Use it in convolutional and feed-forward layers of sequence models.

    Shape:
        input: `(*, 2 D, *)`.
        output: `(*, D, *)`.

    Args:
        dim: axis that is halved.

    Raises:
        ShapeError: the size of that axis is odd.
        DtypeError: input is not a floating-point tensor.

    Source:
        Dauphin et al. 2017. Drop-in for torch.nn.GLU.

    Example:
        >>> GLU()(torch.tensor([1.0, 2.0, 0.0, -1.0]))
        tensor([0.5000, 0.5379])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return glu(input, self.dim)


class SwiGLU(torch.nn.Module):
    r"""Multiply the SiLU of the first half of the features by the second half.

    .. math:: y = \mathrm{silu}(a) \, b, \qquad \frac{\partial y}{\partial a} = b \, \mathrm{silu}'(a),
        \qquad \frac{\partial y}{\partial b} = \mathrm{silu}(a), \qquad \mathrm{silu}(a) = a \, \sigma(a)

    The first half is the gate. Does not saturate for large a; for very negative a, both gradients vanish. Use
    it in the feed-forward layers of transformers.

    Shape:
        input: `(*, 2 D, *)`.
        output: `(*, D, *)`.

    Args:
        dim: axis that is halved.

    Raises:
        ShapeError: the size of that axis is odd.
        DtypeError: input is not a floating-point tensor.

    Source:
        Shazeer 2020. Torch has no such module; it corresponds to torch.nn.SiLU and a product.

    Example:
        >>> SwiGLU()(torch.tensor([1.0, 2.0, 3.0, -1.0]))
        tensor([ 2.1932, -1.7616])
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return swiglu(input, self.dim)

    def extra_repr(self) -> str:
        """Show the axis in repr."""
        return f"dim={self.dim}"
