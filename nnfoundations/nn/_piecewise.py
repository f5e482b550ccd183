"""Straight pieces: clipped, shrunk and cut activations."""

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations._errors import OptionError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._elementwise import check_floating, check_real, elementwise, kept, written
from nnfoundations.nn._override import overridable

__all__ = [
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "ReLU6",
    "Softshrink",
    "Threshold",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "relu6",
    "softshrink",
    "threshold",
]

_hardtanh = elementwise(formulas.hardtanh, formulas.hardtanh_backward)
_hardsigmoid = elementwise(formulas.hardsigmoid, formulas.hardsigmoid_backward)
_hardswish = elementwise(formulas.hardswish, formulas.hardswish_backward)
_hardshrink = elementwise(formulas.hardshrink, formulas.hardshrink_backward)
_softshrink = elementwise(formulas.softshrink, formulas.softshrink_backward)
_threshold = elementwise(formulas.threshold, formulas.threshold_backward)


@overridable
def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """y = min(max(x, low), high). Drop-in for torch.nn.functional.hardtanh."""
    return _clipped("Hardtanh", input, min_val, max_val, inplace)


@overridable
def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """y = min(max(x, 0), 6). Drop-in for torch.nn.functional.relu6."""
    return _clipped("ReLU6", input, 0.0, 6.0, inplace)


def _clipped(name: str, x: Tensor, low: float, high: float, inplace: bool) -> Tensor:
    check_real(name, x)
    if low > high:
        raise OptionError(f"{name} needs min_val <= max_val; got {low} and {high}. Swap them.")
    if not x.is_floating_point():
        low, high = int(low), int(high)  # or integers would become float32
    return written(x, _hardtanh(kept(x, inplace), low=low, high=high), inplace)


@overridable
def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """y = x where x > threshold, else value. Drop-in for torch.nn.functional.threshold."""
    check_real("Threshold", input)
    if not input.is_floating_point():
        threshold, value = int(threshold), int(value)
    return written(input, _threshold(kept(input, inplace), threshold=threshold, value=value), inplace)


@overridable
def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """y = min(max(x + 3, 0), 6) / 6. Drop-in for torch.nn.functional.hardsigmoid."""
    check_floating("Hardsigmoid", input)
    return written(input, _hardsigmoid(kept(input, inplace)), inplace)


@overridable
def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """y = x min(max(x + 3, 0), 6) / 6. Drop-in for torch.nn.functional.hardswish."""
    check_floating("Hardswish", input)
    return written(input, _hardswish(kept(input, inplace)), inplace)


@overridable
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """y = x where |x| > lambda, else 0. Drop-in for torch.nn.functional.hardshrink."""
    check_floating("Hardshrink", input)
    return _hardshrink(input, lambd=lambd)


@overridable
def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """y = x - min(max(x, -lambda), lambda). Drop-in for torch.nn.functional.softshrink."""
    check_floating("Softshrink", input)
    if not lambd >= 0:
        raise OptionError(f"Softshrink needs a lambd of at least 0; got {lambd}. Take 0.5.")
    return _softshrink(input, lambd=lambd)


class Hardtanh(torch.nn.Hardtanh, metaclass=DropIn):
    r"""Cut off what is below one bound or above the other.

    .. math:: y = \min(\max(x, l), h), \qquad y' = [l < x < h]

    Saturates fully beyond both bounds: a unit that stays there gets no gradient. For bounded outputs.

    Shape: x `(*)` -> `(*)`.
    Args: min_val, max_val: l and h. inplace: write y over x.
    Raises: DtypeError: x is boolean or complex.
    Source: Collobert 2004. Drop-in for torch.nn.Hardtanh.

    >>> Hardtanh()(torch.tensor([-2.0, 0.5, 2.0]))
    tensor([-1.0000,  0.5000,  1.0000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return hardtanh(input, self.min_val, self.max_val, self.inplace)


class ReLU6(torch.nn.ReLU6, metaclass=DropIn):
    r"""A ReLU with a ceiling of 6, so that few bits hold its values.

    .. math:: y = \min(\max(x, 0), 6), \qquad y' = [0 < x < 6]

    Saturates fully on both sides. For networks that will be quantised.

    Shape: x `(*)` -> `(*)`.
    Args: inplace: write y over x.
    Raises: DtypeError: x is boolean or complex.
    Source: Krizhevsky 2010. Drop-in for torch.nn.ReLU6.

    >>> ReLU6()(torch.tensor([-2.0, 0.5, 8.0]))
    tensor([0.0000, 0.5000, 6.0000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return hardtanh(input, self.min_val, self.max_val, self.inplace)


class Hardsigmoid(torch.nn.Hardsigmoid, metaclass=DropIn):
    r"""A sigmoid of three straight pieces.

    .. math:: y = \frac{1}{6} \min(\max(x + 3, 0), 6), \qquad y' = \frac{1}{6} [-3 < x < 3]

    Saturates fully beyond -3 and 3. Where an exponential costs too much.

    Shape: x `(*)` -> `(*)`.
    Args: inplace: write y over x.
    Raises: DtypeError: x is no floating-point tensor.
    Source: Courbariaux et al. 2015. Drop-in for torch.nn.Hardsigmoid.

    >>> Hardsigmoid()(torch.tensor([-2.0, 0.5, 2.0]))
    tensor([0.1667, 0.5833, 0.8333])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return hardsigmoid(input, self.inplace)


class Hardswish(torch.nn.Hardswish, metaclass=DropIn):
    r"""A SiLU of two straight pieces and a parabola.

    .. math:: y = \frac{x}{6} \min(\max(x + 3, 0), 6), \qquad y' = \begin{cases} 0 & x \le -3 \\
        x / 3 + 1/2 & -3 < x < 3 \\ 1 & x \ge 3 \end{cases}

    Saturates fully below -3. For small devices, where an exponential costs too much.

    Shape: x `(*)` -> `(*)`.
    Args: inplace: write y over x.
    Raises: DtypeError: x is no floating-point tensor.
    Source: Howard et al. 2019. Drop-in for torch.nn.Hardswish.

    >>> Hardswish()(torch.tensor([-2.0, 0.5, 2.0]))
    tensor([-0.3333,  0.2917,  1.6667])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return hardswish(input, self.inplace)


class Hardshrink(torch.nn.Hardshrink, metaclass=DropIn):
    r"""Set what is small to zero, leave the rest.

    .. math:: y = x \, [|x| > \lambda], \qquad y' = [|x| > \lambda]

    Jumps at lambda, and is flat between: small values get no gradient. For sparse codes.

    Shape: x `(*)` -> `(*)`.
    Args: lambd: lambda.
    Raises: DtypeError: x is no floating-point tensor.
    Source: Donoho and Johnstone 1994. Drop-in for torch.nn.Hardshrink.

    >>> Hardshrink()(torch.tensor([-2.0, 0.5, 2.0]))
    tensor([-2.,  0.,  2.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return hardshrink(input, self.lambd)


class Softshrink(torch.nn.Softshrink, metaclass=DropIn):
    r"""Move every number towards zero by lambda, and not past it.

    .. math:: y = x - \min(\max(x, -\lambda), \lambda), \qquad y' = [|x| > \lambda]

    Flat between: small values get no gradient. The step of a Lasso.

    Shape: x `(*)` -> `(*)`.
    Args: lambd: lambda, at least 0.
    Raises: OptionError: lambd is below 0. DtypeError: x is no floating-point tensor.
    Source: Donoho 1995. Drop-in for torch.nn.Softshrink.

    >>> Softshrink()(torch.tensor([-2.0, 0.5, 2.0]))
    tensor([-1.5000,  0.0000,  1.5000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return softshrink(input, self.lambd)


class Threshold(torch.nn.Threshold, metaclass=DropIn):
    r"""Replace what is not above a threshold by one value.

    .. math:: y = \begin{cases} x & x > t \\ v & \text{else} \end{cases}, \qquad y' = [x > t]

    Flat below the threshold, where no gradient passes.

    Shape: x `(*)` -> `(*)`.
    Args: threshold: t. value: v. inplace: write y over x.
    Raises: DtypeError: x is boolean or complex.
    Source: drop-in for torch.nn.Threshold.

    >>> Threshold(0.1, 20.0)(torch.tensor([-2.0, 0.5, 2.0]))
    tensor([20.0000,  0.5000,  2.0000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*) -> (*)."""
        return threshold(input, self.threshold, self.value, self.inplace)
