"""Claims with a rule each, written before the runs, and their verdicts, computed from the results.

The rule says where a quantity should lie: `at_least`, `at_most` or `equal` to the number, give or take the
margin. A claim is supported if the 95 % interval of the quantity lies inside, contradicted if it lies
outside, else not shown. So "no difference" is supported only if the whole interval lies within the margin.
"""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nnfoundations.cli import write_whole
from nnfoundations.errors import OptionError
from nnfoundations.labs._runner.results import LEAST_SEEDS, Results
from nnfoundations.labs._runner.statistics import Interval, holm, mean_interval, p_value, wilson

__all__ = ["Claim", "Claims", "Judged", "judge", "write_claims"]

SUPPORTED, CONTRADICTED, NOT_SHOWN = "supported", "contradicted", "not shown"
ALPHA = 0.05
QUANTITIES = ("mean", "difference", "ratio", "share", "every")
RELATIONS = ("at_least", "at_most", "equal")


@dataclass(frozen=True)
class Claim:
    """A statement that the results may contradict.

    Args:
        id: its name.
        claim: the statement.
        source: who says so.
        number: the number in the rule.
        margin: the smallest deviation from the number that would matter.
        quantity: `mean` of an arm; `difference` or `ratio` of two arms, paired by seed (for a ratio the mean
            of the logarithms); `share` of the seeds whose value is not 0; `every` single value.
        relation: `at_least`, `at_most` or `equal`.
        column: a column of `results.csv`, or of `test.csv` with `test/` before it.
        arms: the arms that are meant; `difference` and `ratio` take two, the first minus or over the second.
        family: claims of one family are tested together, with Holm's correction.
    """

    id: str
    claim: str
    source: str
    number: float
    margin: float
    quantity: str
    relation: str
    column: str
    arms: tuple[str, ...]
    family: str = ""

    @property
    def region(self) -> tuple[float, float]:
        """Where the quantity should lie."""
        low = -math.inf if self.relation == "at_most" else self.number - self.margin
        high = math.inf if self.relation == "at_least" else self.number + self.margin
        return low, high


@dataclass(frozen=True)
class Judged:
    """A claim with what was measured.

    Args:
        claim: the claim.
        verdict: supported, contradicted or not shown.
        interval: the quantity, with its 95 % interval; for `every` the range of all values.
        p: the two-sided p-value at the nearest end of the region, with Holm's correction in a family.
        reason: why there is no verdict, if not for the interval.
    """

    claim: Claim
    verdict: str
    interval: Interval
    p: float = math.nan
    reason: str = ""


@dataclass(frozen=True)
class Claims:
    """The content of `claims.yaml`.

    Args:
        claims: by id.
        question: what the reader predicts.
        options: by letter: the text of an answer, and the claims that all hold if the answer is right.
        ours: the letter that we predicted before the runs.
    """

    claims: dict[str, Claim]
    question: str
    options: dict[str, tuple[str, tuple[str, ...]]]
    ours: str

    @classmethod
    def read(cls, path: Path) -> "Claims":
        """Read and check a file.

        Raises:
            OptionError: a key, a quantity, a relation or a reference is wrong.
        """
        import yaml

        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        try:
            claims = [_claim(entry) for entry in content["claims"]]
            prediction = content["prediction"]
            options = {letter: _option(one) for letter, one in prediction["options"].items()}
            found = cls(
                {claim.id: claim for claim in claims}, prediction["question"], options, prediction["ours"]
            )
        except (KeyError, TypeError) as error:
            raise OptionError(
                f"{path}: wrong or missing key {error}.\nSee docs/labs.md for the form."
            ) from None
        unknown = [claim for _, named in options.values() for claim in named if claim not in found.claims]
        if unknown or found.ours not in options or len(found.claims) < len(claims):
            raise OptionError(
                f"{path}: each option names a claim, `ours` an option, and ids differ; "
                f"got {unknown or found.ours}.\nCorrect the references."
            )
        return found


def _option(entry: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    named = entry["claim"]
    return entry["text"], (named,) if isinstance(named, str) else tuple(named)


def _claim(entry: dict[str, Any]) -> Claim:
    rule = dict(entry["rule"])
    others = {name: value for name, value in entry.items() if name != "rule"}
    claim = Claim(**others, **{**rule, "arms": tuple(rule["arms"])})
    if claim.quantity not in QUANTITIES or claim.relation not in RELATIONS:
        raise OptionError(
            f"claim {claim.id}: a quantity is one of {', '.join(QUANTITIES)}, a relation one of "
            f"{', '.join(RELATIONS)}; got {claim.quantity} and {claim.relation}."
        )
    return claim


def judge(claims: Claims, results: Results) -> list[Judged]:
    """The verdict on each claim.

    Args:
        claims: written before the runs.
        results: of the runs.
    """
    judged = [_measure(claim, results) for claim in claims.claims.values()]
    for family in {one.claim.family for one in judged} - {""}:
        members = [i for i, one in enumerate(judged) if one.claim.family == family]
        for i, p in zip(members, holm([judged[i].p for i in members]), strict=True):
            judged[i] = replace(judged[i], p=float(p))
    return [_with_verdict(one) for one in judged]


_NOTHING = Interval(math.nan, math.nan, math.nan, 0)


def _measure(claim: Claim, results: Results) -> Judged:
    if missing := [arm for arm in claim.arms if arm not in results.arms]:
        return Judged(claim, NOT_SHOWN, _NOTHING, reason=f"no runs of {', '.join(missing)}")
    if missing := [arm for arm in claim.arms if not len(results.values(arm, claim.column))]:
        return Judged(claim, NOT_SHOWN, _NOTHING, reason=f"not tested: {', '.join(missing)}")
    interval, p = _ESTIMATE[claim.quantity](claim, results)
    seeds = interval.n // (len(claim.arms) if claim.quantity == "every" else 1)
    reason = ""
    if seeds < LEAST_SEEDS:
        reason = f"{seeds} seeds; a verdict needs {LEAST_SEEDS}"
    elif math.isnan(interval.estimate):
        reason = "a run failed or measured NaN"
    return Judged(claim, NOT_SHOWN, interval, p, reason)


def _with_verdict(judged: Judged) -> Judged:
    if judged.reason:
        return judged
    low, high = judged.claim.region
    interval = judged.interval
    if judged.claim.quantity == "every":
        inside = low <= interval.low and interval.high <= high
        return replace(judged, verdict=SUPPORTED if inside else CONTRADICTED)
    if judged.claim.quantity == "share":
        inside = low <= interval.low and interval.high <= high
        outside = interval.high < low or interval.low > high
        verdict = SUPPORTED if inside else CONTRADICTED if outside else NOT_SHOWN
    elif judged.p < ALPHA:  # the interval does not contain an end of the region
        verdict = SUPPORTED if low <= interval.estimate <= high else CONTRADICTED
    else:
        verdict = NOT_SHOWN
    return replace(judged, verdict=verdict)


Estimate = Callable[[Claim, Results], tuple[Interval, float]]


def _mean(claim: Claim, results: Results) -> tuple[Interval, float]:
    return _tested(results.values(claim.arms[0], claim.column), claim.region)


def _difference(claim: Claim, results: Results) -> tuple[Interval, float]:
    arm, against = claim.arms
    first, second = results.pairs(arm, against, claim.column)
    return _tested(first - second, claim.region)


def _ratio(claim: Claim, results: Results) -> tuple[Interval, float]:
    arm, against = claim.arms
    first, second = results.pairs(arm, against, claim.column)
    low, high = (math.log(end) if end > 0 else -math.inf for end in claim.region)
    logs, p = _tested(np.log(first / second), (low, high))
    return Interval(math.exp(logs.estimate), math.exp(logs.low), math.exp(logs.high), logs.n), p


def _tested(values: np.ndarray, region: tuple[float, float]) -> tuple[Interval, float]:
    """The mean with the larger p-value of the two ends: both must be excluded."""
    ends = [end for end in region if math.isfinite(end)]
    p_values = [p_value(values, end) for end in ends]
    return mean_interval(values), math.nan if np.isnan(p_values).any() else max(p_values)


def _share(claim: Claim, results: Results) -> tuple[Interval, float]:
    values = np.concatenate([results.values(arm, claim.column) for arm in claim.arms])
    if np.isnan(values).any():
        return Interval(math.nan, math.nan, math.nan, len(values)), math.nan
    return wilson(int(np.count_nonzero(values)), len(values)), math.nan


def _every(claim: Claim, results: Results) -> tuple[Interval, float]:
    values = np.concatenate([results.values(arm, claim.column) for arm in claim.arms])
    return Interval(float(values.mean()), float(values.min()), float(values.max()), len(values)), math.nan


_ESTIMATE: dict[str, Estimate] = {
    "mean": _mean, "difference": _difference, "ratio": _ratio, "share": _share, "every": _every,
}  # fmt: skip


def write_claims(claims: Claims, results: Results) -> list[Judged]:
    """Judge the claims and write `claims.json` beside the results.

    Args:
        claims: written before the runs.
        results: of the runs.

    Returns:
        The claims with their verdicts.
    """
    judged = judge(claims, results)
    entries = [
        {
            **asdict(one.claim),
            "verdict": one.verdict,
            "reason": one.reason,
            "measured": one.interval._asdict(),
            "p": one.p,
        }
        for one in judged
    ]
    text = json.dumps(_without_nan({"claims": entries, "prediction": _prediction(claims, judged)}), indent=2)
    write_whole(results.folder / "claims.json", text + "\n")
    return judged


def _prediction(claims: Claims, judged: list[Judged]) -> dict[str, Any]:
    verdicts = {one.claim.id: one.verdict for one in judged}
    options = {
        letter: {"text": text, "claims": list(named), "verdict": _together([verdicts[one] for one in named])}
        for letter, (text, named) in claims.options.items()
    }
    return {"question": claims.question, "ours": claims.ours, "options": options}


def _together(verdicts: list[str]) -> str:
    """All claims of an answer must hold; one that is contradicted contradicts it."""
    if CONTRADICTED in verdicts:
        return CONTRADICTED
    return SUPPORTED if set(verdicts) == {SUPPORTED} else NOT_SHOWN


def _without_nan(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
