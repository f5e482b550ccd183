"""`check_drop_in`: checks all laws for one layer."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from nnfoundations.testing._contract import CONTRACT_LAWS
from nnfoundations.testing._layer_case import LayerCase
from nnfoundations.testing._tolerance import TOLERANCES
from nnfoundations.testing._transforms import TRANSFORM_LAWS
from nnfoundations.testing._values import VALUE_LAWS

__all__ = ["LAWS", "check_drop_in"]

LAWS = {law.__name__: law for law in (*VALUE_LAWS, *CONTRACT_LAWS, *TRANSFORM_LAWS)}
"""All laws by name, in the order in which they are checked."""


@dataclass(frozen=True)
class _GivenCase(LayerCase):
    """A case with inputs from the caller."""

    ours: type[Module]
    theirs: type[Module]
    given: tuple[Tensor, ...]
    arguments: Mapping[str, Any]
    kind: str
    training: bool
    tolerance_factor: int
    extra_saved: int

    def inputs(self, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, ...]:
        """Return the given numbers, rotated by `seed` positions, so that each stays in its domain."""
        found = []
        for x in self.given:
            fresh = x.detach().reshape(-1).roll(seed).reshape(x.shape)
            if fresh.is_floating_point():
                fresh = fresh.to(dtype).requires_grad_(x.requires_grad)
            found.append(fresh.clone() if fresh is x else fresh)
        return tuple(found)


def check_drop_in(
    ours: type[Module],
    theirs: type[Module],
    inputs: Iterable[Tensor],
    *,
    arguments: Mapping[str, Any] | None = None,
    kind: str = "elementwise",
    training: bool = True,
    skip: Iterable[str] = (),
    tolerance_factor: int = 1,
    extra_saved: int = 0,
) -> None:
    """Check that a layer of yours can replace a layer of torch.

    Both classes are built with the same arguments and called with the same inputs. Each law of `LAWS` then
    compares one aspect. Small inputs are enough, and fast: about a dozen numbers, none at a kink, with
    `requires_grad` if a gradient is defined.

    Args:
        ours: the class to check.
        theirs: the torch class that it replaces.
        inputs: the arguments of forward, in float64 (labels as integers).
        arguments: the arguments of both constructors.
        kind: row of `TOLERANCES`: "elementwise", "sum", "softmax", "linear", "normalization" or "loss".
        training: mode in which both are called. Check a layer with two modes twice.
        skip: names of laws that the layer does not promise.
        tolerance_factor: multiplies the tolerances of the table.
        extra_saved: how many numbers the layer may save for the backward beyond what torch saves, for
            example one per row.

    Raises:
        AssertionError: some laws do not hold; the message names each one, with the first reason.
        ValueError: `kind` or a law in `skip` does not exist.

    Example:
        >>> class Squash(torch.nn.Softsign):
        ...     def forward(self, input):
        ...         return input / (1 + input.abs())
        >>> x = torch.linspace(-3, 3, 6, dtype=torch.float64).reshape(2, 3).requires_grad_()
        >>> skip = ["saves_no_more_memory_than_torch"]
        >>> skip += ["copies_give_the_same_output"]  # a class defined at a prompt cannot be pickled
        >>> check_drop_in(Squash, torch.nn.Softsign, [x], skip=skip)
    """
    skipped = set(skip)
    if kind not in TOLERANCES or not skipped <= LAWS.keys():
        unknown = sorted(skipped - LAWS.keys()) or [kind]
        raise ValueError(
            f"check_drop_in knows the kinds {', '.join(TOLERANCES)} and the laws in "
            f"nnfoundations.testing.LAWS; got {', '.join(unknown)}. Use one of these names."
        )
    case = _GivenCase(
        ours, theirs, tuple(inputs), arguments or {}, kind, training, tolerance_factor, extra_saved
    )
    broken: dict[str, Exception] = {}
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, law in LAWS.items():
            if name in skipped:
                continue
            try:
                law(case)
            except Exception as error:  # an exception of any kind breaks the law
                broken[name] = error
    if not broken:
        return
    lines = [f"  {name}: {_first_line(error)}" for name, error in broken.items()]
    raise AssertionError(
        f"{ours.__name__} breaks {len(broken)} of {len(LAWS) - len(skipped)} laws of a drop-in for "
        f"{theirs.__name__}:\n" + "\n".join(lines)
    ) from next(iter(broken.values()))


def _first_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
