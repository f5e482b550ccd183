"""`check_drop_in`: every law at once, for a layer of one's own."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from nnfoundations.testing._contract import CONTRACT
from nnfoundations.testing._subject import Subject
from nnfoundations.testing._tolerance import K
from nnfoundations.testing._transforms import TRANSFORMS
from nnfoundations.testing._values import VALUES

__all__ = ["LAWS", "check_drop_in"]

LAWS = {law.__name__: law for law in (*VALUES, *CONTRACT, *TRANSFORMS)}
"""All laws by name, in the order in which they are held."""


@dataclass(frozen=True)
class _Given(Subject):
    ours: type[Module]
    theirs: type[Module]
    given: tuple[Tensor, ...]
    arguments: Mapping[str, Any]
    kind: str
    training: bool
    looser: int
    rows: int

    def inputs(self, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, ...]:
        """The given numbers; another seed turns them by that many places: none leaves its domain."""
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
    leave_out: Iterable[str] = (),
    looser: int = 1,
    rows: int = 0,
) -> None:
    """Hold a layer of one's own against the one of torch that it stands for.

    Both classes are built from the same arguments and called with the same inputs; each law of `LAWS` then
    says one thing in which the two must not differ. Small inputs are enough, and quick: a dozen numbers,
    none at a kink, `requires_grad` where a gradient is defined.

    Args:
        ours: the class to check.
        theirs: the class it stands for.
        inputs: what forward takes, in float64 (labels as integers).
        arguments: what both constructors take.
        kind: its line of the tolerance table: "elementwise", "sum", "softmax", "linear", "normalization",
            "loss".
        training: mode in which both are called. Check a layer that has two modes twice.
        leave_out: names of laws that it does not promise.
        looser: a factor on the table's tolerances.
        rows: how many numbers more than torch it may save for the backward, say one a row.

    Raises:
        AssertionError: names each law that it breaks, with the first reason.
        ValueError: `kind` or a law to leave out does not exist.

    >>> class Squash(torch.nn.Softsign):
    ...     def forward(self, input):
    ...         return input / (1 + input.abs())
    >>> x = torch.linspace(-3, 3, 6, dtype=torch.float64).reshape(2, 3).requires_grad_()
    >>> kept = ["it_saves_no_more_than_torch", "copies_compute_the_same"]  # a class at a prompt has no pickle
    >>> check_drop_in(Squash, torch.nn.Softsign, [x], leave_out=kept)
    """
    left_out = set(leave_out)
    if kind not in K or not left_out <= LAWS.keys():
        unknown = sorted(left_out - LAWS.keys()) or [kind]
        raise ValueError(
            f"check_drop_in knows the kinds {', '.join(K)} and the laws of nnfoundations.testing.LAWS; got "
            f"{', '.join(unknown)}. Take a name from there."
        )
    subject = _Given(ours, theirs, tuple(inputs), arguments or {}, kind, training, looser, rows)
    broken: dict[str, Exception] = {}
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, law in LAWS.items():
            if name in left_out:
                continue
            try:
                law(subject)
            except Exception as error:  # whatever a foreign layer raises is a broken law
                broken[name] = error
    if not broken:
        return
    lines = [f"  {name}: {_first_line(error)}" for name, error in broken.items()]
    raise AssertionError(
        f"{ours.__name__} breaks {len(broken)} of {len(LAWS) - len(left_out)} laws of a drop-in for "
        f"{theirs.__name__}:\n" + "\n".join(lines)
    ) from next(iter(broken.values()))


def _first_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
