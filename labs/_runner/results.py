"""The tables of a lab as numbers: values of an arm by seed, and pairs of arms with the same seeds."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nnfoundations.labs._runner.experiment import CHOICE, CURVES, MACHINE, RESULTS, TESTS, TEXTS, TIMINGS

__all__ = ["LEAST_SEEDS", "TEST", "ArmNotRun", "Results"]

TEST = "test/"
NOT_METRICS = ("arm", "seed", "state", "cause", "command")
LEAST_SEEDS = 5
"""Below this number of paired seeds nothing is ranked."""


class ArmNotRun(LookupError):  # noqa: N818  # not a mistake: a preset may run some of the arms
    """There are no runs of an arm. A figure that raises it is left out of the report."""


class Results:
    """What the runs of a lab have left in a folder.

    Args:
        folder: holds `results.csv` and its companions.

    Raises:
        FileNotFoundError: there are no results in the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = list(_read(folder / RESULTS))
        self.timings = list(_read(folder / TIMINGS))
        self.machine: dict[str, Any] = json.loads((folder / MACHINE).read_text(encoding="utf-8"))
        self.preset: str = self.machine.get("preset", "")
        self.arms = list(dict.fromkeys(row["arm"] for row in self.rows))
        self.tests = list(_read(folder / TESTS)) if (folder / TESTS).exists() else []
        self.choices: list[dict[str, Any]] = []
        self.readings: list[dict[str, Any]] = []
        if (folder / CHOICE).exists():
            record = json.loads((folder / CHOICE).read_text(encoding="utf-8"))
            self.choices, self.readings = record["choices"], record["readings"]
        self._curves: dict[tuple[str, int, str], list[tuple[float, float]]] = {}
        for row in _read(folder / CURVES):
            key = row["arm"], int(row["seed"]), row["curve"]
            self._curves.setdefault(key, []).append((float(row["x"]), float(row["y"])))

        self._texts: dict[tuple[str, int, str], str] = {}
        for row in _read(folder / TEXTS) if (folder / TEXTS).exists() else ():
            self._texts[row["arm"], int(row["seed"]), row["text"]] = row["content"]

    def text(self, arm: str, seed: int, name: str) -> str:
        """Find a text.

        Args:
            arm: the name of the arm.
            seed: of the run.
            name: of the text.

        Returns:
            The text; empty if the run has none of this name.
        """
        return self._texts.get((arm, seed, name), "")

    def by_seed(self, arm: str, column: str) -> dict[int, float]:
        """Find the values of an arm.

        Args:
            arm: the name of the arm.
            column: a column of `results.csv`, or of `test.csv` with `test/` before it.

        Returns:
            The value of each seed; NaN for a run that failed. Nothing if the arm was not tested.

        Raises:
            ArmNotRun: there are no runs of the arm.
        """
        rows = self._rows_of(arm)
        if column.startswith(TEST):
            rows, column = [row for row in self.tests if row["arm"] == arm], column.removeprefix(TEST)
        return {int(row["seed"]): float(row.get(column, "nan")) for row in rows}

    def values(self, arm: str, column: str) -> np.ndarray:
        """Find the values of an arm as an array.

        Args:
            arm: the name of the arm.
            column: a column of `results.csv`.

        Returns:
            The values by seed, `(seeds,)`.

        Raises:
            ArmNotRun: there are no runs of the arm.
        """
        return np.array(list(self.by_seed(arm, column).values()))

    def pairs(self, arm: str, against: str, column: str) -> tuple[np.ndarray, np.ndarray]:
        """Find the values of two arms for the seeds that both have.

        Args:
            arm: the name of an arm.
            against: the name of another one.
            column: a column of `results.csv`.

        Returns:
            The values of each arm, in the same order of seeds.

        Raises:
            ArmNotRun: there are no runs of one of the arms.
        """
        first, second = self.by_seed(arm, column), self.by_seed(against, column)
        both = [seed for seed in first if seed in second]
        return np.array([first[seed] for seed in both]), np.array([second[seed] for seed in both])

    def curve(self, arm: str, seed: int, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Find the points of a curve.

        Args:
            arm: the name of the arm.
            seed: of the run.
            name: of the curve.

        Returns:
            x and y; empty if the run has no such curve.

        Raises:
            ArmNotRun: there are no runs of the arm.
        """
        self._rows_of(arm)
        points = np.array(self._curves.get((arm, seed, name), [])).reshape(-1, 2)
        return points[:, 0], points[:, 1]

    def seeds(self, arm: str) -> list[int]:
        """Find the seeds of an arm.

        Args:
            arm: its name.

        Returns:
            The seeds of the runs that have ended.

        Raises:
            ArmNotRun: there are no runs of the arm.
        """
        return [int(row["seed"]) for row in self._rows_of(arm)]

    def finished(self, arm: str) -> list[int]:
        """Find the seeds of an arm whose runs have finished, without those that failed.

        Args:
            arm: its name.

        Returns:
            The seeds.

        Raises:
            ArmNotRun: there are no runs of the arm.
        """
        return [int(row["seed"]) for row in self._rows_of(arm) if row["state"] == "finished"]

    def _rows_of(self, arm: str) -> list[dict[str, str]]:
        if arm not in self.arms:
            raise ArmNotRun(arm)
        return [row for row in self.rows if row["arm"] == arm]

    @property
    def test_columns(self) -> list[str]:
        """The columns of `test.csv` that are metrics."""
        return [name for name in self.tests[0] if name not in NOT_METRICS] if self.tests else []

    @property
    def failures(self) -> list[dict[str, str]]:
        """The rows of runs and of tests that failed."""
        return [row for row in self.rows + self.tests if row["state"] == "failed"]


def _read(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        yield from csv.DictReader(stream)
