"""Elementwise losses of probabilities: binary cross-entropies and the Kullback-Leibler divergence.

The file is longer than usual because of the docstrings: each of the three losses is a class and a function.
"""

import warnings

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations.errors import DtypeError, OptionError, ShapeError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._loss_arguments import (
    broadcast,
    check_weight_has_no_gradient,
    promote_dtypes,
    resolve_reduction,
)
from nnfoundations.nn._operation import Operation, autocast_enabled, is_tracing_or_transforming
from nnfoundations.nn._operation_spec import OperationSpec
from nnfoundations.nn._torch_function import supports_torch_function

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "KLDivLoss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "kl_div",
]

_binary_cross_entropy = Operation(
    OperationSpec(
        formulas.binary_cross_entropy,
        formulas.binary_cross_entropy_backward,
        formulas.binary_cross_entropy_jvp,
        needs={"x": ("x", "target", "weight"), "target": ("x", "weight")},
        autocast="float32",
    )
)
_binary_cross_entropy_with_logits = Operation(
    OperationSpec(
        formulas.binary_cross_entropy_with_logits,
        formulas.binary_cross_entropy_with_logits_backward,
        formulas.binary_cross_entropy_with_logits_jvp,
        needs={
            "x": ("x", "target", "weight", "pos_weight"),
            "target": ("x", "weight", "pos_weight"),
        },
        autocast="float32",
    )
)
_kl_div = Operation(
    OperationSpec(
        formulas.kl_div,
        formulas.kl_div_backward,
        formulas.kl_div_jvp,
        needs={"x": ("target",), "target": ("x", "target")},
        autocast="float32",
    )
)


@supports_torch_function
def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Compute the binary cross-entropy of probabilities x: -t log x - (1 - t) log(1 - x).

    Drop-in for torch.nn.functional.binary_cross_entropy.

    Args:
        input: probabilities `(*)`, from 0 to 1.
        target: `(*)`, from 0 to 1.
        weight: factor for the loss of each element; broadcasts to `(*)`.
        size_average: deprecated; use `reduction`.
        reduce: deprecated; use `reduction`.
        reduction: "mean", "sum" or "none".

    Returns:
        The loss: a scalar, or `(*)` for reduction "none".

    Raises:
        ShapeError: input and target differ in shape, or the weight does not broadcast.
        DtypeError: input and target differ in dtype.
        OptionError: input or target is outside 0 to 1, or autocast is on for a device other than the CPU.
    """
    reduction = resolve_reduction("BCELoss", reduction, size_average, reduce)
    _check_same_shape("BCELoss", input, target)
    weight = _broadcastable_weight("BCELoss", "weight", input, weight)
    if autocast_enabled(input):
        if input.device.type != "cpu":
            raise OptionError(
                f"BCELoss is unsafe under autocast on {input.device.type}: sigmoids in half precision round "
                "to 0 or 1. Use BCEWithLogitsLoss on the values before the sigmoid."
            )
    elif target.dtype != input.dtype or not input.is_floating_point():
        raise DtypeError(
            f"BCELoss needs probabilities and targets of one floating-point dtype; got {input.dtype} and "
            f"{target.dtype}. Convert the targets with .to({input.dtype})."
        )
    _check_probabilities(input, target)
    loss: Tensor = _binary_cross_entropy(input, target, weight, reduction=reduction)
    return loss


@supports_torch_function
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Compute the binary cross-entropy of p = sigmoid(x): -t log p - (1 - t) log(1 - p).

    Drop-in for torch.nn.functional.binary_cross_entropy_with_logits.

    Args:
        input: logits `(*)`.
        target: `(*)`, from 0 to 1.
        weight: factor for the loss of each element; broadcasts to `(*)`.
        size_average: deprecated; use `reduction`.
        reduce: deprecated; use `reduction`.
        reduction: "mean", "sum" or "none".
        pos_weight: factor for the positive part of the loss; broadcasts to `(*)`.

    Returns:
        The loss: a scalar, or `(*)` for reduction "none".

    Raises:
        ShapeError: input and target differ in shape, or a weight does not broadcast.
        DtypeError: input or target is not a floating-point tensor.
    """
    name = "BCEWithLogitsLoss"
    reduction = resolve_reduction(name, reduction, size_average, reduce)
    _check_same_shape(name, input, target)
    weight = _broadcastable_weight(name, "weight", input, weight)
    pos_weight = _broadcastable_weight(name, "pos_weight", input, pos_weight)
    if not (input.is_floating_point() and target.is_floating_point()):
        raise DtypeError(
            f"{name} needs floating-point logits and targets; got {input.dtype} and {target.dtype}. "
            "Convert the targets with .to(torch.float32)."
        )
    x, t = promote_dtypes(name, input, target)
    loss: Tensor = _binary_cross_entropy_with_logits(x, t, weight, pos_weight, reduction=reduction)
    if target.dtype == x.dtype or autocast_enabled(input):
        return loss
    return loss.to(target.dtype)  # as in torch


@supports_torch_function
def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """Compute the Kullback-Leibler divergence t (log t - x), or e^t (t - x) if t is a logarithm.

    Drop-in for torch.nn.functional.kl_div.

    Args:
        input: log-probabilities `(*)`.
        target: probabilities `(*)`, or their logarithms.
        size_average: deprecated; use `reduction`.
        reduce: deprecated; use `reduction`.
        reduction: "batchmean", "mean", "sum" or "none".
        log_target: True if the target is a logarithm.

    Returns:
        The loss: a scalar, or `(*)` for reduction "none".

    Raises:
        ShapeError: input and target do not broadcast.
        DtypeError: input or target is not a floating-point tensor.
    """
    if reduction == "mean" and size_average is None and reduce is None:
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size. "
            "'batchmean' divides only by the batch size, and aligns with the KL div math definition. "
            "'mean' will be changed to behave the same as 'batchmean' in the next major release.",
            stacklevel=3,
        )
    reduction = resolve_reduction("KLDivLoss", reduction, size_average, reduce, more=("batchmean",))
    if not (input.is_floating_point() and target.is_floating_point()):
        raise DtypeError(
            f"KLDivLoss needs floating-point log-probabilities and targets; got {input.dtype} and "
            f"{target.dtype}. Convert them with .to(torch.float32)."
        )
    x, t = promote_dtypes("KLDivLoss", *broadcast("KLDivLoss", input, target, warn=False))
    per_sample = reduction == "batchmean"
    loss: Tensor = _kl_div(x, t, reduction="sum" if per_sample else reduction, log_target=log_target)
    return loss / input.shape[0] if per_sample and input.ndim else loss


def _check_same_shape(name: str, input: Tensor, target: Tensor) -> None:
    if target.shape != input.shape:
        raise ShapeError(
            f"{name} needs targets of the prediction's shape {tuple(input.shape)}; got "
            f"{tuple(target.shape)}. Reshape the targets."
        )


def _broadcastable_weight(name: str, what: str, input: Tensor, weight: Tensor | None) -> Tensor | None:
    """Return the weight; raise unless it broadcasts to the prediction and requires no gradient."""
    if weight is None:
        return weight
    check_weight_has_no_gradient(name, weight)
    try:
        weight.expand(input.shape)
    except RuntimeError as error:
        raise ShapeError(
            f"{name} needs a {what} that broadcasts to the prediction's shape {tuple(input.shape)}; got "
            f"{tuple(weight.shape)}. Give one number per element, or one per class."
        ) from error
    return weight if weight.dtype == input.dtype else weight.to(_at_least_float32(input.dtype))


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _check_probabilities(input: Tensor, target: Tensor) -> None:
    """Raise on the CPU; elsewhere assert on the device, without a synchronization. Torch does the same."""
    if is_tracing_or_transforming():
        return
    for x, what in ((input, "probabilities"), (target, "targets")):
        if x.is_meta or type(x) not in (Tensor, torch.nn.Parameter) or not x.numel():
            continue
        low, high = torch.aminmax(x.detach())
        if not x.is_cpu:
            torch._assert_async((low >= 0) & (high <= 1), f"BCELoss needs {what} from 0 to 1.")
        elif not (low >= 0 and high <= 1):  # true for NaN too
            raise OptionError(
                f"BCELoss needs {what} from 0 to 1; got values from {low.item():.4g} to {high.item():.4g}. "
                + ("Apply a sigmoid, or use BCEWithLogitsLoss." if x is input else "Scale the targets.")
            )


class BCELoss(torch.nn.BCELoss, metaclass=DropIn):
    r"""Binary cross-entropy, computed from probabilities.

    .. math:: \ell = -w \, (t \log x + (1 - t) \log(1 - x)), \qquad
        \frac{\partial \ell}{\partial x} = w \, \frac{x - t}{x (1 - x)}

    The logarithms are at least -100 and the divisor at least 1e-12, so that a completely wrong prediction
    stays finite. After a sigmoid the gradient is lost if x rounds to 0 or 1: use BCEWithLogitsLoss instead.

    Shape:
        input: probabilities `(*)`, from 0 to 1.
        target: `(*)`, from 0 to 1.
        output: scalar, or `(*)` for reduction "none".

    Args:
        weight: factor w for the loss of each element; broadcasts to `(*)`.
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: input and target differ in shape, or the weight does not broadcast.
        DtypeError: input and target differ in dtype.
        OptionError: input or target is outside 0 to 1.

    Source:
        Drop-in for torch.nn.BCELoss.

    Example:
        >>> BCELoss()(torch.tensor([0.9, 0.2]), torch.tensor([1.0, 0.0]))
        tensor(0.1643)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compute the loss."""
        return binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(torch.nn.BCEWithLogitsLoss, metaclass=DropIn):
    r"""Binary cross-entropy, computed from logits.

    .. math:: \ell = -w \, (q t \log p + (1 - t) \log(1 - p)), \quad p = \sigma(x), \qquad
        \frac{\partial \ell}{\partial x} = w \, ((1 + (q - 1) t) \, p - q t)

    Without q the gradient is w (p - t): it vanishes only if the answer is right, and stays finite for every
    x. Use it for binary and multi-label classification; q above 1 compensates for rare positives.

    Shape:
        input: logits `(*)`.
        target: `(*)`, from 0 to 1.
        output: scalar, or `(*)` for reduction "none".

    Args:
        weight: factor w for the loss of each element; broadcasts to `(*)`.
        reduction: "mean", "sum" or "none".
        pos_weight: factor q for the positive part of the loss; broadcasts to `(*)`.

    Raises:
        ShapeError: input and target differ in shape, or a weight does not broadcast.
        DtypeError: input or target is not a floating-point tensor.

    Source:
        Drop-in for torch.nn.BCEWithLogitsLoss.

    Example:
        >>> BCEWithLogitsLoss()(torch.tensor([2.0, -1e4]), torch.tensor([1.0, 0.0]))
        tensor(0.0635)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compute the loss."""
        return binary_cross_entropy_with_logits(
            input, target, self.weight, pos_weight=self.pos_weight, reduction=self.reduction
        )


class KLDivLoss(torch.nn.KLDivLoss, metaclass=DropIn):
    r"""Kullback-Leibler divergence of a target distribution from a prediction, in nats.

    .. math:: \ell = t \, (\log t - x), \qquad \frac{\partial \ell}{\partial x} = -t, \qquad
        \frac{\partial \ell}{\partial t} = \log t + 1 - x

    x are log-probabilities. If t is 0, the loss is 0 and the gradient of t is NaN, as in torch. Use it for
    distillation and variational bounds; after LogSoftmax, the gradient with respect to the logits is p - t.
    Use reduction "batchmean": the plain mean also divides by the number of classes.

    Shape:
        input: log-probabilities `(*)`.
        target: probabilities `(*)`, or their logarithms.
        output: scalar, or `(*)` for reduction "none".

    Args:
        reduction: "batchmean", "sum", "mean" or "none".
        log_target: True if t is a logarithm too; the loss is then :math:`e^t (t - x)`.

    Raises:
        ShapeError: input and target do not broadcast.
        DtypeError: input or target is not a floating-point tensor.

    Source:
        Kullback and Leibler 1951. Drop-in for torch.nn.KLDivLoss.

    Example:
        >>> KLDivLoss(reduction="batchmean")(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]))
        tensor(0.6931)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compute the loss."""
        return kl_div(input, target, reduction=self.reduction, log_target=self.log_target)
