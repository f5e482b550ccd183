"""Which loss is it, over how many classes, and what would a network score that knows nothing?

Read from the autograd graph of the loss: no name, no import and no cooperation of the user's is needed.
"""

import math
from collections import deque
from typing import Any

import torch
from torch import Tensor

from nnfoundations.diagnostics._history import LossFacts

_CLASS_LOSSES = ("NllLoss", "NllLoss2D", "NllLossNd", "CrossEntropy")
_SOFT_LOSSES = ("SoftCrossEntropy",)
_SQUASHED_TWICE = {
    "LogSoftmax": ("Softmax", "SafeSoftmax"),
    "CrossEntropy": ("Softmax", "SafeSoftmax"),
    "SoftCrossEntropy": ("Softmax", "SafeSoftmax"),
    "BinaryCrossEntropyWithLogits": ("Sigmoid",),
}
"""What takes logits, and what they have not been through."""

_UNCHANGED = (
    "Alias", "Clamp", "ClampMax", "ClampMin", "Clone", "Permute", "ReshapeAlias", "Select", "Slice",
    "Squeeze", "T", "ToCopy", "Transpose", "UnsafeView", "Unsqueeze", "View",
)  # fmt: skip
"""Nodes that pass scores on as they are, in another shape or type, or kept off the ends."""
_SQUARED = ("MseLoss", "HuberLoss", "SmoothL1Loss")


def loss_facts(loss: Tensor) -> LossFacts:
    """Read the graph; a loss that is not recognised is `unknown`."""
    nodes = _nodes(loss)
    classes = 0
    kind = "unknown"
    baseline = float("nan")
    squashed = False
    for name, node in nodes:
        if name in _SQUASHED_TWICE and not squashed:
            squashed = _kind(_scores_from(node)) in _SQUASHED_TWICE[name]
        if kind != "unknown":
            continue
        if name in _CLASS_LOSSES or name in _SOFT_LOSSES or name == "LogSoftmax":
            scores = _scores(node)
            if scores is not None and scores.ndim > 1:
                # Classes lie along axis 1, for sequences that were flattened and for images alike.
                kind, classes = "cross-entropy", scores.shape[1]
                baseline = math.log(classes)
        elif name.startswith("BinaryCrossEntropy"):
            kind, baseline = "binary-cross-entropy", math.log(2)
        elif name in _SQUARED and (target := _target(node)) is not None:
            kind, baseline = "squared", float(target.float().var(correction=0))
    return LossFacts(kind, classes, baseline, squashed and kind.endswith("cross-entropy"))


def _scores_from(node: Any) -> Any:
    """The node that made the scores which come into this one."""
    source = node.next_functions[0][0]
    while _kind(source) in _UNCHANGED:
        source = source.next_functions[0][0]
    return source


def batch_accuracy(loss: Tensor) -> Tensor | None:
    """The share of right answers in the batch that a cross-entropy over class indices was computed on."""
    for name, node in _nodes(loss):
        if name in _CLASS_LOSSES:
            scores, target = _scores(node), _target(node)
            if scores is None or target is None or scores.ndim < 2:
                return None
            valid = target >= 0
            return ((scores.argmax(1) == target) & valid).sum() / valid.sum().clamp(min=1)
    return None


def _nodes(loss: Tensor, most: int = 24) -> list[tuple[str, Any]]:
    """The nodes nearest to the loss, breadth first: penalties and scalings stand before it in the graph."""
    found: list[tuple[str, Any]] = []
    queue, seen = deque([loss.grad_fn]), set()
    while queue and len(found) < most:
        node = queue.popleft()
        if node is None or node in seen:
            continue
        seen.add(node)
        found.append((_kind(node), node))
        queue.extend(following for following, _ in node.next_functions)
    return found


def _kind(node: Any) -> str:
    """``NllLossBackward0`` -> ``NllLoss``; an autograd.Function of Python has no digit."""
    return "" if node is None else node.name().rstrip("0123456789").removesuffix("Backward")


def _scores(node: Any) -> Tensor | None:
    return _saved(node, ("_saved_self", "_saved_result"), 0)


def _target(node: Any) -> Tensor | None:
    return _saved(node, ("_saved_target",), 1)


def _saved(node: Any, names: tuple[str, ...], position: int) -> Tensor | None:
    try:
        for name in names:
            if hasattr(node, name):
                value = getattr(node, name)
                return value.detach() if isinstance(value, Tensor) else None
        saved = getattr(node, "saved_tensors", ())
        value = saved[position] if len(saved) > position else None
    except RuntimeError:  # freed already, or packed by a saved-tensor hook that cannot be unpacked twice
        return None
    return value.detach() if isinstance(value, torch.Tensor) else None
