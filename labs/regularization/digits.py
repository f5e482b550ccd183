"""A small problem for the notebook: 100 digits of 8x8 pixels, and a layer of softmax."""

import numpy as np

__all__ = ["few_digits", "softmax_gradient"]


def few_digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """100 digits of scikit-learn for training, and the others.

    Returns:
        x `(100, 64)` from 0 to 1 and y `(100,)`, and the same of 1,697 others.
    """
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order] / 16, y[order]
    return x[:100], y[:100], x[100:], y[100:]


def softmax_gradient(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The gradient of the mean cross-entropy of a layer of softmax without bias.

    Args:
        w: weights `(classes, features)`.
        x: samples `(N, features)`.
        y: classes `(N,)`.

    Returns:
        The gradient, with the shape of w.
    """
    scores = x @ w.T
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    return np.asarray(p.T @ x / len(y))
