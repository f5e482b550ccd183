"""Checks of what the reader writes in the notebook: each says what is wrong."""

from collections.abc import Callable, Sequence

import numpy as np

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

        got = np.asarray(gradient(w.copy(), l1, l2))
        assert got.shape == w.shape, f"the gradient has the shape of w, {w.shape}; got {got.shape}"
        for place in zip(*np.nonzero(w), strict=True):
            step = np.zeros_like(w)
            step[place] = 1e-5
            want = (penalty(w + step) - penalty(w - step)) / 2e-5
            hint = " Is the half of l2 / 2 forgotten?" if np.isclose(got[place], 2 * want) else ""
            assert np.isclose(got[place], want, atol=1e-6), (
                f"l1={l1}, l2={l2}, w={w[place]}: a difference gives {want:.4f}, your gradient "
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
    y, _ = dropout(x.copy(), 0.5, False, np.random.default_rng(1))
    assert np.array_equal(y, x), "in evaluation every value passes unchanged, bit for bit; yours changes them"
    for p in (0.2, 0.5):
        y, factors = dropout(x.copy(), p, True, np.random.default_rng(1))
        share = float((y == 0).mean())
        assert abs(share - p) < 4 * np.sqrt(p * (1 - p) / x.size), (
            f"p = {p} is the probability of a zero; {share:.3f} of your values are zero"
        )
        kept = y[y != 0] / x[y != 0]
        assert np.allclose(kept, 1 / (1 - p)), (
            f"kept values are divided by 1 - p = {1 - p}, so that the mean stays; yours have the factor "
            f"{kept.mean():.3f}"
        )
        assert np.shape(factors) == x.shape, "return one factor for each value"
        assert np.allclose(y, x * factors), "the backward pass needs the same mask and scale: y = x * factors"
    first, second = (dropout(x, 0.5, True, np.random.default_rng(seed))[0] for seed in (2, 3))
    assert not np.array_equal(first == 0, second == 0), "draw a new mask each time, from the given generator"
    print("dropout is right.")


def check_max_norm(limit: Callable[[np.ndarray, float], np.ndarray]) -> None:
    """Check the limit of max-norm.

    Args:
        limit: takes weights `(outputs, inputs)` and c; returns the limited weights.

    Raises:
        AssertionError: it is wrong; the text says how.
    """
    weight = np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    got = np.asarray(limit(weight.copy(), 1.0))
    assert got.shape == weight.shape, f"the result has the shape of the weights; got {got.shape}"
    assert np.isfinite(got).all(), "a row of zeros must stay: do not divide by its norm"
    assert np.allclose(got[0], [0.6, 0.8]), (
        f"row (3, 4) has norm 5 and becomes (0.6, 0.8) at c = 1; got {got[0]}. A row enters one unit"
    )
    assert np.allclose(got[1], weight[1]), f"row (0.3, 0.4) has norm 0.5 < 1 and stays; got {got[1]}"
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
        ([5, 4, 4.5, 3, 4, 5], 2, (5, 3), "a better loss starts the count anew"),
        ([3, 3, 3, 1], 2, (2, 0), "an equal loss is not better"),
        ([5, 4, 3], 2, (2, 2), "without a stop, all epochs are trained"),
        ([5, 3, 4], 2, (2, 1), "the best weights are kept even if nothing stops"),
    ):
        got = tuple(stop(losses, patience))
        assert got == want, f"losses {losses}, patience {patience}: {why}; got {got}"
    print("stop is right.")
