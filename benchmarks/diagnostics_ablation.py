"""What each limit and each case of each rule is for: switches it off and counts the runs that change.

    python benchmarks/diagnostics_ablation.py record FOLDER [--seeds 1] [--data digits wine]
    python benchmarks/diagnostics_ablation.py ablate FOLDER [--output ROWS.csv] [--rules dead-units]
    python benchmarks/diagnostics_ablation.py margins FOLDER [--output ROWS.csv] [--rules dead-units]

`record` trains all faulty and healthy runs of tests/faults.py, tests/controls.py, other_runs.py and
other_programs.py, and saves their histories; runs that are in the folder already are skipped. `ablate` judges
them again: once as they are, then with each limit of a rule at its extremes, and with each of its cases (a
method that returns a suspicion or None) left out. It prints what changes: runs that were right and no longer
are, the reverse, and runs whose root cause stays but gets another severity or remedy. A limit or case
that no run needs is a candidate for deletion; one that a single run needs may be tuned to it.
`margins` moves each limit away from its value until a run is lost: how much it could have been set otherwise,
and which data say so.
"""

import argparse
import csv
import inspect
import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import numpy as np
import torch
from controls import CONTROLS, HELD_OUT
from faults import FAULTS, Case
from other_programs import other_programs
from other_runs import other_runs
from rows import run_quietly
from zoo import run

from nnfoundations.callbacks import Diagnostics
from nnfoundations.diagnostics import RULES, History, Rule
from nnfoundations.diagnostics._arbiter import arbitrate
from nnfoundations.diagnostics._judge import RuleState, judged_steps

FIRST, MOST = 12, 36
"""Number of measurements at which the rules are asked again: all at the start of a run, later a part."""

EXTREMES = {"high": 1e30, "low": -1e30}

FACTORS = (1.25, 1.5, 2.0, 3.0)
"""By how much a limit is moved, up and down, until a run is lost."""


# -- recording -----------------------------------------------------------------------------------------------


def runs(seed: int) -> Iterator[tuple[str, str, tuple[str, ...], Any]]:
    """Yield kind of data, name, right causes (none if healthy) and a function that makes the case."""
    for fault in FAULTS:
        for net in fault.nets:
            yield "digits", f"{fault.id}/{net}", fault.causes, lambda f=fault, n=net: f.broken(n, seed)
            yield "digits", f"healthy twin/{fault.id}/{net}", (), lambda f=fault, n=net: f.healthy(n, seed)
    for control in (*CONTROLS, *HELD_OUT):
        yield "digits", control.id, (), control.make
    for other in (*other_runs(), *other_programs()):
        yield other.data, other.id, other.causes, lambda o=other: o.make(seed)


def is_right(data: str, causes: tuple[str, ...], named: list[str]) -> bool:
    """Return whether the first cause is right. The small sets of other data may be memorized."""
    if causes:
        return bool(named) and named[0] in causes
    return not [fault for fault in named if data == "digits" or fault != "overfitting"]


def record(folder: Path, seeds: int, only: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(seeds):
        for data, name, causes, make in runs(seed):
            path = folder / f"{data}-{name.replace('/', '-')}-{seed}.npz"
            if path.exists() or (only and data not in only):
                continue
            torch.manual_seed(seed)
            case: Case = make()
            diagnostics = Diagnostics(verbose=False, budget=1.0)
            torch.manual_seed(seed)
            run(case.build(), case.steps, case.data, diagnostics=diagnostics, **case.options)
            named = [finding.fault for finding in diagnostics.findings]
            about = {"data": data, "name": name, "causes": causes, "seed": seed}
            path.with_suffix(".json").write_text(json.dumps(about))
            diagnostics.history.save(path)  # last, because it marks the run as done
            right = is_right(data, causes, named)
            print(
                f"{'' if right else 'NOT RIGHT: '}{data} {name}, seed {seed}: {' '.join(named)}", flush=True
            )


# -- ablation ------------------------------------------------------------------------------------------------


@dataclass
class Recorded:
    """A recorded run: its history as it stood at each step, and what each rule makes of it."""

    data: str
    name: str
    causes: tuple[str, ...]
    steps: list[int]
    then: list[History]
    states: dict[str, RuleState]

    def outcome(self, rule: Rule | None = None) -> tuple[bool, str]:
        """Judge the run, with a rule in place of the one for its fault.

        Returns:
            Whether the first cause is right, and its severity and remedy.
        """
        states = self.states if rule is None else self.states | {rule.fault: state_of(rule, self)}
        known = {r.fault: r for r in RULES}
        found = arbitrate((known[fault], state) for fault, state in states.items())
        right = is_right(self.data, self.causes, [finding.fault for finding in found])
        return right, f"{found[0].severity}: {found[0].remedy}" if found else ""


def state_of(rule: Rule, recorded: Recorded) -> RuleState:
    """Run one rule over a recorded run, as `Judge` does."""
    state = RuleState()
    for step, history in zip(recorded.steps, recorded.then, strict=True):
        stamp = [len(history.events), *(len(history[quantity]) for quantity in rule.needs)]
        if stamp == state.judged or rule.not_run(history):
            continue
        state.judged = stamp
        try:
            state.update(rule.judge(history), step, rule.confirmations)
        except (ArithmeticError, IndexError, KeyError, TypeError, ValueError):
            state.update(None, step, rule.confirmations)
    return state


def spread_over(steps: list[int]) -> list[int]:
    """Return the first steps of a run, and of the others so many that they span it."""
    later = steps[FIRST:]
    stride = -(-len(later) // (MOST - FIRST)) or 1
    return [*steps[:FIRST], *later[::stride], *later[-1:]]


def load(folder: Path) -> list[Recorded]:
    found = []
    for path in sorted(folder.glob("*.npz")):
        about = json.loads(path.with_suffix(".json").read_text())
        history = History.load(path)
        steps = spread_over(judged_steps(history))
        then = [history.until(step) for step in steps]
        recorded = Recorded(about["data"], about["name"], tuple(about["causes"]), steps, then, {})
        recorded.states = {rule.fault: state_of(rule, recorded) for rule in RULES}
        found.append(recorded)
    return found


def variants(rule: Rule) -> Iterator[tuple[str, str, str, Rule]]:
    """Yield kind, name, what was done, and the changed rule."""
    for limit in fields(rule):
        value = getattr(rule, limit.name)
        if isinstance(value, bool):
            yield "limit", limit.name, str(not value), replace(rule, **{limit.name: not value})
        elif isinstance(value, int | float):
            for direction, extreme in EXTREMES.items():
                yield "limit", limit.name, direction, replace(rule, **{limit.name: type(value)(extreme)})
    for name, method in inspect.getmembers(type(rule), inspect.isfunction):
        returns = str(method.__annotations__.get("return", ""))
        if name.startswith("_") and "None" in returns and returns != "None":
            changed = type(type(rule).__name__, (type(rule),), {name: lambda self, *args, **kwargs: None})
            yield "case", name, "left out", changed(**{f.name: getattr(rule, f.name) for f in fields(rule)})


def ablate(recorded: list[Recorded], rules: Iterable[Rule]) -> Iterator[dict[str, Any]]:
    before = {id(r): r.outcome() for r in recorded}
    for rule in rules:
        for kind, name, change, changed in variants(rule):
            lost, gained, advice = [], [], 0
            for r in recorded:
                (right, said), (was_right, was_said) = r.outcome(changed), before[id(r)]
                if right != was_right:
                    (gained if right else lost).append(r)
                advice += right and was_right and said != was_said
            yield {
                "rule": rule.fault, "kind": kind, "name": name, "change": change,
                "value": getattr(rule, name) if kind == "limit" else "",
                "lost_faulty": sum(bool(r.causes) for r in lost),
                "lost_healthy": sum(not r.causes for r in lost),
                "gained": len(gained),
                "other_advice": advice,
                "data": " ".join(sorted({r.data for r in lost})),
                "examples": "; ".join(r.name for r in lost[:3]),
            }  # fmt: skip


def margins(recorded: list[Recorded], rules: Iterable[Rule]) -> Iterator[dict[str, Any]]:
    """Yield for each limit the range in which no recorded run is lost, and the data that end it."""
    right = [r for r in recorded if r.outcome()[0]]
    for rule in rules:
        seen = [r for r in right if r.states[rule.fault].judged]
        for limit in fields(rule):
            value = getattr(rule, limit.name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            ends = [moved(rule, limit.name, [value * f for f in FACTORS], seen)]
            ends.append(moved(rule, limit.name, [value / f for f in FACTORS], seen))
            (low, below), (high, above) = sorted(ends, key=lambda end: end[0])
            yield {
                "rule": rule.fault, "limit": limit.name, "value": value,
                "low": f"{low:.3g}", "high": f"{high:.3g}",
                "lost_below": below, "lost_above": above,
                "runs": len(seen), "data": " ".join(sorted({r.data for r in seen})),
            }  # fmt: skip


def moved(rule: Rule, limit: str, values: list[float], seen: list[Recorded]) -> tuple[float, str]:
    """Return the last value that loses no run, and the data of the runs that the next one loses."""
    kind, last = type(getattr(rule, limit)), getattr(rule, limit)
    for value in map(kind, values):
        changed = replace(rule, **{limit: value})
        if lost := {r.data for r in seen if not r.outcome(changed)[0]}:
            return last, " ".join(sorted(lost))
        last = value
    return last, ""


def summary(rows: list[dict[str, Any]]) -> str:
    """Name the limits and cases that no run needs, that one run needs, and that only the advice needs."""
    lost: dict[str, int] = {}
    advice: dict[str, int] = {}
    for row in rows:
        name = f"{row['rule']}.{row['name']}"
        lost[name] = max(lost.get(name, 0), row["lost_faulty"] + row["lost_healthy"])
        advice[name] = max(advice.get(name, 0), row["other_advice"])
    groups = {
        "no run needs": [name for name in lost if not lost[name] and not advice[name]],
        "one run needs": [name for name in lost if (lost[name] or advice[name]) == 1],
        "only the advice needs": [name for name in lost if not lost[name] and advice[name] > 1],
    }
    lines = [f"{title} {len(names)}: {', '.join(names)}" for title, names in groups.items()]
    return "\n".join([f"{len(lost)} limits and cases", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["record", "ablate", "margins"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--data", nargs="+", default=[])
    parser.add_argument("--rules", nargs="+", default=[])
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    run_quietly()
    np.seterr(all="ignore")
    if given.what == "record":
        record(given.folder, given.seeds, given.data)
        return
    rules = [rule for rule in RULES if not given.rules or rule.fault in given.rules]
    recorded = load(given.folder)
    right = sum(r.outcome()[0] for r in recorded)
    print(f"{right} of {len(recorded)} runs are right as they are", flush=True)
    rows = []
    with (given.output or Path(os.devnull)).open("w", newline="", encoding="utf-8") as stream:
        writer: csv.DictWriter[str] | None = None
        for row in (ablate if given.what == "ablate" else margins)(recorded, rules):
            rows.append(row)
            if writer is None:
                writer = csv.DictWriter(stream, list(row), lineterminator="\n")
                writer.writeheader()
            writer.writerow(row)
            stream.flush()  # a run of many minutes keeps its rows if it is stopped
    if given.what == "ablate":
        print(summary(rows))


if __name__ == "__main__":
    main()
