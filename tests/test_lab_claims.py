"""Intervals, tests and verdicts, against scipy's own results and numbers computed by hand."""

import csv
import json
import math

import numpy as np
import pytest
import yaml
from scipy import stats

from nnfoundations.errors import OptionError
from nnfoundations.labs import Results
from nnfoundations.labs._runner.claims import Claims, judge, write_claims
from nnfoundations.labs._runner.statistics import holm, mcnemar, mean_interval, p_value, wilson

FIVE = [0.0, 1.0, 2.0, 3.0, 4.0]


def test_the_paired_interval_is_scipys():
    first, second = np.array([5.0, 7.0, 6.0, 9.0, 8.0]), np.array([4.0, 6.5, 6.5, 7.0, 8.0])
    expected = stats.ttest_rel(first, second)
    interval = mean_interval(first - second)
    assert interval[1:3] == pytest.approx(expected.confidence_interval(0.95))
    assert p_value(first - second, 0) == pytest.approx(expected.pvalue)


def test_no_spread_one_value_nothing_and_nan():
    assert mean_interval([2.0, 2.0, 2.0])[:3] == (2, 2, 2)
    assert (p_value([2.0, 2.0], 2), p_value([2.0, 2.0], 1)) == (1, 0)
    assert mean_interval([2.0])[:3] == (2, -math.inf, math.inf)
    assert all(map(math.isnan, [*mean_interval([])[:3], *mean_interval([1.0, math.nan])[:3]]))
    assert math.isnan(p_value([1.0, math.nan, 2.0], 0))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1, 1])
    assert np.isnan(holm([math.nan, 0.01])).tolist() == [True, False]
    assert holm([math.nan, 0.01])[1] == pytest.approx(0.02), "a test that failed counts"


def test_wilson_and_mcnemar():
    interval = wilson(9800, 10000)
    assert (interval.low, interval.high) == pytest.approx((0.97707, 0.98257), abs=1e-5)
    assert wilson(5, 5).low == pytest.approx(5 / (5 + 1.959964**2), rel=1e-6)
    assert mcnemar(10, 2) == pytest.approx(2 * sum(math.comb(12, k) for k in range(3)) / 2**12)
    assert mcnemar(0, 0) == 1


def results(tmp_path, **arms):
    """Tables as an experiment leaves them, with one column `x`."""
    table = [(arm, seed, "finished", x) for arm, xs in arms.items() for seed, x in enumerate(xs)]
    for name, header, rows in (
        ("results.csv", ("arm", "seed", "state", "x"), table),
        ("curves.csv", ("arm", "seed", "curve", "x", "y"), []),
        ("timings.csv", ("arm", "seed", "seconds", "cpu_seconds"), []),
    ):
        with (tmp_path / name).open("w", newline="") as stream:
            csv.writer(stream).writerows([header, *rows])
    (tmp_path / "machine.json").write_text("{}")
    return Results(tmp_path)


def claims(tmp_path, *rules, answer="0"):
    """A file of claims with these rules: quantity, relation, number, margin, arms and perhaps a family."""
    entries = [
        {
            "id": str(i), "claim": "c", "source": "s", "number": number, "margin": margin,
            "rule": {"quantity": quantity, "relation": relation, "column": "x", "arms": list(arms)},
        } | ({"family": rest[0]} if rest else {})
        for i, (quantity, relation, number, margin, arms, *rest) in enumerate(rules)
    ]  # fmt: skip
    prediction = {"question": "q", "options": {"a": {"text": "t", "claim": answer}}, "ours": "a"}
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims": entries, "prediction": prediction}))
    return Claims.read(path)


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        (("mean", "at_least", 0, 0, "a"), "supported"),  # 2 [0.04, 3.96]
        (("mean", "at_least", 1, 0, "a"), "not shown"),
        (("mean", "at_least", 1, 0.99, "a"), "supported"),
        (("mean", "at_most", 0, 0, "a"), "contradicted"),
        (("mean", "equal", 2, 1.9, "a"), "not shown"),  # the interval is wider than the margin
        (("mean", "equal", 2, 2.0, "a"), "supported"),
        (("mean", "equal", 9, 2.0, "a"), "contradicted"),
        (("difference", "at_least", 0, 0, "ba"), "supported"),  # 1 to 2
        (("difference", "at_least", 1.5, 0, "ba"), "not shown"),
        (("difference", "equal", 0, 0.5, "ba"), "contradicted"),
        (("ratio", "at_least", 2, 0, "dc"), "supported"),  # about 10
        (("ratio", "equal", 1, 0.1, "dc"), "contradicted"),
        (("ratio", "equal", 10, 2, "dc"), "supported"),
        (("every", "at_most", 4, 0, "a"), "supported"),
        (("every", "at_most", 3, 0, "a"), "contradicted"),
        (("share", "at_least", 0.3, 0, "a"), "supported"),  # 4 of 5: [0.38, 0.96]
        (("share", "at_least", 0.5, 0, "a"), "not shown"),
        (("share", "at_most", 0.3, 0, "a"), "contradicted"),
        (("mean", "at_least", 0, 0, "n"), "not shown"),
        (("every", "at_least", 0, 0, "n"), "not shown"),
        (("mean", "at_least", 0, 0, "f"), "not shown"),
        (("mean", "at_least", 0, 0, "z"), "not shown"),
    ],
)
def test_a_verdict_follows_from_the_interval(rule, verdict, tmp_path):
    found = results(
        tmp_path,
        **{"a": FIVE, "b": [1.2, 2.4, 3.6, 4.8, 6.0], "c": [1, 2, 3, 4, 5], "d": [9, 21, 29, 44, 49]},
        **{"n": [*FIVE, math.nan], "f": [1, 1, 1, 1]},
    )
    (judged,) = judge(claims(tmp_path, rule), found)
    assert judged.verdict == verdict
    reasons = {"n": "NaN", "f": "4 seeds; a verdict needs 5", "z": "no runs of z"}
    assert reasons.get(rule[4], "") in judged.reason


def test_a_family_is_tested_together(tmp_path):
    found = results(tmp_path, a=FIVE, b=[0.5, 0.1, 0.3, -0.5, 0.9])
    alone = ("mean", "at_least", 0, 0, "a")  # p = 0.047
    together = [(*alone, "f"), ("mean", "at_least", 0, 0, "b", "f")]
    assert [one.verdict for one in judge(claims(tmp_path, alone), found)] == ["supported"]
    first, _ = judge(claims(tmp_path, *together), found)
    assert first.verdict == "not shown"
    assert first.p == pytest.approx(2 * p_value(FIVE, 0))


def test_claims_json_is_strict_json(tmp_path):
    found = results(tmp_path, n=[*FIVE, math.nan])
    write_claims(claims(tmp_path, ("mean", "at_least", 0, 0, "n")), found)

    def refuse(word):
        raise AssertionError(word)

    content = json.loads((tmp_path / "claims.json").read_text(), parse_constant=refuse)
    assert content["claims"][0]["measured"]["estimate"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantity": "median"}, "a quantity is one of mean"),
        ({"relation": "above"}, "a relation one of at_least"),
        ({"colunm": "x"}, "colunm"),
    ],
)
def test_a_wrong_claim_is_refused(change, message, tmp_path):
    claims(tmp_path, ("mean", "at_least", 0, 0, "a"))
    path = tmp_path / "claims.yaml"
    content = yaml.safe_load(path.read_text())
    content["claims"][0]["rule"] |= change
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(OptionError, match=message):
        Claims.read(path)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [("0", "supported"), (["0", "1"], "not shown"), (["0", "1", "2"], "contradicted"), (["0"], "supported")],
)
def test_all_claims_of_an_answer_must_hold(answer, verdict, tmp_path):
    """The mean of `a` is 2 [0.04, 3.96]."""
    rules = [("mean", "at_least", number, 0, "a") for number in (0, 1, 9)]
    found = results(tmp_path, a=FIVE)
    write_claims(claims(tmp_path, *rules, answer=answer), found)
    prediction = json.loads((tmp_path / "claims.json").read_text())["prediction"]
    assert prediction["options"]["a"]["verdict"] == verdict
