"""Losses of probabilities, each number apart: binary cross-entropies and the Kullback-Leibler divergence."""

import warnings

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations._errors import DtypeError, OptionError, ShapeError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._loss_arguments import broadcast, check_weight_has_no_gradient, promoted, reduction_of
from nnfoundations.nn._operation import Operation, autocasting, values_are_hidden
from nnfoundations.nn._override import overridable
from nnfoundations.nn._record import Record

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "KLDivLoss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "kl_div",
]

_binary_cross_entropy = Operation(
    Record(
        formulas.binary_cross_entropy,
        formulas.binary_cross_entropy_backward,
        formulas.binary_cross_entropy_jvp,
        needs={"x": ("x", "target", "weight"), "target": ("x", "weight")},
        autocast="float32",
    )
)
_binary_cross_entropy_with_logits = Operation(
    Record(
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
    Record(
        formulas.kl_div,
        formulas.kl_div_backward,
        formulas.kl_div_jvp,
        needs={"x": ("target",), "target": ("x", "target")},
        autocast="float32",
    )
)


@overridable
def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-t log x - (1 - t) log(1 - x). Drop-in for torch.nn.functional.binary_cross_entropy."""
    reduction = reduction_of("BCELoss", reduction, size_average, reduce)
    _check_same_shape("BCELoss", input, target)
    weight = _fitting("BCELoss", "weight", input, weight)
    if autocasting(input):
        if input.device.type != "cpu":
            raise OptionError(
                f"BCELoss is unsafe under autocast on {input.device.type}: sigmoids in half precision round "
                "to 0 or 1. Take BCEWithLogitsLoss on the values before the sigmoid."
            )
    elif target.dtype != input.dtype or not input.is_floating_point():
        raise DtypeError(
            f"BCELoss needs probabilities and targets of one floating-point dtype; got {input.dtype} and "
            f"{target.dtype}. Convert the targets with .to({input.dtype})."
        )
    _check_probabilities(input, target)
    loss: Tensor = _binary_cross_entropy(input, target, weight, reduction=reduction)
    return loss


@overridable
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """The same of sigmoid(x). Drop-in for torch.nn.functional.binary_cross_entropy_with_logits."""
    name = "BCEWithLogitsLoss"
    reduction = reduction_of(name, reduction, size_average, reduce)
    _check_same_shape(name, input, target)
    weight = _fitting(name, "weight", input, weight)
    pos_weight = _fitting(name, "pos_weight", input, pos_weight)
    if not (input.is_floating_point() and target.is_floating_point()):
        raise DtypeError(
            f"{name} needs floating-point logits and targets; got {input.dtype} and {target.dtype}. "
            "Convert the targets with .to(torch.float32)."
        )
    x, t = promoted(name, input, target)
    loss: Tensor = _binary_cross_entropy_with_logits(x, t, weight, pos_weight, reduction=reduction)
    if target.dtype == x.dtype or autocasting(input):
        return loss
    return loss.to(target.dtype)  # torch's choice


@overridable
def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """t (log t - x), or e^t (t - x) of a log-target. Drop-in for torch.nn.functional.kl_div."""
    if reduction == "mean" and size_average is None and reduce is None:
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size. "
            "'batchmean' divides only by the batch size, and aligns with the KL div math definition. "
            "'mean' will be changed to behave the same as 'batchmean' in the next major release.",
            stacklevel=3,
        )
    reduction = reduction_of("KLDivLoss", reduction, size_average, reduce, more=("batchmean",))
    if not (input.is_floating_point() and target.is_floating_point()):
        raise DtypeError(
            f"KLDivLoss needs floating-point log-probabilities and targets; got {input.dtype} and "
            f"{target.dtype}. Convert them with .to(torch.float32)."
        )
    x, t = promoted("KLDivLoss", *broadcast("KLDivLoss", input, target, warn=False))
    per_sample = reduction == "batchmean"
    loss: Tensor = _kl_div(x, t, reduction="sum" if per_sample else reduction, log_target=log_target)
    return loss / input.shape[0] if per_sample and input.ndim else loss


def _check_same_shape(name: str, input: Tensor, target: Tensor) -> None:
    if target.shape != input.shape:
        raise ShapeError(
            f"{name} needs targets of the prediction's shape {tuple(input.shape)}; got "
            f"{tuple(target.shape)}. Reshape the targets."
        )


def _fitting(name: str, what: str, input: Tensor, weight: Tensor | None) -> Tensor | None:
    """The weight, if it broadcasts to the prediction and nobody wants its gradient."""
    if weight is None:
        return weight
    check_weight_has_no_gradient(name, weight)
    try:
        weight.expand(input.shape)
    except RuntimeError as error:
        raise ShapeError(
            f"{name} needs a {what} that broadcasts to the prediction's shape {tuple(input.shape)}; got "
            f"{tuple(weight.shape)}. Give one number an element, or one a class."
        ) from error
    return weight if weight.dtype == input.dtype else weight.to(_at_least_float32(input.dtype))


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _check_probabilities(input: Tensor, target: Tensor) -> None:
    """As torch: on CPU an error; elsewhere an assertion on the device, for which nobody waits."""
    if values_are_hidden():
        return
    for x, what in ((input, "probabilities"), (target, "targets")):
        if x.is_meta or type(x) not in (Tensor, torch.nn.Parameter) or not x.numel():
            continue
        low, high = torch.aminmax(x.detach())
        if not x.is_cpu:
            torch._assert_async((low >= 0) & (high <= 1), f"BCELoss needs {what} from 0 to 1.")
        elif not (low >= 0 and high <= 1):  # NaN too
            raise OptionError(
                f"BCELoss needs {what} from 0 to 1; got some from {low.item():.4g} to {high.item():.4g}. "
                + ("Apply a sigmoid, or take BCEWithLogitsLoss." if x is input else "Scale the targets.")
            )


class BCELoss(torch.nn.BCELoss, metaclass=DropIn):
    r"""Surprise at the outcome of yes-or-no questions, from probabilities.

    .. math:: \ell = -w \, (t \log x + (1 - t) \log(1 - x)), \qquad
        \frac{\partial \ell}{\partial x} = w \, \frac{x - t}{x (1 - x)}

    The logarithms are at least -100 and the divisor at least 1e-12, so that a certain mistake stays finite.
    Behind a sigmoid the gradient is lost where x rounds to 0 or 1: take BCEWithLogitsLoss.

    Shape: x `(*)` from 0 to 1, t `(*)` -> scalar, or `(*)` with reduction "none"; weight broadcasts to `(*)`.
    Args: weight: w, a factor on each element's loss. reduction: "mean", "sum" or "none".
    Raises: ShapeError: shapes differ. DtypeError: dtypes differ. OptionError: x or t outside 0 to 1.
    Source: drop-in for torch.nn.BCELoss.

    >>> BCELoss()(torch.tensor([0.9, 0.2]), torch.tensor([1.0, 0.0]))
    tensor(0.1643)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Probabilities and targets -> loss."""
        return binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(torch.nn.BCEWithLogitsLoss, metaclass=DropIn):
    r"""Surprise at the outcome of yes-or-no questions, from logits.

    .. math:: \ell = -w \, (q t \log p + (1 - t) \log(1 - p)), \quad p = \sigma(x), \qquad
        \frac{\partial \ell}{\partial x} = w \, ((1 + (q - 1) t) \, p - q t)

    Without q the gradient is w (p - t): it vanishes only where the answer is right, and stays finite at any
    x. For binary and multi-label classification; q above 1 makes up for rare positives.

    Shape: x `(*)`, t `(*)` -> scalar, or `(*)` with reduction "none"; weights broadcast to `(*)`.
    Args: weight: w, a factor on each element's loss. pos_weight: q, a factor on its positive part.
        reduction: "mean", "sum" or "none".
    Raises: ShapeError: shapes do not fit. DtypeError: integers or complex numbers.
    Source: drop-in for torch.nn.BCEWithLogitsLoss.

    >>> BCEWithLogitsLoss()(torch.tensor([2.0, -1e4]), torch.tensor([1.0, 0.0]))
    tensor(0.0635)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Logits and targets -> loss."""
        return binary_cross_entropy_with_logits(
            input, target, self.weight, pos_weight=self.pos_weight, reduction=self.reduction
        )


class KLDivLoss(torch.nn.KLDivLoss, metaclass=DropIn):
    r"""Divergence of a target distribution from a prediction, in nats.

    .. math:: \ell = t \, (\log t - x), \qquad \frac{\partial \ell}{\partial x} = -t, \qquad
        \frac{\partial \ell}{\partial t} = \log t + 1 - x

    x are log-probabilities. Where t is 0 the loss is 0 and torch's gradient of t is NaN. For distillation and
    variational bounds; the gradient by logits, behind LogSoftmax, is p - t. Take reduction "batchmean": the
    plain mean also divides by the number of classes.

    Shape: x `(*)`, t `(*)` -> scalar, or `(*)` with reduction "none".
    Args: reduction: "batchmean", "sum", "mean" or "none". log_target: t is a logarithm as well; then the
        loss is :math:`e^t (t - x)`.
    Raises: ShapeError: the shapes do not broadcast. DtypeError: integers or complex numbers.
    Source: Kullback and Leibler 1951. Drop-in for torch.nn.KLDivLoss.

    >>> KLDivLoss(reduction="batchmean")(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]))
    tensor(0.6931)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Log-probabilities and targets -> loss."""
        return kl_div(input, target, reduction=self.reduction, log_target=self.log_target)
