"""The page docs/benchmark.md, from the committed rows."""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from checking import MAX_RISE, MIN_HARM, counted
from families import PROGRAMS
from program import KINDS, fault_named
from rivals import AUDIT_RULES, NAMES
from training import Key, program_named, read

__all__ = ["write"]

_ENTRY = re.compile(r" (?=[^ :]+:[a-z]+:)")
"""Between two findings; the names of places may contain spaces."""

OURS = ("Diagnostics", "Diagnostics, on the runs of the other tools")

ALARMS = {"warning", "warn", "error", "critical", "fatal"}


class Verdict(NamedTuple):
    """What a tool said about one run: alarm, first cause right, layer right (None if none is asked)."""

    key: Key
    alarm: bool
    first: bool
    layer: bool | None
    said: str


def key_of(row: dict[str, str]) -> Key:
    return row["program"], row["fault"], int(row["seed"])


def verdict(row: dict[str, str], ours: bool, without: Sequence[str] = ()) -> Verdict:
    key = key_of(row)
    entries = [entry.split(":", 3) for entry in _ENTRY.split(row["findings"]) if entry]
    alarms = [entry for entry in entries if entry[1] in ALARMS and entry[0] not in without]
    if not alarms or not row["fault"]:
        return Verdict(key, bool(alarms), False, None, " ".join(entry[0] for entry in alarms))
    fault = fault_named(program_named(row["program"]), row["fault"])
    name, _, _, places = alarms[0]
    names = (name,) if ours else NAMES.get(name, ())
    right = bool(set(names) & set(fault.causes))
    layer = any(fault.layer in place for place in places.split("+")) if fault.layer and right else None
    return Verdict(key, True, right, layer, " ".join(entry[0] for entry in alarms))


def interval(values: list[tuple[str, float]], draws: int = 2000) -> tuple[float, float, float]:
    """The mean and its 95 % interval: programs are drawn with replacement, each with all its runs."""
    groups = defaultdict(list)
    for cluster, value in values:
        groups[cluster].append(value)
    if not groups:
        return float("nan"), float("nan"), float("nan")
    sums = np.array([sum(group) for group in groups.values()])
    counts = np.array([len(group) for group in groups.values()])
    chosen = np.random.default_rng(0).integers(len(sums), size=(draws, len(sums)))
    means = sums[chosen].sum(1) / counts[chosen].sum(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return sums.sum() / counts.sum(), low, high


def percent(values: list[tuple[str, float]]) -> str:
    if not values:
        return "none"
    mean, low, high = interval(values)
    return f"{100 * mean:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def by_program(verdicts: list[Verdict], value: Callable[[Verdict], Any]) -> list[tuple[str, float]]:
    return [(v.key[0], float(value(v))) for v in verdicts if value(v) is not None]


class Results:
    """The runs that count, and what each tool said about them."""

    def __init__(self, folder: Path) -> None:
        self.checked = counted(read(folder / "faults_check.csv"))
        self.judged = read(folder / "faults_judge.csv")
        rows = {"Diagnostics": self.judged} | self._others(folder)
        self.tools = {
            name: [verdict(row, name in OURS) for row in mine] for name, mine in rows.items() if mine
        }
        if "torchmortem" in rows:
            short = [verdict(row, False, ("activation-saturation",)) for row in rows["torchmortem"]]
            self.tools["torchmortem without its saturation rule"] = short
        self.tools = {name: self._counting(verdicts) for name, verdicts in self.tools.items()}

    def _others(self, folder: Path) -> dict[str, list[dict[str, str]]]:
        """The other tools that have seen each program at least once: their rows, all of the same runs.

        If these are not all runs, the rows of Diagnostics for the same runs come first.
        """
        first = {key for key in self.checked if key[2] == 0}
        found = {}
        for name in ("torch-audit", "gradsnitch", "torchmortem"):
            rows = {key_of(row): row for row in read(folder / f"faults_{name.replace('-', '_')}.csv")}
            if first <= set(rows):
                found[name] = rows
        same = set(self.checked).intersection(*found.values())
        if found and len(same) < len(self.checked):
            found = {OURS[1]: {key_of(row): row for row in self.judged}} | found
        return {name: [row for key, row in rows.items() if key in same] for name, rows in found.items()}

    def _counting(self, verdicts: list[Verdict]) -> list[Verdict]:
        return [v for v in verdicts if self.checked.get(v.key, (False, 0.0))[0]]


def counts_of(results: Results) -> str:
    healthy = [key for key, (counts, _) in results.checked.items() if counts and not key[1]]
    faulty = [key for key, (counts, _) in results.checked.items() if counts and key[1]]
    kinds = {(program, fault) for program, fault, _ in faulty}
    return (
        f"{len({key[0] for key in healthy})} healthy programs with {len(healthy)} runs, "
        f"and {len(kinds)} faulty ones "
        f"with {len(faulty)} runs"
    )


def summary(results: Results) -> list[str]:
    lines = [
        "| tool | faults with an alarm | first cause right | right layer | healthy runs with an alarm |",
        "|---|---|---|---|---|",
    ]
    for name, verdicts in results.tools.items():
        faulty, healthy = [v for v in verdicts if v.key[1]], [v for v in verdicts if not v.key[1]]
        alarms = sum(v.alarm for v in healthy)
        lines.append(
            f"| {name} | {percent(by_program(faulty, lambda v: v.alarm))} "
            f"| {percent(by_program(faulty, lambda v: v.first))} "
            f"| {percent(by_program(faulty, lambda v: v.layer))} | {alarms} of {len(healthy)}, "
            f"{percent(by_program(healthy, lambda v: v.alarm))} |"
        )
    return lines


def goals(results: Results) -> list[str]:
    """Each goal, and whether it is reached."""
    ours = results.tools.get("Diagnostics", [])
    faulty, healthy = [v for v in ours if v.key[1]], [v for v in ours if not v.key[1]]
    if not faulty or not healthy:
        return []
    alarms = sum(v.alarm for v in healthy)
    measured = {
        "faults with an alarm, at least 90 %": (by_program(faulty, lambda v: v.alarm), 0.9),
        "first cause right, at least 85 %": (by_program(faulty, lambda v: v.first), 0.85),
        "right layer where the cause is right, at least 90 %": (by_program(faulty, lambda v: v.layer), 0.9),
    }
    lines = ["| goal | measured | reached |", "|---|---|---|"]
    for name, (values, least) in measured.items():
        reached = interval(values)[0] >= least if values else False
        lines.append(f"| {name} | {percent(values)} | {'yes' if reached else 'no'} |")
    allowed = 2 * len(healthy) / 200
    lines.append(
        f"| healthy runs with an alarm, at most 2 of 200 | {alarms} of {len(healthy)} "
        f"| {'yes' if alarms <= allowed else 'no'} |"
    )
    return lines


def kinds_table(results: Results) -> list[str]:
    names = list(results.tools)
    lines = [
        "| kind of fault | programs | runs | " + " | ".join(names) + " |",
        "|---|---|---|" + "---|" * len(names),
    ]
    for kind in KINDS:
        cells, runs, programs = [], 0, 0
        for name in names:
            chosen = [
                v
                for v in results.tools[name]
                if v.key[1] and fault_named(program_named(v.key[0]), v.key[1]).kind == kind
            ]
            if name == names[0]:
                runs, programs = len(chosen), len({v.key[:2] for v in chosen})
            share = [sum(v.alarm for v in chosen), sum(v.first for v in chosen)]
            cells.append(
                f"{100 * share[0] / len(chosen):.0f} / {100 * share[1] / len(chosen):.0f}" if chosen else ""
            )
        lines.append(f"| {kind} | {programs} | {runs} | " + " | ".join(cells) + " |")
    return lines


def missed(results: Results) -> list[str]:
    """What our diagnostics did not get right, program by program."""
    lines = ["| program | fault | accepted | runs right | said instead |", "|---|---|---|---|---|"]
    groups: dict[tuple[str, str], list[Verdict]] = defaultdict(list)
    for v in results.tools.get("Diagnostics", []):
        groups[v.key[:2]].append(v)
    for (program, fault), verdicts in groups.items():
        if fault and not all(v.first for v in verdicts):
            causes = ", ".join(f"`{cause}`" for cause in fault_named(program_named(program), fault).causes)
            said = "; ".join(sorted({v.said or "nothing" for v in verdicts if not v.first}))
            lines.append(
                f"| {program} | {fault} | {causes} "
                f"| {sum(v.first for v in verdicts)} of {len(verdicts)} | {said} |"
            )
        if not fault and any(v.alarm for v in verdicts):
            said = "; ".join(sorted({v.said for v in verdicts if v.alarm}))
            lines.append(
                f"| {program} | healthy | nothing "
                f"| {sum(not v.alarm for v in verdicts)} of {len(verdicts)} | {said} |"
            )
    return lines


def programs_table(results: Results) -> list[str]:
    lines = ["| program | healthy runs | faults (runs that count) | left out |", "|---|---|---|---|"]
    for program in PROGRAMS:
        mine = {key: counts for key, (counts, _) in results.checked.items() if key[0] == program.id}
        inside, outside = [], []
        for fault in program.faults:
            count = sum(mine.get((program.id, fault.id, seed), False) for seed in range(4))
            (inside if count else outside).append(f"{fault.id} ({count})" if count else fault.id)
        healthy = sum(counts for key, counts in mine.items() if not key[1])
        lines.append(f"| {program.id} | {healthy} | {', '.join(inside)} | {', '.join(outside)} |")
    return lines


def origin(results: Results) -> str:
    rows = results.judged
    if not rows:
        return "Diagnostics have not been run on these programs yet."
    revisions = sorted({row["revision"] for row in rows})
    clean = "a clean tree" if all(row["clean"] == "1" for row in rows) else "**a tree with changes**"
    return f"Diagnostics ran once, at revision {', '.join(revisions)}, on {clean}."


def mapping() -> list[str]:
    return ["| tool's name | our names |", "|---|---|", *(
        f"| {name} | {', '.join(f'`{n}`' for n in names) or 'none'} |" for name, names in NAMES.items()
    )]  # fmt: skip


def write(folder: Path) -> str:
    results = Results(folder)
    text = (Path(__file__).parent / "benchmark_head.md").read_text(encoding="utf-8")
    parts = {
        "counts": counts_of(results),
        "origin": origin(results),
        "summary": "\n".join(summary(results)),
        "goals": "\n".join(goals(results)),
        "kinds": "\n".join(kinds_table(results)),
        "missed": "\n".join(missed(results)),
        "programs": "\n".join(programs_table(results)),
        "mapping": "\n".join(mapping()),
        "harm": f"{100 * MIN_HARM:.0f} %",
        "rise": f"{100 * MAX_RISE:.0f} %",
        "rules": ", ".join(sorted(AUDIT_RULES)),
    }
    for name, value in parts.items():
        text = text.replace("{" + name + "}", value)
    return text
