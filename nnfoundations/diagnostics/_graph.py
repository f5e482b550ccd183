"""The autograd graph of a loss: which nodes are near, where the backward pass ends, what it depends on."""

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

_UNCHANGED = (
    "Alias", "Clamp", "ClampMax", "ClampMin", "Clone", "Permute", "ReshapeAlias", "Select", "Slice",
    "Squeeze", "T", "ToCopy", "Transpose", "UnsafeView", "Unsqueeze", "View",
)  # fmt: skip
"""Nodes that pass numbers on as they are, in another shape or type, or within limits."""


def node_kind(node: Any) -> str:
    """``NllLossBackward0`` -> ``NllLoss``; an autograd.Function of Python has no digit."""
    return "" if node is None else node.name().rstrip("0123456789").removesuffix("Backward")


def source(node: Any) -> Any:
    """The node that made the numbers which this one passes on."""
    while node_kind(node) in _UNCHANGED:
        node = node.next_functions[0][0]
    return node


def nearest(loss: Tensor, most: int = 24) -> list[tuple[str, Any]]:
    """The nodes nearest to the loss, breadth first: penalties and scalings stand before it in the graph."""
    found: list[tuple[str, Any]] = []
    queue, seen = deque([loss.grad_fn]), set()
    while queue and len(found) < most:
        node = queue.popleft()
        if node is None or node in seen:
            continue
        seen.add(node)
        found.append((node_kind(node), node))
        queue.extend(following for following, _ in node.next_functions)
    return found


def ends(loss: Tensor, parameters: Mapping[str, Tensor]) -> list[Tensor]:
    """Where the backward pass of this loss ends: the gradients that a NaN made anywhere on the way reaches.

    A node of the graph hands what it has made on to all below it, and the last ones take nothing but
    parameters in. In a chain that is the first layer alone. Of each module there the smallest tensor counts.
    What a mask stops, and what a node makes for its own parameter only, does not come there.

    Returns: nothing where the graph does not show all parameters that are trained, or ends at others.
    """
    names = {id(p): name for name, p in parameters.items()}
    missing = {key for key, p in zip(names, parameters.values(), strict=True) if p.requires_grad}
    chosen: dict[tuple[Any, str], Tensor] = {}
    for node, leaves in _nodes(loss):
        missing.difference_update(map(id, leaves))
        if None in leaves:
            continue
        known = [leaf for leaf in leaves if leaf is not None and id(leaf) in names]
        if not known:
            return []
        for leaf in known:
            place = node, names[id(leaf)].rpartition(".")[0]
            chosen[place] = min(chosen.get(place, leaf), leaf, key=lambda p: p.numel())
    return [] if missing else list({id(p): p for p in chosen.values()}.values())


def strangers(loss: Tensor, known: Collection[int]) -> list[nn.Parameter]:
    """Parameters that the loss depends on and whose ids are not known."""
    leaves = {id(leaf): leaf for _, found in _nodes(loss) for leaf in found}
    return [p for key, p in leaves.items() if key not in known and isinstance(p, nn.Parameter)]


def _nodes(loss: Tensor) -> Iterator[tuple[Any, list[Tensor | None]]]:
    """Each node that computes, with the leaves among its inputs; None for what other nodes made."""
    stack, seen = [loss.grad_fn], set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        inputs = [following for following, _ in node.next_functions if following is not None]
        leaves = [getattr(source(following), "variable", None) for following in inputs]
        stack.extend(following for following, leaf in zip(inputs, leaves, strict=True) if leaf is None)
        yield node, leaves
