"""Losses over classes: `cross_entropy`, `nll_loss` and their modules."""

from typing import Any

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations._errors import DtypeError, LabelError, OptionError, ShapeError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._loss_arguments import check_weight_has_no_gradient, reduction_of
from nnfoundations.nn._operation import Operation, autocasting
from nnfoundations.nn._override import overridable
from nnfoundations.nn._record import Record

__all__ = ["CrossEntropyLoss", "NLLLoss", "cross_entropy", "nll_loss"]

_cross_entropy = Operation(
    Record(
        formulas.cross_entropy,
        formulas.cross_entropy_backward,
        formulas.cross_entropy_jvp,
        needs={"logits": ("logits", "target", "weight")},
        autocast="float32",
    )
)
_nll_loss = Operation(
    Record(
        formulas.nll_loss,
        formulas.nll_loss_backward,
        formulas.nll_loss_jvp,
        needs={"x": ("x", "target", "weight")},
        autocast="float32",
    )
)
_soft_cross_entropy = Operation(
    Record(
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


@overridable
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
    """-log softmax(x)[t]. Drop-in for torch.nn.functional.cross_entropy."""
    name = "CrossEntropyLoss"
    reduction = reduction_of(name, reduction, size_average, reduce)
    if not 0.0 <= label_smoothing <= 1.0:
        raise OptionError(
            f"{name} needs label_smoothing from 0 to 1; got {label_smoothing}. Take 0.1 as a start."
        )
    _check_scores(name, input, weight)
    axis = min(1, input.ndim - 1)
    options = {"axis": axis, "label_smoothing": float(label_smoothing), "reduction": reduction}
    if target.shape == input.shape:
        return _of_probabilities(input, target, weight, ignore_index, options)
    return _of_labels(name, _cross_entropy, input, target, weight, ignore_index, options)


@overridable
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-x_t of log-probabilities x. Drop-in for torch.nn.functional.nll_loss."""
    reduction = reduction_of("NLLLoss", reduction, size_average, reduce)
    _check_scores("NLLLoss", input, weight)
    options = {"axis": min(1, input.ndim - 1), "reduction": reduction}
    return _of_labels("NLLLoss", _nll_loss, input, target, weight, ignore_index, options)


def _of_labels(
    name: str,
    operation: Operation,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    options: dict[str, Any],
) -> Tensor:
    shape = logits.shape[:1][: logits.ndim - 1] + logits.shape[2:]
    if logits.ndim == 1 and target.shape == (1,):
        target = target.squeeze(0)  # torch takes one label in either form
    if target.shape != shape:
        raise ShapeError(
            f"{name} needs labels of shape {tuple(shape)}"
            + (f", or probabilities of shape {tuple(logits.shape)}," if operation is _cross_entropy else "")
            + f" for scores of shape {tuple(logits.shape)}; got {tuple(target.shape)}. "
            "The classes are axis 1 of the scores."
        )
    if target.dtype not in (torch.int64, torch.uint8):
        raise DtypeError(
            f"{name} needs labels of torch.int64 or torch.uint8; got {target.dtype}. "
            "Convert the labels with .long()."
        )
    check_weight_has_no_gradient(name, weight)
    arrays = logits, target.long(), weight
    classes = logits.shape[options["axis"]]
    if classes == 0:
        if (target != ignore_index).any():
            raise LabelError(
                f"{name} has no legal label for scores of no class; got shape {tuple(logits.shape)}. "
                "Give the scores at least one class."
            )
        return _of_no_class(logits, options)
    if torch.compiler.is_compiling():
        compiled: Tensor = operation(*arrays, ignore_index=ignore_index, **options)
        return compiled.contiguous()
    try:
        loss: Tensor = operation(*arrays, ignore_index=ignore_index, **options)
    except (IndexError, RuntimeError) as error:  # looking first would cost each good call, and CUDA a wait
        if "out of bounds" not in str(error):
            raise
        raise LabelError(
            f"{name} needs labels from 0 to {classes - 1}, or the ignore_index "
            f"{ignore_index}; got one outside. Look at target.unique()."
        ) from error
    return loss.contiguous()  # whatever the layout of the scores, as torch's


def _of_probabilities(
    logits: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, options: dict[str, Any]
) -> Tensor:
    if not target.is_floating_point():
        raise DtypeError(
            f"CrossEntropyLoss needs floating-point targets of the logits' shape; got {target.dtype}. "
            "Give probabilities, or labels without the class axis."
        )
    if ignore_index >= 0:
        raise OptionError(
            f"CrossEntropyLoss takes ignore_index with labels only; got {ignore_index} and probabilities. "
            "Leave it out, or give the rows to be ignored zero probabilities."
        )
    if logits.shape[options["axis"]] == 0:
        return _of_no_class(logits, options)
    dtype = torch.promote_types(logits.dtype, target.dtype)
    loss: Tensor = _soft_cross_entropy(logits.to(dtype), target.to(dtype), weight, **options)
    return loss


def _of_no_class(logits: Tensor, options: dict[str, Any]) -> Tensor:
    """A zero a row, and 0 / 0 in the mean."""
    rows = logits.sum(options["axis"])
    if options["reduction"] == "none":
        return rows
    return rows.sum() / 0 if options["reduction"] == "mean" else rows.sum()


def _check_scores(name: str, scores: Tensor, weight: Tensor | None) -> None:
    """Logits or log-probabilities, and a weight a class."""
    if not scores.is_floating_point():
        raise DtypeError(
            f"{name} needs floating-point scores; got {scores.dtype}. Give the last layer's output."
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
            f"{name} needs one weight a class, shape ({classes},); got {tuple(weight.shape)}. "
            "Count the classes of the scores' axis 1."
        )
    if weight.dtype != scores.dtype and not autocasting(scores):
        raise DtypeError(
            f"{name} needs weights of the scores' dtype; got {weight.dtype} and {scores.dtype}. "
            f"Convert the weight with .to({scores.dtype})."
        )


class CrossEntropyLoss(torch.nn.CrossEntropyLoss, metaclass=DropIn):
    r"""Surprise at the true class, from logits.

    .. math:: \ell = -\sum_c q_c \log p_c, \qquad p = \mathrm{softmax}(x), \qquad
        \frac{\partial \ell}{\partial x} = \Big(\sum_c q_c\Big) p - q

    For a label t, class weights w and smoothing s, :math:`q = (1 - s) w_t e_t + \frac{s}{C} w`; for class
    probabilities t, :math:`q = ((1 - s) t + \frac{s}{C}) \, w`. The mean is weighted by :math:`w_t`
    over labels that are not ignored; over probabilities it is the plain mean.

    Shape: x `(C)`, `(N, C)` or `(N, C, d1, ...)`; labels without the class axis, or probabilities of x's
        shape -> scalar, or the labels' shape with reduction "none".
    Args: weight: a number a class. ignore_index: label that does not count. reduction: "mean", "sum" or
        "none". label_smoothing: s, from 0 to 1.
    Raises: ShapeError, DtypeError: logits, targets or weights do not fit. LabelError: a label outside 0 to
        C - 1. OptionError: an option outside its legal values.
    Source: Szegedy et al. 2016, section 7 (smoothing). Drop-in for torch.nn.CrossEntropyLoss.

    >>> CrossEntropyLoss()(torch.zeros(2, 4), torch.tensor([0, 3]))
    tensor(1.3863)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Logits and targets -> loss."""
        return cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(torch.nn.NLLLoss, metaclass=DropIn):
    r"""Surprise at the true class, from log-probabilities.

    .. math:: \ell = -w_t x_t, \qquad \frac{\partial \ell}{\partial x} = -w_t e_t

    The mean is weighted by :math:`w_t` over labels that are not ignored. Behind LogSoftmax it is
    CrossEntropyLoss, which takes the logits themselves and keeps less.

    Shape: x `(C)`, `(N, C)` or `(N, C, d1, ...)`; labels without the class axis -> scalar, or the labels'
        shape with reduction "none".
    Args: weight: a number a class. ignore_index: label that does not count. reduction: "mean", "sum" or
        "none".
    Raises: ShapeError, DtypeError: scores, labels or weights do not fit. LabelError: a label outside 0 to
        C - 1. OptionError: an option outside its legal values.
    Source: drop-in for torch.nn.NLLLoss.

    >>> NLLLoss()(torch.tensor([[0.25, 0.75], [0.5, 0.5]]).log(), torch.tensor([1, 0]))
    tensor(0.4904)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Log-probabilities and labels -> loss."""
        return nll_loss(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)
