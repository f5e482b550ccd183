"""What a lab is, as data. A lab is a folder of `labs/` whose `lab.py` defines LAB."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Literal

__all__ = ["Arm", "Choice", "Lab", "Measured", "Preset", "find_labs", "lab_folder"]


@dataclass(frozen=True)
class Arm:
    """One of the things that a lab compares.

    Args:
        name: its name in results; `labs/LAB/configs/NAME.yaml` is its config unless `config` says otherwise.
        label: its name in figures and tables.
        config: what `fit --config` takes; empty means `LAB/NAME`.
        options: further options of `fit`.
    """

    name: str
    label: str
    config: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preset:
    """How much of a lab is run.

    Args:
        seeds: runs of each arm, with the seeds 0, 1, ...
        seconds: CPU time of all runs, measured.
        options: further options of `fit` for every arm.
        arms: names of the arms that it runs; empty means all. `full` runs all.
        notebook: whether the notebook is executed, which takes some seconds more.
    """

    seeds: int
    seconds: int
    options: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()
    notebook: bool = True


@dataclass(frozen=True)
class Measured:
    """What a lab reads from the folder of a finished run.

    Args:
        values: one number for each column of `results.csv`. NaN stays NaN.
        curves: points (x, y) for each name in `curves.csv`.
        texts: one text for each name in `texts.csv`.
    """

    values: dict[str, float]
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """A rule that chooses the arm to be tested. It is written before the runs, as the claims are.

    Args:
        column: a column of `results.csv`, measured on validation data.
        best: `largest` or `smallest`: which mean over the seeds is chosen.
        among: names of arms; of equal means the first one is chosen.
    """

    column: str
    best: Literal["largest", "smallest"]
    among: tuple[str, ...]


@dataclass(frozen=True)
class Lab:
    """An experiment with a report.

    Args:
        name: the name of its folder.
        question: what it asks.
        setup: rows of the set-up table: what, and how it is set.
        arms: what it compares.
        presets: `smoke`, `quick` and `full`.
        measure: reads what counts from the folder of a finished run.
        table: the columns of `results.csv` in the table of the report, with their headings.
        comparisons: pairs of arms; the report shows the first minus the second, paired by seed.
        main_figure: the figure that answers the question.
        choices: which arms are tested on the test data, once, after all runs; none by default.
        data: data sets that are downloaded, such as MNIST.
    """

    name: str
    question: str
    setup: dict[str, str]
    arms: tuple[Arm, ...]
    presets: dict[str, Preset]
    measure: Callable[[Path], Measured]
    table: dict[str, str]
    comparisons: tuple[tuple[str, str], ...]
    main_figure: str
    choices: tuple[Choice, ...] = ()
    data: tuple[str, ...] = ()

    def arms_of(self, preset: str) -> list[Arm]:
        """Find the arms that a preset runs.

        Args:
            preset: its name.

        Returns:
            The arms, in the order of the lab.
        """
        names = self.presets[preset].arms
        return [arm for arm in self.arms if not names or arm.name in names]

    def label(self, arm: str) -> str:
        """Find the label of an arm.

        Args:
            arm: its name.

        Returns:
            The label; an arm of the reader is called by its name.
        """
        return {one.name: one.label for one in self.arms}.get(arm, arm)


def lab_folder(name: str) -> Path:
    """The folder of a lab's source.

    Args:
        name: the lab.
    """
    spec = find_spec(f"nnfoundations.labs.{name}")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def find_labs() -> dict[str, Lab]:
    """Find the labs: every package beside this one that has a `lab.py`.

    Returns:
        Each lab by its name, sorted.
    """
    import nnfoundations.labs

    packages = [entry.name for entry in iter_modules(nnfoundations.labs.__path__) if entry.ispkg]
    names = sorted(name for name in packages if name != "_runner" and (lab_folder(name) / "lab.py").exists())
    return {name: import_module(f"nnfoundations.labs.{name}.lab").LAB for name in names}
