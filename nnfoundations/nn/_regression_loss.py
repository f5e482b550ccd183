"""Losses for regression: `mse_loss`, `l1_loss` and their modules.

There are three ways to write your own loss. The first is a plain function; autograd finds its gradient:

>>> import math
>>> def log_cosh(input, target):
...     residual = input - target
...     return (torch.logaddexp(residual, -residual) - math.log(2)).mean()
>>> log_cosh(torch.tensor([0.0, 2.0]), torch.zeros(2))
tensor(0.6625)

The second puts a weight on each element of an existing loss without reduction:

>>> weight = torch.tensor([1.0, 3.0])
>>> (weight * mse_loss(torch.tensor([1.0, 2.0]), torch.zeros(2), reduction="none")).sum() / weight.sum()
tensor(3.2500)

The third is a formula with an explicit gradient. It saves only what it names, is rounded once in half
precision, and runs in `torch.func`, forward mode, `torch.compile` and NumPy. `needs` says which inputs have a
gradient, and what that gradient reads:

>>> from nnfoundations.nn import Operation, OperationSpec
>>> def relative_error(x, target, *, xp):
...     return xp.mean(xp.square(x / target - 1))
>>> def relative_error_backward(grad_output, x, target, *, xp):
...     return 2 * grad_output / math.prod(x.shape) * (x / target - 1) / target
>>> def relative_error_jvp(tangent, x, target, *, xp):
...     return xp.mean(2 * (x / target - 1) * tangent / target)
>>> needs = {"x": ("x", "target")}
>>> spec = OperationSpec(relative_error, relative_error_backward, relative_error_jvp, needs=needs)
>>> relative = Operation(spec)
>>> x = torch.tensor([1.0, 3.0], requires_grad=True)
>>> loss = relative(x, torch.tensor([2.0, 2.0]))
>>> loss, torch.autograd.grad(loss, x)
(tensor(0.2500, grad_fn=<RelativeErrorBackward>), (tensor([-0.2500,  0.2500]),))
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations.errors import DtypeError, ShapeError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._loss_arguments import broadcast, promote_dtypes, resolve_reduction
from nnfoundations.nn._operation import Operation, autocast_enabled
from nnfoundations.nn._operation_spec import OperationSpec
from nnfoundations.nn._torch_function import supports_torch_function

__all__ = ["L1_LOSS", "L1Loss", "MSELoss", "apply_weight", "l1_loss", "l1_residual", "mse_loss", "pair_loss"]

_NEEDS_BOTH = {"x": ("x", "target"), "target": ("x", "target")}


def pair_loss(
    forward: Callable[..., Any], backward: Callable[..., Any], jvp: Callable[..., Any]
) -> Operation:
    """Build the operation of a loss with gradients for prediction and target."""
    return Operation(OperationSpec(forward, backward, jvp, needs=_NEEDS_BOTH, autocast="float32"))


_mse_loss = pair_loss(formulas.mse_loss, formulas.mse_loss_backward, formulas.mse_loss_jvp)
L1_LOSS = Operation(
    OperationSpec(
        formulas.l1_loss,
        formulas.l1_loss_backward,
        formulas.l1_loss_jvp,
        needs={"residual": ("residual",)},
        autocast="float32",
    )
)
_weighted_loss = Operation(
    OperationSpec(
        formulas.weighted_loss,
        formulas.weighted_loss_backward,
        formulas.weighted_loss_jvp,
        needs={"loss": ("loss", "weight"), "weight": ("loss", "weight")},
    )
)


@supports_torch_function
def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """Compute the squared error (x - t)^2; with weights, the mean is weighted.

    Drop-in for torch.nn.functional.mse_loss.

    Args:
        input: prediction `(*)`.
        target: `(*)`.
        size_average: deprecated; use `reduction`.
        reduce: deprecated; use `reduction`.
        reduction: "mean", "sum" or "none".
        weight: one factor per element, `(*)`.

    Returns:
        The loss: a scalar, or `(*)` for reduction "none".

    Raises:
        ShapeError: input, target or weight have incompatible shapes.
        DtypeError: neither input nor target is floating-point, or one is complex.
    """
    reduction = resolve_reduction("MSELoss", reduction, size_average, reduce)
    x, t = promote_dtypes("MSELoss", *broadcast("MSELoss", input, target))
    if weight is not None:
        return apply_weight("MSELoss", _mse_loss(x, t, reduction="none"), input, weight, reduction)
    loss: Tensor = _mse_loss(x, t, reduction=reduction)
    return loss


@supports_torch_function
def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """Compute the absolute error |x - t|; with weights, the mean is weighted.

    Drop-in for torch.nn.functional.l1_loss.

    Args:
        input: prediction `(*)`.
        target: `(*)`.
        size_average: deprecated; use `reduction`.
        reduce: deprecated; use `reduction`.
        reduction: "mean", "sum" or "none".
        weight: one factor per element, `(*)`.

    Returns:
        The loss: a scalar, or `(*)` for reduction "none".

    Raises:
        ShapeError: input, target or weight have incompatible shapes.
        DtypeError: input or target is boolean, or the mean of integers is asked for.
    """
    reduction = resolve_reduction("L1Loss", reduction, size_average, reduce)
    residual = l1_residual(*broadcast("L1Loss", input, target), reduction)
    if weight is not None:
        return apply_weight("L1Loss", L1_LOSS(residual, reduction="none"), input, weight, reduction)
    loss: Tensor = L1_LOSS(residual, reduction=reduction)
    return loss


def l1_residual(x: Tensor, target: Tensor, reduction: str) -> Tensor:
    """Compute x - t, in float32 under autocast. It is all that the L1 loss reads and saves."""
    if torch.bool in (x.dtype, target.dtype):
        raise DtypeError(
            f"L1Loss needs numbers; got {x.dtype} and {target.dtype}. Convert them with .to(torch.float32)."
        )
    if autocast_enabled(x):
        x, target = (y.float() if y.is_floating_point() and y.itemsize == 2 else y for y in (x, target))
    residual = x - target
    if reduction == "mean" and not (residual.is_floating_point() or residual.is_complex()):
        raise DtypeError(
            f"L1Loss needs a floating-point prediction or target for a mean; got {residual.dtype}. "
            "Convert the prediction with .to(torch.float32)."
        )
    return residual


def apply_weight(
    name: str, loss: Tensor, input: Tensor, weight: Tensor, reduction: str, *, by_weight: bool = True
) -> Tensor:
    """Weight the losses of the elements, then reduce; `by_weight` divides a mean by the sum of weights."""
    if weight.shape != input.shape:
        raise ShapeError(
            f"{name} needs a weight of the prediction's shape {tuple(input.shape)}; got "
            f"{tuple(weight.shape)}. Expand the weight."
        )
    repeats = 1 if weight.shape == loss.shape else loss.numel() // max(weight.numel(), 1)
    dtype = torch.promote_types(loss.dtype, weight.dtype)
    found: Tensor = _weighted_loss(
        loss.to(dtype), weight.to(dtype).expand_as(loss), reduction=reduction, by_weight=by_weight
    )
    # Torch divides by the sum of the given weights, even if a larger target repeats them.
    return found * repeats if repeats > 1 and by_weight and reduction == "mean" else found


class MSELoss(torch.nn.MSELoss, metaclass=DropIn):
    r"""Mean squared error; the best constant prediction is the mean of the targets.

    .. math:: \ell = (x - t)^2, \qquad \frac{\partial \ell}{\partial x} = 2 (x - t)

    Does not saturate: the gradient grows with the error, so a few outliers can dominate a batch; use
    HuberLoss then. Use it for regression with errors of similar size.

    Shape:
        input: `(*)`.
        target: `(*)`.
        output: scalar, or `(*)` for reduction "none".

    Args:
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: input and target do not broadcast.
        DtypeError: neither input nor target is floating-point, or one is complex.

    Source:
        Drop-in for torch.nn.MSELoss.

    Example:
        >>> MSELoss()(torch.tensor([-3.0, -0.5, 0.5, 3.0]), torch.zeros(4))
        tensor(4.6250)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compute the loss."""
        return mse_loss(input, target, reduction=self.reduction)


class L1Loss(torch.nn.L1Loss, metaclass=DropIn):
    r"""Mean absolute error; the best constant prediction is the median of the targets.

    .. math:: \ell = |x - t|, \qquad \frac{\partial \ell}{\partial x} = \mathrm{sign}(x - t)

    The gradient has the same size at every distance, and is 0 at x = t. Outliers count no more than other
    samples, but steps do not get smaller near the minimum; use HuberLoss then. Complex numbers are allowed.

    Shape:
        input: `(*)`.
        target: `(*)`.
        output: scalar, or `(*)` for reduction "none".

    Args:
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: input and target do not broadcast.
        DtypeError: input or target is boolean, or the mean of integers is asked for.

    Source:
        Drop-in for torch.nn.L1Loss.

    Example:
        >>> L1Loss()(torch.tensor([-3.0, -0.5, 0.5, 3.0]), torch.zeros(4))
        tensor(1.7500)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compute the loss."""
        return l1_loss(input, target, reduction=self.reduction)
