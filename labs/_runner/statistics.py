"""Intervals and tests for results of paired seeds."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Interval", "holm", "mcnemar", "mean_interval", "p_value", "wilson"]

Numbers = Sequence[float] | np.ndarray


class Interval(NamedTuple):
    """An estimate with its 95 % confidence interval.

    Args:
        estimate: the estimate.
        low: the lower end.
        high: the upper end.
        n: how many numbers it rests on.
    """

    estimate: float
    low: float
    high: float
    n: int


def mean_interval(values: Numbers, level: float = 0.95) -> Interval:
    """The t interval of a mean; of paired differences it is the paired t interval.

    A NaN among the values makes all of it NaN. One value has an infinite interval.

    >>> round(mean_interval([1.0, 2.0, 3.0]).low, 4)
    -0.4841
    """
    from scipy.stats import t

    values = np.asarray(values, dtype=float)
    n = len(values)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = float(values.mean())
    if n == 1:
        return Interval(mean, -math.inf, math.inf, 1)
    half = float(t.ppf((1 + level) / 2, n - 1) * values.std(ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def p_value(values: Numbers, number: float) -> float:
    """The two-sided p-value of a t test: that the mean of the values is this number."""
    from scipy.stats import ttest_1samp

    values = np.asarray(values, dtype=float)
    if len(values) < 2 or np.isnan(values).any():
        return math.nan
    if values.std() == 0:  # no spread: the t statistic is 0 / 0 or infinite
        return float(values[0] == number)
    return float(ttest_1samp(values, number).pvalue)


def holm(p_values: Numbers) -> np.ndarray:
    """Holm's adjusted p-values of several tests; a NaN stays NaN and counts as a test.

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)  # NaN comes last
    adjusted = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    result = np.empty_like(p)
    result[order] = adjusted
    return result


def wilson(successes: int, n: int) -> Interval:
    """Wilson's interval of a share, for example of the accuracy of one network on one test set."""
    from scipy.stats import binomtest

    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    interval = binomtest(successes, n).proportion_ci(method="wilson")
    return Interval(successes / n, float(interval.low), float(interval.high), n)


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact p-value of McNemar's test: that two networks are equally good on the same samples.

    Args:
        only_first: samples that only the first network has right.
        only_second: samples that only the second network has right.
    """
    from scipy.stats import binomtest

    n = only_first + only_second
    return 1.0 if n == 0 else float(binomtest(only_first, n, 0.5).pvalue)
