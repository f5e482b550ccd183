"""Recognizes the terms of a loss by their nodes: losses of torch, of `nnfoundations.nn` and by hand."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from nnfoundations.diagnostics._feeding import Feeding, follow, log_softmax, unchanged
from nnfoundations.diagnostics._loss_weights import element_weights
from nnfoundations.diagnostics._node import Edge, saved_option, saved_position, saved_tensor
from nnfoundations.diagnostics._term import Term, count_elements, find_targets

__all__ = [
    "NEGATIVE_LOG_LIKELIHOODS",
    "READERS",
    "Term",
    "divergence",
    "squares",
    "taken_scores",
    "targets_of",
]

NEGATIVE_LOG_LIKELIHOODS = ("NllLoss", "NllLoss2D", "NllLossNd")
_PAIRS = {"MseLoss": "squared", "HuberLoss": "squared", "SmoothL1Loss": "squared"}
_MARGINS = ("MultiMarginLoss", "MultilabelMarginLoss", "SoftMarginLoss")


def _nll(edge: Edge, path: Sequence[Edge], modules: Mapping[Any, str]) -> Term:
    """The negative log-likelihood of labels; with a log-softmax before it a cross-entropy."""
    inside = _through_shapes(edge.sources[0])
    split = log_softmax(inside)
    if split is not None:
        term = _of_log_softmax(inside, split, modules)
    elif inside.kind == "Log":
        term = Term("log-likelihood", edge, follow(inside.sources[0], modules, shifts=True))
        term.scores = saved_tensor(inside.node, "self")
    else:
        term = Term("negative-log-likelihood", edge, follow(edge.sources[0], modules))
        term.scores = taken_scores(edge)
    term.target, term.labelled, term.node = targets_of(edge), True, edge
    count_elements(term, edge, path)
    return term


def _of_log_softmax(edge: Edge, split: tuple[Edge, int], modules: Mapping[Any, str]) -> Term:
    logits, axis = split
    feeding = follow(logits, modules)
    term = Term("cross-entropy", edge, feeding)
    _set_axis(feeding, logits, axis)
    return term


def _by_log_softmax(edge: Edge, path: Sequence[Edge], modules: Mapping[Any, str]) -> Term | None:
    """A log-softmax with probabilities or an index after it, in place of a loss of the library."""
    split = log_softmax(edge)
    if split is None:
        return None
    term = _of_log_softmax(edge, split, modules)
    find_targets(term, edge, path)
    return term


def _cross_entropy(edge: Edge, path: Sequence[Edge], modules: Mapping[Any, str]) -> Term:
    """Our cross-entropy of logits, with labels or with probabilities."""
    feeding = follow(edge.sources[0], modules)
    shape = edge.sources[0].shape
    _set_axis(feeding, edge.sources[0], min(1, len(shape) - 1))
    term = Term("cross-entropy", edge, feeding, taken_scores(edge), targets_of(edge))
    term.labelled = edge.kind == "CrossEntropy"
    count_elements(term, edge, path)
    return term


def _binary(edge: Edge, path: Sequence[Edge], modules: Mapping[Any, str]) -> Term:
    logits = edge.kind.endswith("WithLogits")
    kind = "binary-cross-entropy-with-logits" if logits else "binary-cross-entropy"
    feeding = follow(edge.sources[0], modules, shifts=not logits)
    term = Term(kind, edge, feeding, taken_scores(edge), targets_of(edge))
    count_elements(term, edge, path)
    weight = element_weights(edge)
    if weight is not None and term.target is not None:
        weighted = (weight != 0).expand(term.target.shape).reshape(-1)
        term.kept = weighted if term.kept is None else term.kept & weighted
    return term


def _pair(edge: Edge, path: Sequence[Edge], modules: Mapping[Any, str]) -> Term:
    """A regression loss of the library: it keeps outputs and targets."""
    swapped = bool(edge.inputs) and edge.inputs[0] is None  # the targets came first
    term = Term(_PAIRS[edge.kind], edge, follow(edge.sources[0], modules))
    if len(edge.sources) == 1:
        scores, target = taken_scores(edge), targets_of(edge)
        term.scores, term.target = (target, scores) if swapped else (scores, target)
    count_elements(term, edge, path)
    return term


def _of_difference(kind: str, residual: Callable[[Edge], Tensor | None]) -> Callable[..., Term | None]:
    """Make the reader of a node that takes the size of a difference: a square, a norm, an absolute value."""

    def read(edge: Edge, path: Sequence[Edge], modules: Mapping[Any, str]) -> Term | None:
        difference = unchanged(edge.sources[0])
        if difference is None or not _is_difference(difference):
            return None
        if edge.kind == "Pow" and saved_option(edge.node, "exponent") != 2:
            return None
        term = Term(kind, edge, follow(difference.sources[0], modules))
        feeding = term.feeding
        if not feeding.broadcast and difference.shape != difference.sources[0].shape:
            feeding.broadcast = difference.shape  # the operators broadcast without a node of their own
            # Outputs may be compared with each other on purpose, as in an energy distance.
            feeding.pairwise = difference.sources[0].kind == "Unsqueeze" or len(difference.sources) > 1
        if len(difference.sources) == 1:
            term.residual = residual(edge)
            term.sign = -1 if difference.inputs[0] is None else 1
        count_elements(term, edge if edge.shape else difference, path)
        return term

    return read


def _logarithm(edge: Edge, path: Sequence[Edge], modules: Mapping[Any, str]) -> Term:
    """A logarithm in a hand-written loss: a likelihood if labels select it or probabilities weight it."""
    feeding = follow(edge.sources[0], modules, shifts=True)
    term = Term("logarithm", edge, feeding, saved_tensor(edge.node, "self"))
    find_targets(term, edge, path)
    term.labelled = term.labelled or feeding.selected
    if term.labelled or term.target is not None:
        term.kind = "log-likelihood"
    term.target = None if feeding.flipped else term.target
    return term


def _margin(edge: Edge, path: Sequence[Edge], modules: Mapping[Any, str]) -> Term:
    return Term(
        "margin", edge, follow(edge.sources[0], modules), taken_scores(edge), targets_of(edge), clear=False
    )


def _kl(edge: Edge, path: Sequence[Edge], modules: Mapping[Any, str]) -> Term:
    inside = _through_shapes(edge.sources[0])
    split = log_softmax(inside)
    if split is not None:
        term = _of_log_softmax(inside, split, modules)
    else:
        term = Term("kl-divergence", edge, follow(edge.sources[0], modules))
    term.node = edge
    term.target = saved_position(edge.node, 1) if edge.kind == "KlDiv" else divergence(edge)
    count_elements(term, edge, path)
    return term


def _difference(edge: Edge, path: Sequence[Edge], modules: Mapping[Any, str]) -> Term | None:
    if log_softmax(edge) is not None:
        return _by_log_softmax(edge, path, modules)
    product = edge.sources[0]
    return _kl(Edge(product.node), path, modules)


READERS: dict[str, Callable[[Edge, Sequence[Edge], Mapping[Any, str]], Term | None]] = {
    **dict.fromkeys(NEGATIVE_LOG_LIKELIHOODS, _nll),
    "LogSoftmax": _by_log_softmax,
    "CrossEntropy": _cross_entropy,
    "SoftCrossEntropy": _cross_entropy,
    "BinaryCrossEntropy": _binary,
    "BinaryCrossEntropyWithLogits": _binary,
    **dict.fromkeys(_PAIRS, _pair),
    "Pow": _of_difference("squared", lambda edge: saved_tensor(edge.node, "self")),
    "Mul": _of_difference("squared", lambda edge: saved_tensor(edge.node, "self", "other")),
    "Abs": _of_difference("absolute", lambda edge: saved_tensor(edge.node, "self")),
    "L1Loss": _of_difference("absolute", lambda edge: saved_position(edge.node, 0)),
    "LinalgVectorNorm": _of_difference("squared", lambda edge: saved_tensor(edge.node, "self")),
    "Norm": _of_difference("squared", lambda edge: saved_tensor(edge.node, "self")),
    "Log": _logarithm,
    "Sub": _difference,
    "KlDiv": _kl,
    **dict.fromkeys(_MARGINS, _margin),
}


# -- what nodes keep -------------------------------------------------------------------------------------


def taken_scores(edge: Edge) -> Tensor | None:
    saved = saved_tensor(edge.node, "self")
    return saved_position(edge.node, 0) if saved is None else saved


def targets_of(edge: Edge) -> Tensor | None:
    saved = saved_tensor(edge.node, "target")
    return saved_position(edge.node, 1) if saved is None else saved


def _set_axis(feeding: Feeding, logits: Edge, axis: int) -> None:
    """Set the axis of a log-softmax, and keep that of a softmax before it."""
    shape = logits.shape
    feeding.before = feeding.axis, feeding.length
    feeding.output, feeding.axis, feeding.ndim = logits, axis, len(shape)
    feeding.length = shape[axis] if 0 <= axis < len(shape) else 0


def _through_shapes(edge: Edge) -> Edge:
    return unchanged(edge) or edge


def squares(edge: Edge) -> bool:
    """Return whether a product multiplies a difference with itself."""
    inputs = edge.inputs
    if len(inputs) != 2 or inputs[0] is None or inputs[1] is None or inputs[0].node is not inputs[1].node:
        return False
    inside = unchanged(inputs[0])
    return inside is not None and _is_difference(inside)


def _is_difference(edge: Edge) -> bool:
    """Return whether a node subtracts tensors; with a number in place of one, torch gives it another name."""
    return edge.node.name() == "SubBackward0" and bool(edge.sources)


def divergence(edge: Edge) -> Tensor | None:
    """Return the targets of ``t log t - t x``, torch's Kullback-Leibler divergence; None for other nodes."""
    if edge.kind == "Sub":
        if len(edge.sources) != 1 or edge.inputs[0] is not None:
            return None
        edge = edge.sources[0]
    if edge.kind != "Mul" or len(edge.sources) != 1 or len(edge.shape) < 2:
        return None
    target = saved_tensor(edge.node, "self")
    if target is None or target.shape != edge.shape or not target.is_floating_point():
        return None
    sums = target.sum(1)
    return target if bool((target >= 0).all() & ((sums - 1).abs() < 1e-3).all()) else None
