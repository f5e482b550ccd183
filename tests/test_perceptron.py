"""The perceptron on Iris data: it stops within the bound of the theorem, and warns if it cannot."""

import numpy as np
import pytest
from sklearn.datasets import load_iris

from nnfoundations.errors import LabelError, OptionError, ShapeError
from nnfoundations.numpy import Perceptron, novikoff_bound

IRIS = load_iris()
SETOSA = (IRIS.target == 0).astype(int)
VERSICOLOR = (IRIS.target == 1).astype(int)
SEPALS = IRIS.data[:, :2]


def standardized(x):
    return (x - x.mean(0)) / x.std(0)


def widest_margin(x, y):
    """The plane with the largest margin for the rows (x, 1), from a hard-margin support vector machine."""
    from sklearn.svm import LinearSVC

    rows = np.concatenate((x, np.ones((len(x), 1))), 1)
    machine = LinearSVC(
        C=1e6, loss="hinge", fit_intercept=False, tol=1e-8, max_iter=10_000_000, random_state=0
    )
    plane = machine.fit(rows, y).coef_[0]
    return plane[:-1], plane[-1]


@pytest.mark.parametrize("x", [IRIS.data, standardized(IRIS.data)], ids=["raw", "standardized"])
def test_setosa_is_learnt_within_novikoffs_bound(x):
    bound = novikoff_bound(x, SETOSA, *widest_margin(x, SETOSA))
    for seed in range(20):
        net = Perceptron(4, dtype="float64").fit(x, SETOSA, seed=seed)
        assert net.converged
        assert (net.predict(x) == SETOSA).all()
        assert net.history.mistakes[-1] == 0
        assert 0 not in net.history.mistakes[:-1]
        assert sum(net.history.mistakes) == len(net.history.updates) <= bound


def test_normalised_sepals_need_a_tenth_of_the_updates():
    """With all four features, scaling makes little difference; with the sepals alone it does."""

    def updates(x):
        fits = (Perceptron(2, dtype="float64").fit(x, SETOSA, max_epochs=5000, seed=s) for s in range(5))
        return np.median([len(net.history.updates) for net in fits])

    assert updates(standardized(SEPALS)) < 0.1 * updates(SEPALS)


def test_the_history_replays_the_weights():
    """Each update adds or subtracts one row, which is what an animation of the boundary needs."""
    net = Perceptron(2, dtype="float64").fit(standardized(SEPALS), SETOSA, seed=0)
    weight, bias = np.zeros(2), 0.0
    for update in net.history.updates:
        sign = 1 if SETOSA[update.row] else -1
        weight, bias = weight + sign * standardized(SEPALS)[update.row], bias + sign
        np.testing.assert_allclose(update.weight, weight)
        assert update.bias == bias
    np.testing.assert_array_equal(update.weight, net.parameters["weight"])


def test_inseparable_classes_give_a_warning_and_the_best_weights():
    x = standardized(IRIS.data)
    with pytest.warns(UserWarning, match=r"mistakes in epoch 50, its limit.* of 150") as caught:
        net = Perceptron(4, dtype="float64").fit(x, VERSICOLOR, max_epochs=50, seed=0)
    assert not net.converged
    assert len(net.history.mistakes) == 50
    errors = int((net.predict(x) != VERSICOLOR).sum())
    assert f"fewest errors, {errors} of 150" in str(caught[0].message)
    # No end of an epoch has fewer errors, and the last one has more.
    ends = {update.epoch: update for update in net.history.updates}
    met = [((x @ u.weight + u.bias > 0) != VERSICOLOR).sum() for u in ends.values()]
    assert min(met) == errors < met[-1]


@pytest.mark.parametrize("size", [1, 7, 150])
def test_differences_apply_the_rule(size):
    """For any batch size, subtracting the differences gives the weights that `fit` gives."""
    x = standardized(IRIS.data)
    by_rule, by_difference = Perceptron(4, dtype="float64"), Perceptron(4, dtype="float64")
    by_rule._pass(x, SETOSA, np.arange(150))
    for start in range(0, 150, size):
        rows = slice(start, start + size)
        loss, logits, moved = by_difference.differentiate(x[rows], SETOSA[rows])
        assert loss >= 0
        assert logits.shape == (len(x[rows]), 2)
        for name, value in by_difference.parameters.items():
            value -= moved[name]
    for name in by_rule.parameters:
        np.testing.assert_allclose(by_difference.parameters[name], by_rule.parameters[name])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: Perceptron(4).fit(IRIS.data, IRIS.target), LabelError, r"classes 0 and 1; got \[0, 1, 2\]"),
        (lambda: Perceptron(3).fit(IRIS.data, SETOSA), ShapeError, "rows of 3 features"),
        (lambda: Perceptron(4).fit(IRIS.data, SETOSA[:9]), ShapeError, "a class for each row"),
        (lambda: Perceptron(4).fit(IRIS.data, SETOSA, max_epochs=0), OptionError, "at least 1; got 0"),
        (lambda: novikoff_bound(SEPALS, SETOSA, np.zeros(2), 1.0), OptionError, "that separates"),
        (lambda: Perceptron(4).backward(IRIS.data), NotImplementedError, "no gradient, because its output"),
    ],
)  # fmt: skip
def test_error_messages(call, error, text):
    with pytest.raises(error, match=text):
        call()
