"""Reads the autograd graph of a loss: the ends of the backward pass, and its parameters."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from nnfoundations.diagnostics._node import CLAMPS, UNCHANGED

__all__ = ["node_kind", "source", "terminal_parameters", "unknown_parameters"]


def node_kind(node: Any) -> str:
    """Return the kind of a node: ``NllLossBackward0`` is ``NllLoss``. Python functions have no digit."""
    return "" if node is None else node.name().rstrip("0123456789").removesuffix("Backward")


def source(node: Any) -> Any:
    """Return the node that made the numbers which this node passes on."""
    while node_kind(node) in (*UNCHANGED, *CLAMPS):
        node = node.next_functions[0][0]
    return node


def terminal_parameters(loss: Tensor, parameters: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the parameters whose gradients backward computes last: a NaN from anywhere propagates to them.

    A node passes what it computes to all nodes below, and the last nodes have only parameters as inputs. In a
    chain that is the first layer. Of each module there, the smallest tensor is taken. A NaN does not arrive
    if a mask stops it, or if a node computes it only for its own parameter.

    Args:
        loss: the loss, before its backward pass.
        parameters: the parameters of the model by name.

    Returns:
        The parameters; empty if the graph does not show all trained parameters, or ends at other tensors.
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


def unknown_parameters(loss: Tensor, known: Collection[int]) -> list[nn.Parameter]:
    """Return the parameters that the loss depends on and whose ids are not in `known`."""
    leaves = {id(leaf): leaf for _, found in _nodes(loss) for leaf in found}
    return [p for key, p in leaves.items() if key not in known and isinstance(p, nn.Parameter)]


def _nodes(loss: Tensor) -> Iterator[tuple[Any, list[Tensor | None]]]:
    """Yield each node that computes with its inputs: a leaf, or None for the output of another node."""
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
