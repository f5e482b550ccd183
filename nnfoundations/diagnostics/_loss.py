"""Recognizes a loss from its autograd graph: its kind, its classes and the loss of random guessing.

The graph is enough: no name, no import and no change of the user's code is needed.
"""

import math
from typing import Any

import torch
from torch import Tensor

from nnfoundations.diagnostics._graph import nearest, node_kind, source
from nnfoundations.diagnostics._history import LossFacts

__all__ = ["batch_accuracy", "loss_facts"]

_CLASS_LOSSES = ("NllLoss", "NllLoss2D", "NllLossNd", "CrossEntropy")
_SOFT_LOSSES = ("SoftCrossEntropy",)
_SQUASHED_TWICE = {
    "LogSoftmax": ("Softmax", "SafeSoftmax"),
    "CrossEntropy": ("Softmax", "SafeSoftmax"),
    "SoftCrossEntropy": ("Softmax", "SafeSoftmax"),
    "BinaryCrossEntropyWithLogits": ("Sigmoid",),
}
"""Losses that expect logits, and the operation that must not come before them."""
_SQUARED = ("MseLoss", "HuberLoss", "SmoothL1Loss")


def loss_facts(loss: Tensor) -> LossFacts:
    """Recognize a loss from its autograd graph.

    Args:
        loss: the loss of a batch, before its backward pass.

    Returns:
        The facts. The kind of a loss that is not recognized is ``unknown``.
    """
    nodes = nearest(loss)
    classes = 0
    kind = "unknown"
    baseline = float("nan")
    squashed = False
    for name, node in nodes:
        if name in _SQUASHED_TWICE and not squashed:
            squashed = node_kind(source(node.next_functions[0][0])) in _SQUASHED_TWICE[name]
        if kind != "unknown":
            continue
        if name in _CLASS_LOSSES or name in _SOFT_LOSSES or name == "LogSoftmax":
            scores = _scores(node)
            if scores is not None and scores.ndim > 1:
                # Classes are axis 1, both for flattened sequences and for images.
                kind, classes = "cross-entropy", scores.shape[1]
                baseline = math.log(classes)
        elif name.startswith("BinaryCrossEntropy"):
            kind, baseline = "binary-cross-entropy", math.log(2)
        elif name in _SQUARED and (target := _target(node)) is not None:
            kind, baseline = "squared", float(target.float().var(correction=0))
    return LossFacts(kind, classes, baseline, squashed and kind.endswith("cross-entropy"))


def batch_accuracy(loss: Tensor) -> Tensor | None:
    """Return the accuracy on the batch of a cross-entropy over class indices; None for other losses."""
    for name, node in nearest(loss):
        if name in _CLASS_LOSSES:
            scores, target = _scores(node), _target(node)
            if scores is None or target is None or scores.ndim < 2:
                return None
            valid = target >= 0
            return ((scores.argmax(1) == target) & valid).sum() / valid.sum().clamp(min=1)
    return None


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
    except RuntimeError:  # already freed, or a saved-tensor hook cannot unpack it twice
        return None
    return value.detach() if isinstance(value, torch.Tensor) else None
