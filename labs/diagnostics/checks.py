"""Checks of what the reader writes in the notebook: each says what is wrong."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nnfoundations.labs._runner.answers import as_array
from nnfoundations.labs._runner.results import Results
from nnfoundations.labs.diagnostics import game
from nnfoundations.labs.diagnostics.catalogue import FAULTS

__all__ = ["check_dead_share", "check_names", "check_renamed", "check_symptom", "check_update_ratio"]

Answer = Callable[..., Any]
GUESSING = np.log(10)
CURVES = {
    "falls": [2.3, 1.2, 0.7, 0.5, 0.4, 0.3, 0.3, 0.2, 0.25, 0.2],
    "explodes": [2.4, 9.0, 41.0, 230.0, 900.0, 800.0, 760.0, 900.0, 880.0, 900.0],
    "nan": [2.3, 2.2, float("nan"), *[float("nan")] * 7],
    "flat": [2.5, 2.31, 2.3, 2.31, 2.3, 2.29, 2.3, 2.31, 2.3, 2.3],
}
AFTER_A_JUMP = [2.4, 60.0, 12.0, 2.4, 2.31, 2.3, 2.31, 2.3, 2.29, 2.3]


def check_symptom(symptom: Answer) -> None:
    """Check a function that names what a curve of losses shows.

    Args:
        symptom: takes losses by step; returns "nan", "explodes", "flat" or "falls".

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    for name, losses in CURVES.items():
        given = symptom(np.array(losses))
        assert given is not None, "the answer is None: end the function with `return`"
        assert given in CURVES, f"return one of {', '.join(CURVES)}; got {given!r}"
        assert given == name, f"{losses[:4]} ... {losses[-1]} is {name!r}; got {given!r}{_hint(name)}"
    given = symptom(np.array(AFTER_A_JUMP))
    assert given == "flat", (
        f"a loss that jumps to 60 and ends at 2.3 is 'flat': the network guesses; got {given!r}. Judge the "
        "end, not the highest loss"
    )
    print("symptom is right.")


def _hint(name: str) -> str:
    return ". NaN is not larger than anything: ask np.isfinite first" if name == "nan" else ""


def check_update_ratio(update_ratio: Answer) -> None:
    """Check the size of an update, relative to the weights.

    Args:
        update_ratio: takes the weights before and after a step; returns a number.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    generator = np.random.default_rng(0)
    before = generator.normal(size=(8, 5))
    after = before + 1e-3 * generator.normal(size=(8, 5))
    given = float(as_array(update_ratio(before.copy(), after.copy()), "the ratio", ()))
    change, norm = after - before, np.linalg.norm
    for wrong, why in (
        (norm(after) / norm(before) - 1, "the norm of the change, not the change of the norm"),
        (norm(before) / norm(change), "the change over the weights, not the reverse"),
        (np.abs(change / before).mean(), "divide norms: single weights near 0 would decide the mean"),
        (norm(change), "divide by the norm of the weights"),
    ):
        assert not np.isclose(given, wrong, rtol=1e-6), why
    right = norm(change) / norm(before)
    assert np.isclose(given, right, rtol=1e-4), f"the ratio is {right:.6f}; got {given:.6f}"
    print("update_ratio is right.")


def check_dead_share(dead_share: Answer) -> None:
    """Check the share of dead units.

    Args:
        dead_share: takes the outputs of a ReLU layer `(N, units)`; returns a share.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    outputs = np.maximum(np.random.default_rng(0).normal(size=(16, 10)), 0)
    outputs[:, :3] = 0
    outputs[2] = 0
    given = float(as_array(dead_share(outputs.copy()), "the share", ()))
    assert not np.isclose(given, (outputs == 0).mean()), (
        "a zero is healthy; a unit is dead if it is 0 for each sample"
    )
    assert not np.isclose(given, (outputs == 0).any(0).mean()), "a unit is dead if all its outputs are 0"
    assert not np.isclose(given, (outputs == 0).all(1).mean()), (
        "units are the columns: axis 0 are the samples"
    )
    assert np.isclose(given, 0.3), f"3 of 10 units are dead; got {given:g}"
    print("dead_share is right.")


def check_names(names: Mapping[int, str], results: Results) -> None:
    """Check the form of the names that a reader gives to the hidden runs; wrong ones are part of the game.

    Args:
        names: by number of the run.
        results: of the lab.

    Raises:
        AssertionError: a run has no name, or a name is not one of the list.
    """
    hidden = set(game.solution(results))
    assert isinstance(names, Mapping), f"give a dict of number and name; got {type(names).__name__}"
    assert set(names) == hidden, f"name the runs 1 to {len(hidden)}; got {sorted(names)}"
    unknown = sorted({name for name in names.values() if name not in FAULTS})
    assert not unknown, f"a name is one of {', '.join(FAULTS)}; got {', '.join(map(repr, unknown))}"
    print("Each run has a name.")


def check_renamed(names: Mapping[int, str], results: Results) -> None:
    """Check the names that a reader gives after the findings.

    Args:
        names: by number of the run.
        results: of the lab.

    Raises:
        AssertionError: a name is wrong; the text says of which run.
    """
    check_names(names, results)
    wrong = [i for i, arm in game.solution(results).items() if names[i] != arm]
    assert not wrong, (
        f"not yet right: run {', '.join(map(str, wrong))}. Which fault has this finding as its cause?"
    )
    print("All are right.")
