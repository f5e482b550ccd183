"""Reads the weights and options that torch's losses of classes, and ours, keep in their nodes."""

from torch import Tensor

from nnfoundations.diagnostics._node import Edge, option, saved_option, saved_position, saved_tensor

__all__ = ["class_weights", "counted_labels", "element_weights", "is_mean", "positive_weights"]

_MEAN = 1
"""The value of ``reduction="mean"`` in torch's nodes."""


def class_weights(edge: Edge) -> Tensor | None:
    """Return the weight of each class in a cross-entropy or a negative log-likelihood; None without any."""
    weight = element_weights(edge)
    return weight if weight is not None and weight.ndim == 1 and weight.numel() else None


def element_weights(edge: Edge) -> Tensor | None:
    """Return what a loss got as ``weight``: of classes, or of elements in a binary one."""
    weight = saved_tensor(edge.node, "weight")
    return saved_position(edge.node, 2) if weight is None else weight


def positive_weights(edge: Edge) -> Tensor | None:
    """Return the weights of the positive answers in a binary cross-entropy of logits; None without any."""
    weight = saved_tensor(edge.node, "pos_weight")
    return saved_position(edge.node, 3) if weight is None else weight


def is_mean(edge: Edge) -> bool:
    """Return whether a loss divides by the number, or the total weight, of its elements."""
    return saved_option(edge.node, "reduction") == _MEAN or "mean" in getattr(edge.node, "values", ())


def counted_labels(edge: Edge, target: Tensor) -> Tensor:
    """Return which labels a loss counts, as a flat mask: not the ignored ones, nor those of weight 0.

    Does not wait for the device.

    Args:
        edge: the node of the loss.
        target: its labels.
    """
    ignored, labels = saved_option(edge.node, "ignore_index"), target.reshape(-1)
    ignored = option(edge.node, 1) if ignored is None else ignored
    kept = labels != (-100 if ignored is None else ignored)
    weight = class_weights(edge)
    return kept if weight is None else kept & (weight != 0)[labels.clamp(0, len(weight) - 1)]
