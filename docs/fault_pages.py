"""Builds the page of a fault, and the list of all faults, from the rules and the committed rows.

The pages have only headings, paragraphs, lists and images: `nnfoundations explain` prints them as plain
text.
"""

import csv
import inspect
import re
from itertools import groupby
from pathlib import Path
from textwrap import fill

from nnfoundations.diagnostics import RULES, Family, Rule

RESULTS = Path(__file__).parent / "results"
Row = dict[str, str]


def read(name: str) -> list[Row]:
    with (RESULTS / f"{name}.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def by_family() -> list[tuple[str, list[Rule]]]:
    """Return the rules of each family, in causal order."""
    ordered = sorted(RULES, key=lambda rule: Family.rank(rule.family))
    return [(family, list(members)) for family, members in groupby(ordered, key=lambda rule: rule.family)]


def index() -> str:
    """Build the list of all faults."""
    parts = [
        "# Faults",
        "The faults that diagnostics can find, by family. Of faults that begin together, one of an earlier\n"
        "family is the root cause.",
    ]
    for family, rules in by_family():
        parts.append(f"## {title(family)}")
        parts.append("\n".join(item(f"[`{rule.fault}`]({rule.fault}.md): {meaning(rule)}") for rule in rules))
    return "\n\n".join(parts) + "\n"


def title(name: str) -> str:
    return name.replace("-", " ").capitalize()


def paragraph(text: str) -> str:
    return fill(text, 110, break_on_hyphens=False, break_long_words=False)


def item(text: str) -> str:
    return fill(
        text, 110, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
    )


def meaning(rule: Rule) -> str:
    """Return the docstring of a rule as one line."""
    return " ".join(inspect.cleandoc(type(rule).__doc__ or "").split())


def code(text: str) -> str:
    """Mark names such as __getitem__ as code, which Markdown would show in bold."""
    return re.sub(r"\b__\w+__", r"`\g<0>`", text)


def fault_page(rule: Rule, runs: list[Row]) -> str:
    """Build the page of a fault: symptom, evidence, cause, fix.

    `runs` are the committed rows, each with ``run``: the network, and how the fault was injected.
    """
    rows = [row for row in runs if row["expected"] == rule.fault]
    parts = [f"# {rule.fault}", paragraph(meaning(rule))]
    seen = next((row for row in rows if row["figure"] == "yes"), None)
    if seen:
        parts += [
            "## Symptom",
            paragraph(course(seen)),
            f"![{rule.fault} and its healthy twin](../images/diagnostics_{rule.fault}.png)",
            "## Evidence",
            paragraph(f"{reported(seen)} {code(seen['evidence'])}"),
            "## Cause",
            paragraph(code(seen["cause"])),
            "## Fix",
            paragraph(code(seen["remedy"])),
        ]
    else:
        parts.append("No committed run shows this fault as root cause.")
    if related := relations(rule, runs):
        parts += ["## Related faults", "\n".join(map(item, related))]
    if rows:
        parts += ["## Runs", "\n".join(item(f"{row['run']}. {outcome(rule, row)}") for row in rows)]
    return "\n\n".join([*parts, "## Rule", *declaration(rule)]) + "\n"


def course(row: Row) -> str:
    """Say how the losses of a run went, and those of the same run without the fault."""
    mine, twin = (
        {name: said(row[f"{run}_{name}"]) for name in ("first", "last", "best_validation", "last_validation")}
        for run in ("fault", "twin")
    )
    text = (
        f"In a real run ({row['run']}) the training loss goes from {mine['first']} to {mine['last']} "
        f"in {int(row['fault_steps']):,} steps; without the fault it goes from {twin['first']} to "
        f"{twin['last']}."
    )
    if mine["best_validation"] == mine["last_validation"] or not twin["best_validation"]:
        return text
    return (
        f"{text} The validation loss is {mine['best_validation']} at best and {mine['last_validation']} at "
        f"the end; without the fault it is {twin['best_validation']} and {twin['last_validation']}."
    )


def said(number: str) -> str:
    return {"nan": "NaN", "inf": "infinity"}.get(number, number)


def reported(row: Row) -> str:
    """Say how severe a finding was, since when, and where."""
    places = row["where"].split("; ") if row["where"] else []
    shown = ", ".join(f"`{name}`" for name in places[:3])
    more = f" and {len(places) - 3} more" if len(places) > 3 else ""
    return f"Severity {row['severity']}, from step {row['step']} on{', in ' if places else ''}{shown}{more}."


def relations(rule: Rule, runs: list[Row]) -> list[str]:
    """List the causes of this fault in the committed runs, and its symptoms there."""
    causes = [row["named"] for row in runs if rule.fault in row["explains"].split("; ")]
    symptoms = [name for row in runs if row["named"] == rule.fault for name in row["explains"].split("; ")]
    lines = []
    if causes:
        lines.append(f"In our runs it was a symptom of {links(causes)}. Fix that fault first.")
    if any(symptoms):
        lines.append(f"In our runs its symptoms were {links(symptoms)}.")
    return lines


def links(faults: list[str]) -> str:
    """Link to the pages of faults, in causal order."""
    ordered = [rule.fault for _, rules in by_family() for rule in rules]
    return ", ".join(f"[`{fault}`]({fault}.md)" for fault in ordered if fault in faults)


def outcome(rule: Rule, row: Row) -> str:
    if not row["named"]:
        return "Not found."
    other = "" if row["named"] == rule.fault else f" as a symptom of [`{row['named']}`]({row['named']}.md)"
    return f"Found{other}, from step {row['step']} on."


def declaration(rule: Rule) -> list[str]:
    """Say what a rule needs, and list its limits."""
    needs = ", ".join(quantity.replace("_", " ") for quantity in rule.needs)
    count = (
        f"at least {rule.confirmations} of five measurements must show it" if rule.confirmations > 1 else ""
    )
    kind = "It is an exact fact" if rule.exact else "It is a tendency, judged from 20 steps on"
    facts = "; ".join(
        filter(None, (f"Family: {rule.family}", f"measurements needed: {needs}" if needs else ""))
    )
    parts = [paragraph(f"{facts}. {kind}{'; ' if count else ''}{count}.")]
    if limits := limits_of(rule):
        rows = [(f"`{name}` = {value}", range_of(rule, name), why) for name, value, why in limits]
        lines = [f"{head}{f' ({span})' if span else ''}: {why}" for head, span, why in rows]
        parts.append("Its limits; in brackets, the range in which no recorded run gets another result:")
        parts.append("\n".join(map(item, lines)))
    return parts


def range_of(rule: Rule, limit: str) -> str:
    """Return the range of a limit in which no recorded run gets another result; empty if it was not moved."""
    rows = read("diagnostics_margins")
    row = next((row for row in rows if (row["rule"], row["limit"]) == (rule.fault, limit)), None)
    return "" if row is None else f"{row['low']} to {row['high']}"


def limits_of(rule: Rule) -> list[tuple[str, str, str]]:
    """Return the thresholds of a rule, each with the comment on its line."""
    source = inspect.getsource(type(rule))
    found = re.findall(r"^    (\w+): (?:int|float) = ([^#\n]+?)\s*(?:# (.*))?$", source, re.M)
    return [(name, value, why.strip()) for name, value, why in found]
