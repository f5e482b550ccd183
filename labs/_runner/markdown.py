"""Numbers, intervals, rules and tables as Markdown."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfoundations.labs._runner.lab import Lab
from nnfoundations.labs._runner.statistics import Interval

if TYPE_CHECKING:
    from IPython.display import Markdown

__all__ = [
    "choice_text",
    "claim_cells",
    "interval_text",
    "markdown",
    "markdown_table",
    "mean_text",
    "measured_text",
    "number",
    "p_text",
    "rule_text",
]


MOST_ARMS = 3
"""A rule about more arms than these says how many there are."""


def number(value: float) -> str:
    """A number in three digits, or in full if it is a large whole one."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "-∞" if value < 0 else "NaN"
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.3g}"


def mean_text(values: np.ndarray) -> str:
    """Mean ± standard deviation, or `-` if a value is NaN."""
    mean, n = float(values.mean()), len(values)
    spread = float(values.std(ddof=1)) if n > 1 else 0.0
    if math.isnan(mean):
        return "-"
    return number(mean) + (f" ± {number(spread)}" if spread > 1e-9 * abs(mean) else "")


def interval_text(interval: Interval) -> str:
    """The two ends in brackets."""
    return f"[{number(interval.low)}, {number(interval.high)}]"


def p_text(value: float) -> str:
    """A p-value in three decimals."""
    return "NaN" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def rule_text(lab: Lab, claim: dict[str, Any]) -> str:
    """The rule of a claim from `claims.json`, for example `mean of updates (raw sepals) ≤ 10 ± 2`."""
    relation = {"at_least": "≥", "at_most": "≤", "equal": "="}[claim["relation"]]
    margin = f" ± {number(claim['margin'])}" if claim["margin"] else ""
    quantity = {"every": "each", "difference": "difference of", "ratio": "ratio of"}.get(
        claim["quantity"], f"{claim['quantity']} of"
    )
    column, arms = claim["column"].replace("_", " "), [lab.label(arm) for arm in claim["arms"]]
    between = {"difference": " minus ", "ratio": " over "}.get(claim["quantity"], "; ")
    where = between.join(arms) if len(arms) <= MOST_ARMS else f"{len(arms)} arms"
    return f"{quantity} {column} ({where}) {relation} {number(claim['number'])}{margin}"


def measured_text(measured: dict[str, Any]) -> str:
    """What a claim in `claims.json` has measured, with its interval."""
    if measured["estimate"] is None:
        return "-"
    low, high = (math.inf if end is None else end for end in (measured["low"], measured["high"]))
    return f"{number(measured['estimate'])} [{number(low)}, {number(high)}]"


def claim_cells(lab: Lab, claim: dict[str, Any]) -> tuple[str, str, str, str]:
    """A claim from `claims.json` as a row: claim and source, rule, measured, verdict."""
    why = f" ({claim['reason']})" if claim["reason"] else ""
    said, verdict = f"{claim['claim']} *{claim['source']}*", f"**{claim['verdict']}**{why}"
    return said, rule_text(lab, claim), measured_text(claim["measured"]), verdict


def choice_text(lab: Lab, choice: dict[str, Any]) -> str:
    """A choice from `choice.json` with its rule and the means of its arms."""
    means = "; ".join(
        f"{lab.label(arm)} {'-' if mean is None else f'{mean:.4g}'}" for arm, mean in choice["means"].items()
    )
    chosen = "no arm" if choice["chosen"] is None else lab.label(choice["chosen"])
    what = lab.table.get(choice["column"], choice["column"])
    return f"Chosen by the {choice['best']} mean of {what}: **{chosen}**. Means: {means}."


def markdown_table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = (), below: str = ""
) -> "Markdown":
    """A table, perhaps with a text below it.

    Args:
        heads: of the columns.
        rows: one text for each column.
        right: columns of numbers, which are aligned to the right.
        below: the text.

    Returns:
        What a notebook displays.
    """
    ends = set(right)
    ruler = ["---:" if i in ends else "---" for i in range(len(heads))]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
             for line in (heads, ruler, *rows)]  # fmt: skip
    return markdown("\n".join(lines) + (f"\n\n{below}" if below else ""))


def markdown(text: str) -> "Markdown":
    """A text that a notebook displays."""
    from IPython.display import Markdown

    return Markdown(text)
