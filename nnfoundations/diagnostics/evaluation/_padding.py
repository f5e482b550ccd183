"""Measures whether a network reads the state of a recurrent layer behind the padding of its sequences."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

from torch import Tensor, nn

from nnfoundations.diagnostics.evaluation._call import ROWS, Call, NotEvaluatedError
from nnfoundations.diagnostics.evaluation._mixing import SAME, deviation

__all__ = ["Reading", "measure_reading"]

SHORTEST = 8
"""Smallest number of steps of a sequence."""


class Reading(NamedTuple):
    """What a recurrent layer gets, and what of it is used.

    `padding`: share of the steps that are padding at the end, the median over the samples. `last`: 1 if only
    the state after the last step is used, otherwise 0. `where`: the layer.
    """

    padding: float
    last: float
    where: str


def measure_reading(call: Call, named: Callable[[nn.Module], str]) -> Reading:
    """Look for padding in the inputs of recurrent layers, and clear all states but the last one.

    The module is in evaluation mode, without gradients.

    Args:
        call: the call of the network.
        named: returns the name of a module in the model.

    Raises:
        NotEvaluatedError: there is no recurrent layer that reads forward over dense sequences.
    """
    layers = [m for m in call.module.modules() if isinstance(m, nn.RNNBase) and not m.bidirectional]
    if len(layers) != 1:
        raise NotEvaluatedError("no single recurrent layer that reads forward was seen")
    (layer,) = layers
    time = 1 if layer.batch_first else 0
    inputs: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Any, ...]) -> None:
        if args and isinstance(args[0], Tensor):
            inputs.append(args[0].movedim(time, 1))

    def clear(module: nn.Module, args: Any, output: Any) -> Any:
        states = output[0].clone()
        states.narrow(time, 0, states.shape[time] - 1).zero_()
        return (states, *output[1:])

    part = call.part(slice(0, min(call.samples, ROWS)))
    with ExitStack() as stack:
        stack.enter_context(layer.register_forward_pre_hook(keep))
        whole = part.run()
    if len(inputs) != 1 or inputs[0].ndim != 3 or inputs[0].shape[1] < SHORTEST:
        raise NotEvaluatedError("the recurrent layer reads no dense sequences at once")
    padding = _padding(inputs[0])
    if not padding:
        return Reading(0.0, 0.0, named(layer))
    with ExitStack() as stack:
        stack.enter_context(layer.register_forward_hook(clear))
        cleared = part.run()
    return Reading(padding, float(deviation(cleared, whole).amax() <= SAME), named(layer))


def _padding(x: Tensor) -> float:
    """Return the share of steps at the end that all equal the commonest last step."""
    last = x[:, -1]
    alike = (last[:, None] == last[None]).all(-1)
    pad = last[alike.sum(1).argmax()]
    runs = (x == pad).all(-1).flip(1).cumprod(1).sum(1)
    return float(runs.median()) / x.shape[1] if int((runs > 1).sum()) * 4 >= 3 * len(runs) else 0.0
