"""Losses of a distance: `mse_loss`, `l1_loss`, `huber_loss`, `smooth_l1_loss` and their modules.

**A loss of one's own**, in three ways. A plain function, whose gradient autograd finds:

>>> import math
>>> def log_cosh(input, target):
...     residual = input - target
...     return (torch.logaddexp(residual, -residual) - math.log(2)).mean()
>>> log_cosh(torch.tensor([0.0, 2.0]), torch.zeros(2))
tensor(0.6625)

A weight on each element of a loss that exists, without reduction:

>>> weight = torch.tensor([1.0, 3.0])
>>> (weight * mse_loss(torch.tensor([1.0, 2.0]), torch.zeros(2), reduction="none")).sum() / weight.sum()
tensor(3.2500)

A formula, with its gradient written down: it saves only what it names, is rounded once in half precision,
runs in `torch.func`, forward mode and `torch.compile`, and under NumPy. `needs` says which inputs have a
gradient, and what that gradient reads:

>>> from nnfoundations.nn import Operation, Record
>>> def relative_error(x, target, *, xp):
...     return xp.mean(xp.square(x / target - 1))
>>> def relative_error_backward(grad_output, x, target, *, xp):
...     return 2 * grad_output / math.prod(x.shape) * (x / target - 1) / target
>>> def relative_error_jvp(tangent, x, target, *, xp):
...     return xp.mean(2 * (x / target - 1) * tangent / target)
>>> relative = Operation(
...     Record(
...         relative_error, relative_error_backward, relative_error_jvp, needs={"x": ("x", "target")}
...     )
... )
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
from nnfoundations._errors import DtypeError, OptionError, ShapeError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._loss_arguments import broadcast, promoted, reduction_of
from nnfoundations.nn._operation import Operation, autocasting
from nnfoundations.nn._override import overridable
from nnfoundations.nn._record import Record

__all__ = [
    "HuberLoss",
    "L1Loss",
    "MSELoss",
    "SmoothL1Loss",
    "huber_loss",
    "l1_loss",
    "mse_loss",
    "smooth_l1_loss",
]

_BOTH = {"x": ("x", "target"), "target": ("x", "target")}


def _of_pair(forward: Callable[..., Any], backward: Callable[..., Any], jvp: Callable[..., Any]) -> Operation:
    return Operation(Record(forward, backward, jvp, needs=_BOTH, autocast="float32"))


_mse_loss = _of_pair(formulas.mse_loss, formulas.mse_loss_backward, formulas.mse_loss_jvp)
_huber_loss = _of_pair(formulas.huber_loss, formulas.huber_loss_backward, formulas.huber_loss_jvp)
_smooth_l1_loss = _of_pair(
    formulas.smooth_l1_loss, formulas.smooth_l1_loss_backward, formulas.smooth_l1_loss_jvp
)
_l1_loss = Operation(
    Record(
        formulas.l1_loss,
        formulas.l1_loss_backward,
        formulas.l1_loss_jvp,
        needs={"residual": ("residual",)},
        autocast="float32",
    )
)
_weighted_loss = Operation(
    Record(
        formulas.weighted_loss,
        formulas.weighted_loss_backward,
        formulas.weighted_loss_jvp,
        needs={"loss": ("loss", "weight"), "weight": ("loss", "weight")},
    )
)


@overridable
def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """(x - t)^2; a weighted mean is over the weights. Drop-in for torch.nn.functional.mse_loss."""
    reduction = reduction_of("MSELoss", reduction, size_average, reduce)
    x, t = promoted("MSELoss", *broadcast("MSELoss", input, target))
    if weight is not None:
        return _weighted("MSELoss", _mse_loss(x, t, reduction="none"), input, weight, reduction)
    loss: Tensor = _mse_loss(x, t, reduction=reduction)
    return loss


@overridable
def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """|x - t|; a weighted mean is over the weights. Drop-in for torch.nn.functional.l1_loss."""
    reduction = reduction_of("L1Loss", reduction, size_average, reduce)
    residual = _residual(*broadcast("L1Loss", input, target), reduction)
    if weight is not None:
        return _weighted("L1Loss", _l1_loss(residual, reduction="none"), input, weight, reduction)
    loss: Tensor = _l1_loss(residual, reduction=reduction)
    return loss


@overridable
def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """z^2 / 2 where |z| < delta, else delta (|z| - delta / 2). Drop-in for torch.nn.functional.huber_loss."""
    reduction = reduction_of("HuberLoss", reduction)
    if not delta > 0:
        raise OptionError(f"HuberLoss needs a delta above 0; got {delta}. Take 1.0, or L1Loss for 0.")
    x, t = _like_the_prediction("HuberLoss", *broadcast("HuberLoss", input, target))
    if weight is not None:
        loss = _huber_loss(x, t, reduction="none", delta=delta)
        return _weighted("HuberLoss", loss, input, weight, reduction, by_weight=False)
    mean: Tensor = _huber_loss(x, t, reduction=reduction, delta=delta)
    return mean


@overridable
def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """Huber over beta: |z| - beta / 2 far from zero. Drop-in for torch.nn.functional.smooth_l1_loss."""
    reduction = reduction_of("SmoothL1Loss", reduction, size_average, reduce)
    if not beta >= 0:
        raise OptionError(f"SmoothL1Loss needs a beta of at least 0; got {beta}. Take 1.0, or 0 for L1Loss.")
    x, t = broadcast("SmoothL1Loss", input, target)
    loss: Tensor
    if beta == 0:
        loss = _l1_loss(_residual(x, t, reduction), reduction=reduction)
        return loss
    loss = _smooth_l1_loss(*promoted("SmoothL1Loss", x, t), reduction=reduction, beta=beta)
    return loss


def _like_the_prediction(name: str, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if x.dtype == target.dtype or autocasting(x):
        return promoted(name, x, target)
    if not x.is_floating_point() or target.is_complex():
        raise DtypeError(
            f"{name} needs a floating-point prediction and a real target; got {x.dtype} and {target.dtype}. "
            "Convert the prediction with .to(torch.float32)."
        )
    return x, target.to(x.dtype)


def _residual(x: Tensor, target: Tensor, reduction: str) -> Tensor:
    """x - t, in float32 under autocast. It is all that the L1 loss reads, and all that is kept of it."""
    if torch.bool in (x.dtype, target.dtype):
        raise DtypeError(
            f"L1Loss needs numbers; got {x.dtype} and {target.dtype}. Convert them with .to(torch.float32)."
        )
    if autocasting(x):
        x, target = (y.float() if y.is_floating_point() and y.itemsize == 2 else y for y in (x, target))
    residual = x - target
    if reduction == "mean" and not (residual.is_floating_point() or residual.is_complex()):
        raise DtypeError(
            f"L1Loss needs a floating-point prediction or target for a mean; got {residual.dtype}. "
            "Convert the prediction with .to(torch.float32)."
        )
    return residual


def _weighted(
    name: str, loss: Tensor, input: Tensor, weight: Tensor, reduction: str, *, by_weight: bool = True
) -> Tensor:
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
    # Torch divides by the sum of the weights as they came, also where a larger target repeats them.
    return found * repeats if repeats > 1 and by_weight and reduction == "mean" else found


class MSELoss(torch.nn.MSELoss, metaclass=DropIn):
    r"""Mean of squared errors: of all losses the one whose best prediction is the mean.

    .. math:: \ell = (x - t)^2, \qquad \frac{\partial \ell}{\partial x} = 2 (x - t)

    Does not saturate: the gradient grows with the error, so that a few outliers can rule a batch; then take
    HuberLoss. For regression with errors of one scale.

    Shape: x `(*)`, t `(*)` -> scalar, or `(*)` with reduction "none".
    Args: reduction: "mean", "sum" or "none".
    Raises: ShapeError: the shapes do not broadcast. DtypeError: x and t are integers or complex.
    Source: drop-in for torch.nn.MSELoss.

    >>> MSELoss()(torch.tensor([-3.0, -0.5, 0.5, 3.0]), torch.zeros(4))
    tensor(4.6250)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Prediction and target -> loss."""
        return mse_loss(input, target, reduction=self.reduction)


class L1Loss(torch.nn.L1Loss, metaclass=DropIn):
    r"""Mean of absolute errors: its best prediction is the median.

    .. math:: \ell = |x - t|, \qquad \frac{\partial \ell}{\partial x} = \mathrm{sign}(x - t)

    The gradient has one size at every distance, and is 0 at x = t: outliers count no more than others, but
    near the minimum steps do not get smaller by themselves; then take HuberLoss. Complex numbers are allowed.

    Shape: x `(*)`, t `(*)` -> scalar, or `(*)` with reduction "none".
    Args: reduction: "mean", "sum" or "none".
    Raises: ShapeError: the shapes do not broadcast. DtypeError: booleans, or a mean of integers.
    Source: drop-in for torch.nn.L1Loss.

    >>> L1Loss()(torch.tensor([-3.0, -0.5, 0.5, 3.0]), torch.zeros(4))
    tensor(1.7500)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Prediction and target -> loss."""
        return l1_loss(input, target, reduction=self.reduction)


class HuberLoss(torch.nn.HuberLoss, metaclass=DropIn):
    r"""Squared near the target, absolute far from it.

    .. math:: \ell = \begin{cases} z^2 / 2 & |z| < \delta \\ \delta (|z| - \delta / 2) & \text{else}
        \end{cases}, \qquad \frac{\partial \ell}{\partial x} = \max(-\delta, \min(z, \delta)),
        \qquad z = x - t

    Beyond delta the gradient stays at delta: outliers pull, but no harder. Take delta at the size of an
    ordinary error.

    Shape: x `(*)`, t `(*)` -> scalar, or `(*)` with reduction "none".
    Args: reduction: "mean", "sum" or "none". delta: where the parabola ends, above 0.
    Raises: ShapeError: the shapes do not broadcast. DtypeError: x and t are integers or complex.
        OptionError: delta is not above 0.
    Source: Huber 1964. Drop-in for torch.nn.HuberLoss.

    >>> HuberLoss()(torch.tensor([-3.0, -0.5, 0.5, 3.0]), torch.zeros(4))
    tensor(1.3125)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Prediction and target -> loss."""
        return huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class SmoothL1Loss(torch.nn.SmoothL1Loss, metaclass=DropIn):
    r"""Huber's loss divided by beta: an absolute error whose corner is rounded.

    .. math:: \ell = \begin{cases} z^2 / (2 \beta) & |z| < \beta \\ |z| - \beta / 2 & \text{else}
        \end{cases}, \qquad \frac{\partial \ell}{\partial x} = \max(-1, \min(z / \beta, 1)),
        \qquad z = x - t

    Beyond beta the gradient is 1 at every distance, whatever beta is. For coordinates of boxes; beta 0 is
    L1Loss.

    Shape: x `(*)`, t `(*)` -> scalar, or `(*)` with reduction "none".
    Args: reduction: "mean", "sum" or "none". beta: where the parabola ends, at least 0.
    Raises: ShapeError: the shapes do not broadcast. DtypeError: x and t are integers or complex.
        OptionError: beta is below 0.
    Source: Girshick 2015, eq. 3. Drop-in for torch.nn.SmoothL1Loss.

    >>> SmoothL1Loss(beta=2.0)(torch.tensor([-3.0, -0.5, 0.5, 3.0]), torch.zeros(4))
    tensor(1.0312)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Prediction and target -> loss."""
        return smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)
