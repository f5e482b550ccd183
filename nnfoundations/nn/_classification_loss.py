"""Losses for classification: `cross_entropy`, `nll_loss` and their modules."""

from typing import Any

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations.errors import DtypeError, LabelError, OptionError, ShapeError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._loss_arguments import check_weight_has_no_gradient, resolve_reduction
from nnfoundations.nn._operation import Operation, autocast_enabled
from nnfoundations.nn._operation_spec import OperationSpec
from nnfoundations.nn._torch_function import supports_torch_function

__all__ = ["CrossEntropyLoss", "NLLLoss", "cross_entropy", "nll_loss"]

_cross_entropy = Operation(
    OperationSpec(
        formulas.cross_entropy,
        formulas.cross_entropy_backward,
        formulas.cross_entropy_jvp,
        needs={"logits": ("logits", "target", "weight")},
        autocast="float32",
    )
)
_nll_loss = Operation(
    OperationSpec(
        formulas.nll_loss,
        formulas.nll_loss_backward,
        formulas.nll_loss_jvp,
        needs={"x": ("x", "target", "weight")},
        autocast="float32",
    )
)
_soft_cross_entropy = Operation(
    OperationSpec(
        formulas.soft_cross_entropy,
        formulas.soft_cross_entropy_backward,
        formulas.soft_cross_entropy_jvp,
        needs={
            "logits": ("logits", "target", "weight"),
            "target": ("logits", "target", "weight"),
            "weight": ("logits", "target", "weight"),
        },
        autocast="float32",
    )
)


@supports_torch_function
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Compute the cross-entropy of logits x and a target t: -log softmax(x)[t].

    Drop-in for torch.nn.functional.cross_entropy.

    Args:
        input: logits `(C)`, `(N, C)` or `(N, C, d1, ...)`.
        target: labels, with the shape of the input without the class axis; or probabilities, with the shape
            of the input.
        weight: one factor per class, `(C,)`.
        size_average: deprecated; use `reduction`.
        ignore_index: label that does not count.
        reduce: deprecated; use `reduction`.
        reduction: "mean", "sum" or "none".
        label_smoothing: share of the target that is spread evenly over all classes, from 0 to 1.

    Returns:
        The loss: a scalar, or one value per label for reduction "none".

    Raises:
        ShapeError: logits, targets or weights have incompatible shapes.
        DtypeError: logits, targets or weights have an unsupported dtype.
        LabelError: a label is outside 0 to C - 1.
        OptionError: an option is outside its legal values.
    """
    name = "CrossEntropyLoss"
    reduction = resolve_reduction(name, reduction, size_average, reduce)
    if not 0.0 <= label_smoothing <= 1.0:
        raise OptionError(f"{name} needs label_smoothing from 0 to 1; got {label_smoothing}. Start with 0.1.")
    _check_scores(name, input, weight)
    axis = min(1, input.ndim - 1)
    options = {"axis": axis, "label_smoothing": float(label_smoothing), "reduction": reduction}
    if target.shape == input.shape:
        return _soft_label_loss(input, target, weight, ignore_index, options)
    return _label_loss(name, _cross_entropy, input, target, weight, ignore_index, options)


@supports_torch_function
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Compute the negative log-likelihood -x_t from log-probabilities x and a label t.

    Drop-in for torch.nn.functional.nll_loss.

    Args:
        input: log-probabilities `(C)`, `(N, C)` or `(N, C, d1, ...)`.
        target: labels, with the shape of the input without the class axis.
        weight: one factor per class, `(C,)`.
        size_average: deprecated; use `reduction`.
        ignore_index: label that does not count.
        reduce: deprecated; use `reduction`.
        reduction: "mean", "sum" or "none".

    Returns:
        The loss: a scalar, or one value per label for reduction "none".

    Raises:
        ShapeError: scores, labels or weights have incompatible shapes.
        DtypeError: scores, labels or weights have an unsupported dtype.
        LabelError: a label is outside 0 to C - 1.
        OptionError: an option is outside its legal values.
    """
    reduction = resolve_reduction("NLLLoss", reduction, size_average, reduce)
    _check_scores("NLLLoss", input, weight)
    options = {"axis": min(1, input.ndim - 1), "reduction": reduction}
    return _label_loss("NLLLoss", _nll_loss, input, target, weight, ignore_index, options)


def _label_loss(
    name: str,
    operation: Operation,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    options: dict[str, Any],
) -> Tensor:
    if logits.ndim == 1 and target.shape == (1,):
        target = target.squeeze(0)  # torch accepts a single label in either form
    _check_labels(name, logits, target, takes_probabilities=operation is _cross_entropy)
    check_weight_has_no_gradient(name, weight)
    classes = logits.shape[options["axis"]]
    if classes == 0:
        _check_all_ignored(name, logits, target, ignore_index)
        return _loss_without_classes(logits, options)
    arrays = logits, target.long(), weight
    if torch.compiler.is_compiling():
        compiled: Tensor = operation(*arrays, ignore_index=ignore_index, **options)
        return compiled.contiguous()
    try:
        loss: Tensor = operation(*arrays, ignore_index=ignore_index, **options)
    except (IndexError, RuntimeError) as error:
        # Checking the labels first would slow down every valid call and synchronize with a CUDA device.
        if "out of bounds" not in str(error):
            raise
        raise LabelError(
            f"{name} needs labels from 0 to {classes - 1}, or the ignore_index {ignore_index}; got a label "
            "outside. Check target.unique()."
        ) from error
    return loss.contiguous()  # whatever the layout of the scores, as in torch


def _check_labels(name: str, logits: Tensor, target: Tensor, *, takes_probabilities: bool) -> None:
    shape = logits.shape[:1][: logits.ndim - 1] + logits.shape[2:]
    if target.shape != shape:
        probabilities = f", or probabilities of shape {tuple(logits.shape)}," if takes_probabilities else ""
        raise ShapeError(
            f"{name} needs labels of shape {tuple(shape)}{probabilities} for scores of shape "
            f"{tuple(logits.shape)}; got {tuple(target.shape)}. The classes are axis 1 of the scores."
        )
    if target.dtype not in (torch.int64, torch.uint8):
        raise DtypeError(
            f"{name} needs labels of torch.int64 or torch.uint8; got {target.dtype}. "
            "Convert the labels with .long()."
        )


def _check_all_ignored(name: str, logits: Tensor, target: Tensor, ignore_index: int) -> None:
    if (target != ignore_index).any():
        raise LabelError(
            f"{name} needs scores for at least one class; got shape {tuple(logits.shape)}. "
            "Give the last layer one output per class."
        )


def _soft_label_loss(
    logits: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, options: dict[str, Any]
) -> Tensor:
    if not target.is_floating_point():
        raise DtypeError(
            f"CrossEntropyLoss needs floating-point targets of the logits' shape; got {target.dtype}. "
            "Give probabilities, or labels without the class axis."
        )
    if ignore_index >= 0:
        raise OptionError(
            f"CrossEntropyLoss supports ignore_index with labels only; got {ignore_index} and probabilities. "
            "Leave it out, or set the probabilities of ignored samples to zero."
        )
    if logits.shape[options["axis"]] == 0:
        return _loss_without_classes(logits, options)
    dtype = torch.promote_types(logits.dtype, target.dtype)
    loss: Tensor = _soft_cross_entropy(logits.to(dtype), target.to(dtype), weight, **options)
    return loss


def _loss_without_classes(logits: Tensor, options: dict[str, Any]) -> Tensor:
    """Zero for each row; NaN for reduction="mean", as in torch."""
    rows = logits.sum(options["axis"])
    if options["reduction"] == "none":
        return rows
    return rows.sum() / 0 if options["reduction"] == "mean" else rows.sum()


def _check_scores(name: str, scores: Tensor, weight: Tensor | None) -> None:
    """Check logits or log-probabilities, and the weights of the classes."""
    if not scores.is_floating_point():
        raise DtypeError(
            f"{name} needs floating-point scores; got {scores.dtype}. Give the output of the last layer."
        )
    if scores.ndim == 0:
        raise ShapeError(
            f"{name} needs scores of shape (C), (N, C) or (N, C, ...); got (). The classes are axis 1."
        )
    if weight is None:
        return
    classes = scores.shape[min(1, scores.ndim - 1)]
    if weight.shape != (classes,):
        raise ShapeError(
            f"{name} needs one weight per class, shape ({classes},); got {tuple(weight.shape)}. "
            "The classes are axis 1 of the scores."
        )
    if weight.dtype != scores.dtype and not autocast_enabled(scores):
        raise DtypeError(
            f"{name} needs weights of the scores' dtype; got {weight.dtype} and {scores.dtype}. "
            f"Convert the weight with .to({scores.dtype})."
        )


class CrossEntropyLoss(torch.nn.CrossEntropyLoss, metaclass=DropIn):
    r"""Negative log-likelihood of the true class, computed from logits.

    .. math:: \ell = -\sum_c q_c \log p_c, \qquad p = \mathrm{softmax}(x), \qquad
        \frac{\partial \ell}{\partial x} = \Big(\sum_c q_c\Big) p - q

    For a label t, class weights w and smoothing s, :math:`q = (1 - s) w_t e_t + \frac{s}{C} w`; for class
    probabilities t, :math:`q = ((1 - s) t + \frac{s}{C}) \, w`. For labels, the mean is weighted by
    :math:`w_t` over the labels that are not ignored. For probabilities, it is the plain mean.

    Shape:
        input: logits `(C)`, `(N, C)` or `(N, C, d1, ...)`.
        target: labels, with the shape of the input without the class axis; or probabilities, with the shape
            of the input.
        output: scalar, or the shape of the labels for reduction "none".

    Args:
        weight: one factor per class, `(C,)`.
        ignore_index: label that does not count.
        reduction: "mean", "sum" or "none".
        label_smoothing: s, from 0 to 1.

    Raises:
        ShapeError: logits, targets or weights have incompatible shapes.
        DtypeError: logits, targets or weights have an unsupported dtype.
        LabelError: a label is outside 0 to C - 1.
        OptionError: an option is outside its legal values.

    Source:
        Szegedy et al. 2016, section 7 (smoothing). Drop-in for torch.nn.CrossEntropyLoss.

    Example:
        >>> CrossEntropyLoss()(torch.zeros(2, 4), torch.tensor([0, 3]))
        tensor(1.3863)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compute the loss."""
        return cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(torch.nn.NLLLoss, metaclass=DropIn):
    r"""Negative log-likelihood of the true class, computed from log-probabilities.

    .. math:: \ell = -w_t x_t, \qquad \frac{\partial \ell}{\partial x} = -w_t e_t

    The mean is weighted by :math:`w_t` over the labels that are not ignored. LogSoftmax followed by NLLLoss
    equals CrossEntropyLoss, which takes logits and saves less memory.

    Shape:
        input: log-probabilities `(C)`, `(N, C)` or `(N, C, d1, ...)`.
        target: labels, with the shape of the input without the class axis.
        output: scalar, or the shape of the labels for reduction "none".

    Args:
        weight: one factor per class, `(C,)`.
        ignore_index: label that does not count.
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: scores, labels or weights have incompatible shapes.
        DtypeError: scores, labels or weights have an unsupported dtype.
        LabelError: a label is outside 0 to C - 1.
        OptionError: an option is outside its legal values.

    Source:
        Drop-in for torch.nn.NLLLoss.

    Example:
        >>> NLLLoss()(torch.tensor([[0.25, 0.75], [0.5, 0.5]]).log(), torch.tensor([1, 0]))
        tensor(0.4904)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compute the loss."""
        return nll_loss(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)
