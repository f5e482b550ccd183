"""Checks of what the reader writes in the notebook: each says what is wrong."""

from collections.abc import Callable

import numpy as np

from nnfoundations.labs.perceptron.flowers import flowers
from nnfoundations.numpy import Perceptron

__all__ = ["check_pocket", "check_scale", "check_train", "check_update"]

Update = Callable[[np.ndarray, float, np.ndarray, int], tuple[np.ndarray, float]]
Train = Callable[[np.ndarray, np.ndarray, np.random.Generator, int], tuple[np.ndarray, float, list[int]]]


def check_update(update: Update) -> None:
    """Check one update of the rule.

    Args:
        update: takes w, b, x and the class y, 0 or 1; returns w and b.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    w, b, x = np.array([1.0, -2.0]), 0.5, np.array([3.0, 1.0])  # w x + b = 1.5
    kept = w.copy()
    new_w, new_b = update(w, b, x, 1)
    assert np.array_equal(w, kept), "update changes the array w that it is given; return a new one: w + x"
    assert (*new_w, new_b) == (*kept, b), (
        "x has class 1 and w x + b = 1.5 > 0 is right: nothing may change. The rule learns from mistakes only"
    )
    new_w, new_b = update(w, b, x, 0)
    assert not np.array_equal(new_w, kept), "x has class 0 but w x + b = 1.5 > 0: a mistake must change w"
    assert np.array_equal(new_w, kept - x), (
        f"for a mistake on class 0, w must become w - x = {kept - x}; got {new_w}. Is the sign s = -1 for "
        "class 0?"
    )
    assert new_b == b - 1, f"the bias is a weight with the input 1: b must become b - 1 = -0.5; got {new_b}"
    new_w, _ = update(-w, -b, x, 1)
    assert np.array_equal(new_w, x - w), "for a mistake on class 1, w must become w + x"
    new_w, _ = update(np.zeros(2), 0.0, x, 1)
    assert np.array_equal(new_w, x), (
        "a sample on the boundary, w x + b = 0, counts as a mistake: else zero weights never change"
    )
    print("update is right.")


def check_train(train: Train) -> None:
    """Check a training on the standardized sepals against `nnfoundations.numpy.Perceptron`.

    Args:
        train: takes x, y, a generator and the largest number of epochs; returns w, b and the mistakes of each
            epoch.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    x, y = flowers(scaling="standard")
    x = x.astype(float)
    w, b, mistakes = train(x, y, np.random.default_rng(0), 100)
    assert mistakes, "train returned no mistakes; append their number after each epoch"
    assert mistakes[-1] == 0, (
        f"train ended after {len(mistakes)} epochs with {mistakes[-1]} mistakes; "
        "go on until an epoch has none"
    )
    assert 0 not in mistakes[:-1], "an epoch without a mistake ends the training"
    wrong = int(((x @ w + b > 0) != (y == 1)).sum())
    assert wrong == 0, f"the weights that train returned misclassify {wrong} flowers; return the last ones"
    ours = Perceptron(2, dtype="float64").fit(x, y, seed=0)
    assert mistakes == ours.history.mistakes, (
        f"the mistakes per epoch are {mistakes}; the library's are {ours.history.mistakes}. Draw the order "
        "of each epoch with generator.permutation(len(y))"
    )
    print(f"train is right: mistakes per epoch {mistakes}.")


def check_scale(factor: float, updates: Callable[[float], int]) -> None:
    """Check the experiment with inputs and bias input multiplied by one factor.

    Args:
        factor: the factor.
        updates: the number of updates for a factor.

    Raises:
        AssertionError: the numbers differ.
    """
    one, other = updates(1.0), updates(factor)
    assert one == other, (
        f"{one} updates at factor 1 but {other} at {factor}: the constant input 1 of the bias must be "
        "multiplied too, else the samples (x, 1) are not all scaled alike"
    )
    print(f"{one} updates at both scales.")


def check_pocket(pocket: Callable[[list[int]], int]) -> None:
    """Check the choice of the pocket.

    Args:
        pocket: takes the errors at the end of each epoch; returns the index of the epoch whose weights to
            keep.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    got = pocket([40, 31, 38])
    assert got == 1, f"of the errors 40, 31, 38 the pocket keeps the fewest, index 1; got {got}"
    got = pocket([40, 31, 31])
    assert got == 1, f"on a tie the pocket keeps the earlier weights, index 1; got {got}"
    print("pocket is right.")
