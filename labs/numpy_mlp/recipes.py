"""From gradients to what the optimizer receives: decay and clipping, right and wrong.

A recipe takes the gradients of a batch, the parameters, and a dict that it may use as its memory. It returns
an array for each parameter.
"""

from collections.abc import Callable, Mapping

import numpy as np

__all__ = [
    "Recipe",
    "clip",
    "clip_elements",
    "clip_layers",
    "decay",
    "decay_all",
    "decay_half",
    "decay_summed",
    "forget_gains",
    "never_zero",
    "unchanged",
]

Array = np.ndarray
Arrays = dict[str, Array]
Recipe = Callable[[Arrays, Mapping[str, Array], Arrays], Arrays]

BATCH = 64
DECAY = 1e-3
LARGEST_NORM = 0.5
LARGEST_ELEMENT = 0.01


def unchanged(gradients: Arrays, parameters: Mapping[str, Array], memory: Arrays) -> Arrays:
    """The gradients."""
    return gradients


def never_zero(gradients: Arrays, parameters: Mapping[str, Array], memory: Arrays) -> Arrays:
    """Wrong: the sum of the gradients of all batches so far."""
    for name, gradient in gradients.items():
        memory[name] = memory.get(name, 0) + gradient
    return {name: total.copy() for name, total in memory.items()}


def forget_gains(gradients: Arrays, parameters: Mapping[str, Array], memory: Arrays) -> Arrays:
    """Wrong: nothing for gain and shift of a norm, whose names the optimizer does not know."""
    gains = {
        name.removesuffix("weight") for name, p in parameters.items() if p.ndim == 1 and "weight" in name
    }
    return {
        name: np.zeros_like(gradient) if name.rpartition(".")[0] + "." in gains else gradient
        for name, gradient in gradients.items()
    }


def decay(gradients: Arrays, parameters: Mapping[str, Array], memory: Arrays) -> Arrays:
    """Adds the derivative λ w of λ w² / 2, for weights, not for biases."""
    return _decayed(gradients, parameters, DECAY)


def decay_half(gradients: Arrays, parameters: Mapping[str, Array], memory: Arrays) -> Arrays:
    """Wrong: half of it, as if the square had no derivative of 2."""
    return _decayed(gradients, parameters, DECAY / 2)


def decay_summed(gradients: Arrays, parameters: Mapping[str, Array], memory: Arrays) -> Arrays:
    """Wrong: λ is meant for a sum over the batch, and the gradient is a mean."""
    return _decayed(gradients, parameters, BATCH * DECAY)


def decay_all(gradients: Arrays, parameters: Mapping[str, Array], memory: Arrays) -> Arrays:
    """Wrong: biases decay too."""
    return {name: gradient + DECAY * parameters[name] for name, gradient in gradients.items()}


def _decayed(gradients: Arrays, parameters: Mapping[str, Array], strength: float) -> Arrays:
    return {
        name: gradient + strength * parameters[name] if gradient.ndim > 1 else gradient
        for name, gradient in gradients.items()
    }


def clip(gradients: Arrays, parameters: Mapping[str, Array], memory: Arrays) -> Arrays:
    """One factor for all gradients, so that their norm together is at most the largest."""
    norm = np.sqrt(sum(float((gradient**2).sum()) for gradient in gradients.values()))
    factor = min(1.0, LARGEST_NORM / norm)
    return {name: gradient * gradient.dtype.type(factor) for name, gradient in gradients.items()}


def clip_layers(gradients: Arrays, parameters: Mapping[str, Array], memory: Arrays) -> Arrays:
    """Wrong: a factor for the weight of each layer, and none for biases."""
    return {
        name: clip({name: gradient}, parameters, memory)[name] if gradient.ndim > 1 else gradient
        for name, gradient in gradients.items()
    }


def clip_elements(gradients: Arrays, parameters: Mapping[str, Array], memory: Arrays) -> Arrays:
    """Wrong: cuts each number, which changes the direction."""
    return {
        name: np.clip(gradient, -LARGEST_ELEMENT, LARGEST_ELEMENT) for name, gradient in gradients.items()
    }
