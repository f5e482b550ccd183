"""Robust losses for regression: `huber_loss`, `smooth_l1_loss` and their modules."""

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations.errors import DtypeError, OptionError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._loss_arguments import broadcast, promote_dtypes, resolve_reduction
from nnfoundations.nn._operation import autocast_enabled
from nnfoundations.nn._regression_loss import L1_LOSS, apply_weight, l1_residual, pair_loss
from nnfoundations.nn._torch_function import supports_torch_function

__all__ = ["HuberLoss", "SmoothL1Loss", "huber_loss", "smooth_l1_loss"]

_huber_loss = pair_loss(formulas.huber_loss, formulas.huber_loss_backward, formulas.huber_loss_jvp)
_smooth_l1_loss = pair_loss(
    formulas.smooth_l1_loss, formulas.smooth_l1_loss_backward, formulas.smooth_l1_loss_jvp
)


@supports_torch_function
def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Compute z^2 / 2 if |z| < delta, else delta (|z| - delta / 2), with z = x - t.

    Drop-in for torch.nn.functional.huber_loss.

    Args:
        input: prediction `(*)`.
        target: `(*)`.
        reduction: "mean", "sum" or "none".
        delta: distance at which the parabola ends, above 0.
        weight: one factor per element, `(*)`.

    Returns:
        The loss: a scalar, or `(*)` for reduction "none".

    Raises:
        ShapeError: input, target or weight have incompatible shapes.
        DtypeError: the prediction is not floating-point, or one of the two is complex.
        OptionError: delta is not above 0.
    """
    reduction = resolve_reduction("HuberLoss", reduction)
    if not delta > 0:
        raise OptionError(f"HuberLoss needs a delta above 0; got {delta}. Use 1.0, or L1Loss for 0.")
    x, t = _to_prediction_dtype("HuberLoss", *broadcast("HuberLoss", input, target))
    if weight is not None:
        loss = _huber_loss(x, t, reduction="none", delta=delta)
        return apply_weight("HuberLoss", loss, input, weight, reduction, by_weight=False)
    mean: Tensor = _huber_loss(x, t, reduction=reduction, delta=delta)
    return mean


@supports_torch_function
def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """Compute z^2 / (2 beta) if |z| < beta, else |z| - beta / 2, with z = x - t.

    Drop-in for torch.nn.functional.smooth_l1_loss.

    Args:
        input: prediction `(*)`.
        target: `(*)`.
        size_average: deprecated; use `reduction`.
        reduce: deprecated; use `reduction`.
        reduction: "mean", "sum" or "none".
        beta: distance at which the parabola ends, at least 0.

    Returns:
        The loss: a scalar, or `(*)` for reduction "none".

    Raises:
        ShapeError: input and target do not broadcast.
        DtypeError: neither input nor target is floating-point, or one is complex.
        OptionError: beta is negative.
    """
    reduction = resolve_reduction("SmoothL1Loss", reduction, size_average, reduce)
    if not beta >= 0:
        raise OptionError(f"SmoothL1Loss needs a beta of at least 0; got {beta}. Use 1.0, or 0 for L1Loss.")
    x, t = broadcast("SmoothL1Loss", input, target)
    loss: Tensor
    if beta == 0:
        loss = L1_LOSS(l1_residual(x, t, reduction), reduction=reduction)
        return loss
    loss = _smooth_l1_loss(*promote_dtypes("SmoothL1Loss", x, t), reduction=reduction, beta=beta)
    return loss


def _to_prediction_dtype(name: str, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if x.dtype == target.dtype or autocast_enabled(x):
        return promote_dtypes(name, x, target)
    if not x.is_floating_point() or target.is_complex():
        raise DtypeError(
            f"{name} needs a floating-point prediction and a real target; got {x.dtype} and {target.dtype}. "
            "Convert the prediction with .to(torch.float32)."
        )
    return x, target.to(x.dtype)


class HuberLoss(torch.nn.HuberLoss, metaclass=DropIn):
    r"""Squared error near the target, absolute error far from it.

    .. math:: \ell = \begin{cases} z^2 / 2 & |z| < \delta \\ \delta (|z| - \delta / 2) & \text{else}
        \end{cases}, \qquad \frac{\partial \ell}{\partial x} = \max(-\delta, \min(z, \delta)),
        \qquad z = x - t

    Beyond delta the gradient stays at delta, which limits the influence of outliers. Set delta to the size of
    a typical error.

    Shape:
        input: `(*)`.
        target: `(*)`.
        output: scalar, or `(*)` for reduction "none".

    Args:
        reduction: "mean", "sum" or "none".
        delta: distance at which the parabola ends, above 0.

    Raises:
        ShapeError: input and target do not broadcast.
        DtypeError: neither input nor target is floating-point, or one is complex.
        OptionError: delta is not above 0.

    Source:
        Huber 1964. Drop-in for torch.nn.HuberLoss.

    Example:
        >>> HuberLoss()(torch.tensor([-3.0, -0.5, 0.5, 3.0]), torch.zeros(4))
        tensor(1.3125)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compute the loss."""
        return huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class SmoothL1Loss(torch.nn.SmoothL1Loss, metaclass=DropIn):
    r"""HuberLoss divided by beta: an absolute error that is smooth at zero.

    .. math:: \ell = \begin{cases} z^2 / (2 \beta) & |z| < \beta \\ |z| - \beta / 2 & \text{else}
        \end{cases}, \qquad \frac{\partial \ell}{\partial x} = \max(-1, \min(z / \beta, 1)),
        \qquad z = x - t

    Beyond beta the gradient is 1 at every distance, for every beta. Use it for coordinates of bounding boxes;
    beta = 0 gives L1Loss.

    Shape:
        input: `(*)`.
        target: `(*)`.
        output: scalar, or `(*)` for reduction "none".

    Args:
        reduction: "mean", "sum" or "none".
        beta: distance at which the parabola ends, at least 0.

    Raises:
        ShapeError: input and target do not broadcast.
        DtypeError: neither input nor target is floating-point, or one is complex.
        OptionError: beta is negative.

    Source:
        Girshick 2015, eq. 3. Drop-in for torch.nn.SmoothL1Loss.

    Example:
        >>> SmoothL1Loss(beta=2.0)(torch.tensor([-3.0, -0.5, 0.5, 3.0]), torch.zeros(4))
        tensor(1.0312)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compute the loss."""
        return smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)
