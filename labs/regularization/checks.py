"""Checks of what the reader writes in the notebook: each says what is wrong."""

from collections.abc import Callable, Sequence

import numpy as np

from nnfoundations.labs._runner.answers import as_array, as_pair

__all__ = ["check_dropout", "check_max_norm", "check_penalty_gradient", "check_stopping"]

Dropout = Callable[[np.ndarray, float, bool, np.random.Generator], tuple[np.ndarray, np.ndarray]]
PenaltyGradient = Callable[[np.ndarray, float, float], np.ndarray]


def check_penalty_gradient(gradient: PenaltyGradient) -> None:
    """Check the gradient of the penalty against central differences.

    Args:
        gradient: takes w, l1 and l2; returns the gradient of l1 Σ|w| + l2 / 2 Σw².

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    w = np.array([[0.5, -2.0, 0.0], [1.5, -0.25, 3.0]])
    for l1, l2 in ((0.0, 0.3), (0.2, 0.0), (0.2, 0.3)):

        def penalty(v: np.ndarray, l1: float = l1, l2: float = l2) -> float:
            return float(l1 * np.abs(v).sum() + l2 / 2 * np.square(v).sum())

        got = as_array(gradient(w.copy(), l1, l2), "the gradient", w.shape)
        for place in zip(*np.nonzero(w), strict=True):
            step = np.zeros_like(w)
            step[place] = 1e-5
            want = (penalty(w + step) - penalty(w - step)) / 2e-5
            hint = " Is the half of l2 / 2 forgotten?" if not l1 and np.isclose(got[place], 2 * want) else ""
            assert np.isclose(got[place], want, atol=1e-6), (
                f"l1={l1}, l2={l2}, w={w[place]}: the numerical gradient is {want:.4f}, yours is "
                f"{got[place]:.4f}.{hint}"
            )
        assert got[0, 2] == 0, f"at w = 0 take the gradient 0, as np.sign does; got {got[0, 2]}"
    print("penalty_gradient is right.")


def check_dropout(dropout: Dropout) -> None:
    """Check dropout in training and in evaluation.

    Args:
        dropout: takes x, p, whether it trains, and a generator; returns y and the factors by which the
            gradient of y is multiplied on its way back.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    x = np.random.default_rng(0).normal(3, 1, (200, 100))
    y, factors = _dropped(dropout, x, 0.5, False)
    assert np.array_equal(y, x), "in evaluation every value passes unchanged, bit for bit; yours changes them"
    assert (factors == 1).all(), "in evaluation the gradient passes unchanged too: the factors are ones"
    for p in (0.2, 0.5):
        y, factors = _dropped(dropout, x, p, True)
        assert len(np.unique(y == 0, axis=0)) > 1, "draw a number for each value, not for each column"
        share = float((y == 0).mean())
        assert abs(share - p) < 4 * np.sqrt(p * (1 - p) / x.size), (
            f"p = {p} is the probability of a zero; {share:.3f} of your values are zero"
        )
        kept = y[y != 0] / x[y != 0]
        assert np.allclose(kept, 1 / (1 - p)), (
            f"kept values are divided by 1 - p = {1 - p}, so that the mean stays; yours have the factor "
            f"{kept.mean():.3f}"
        )
        assert np.allclose(y, x * factors), "the backward pass needs the same mask and scale: y = x * factors"
    first, second, again = (_dropped(dropout, x, 0.5, True, seed)[0] for seed in (2, 3, 2))
    assert not np.array_equal(first == 0, second == 0), "draw a new mask each time"
    assert np.array_equal(first, again), "draw from the given generator, so that a seed gives the same mask"
    print("dropout is right.")


def _dropped(
    dropout: Dropout, x: np.ndarray, p: float, train: bool, seed: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    mine = x.copy()
    y, factors = as_pair(dropout(mine, p, train, np.random.default_rng(seed)), "what dropout returns")
    assert np.array_equal(mine, x), "leave x as it is: y = x * factors makes a new array"
    return as_array(y, "y", x.shape), as_array(factors, "an array with one factor for each value", x.shape)


def check_max_norm(limit: Callable[[np.ndarray, float], np.ndarray]) -> None:
    """Check the limit of max-norm.

    Args:
        limit: takes weights `(outputs, inputs)` and c; returns the limited weights.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    weight = np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0], [0.9, 1.2]])
    for c, wanted in ((1.0, [[0.6, 0.8], [0.3, 0.4], [0, 0], [0.6, 0.8]]),
                      (2.0, [[1.2, 1.6], [0.3, 0.4], [0, 0], [0.9, 1.2]])):  # fmt: skip
        got = as_array(limit(weight.copy(), c), "the result", weight.shape)
        assert np.isfinite(got).all(), "a row of zeros must stay: do not divide by its norm"
        for before, after, want in zip(weight, got, np.array(wanted), strict=True):
            assert np.allclose(after, want), (
                f"c = {c}: row {before} has norm {np.linalg.norm(before):.1f} and becomes {want}; got "
                f"{after}. A row enters one unit"
            )
    print("limit is right.")


def check_stopping(stop: Callable[[Sequence[float], int], tuple[int, int]]) -> None:
    """Check early stopping.

    Args:
        stop: takes the validation loss of each epoch and the patience; returns the index of the last epoch
            that is trained, and that of the epoch whose weights are kept.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    for losses, patience, want, why in (
        ([5, 4, 3, 4, 5, 6], 2, (4, 2), "two epochs after index 2 are not better: stop at 4, keep 2"),
        ([5, 4, 4.5, 3, 4, 5], 2, (5, 3), "a better loss restarts the count"),
        ([5, 3, 4, 3.5, 4], 2, (3, 1), "compare with the smallest loss so far, not with the one before"),
        ([3, 3, 3, 1], 2, (2, 0), "an equal loss is not better"),
        ([5, 4, 3], 2, (2, 2), "without a stop, all epochs are trained"),
        ([5, 3, 4], 2, (2, 1), "the best weights are kept even if nothing stops"),
    ):
        got = as_pair(stop(losses, patience), "what stop returns")
        assert got == want, f"losses {losses}, patience {patience}: {why}; got {got}"
    print("stop is right.")
