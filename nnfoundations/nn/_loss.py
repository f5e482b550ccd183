"""Losses: `cross_entropy` and `CrossEntropyLoss`."""

from typing import Any, get_args

import torch
from torch import Tensor
from torch.nn import _reduction

from nnfoundations import formulas
from nnfoundations._errors import DtypeError, LabelError, OptionError, ShapeError
from nnfoundations.nn._operation import Operation, autocasting
from nnfoundations.nn._override import overridable
from nnfoundations.nn._record import Record

__all__ = ["CrossEntropyLoss", "cross_entropy"]

_REDUCTIONS = get_args(formulas.Reduction)

_cross_entropy = Operation(
    Record(
        formulas.cross_entropy,
        formulas.cross_entropy_backward,
        formulas.cross_entropy_jvp,
        needs={"logits": ("logits", "target", "weight")},
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
    if size_average is not None or reduce is not None:
        reduction = _reduction.legacy_get_string(size_average, reduce)
    _check_options(reduction, label_smoothing)
    _check_logits(input, weight)
    axis = min(1, input.ndim - 1)
    options = {"axis": axis, "label_smoothing": float(label_smoothing), "reduction": reduction}
    if target.shape == input.shape:
        return _of_probabilities(input, target, weight, ignore_index, options)
    return _of_labels(input, target, weight, ignore_index, options)


def _of_labels(
    logits: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, options: dict[str, Any]
) -> Tensor:
    shape = logits.shape[:1][: logits.ndim - 1] + logits.shape[2:]
    if logits.ndim == 1 and target.shape == (1,):
        target = target.squeeze(0)  # torch takes one label in either form
    if target.shape != shape:
        raise ShapeError(
            f"CrossEntropyLoss needs labels of shape {tuple(shape)}, or probabilities of shape "
            f"{tuple(logits.shape)}, for logits of shape {tuple(logits.shape)}; got {tuple(target.shape)}. "
            "The classes are axis 1 of the logits."
        )
    if target.dtype not in (torch.int64, torch.uint8):
        raise DtypeError(
            f"CrossEntropyLoss needs labels of torch.int64 or torch.uint8; got {target.dtype}. "
            "Convert the labels with .long()."
        )
    if weight is not None and weight.requires_grad and torch.is_grad_enabled():
        raise OptionError(
            "CrossEntropyLoss gives class weights no gradient where targets are labels; got a weight that "
            "requires one. Detach the weight."
        )
    arrays = logits, target.long(), weight
    classes = logits.shape[min(1, logits.ndim - 1)]
    if torch.compiler.is_compiling():
        compiled: Tensor = _cross_entropy(*arrays, ignore_index=ignore_index, **options)
        return compiled
    try:
        loss: Tensor = _cross_entropy(*arrays, ignore_index=ignore_index, **options)
    except (IndexError, RuntimeError) as error:  # looking first would cost each good call, and CUDA a wait
        if "out of bounds" not in str(error):
            raise
        raise LabelError(
            f"CrossEntropyLoss needs labels from 0 to {classes - 1}, or the ignore_index "
            f"{ignore_index}; got one outside. Look at target.unique()."
        ) from error
    return loss


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
    dtype = torch.promote_types(logits.dtype, target.dtype)
    loss: Tensor = _soft_cross_entropy(logits.to(dtype), target.to(dtype), weight, **options)
    return loss


def _check_options(reduction: str, label_smoothing: float) -> None:
    if reduction not in _REDUCTIONS:
        raise OptionError(
            f"CrossEntropyLoss needs a reduction of {', '.join(map(repr, _REDUCTIONS))}; got {reduction!r}. "
            "Take 'mean' for training."
        )
    if not 0.0 <= label_smoothing <= 1.0:
        raise OptionError(
            f"CrossEntropyLoss needs label_smoothing from 0 to 1; got {label_smoothing}. Take 0.1 as a start."
        )


def _check_logits(logits: Tensor, weight: Tensor | None) -> None:
    if not logits.is_floating_point():
        raise DtypeError(
            f"CrossEntropyLoss needs floating-point logits; got {logits.dtype}. Give the last layer's output."
        )
    if logits.ndim == 0 or 0 in logits.shape[min(1, logits.ndim - 1) :][:1]:
        raise ShapeError(
            f"CrossEntropyLoss needs logits of shape (C), (N, C) or (N, C, ...) with C at least 1; got "
            f"{tuple(logits.shape)}. The classes are axis 1."
        )
    if weight is None:
        return
    classes = logits.shape[min(1, logits.ndim - 1)]
    if weight.shape != (classes,):
        raise ShapeError(
            f"CrossEntropyLoss needs one weight a class, shape ({classes},); got {tuple(weight.shape)}. "
            "Count the classes of the logits' axis 1."
        )
    if weight.dtype != logits.dtype and not autocasting(logits):
        raise DtypeError(
            f"CrossEntropyLoss needs weights of the logits' dtype; got {weight.dtype} and {logits.dtype}. "
            f"Convert the weight with .to({logits.dtype})."
        )


class CrossEntropyLoss(torch.nn.CrossEntropyLoss):
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
