"""Finds what feeds a loss: the last activation before it, its axis, and the layer below."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nnfoundations.diagnostics._node import CLAMPS, UNCHANGED, Edge, option, saved_option

__all__ = ["ACTIVATIONS", "Feeding", "follow", "log_softmax", "softmax_axis", "unchanged"]

ACTIVATIONS = {
    "Relu": "relu",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
    "SafeSoftmax": "softmax",
    "LogSoftmax": "log-softmax",
    "LogSigmoid": "log-sigmoid",
    "Exp": "exp",
    "Softplus": "softplus",
    "Elu": "elu",
    "Gelu": "gelu",
    "Silu": "silu",
    "Hardsigmoid": "hardsigmoid",
    "Log": "log",
}
"""Names of activations by the kind of their node."""

_SELECTS = ("Diagonal", "Gather", "Index", "IndexSelect", "MaskedSelect", "Take")
_LAYERS = (
    "Addmm", "BatchNorm", "Convolution", "CudnnBatchNorm", "Embedding", "GroupNorm", "LayerNorm", "Linear",
    "NativeBatchNorm", "NativeGroupNorm", "NativeLayerNorm", "RmsNorm",
)  # fmt: skip
_PRODUCTS = ("Bmm", "Mm", "Mul", "Mv")
_FARTHEST = 32
"""Number of nodes after which a search gives up."""


@dataclass
class Feeding:
    """What feeds a place in the graph.

    Args:
        output: what arrives there, before any broadcasting.
        source: the node that computes it; below the activation if there is one.
        activation: name of the activation, or empty.
        inner: name of the activation right before that one, or empty.
        maker: the node of the activation; without one that of `source`.
        module: name of the module that made it, or of the layer below; empty if unknown.
        axis: axis of a softmax or of a division by a sum; -1 for none.
        length: number of entries along it.
        ndim: number of axes of what it was applied to.
        before: the softmax before a log-softmax, as axis and length of its own.
        broadcast: shape after broadcasting; empty if there was none.
        pairwise: whether another axis was added right before that.
        selected: whether some of the numbers were selected by an index.
        flipped: whether it is 1 minus the output, or its negative.
        normalized: whether the output was divided by its own sum.
        ordered: whether the numbers are in the order in which they were computed.
        walked: the nodes from the place to the source.
    """

    output: Edge
    source: Edge
    activation: str = ""
    inner: str = ""
    maker: Edge | None = None
    module: str = ""
    axis: int = -1
    length: int = 0
    ndim: int = 0
    before: tuple[int, int] = (-1, 0)
    broadcast: tuple[int, ...] = ()
    pairwise: bool = False
    selected: bool = False
    flipped: bool = False
    normalized: bool = False
    ordered: bool = True
    walked: list[Edge] = field(default_factory=list)

    @property
    def layer(self) -> bool:
        """Whether a layer with weights computes it."""
        return _is_layer(self.source)


def follow(edge: Edge, modules: Mapping[Any, str], shifts: bool = False) -> Feeding:
    """Follow the numbers back to the activation and the layer that made them.

    Args:
        edge: the place.
        modules: names of modules by the node that made their output.
        shifts: whether to follow through the addition of a constant, as in ``log(p + eps)`` and ``1 - p``.
    """
    found = Feeding(edge, edge, walked=[edge])
    for _ in range(_FARTHEST):
        following = _next(edge, found, shifts)
        if following is None:
            break
        edge = following
        found.walked.append(edge)
    found.source = found.maker = edge
    _read_activation(edge, found)
    if found.activation and found.maker is not None:
        found.source = _below(found.maker)
        found.inner = ACTIVATIONS.get(found.source.kind, "")
    found.module = _name(found, modules)
    return found


def unchanged(edge: Edge | None) -> Edge | None:
    """Return the node that made numbers which only changed their shape or type since."""
    for _ in range(_FARTHEST):
        if edge is None or edge.kind not in UNCHANGED or not edge.sources:
            return edge
        edge = edge.sources[0]
    return edge


def log_softmax(edge: Edge) -> tuple[Edge, int] | None:
    """Return the logits and the axis if this node is a log-softmax, torch's, ours or ``x - logsumexp(x)``."""
    if edge.kind == "LogSoftmax":
        return edge.sources[0], softmax_axis(edge)
    if edge.kind != "Sub" or len(edge.sources) < 2:
        return None
    logits, shift = edge.sources[0], unchanged(edge.sources[1])
    if shift is not None and shift.kind == "Log":
        sums = unchanged(shift.sources[0])
        inside = unchanged(sums.sources[0]) if sums is not None and sums.kind == "Sum" else None
        shift, under = sums, inside.sources[0] if inside is not None and inside.kind == "Exp" else None
    else:
        under = shift.sources[0] if shift is not None and shift.kind == "Logsumexp" else None
    if shift is None or not _same(under, logits):
        return None
    return logits, _axis(saved_option(shift.node, "dim"), logits.shape)


def softmax_axis(edge: Edge) -> int:
    """Return the axis of a softmax, counted from the front; -1 if unknown."""
    dim = saved_option(edge.node, "dim")
    return _axis(option(edge.node, 0) if dim is None else dim, edge.shape)


def _next(edge: Edge, found: Feeding, shifts: bool) -> Edge | None:
    """Return the node before one that passes numbers on; None if this one computes them."""
    kind, sources = edge.kind, edge.sources
    if not sources or (kind == "Div" and sources[0].kind == "Exp"):
        return None  # a leaf, or a softmax written by hand
    if kind == "Expand":
        found.broadcast = edge.shape
        found.output, found.pairwise = sources[0], sources[0].kind == "Unsqueeze"
    elif kind in _SELECTS:
        found.selected = True
    elif kind == "Div" and (summed := _divided_by_sum(edge)):
        found.normalized, found.axis, found.length, found.ndim = True, *summed, len(edge.shape)
    elif shifts and kind in ("Add", "Neg", "Rsub", "Sub") and len(sources) == 1:
        found.flipped = found.flipped or _flips(edge)
    elif kind not in UNCHANGED and kind not in CLAMPS:
        return None
    found.ordered = found.ordered and not edge.reorders and kind not in _SELECTS
    return sources[0]


def _flips(edge: Edge) -> bool:
    """Return whether an addition changes the sign of its only variable input."""
    return edge.kind in ("Neg", "Rsub") or (edge.kind == "Sub" and edge.inputs[0] is None)


def _read_activation(edge: Edge, found: Feeding) -> None:
    by_hand = log_softmax(edge)
    if by_hand is not None:
        found.activation, found.axis, found.maker = "log-softmax", by_hand[1], edge
    elif edge.kind == "Div" and (summed := _divided_by_sum(edge)):
        found.activation, found.axis, found.maker = "softmax", summed[0], edge
    else:
        found.activation = ACTIVATIONS.get(edge.kind, "")
        if found.activation != "softmax":
            return
        found.axis = softmax_axis(edge)
    shape = edge.shape
    found.ndim, found.length = len(shape), shape[found.axis] if 0 <= found.axis < len(shape) else 0


def _divided_by_sum(edge: Edge) -> tuple[int, int] | None:
    """Return axis and length if a node divides numbers by their sum along an axis."""
    if len(edge.sources) < 2:
        return None
    numbers, total = edge.sources[0], unchanged(edge.sources[1])
    if total is None or total.kind != "Sum" or not _same(total.sources[0], numbers):
        return None
    axis = _axis(saved_option(total.node, "dim"), edge.shape)
    return (axis, edge.shape[axis]) if axis >= 0 else None


def _same(one: Edge | None, other: Edge | None) -> bool:
    one, other = unchanged(one), unchanged(other)
    return one is not None and other is not None and one.node is other.node


def _axis(dim: Any, shape: tuple[int, ...]) -> int:
    if isinstance(dim, list | tuple):
        dim = dim[0] if len(dim) == 1 else None
    if not isinstance(dim, int) or isinstance(dim, bool):
        return -1
    dim = dim - 2**64 if dim >= 2**63 else dim
    axis = dim + len(shape) if dim < 0 else dim
    return axis if 0 <= axis < len(shape) else -1


def _below(maker: Edge) -> Edge:
    """Return the node that computes the input of an activation."""
    inner = maker.sources[0] if maker.sources else maker
    if maker.kind == "Div" and inner.kind == "Exp" and inner.sources:
        inner = inner.sources[0]
    return unchanged(inner) or inner


def _name(found: Feeding, modules: Mapping[Any, str]) -> str:
    below = [] if found.maker is None else found.maker.sources
    edges = [found.maker, *below, found.source, *found.walked[::-1]]
    return next((modules[edge.node] for edge in edges if edge is not None and edge.node in modules), "")


def _is_layer(edge: Edge) -> bool:
    """Return whether a node is a layer: it computes with a weight, or adds a bias to such a product."""
    if edge.kind in _LAYERS:
        return True
    leaves = [unchanged(one) for one in edge.sources]
    weights = [leaf for leaf in leaves if leaf is not None and leaf.kind == "AccumulateGrad"]
    if edge.kind == "Add" and weights:
        return any(leaf is not None and _is_layer(leaf) for leaf in leaves)
    return edge.kind in _PRODUCTS and any(leaf.node.variable.ndim > 1 for leaf in weights)
