"""All runs of a lab: arms x seeds, one or several at a time, continued where they were stopped."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

from nnfoundations.cli import end_with_the_parent, write_whole
from nnfoundations.errors import OptionError
from nnfoundations.labs._runner.lab import Arm, Lab
from nnfoundations.labs._runner.progress import Progress
from nnfoundations.labs._runner.run import Row, Run, carry_out
from nnfoundations.labs._runner.threads import environment_of_one_thread

__all__ = [
    "CHOICE",
    "CURVES",
    "MACHINE",
    "RESULTS",
    "TESTS",
    "TEXTS",
    "TIMINGS",
    "Experiment",
    "ended_runs",
    "write_rows",
]

RESULTS, TIMINGS, CURVES, MACHINE = "results.csv", "timings.csv", "curves.csv", "machine.json"
TESTS, CHOICE, TEXTS = "test.csv", "choice.json", "texts.csv"


class Experiment:
    """A lab with a preset: runs what is missing and keeps the tables of what has ended.

    Args:
        lab: the lab.
        preset: the name of one of its presets.
        out: the folder of the results; runs lie in `runs/ARM/seed_N` below it.
        seeds: runs of each arm; None takes the preset's number.
        mine: configs of the user, as further arms named by their files.
        logger: a second logger of each run, beside TensorBoard.

    Raises:
        OptionError: an arm of the user has the name of an arm of the lab.
    """

    def __init__(
        self,
        lab: Lab,
        preset: str,
        out: Path,
        *,
        seeds: int | None = None,
        mine: Sequence[Path] = (),
        logger: str | None = None,
    ) -> None:
        self.lab, self.preset, self.out = lab, preset, out
        arms = [_complete(arm, lab) for arm in lab.arms_of(preset)]
        for path in mine:
            if path.stem in {arm.name for arm in lab.arms}:
                raise OptionError(
                    f"an arm of {lab.name} is already named `{path.stem}`.\nRename the file `{path}`."
                )
            arms.append(Arm(path.stem, path.stem, str(path)))
        chosen = lab.presets[preset]
        count = chosen.seeds if seeds is None else seeds
        self.runs = [
            Run(arm, seed, out / "runs", chosen.options, lab.measure, logger)
            for seed in range(count)  # seed by seed, so that all arms can be compared at any time
            for arm in arms
        ]
        self._rows = {run.name: row for run in self.runs if (row := run.ended()) is not None}

    @property
    def rows(self) -> list[Row]:
        """The runs that have ended, in the order of the plan."""
        return [self._rows[run.name] for run in self.runs if run.name in self._rows]

    def run(self, only: Sequence[str] = (), jobs: int = 1) -> None:
        """Run what is missing.

        Args:
            only: names of arms; empty means all.
            jobs: runs at a time, each in its own process and with one thread.

        Raises:
            Stopped: a signal has ended a run.
            OptionError: the system has killed a process.
        """
        missing = [
            run
            for run in self.runs
            if run.name not in self._rows and (not only or run.arm.name in only)
        ]  # fmt: skip
        self.out.mkdir(parents=True, exist_ok=True)
        self.write()
        progress = Progress(f"{self.lab.name} {self.preset}", len(missing))
        for run, row in _carry_out_all(missing, jobs):
            self._rows[run.name] = row
            self.write()
            progress.show(f"{run.name.replace('/', ' ')} {row.state}")
        progress.close()

    def write(self) -> None:
        """Write the tables: results, curves, timings, perhaps texts, and the machine of each run."""
        rows = self.rows
        write_rows(self.out / RESULTS, rows)
        points = (
            (row.arm, row.seed, name, x, y)
            for row in rows
            for name, curve in row.curves.items()
            for x, y in curve
        )
        write_whole(self.out / CURVES, _table(("arm", "seed", "curve", "x", "y"), points))
        texts = [(row.arm, row.seed, name, text) for row in rows for name, text in row.texts.items()]
        if texts:
            write_whole(self.out / TEXTS, _table(("arm", "seed", "text", "content"), texts))
        times = ((row.arm, row.seed, row.seconds, row.cpu_seconds) for row in rows)
        write_whole(self.out / TIMINGS, _table(("arm", "seed", "seconds", "cpu_seconds"), times))
        machines = {json.dumps(row.record, sort_keys=True) for row in rows if row.record}
        report = {"preset": self.preset, "runs": len(rows), "planned": len(self.runs),
                  "machines": [json.loads(machine) for machine in sorted(machines)]}  # fmt: skip
        write_whole(self.out / MACHINE, json.dumps(report, indent=2) + "\n")


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write a table with a row for each run.

    Args:
        path: of the file.
        rows: the runs, or their tests.
    """
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    cells = ((row.arm, row.seed, row.state, *row.numbers(names), row.cause, row.command) for row in rows)
    write_whole(path, _table(("arm", "seed", "state", *names, "cause", "command"), cells))


def ended_runs(out: Path) -> int:
    """Count the runs that have ended.

    Args:
        out: a folder of results; it need not exist.

    Returns:
        The number of runs.
    """
    return len(list((out / "runs").glob("*/*/row.json")))


def _complete(arm: Arm, lab: Lab) -> Arm:
    return Arm(arm.name, arm.label, arm.config or f"{lab.name}/{arm.name}", arm.options)


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _carry_out_all(runs: Sequence[Run], jobs: int) -> Iterator[tuple[Run, Row]]:
    if jobs == 1 or len(runs) < 2:
        yield from ((run, carry_out(run)) for run in runs)
        return
    with _pool(min(jobs, len(runs))) as pool:
        waiting = {pool.submit(carry_out, run): run for run in runs}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BrokenProcessPool:
            raise OptionError(
                f"the system has killed one of {jobs} processes, probably for memory.\n"
                "Give fewer --jobs; the same command continues."
            ) from None


@contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Start processes that import torch themselves and end with this one, even if it is killed."""
    others = set(active_children())
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), end_with_the_parent)
    try:
        with environment_of_one_thread():
            yield pool
    except BaseException:  # their runs would go on for minutes
        for worker in set(active_children()) - others:
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
