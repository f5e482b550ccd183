"""From the tables of a lab to its claims, figures, notebook and report."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from nnfoundations.labs._runner.claims import Claims, Judged, write_claims
from nnfoundations.labs._runner.figures import animate, save, style
from nnfoundations.labs._runner.lab import Lab, lab_folder
from nnfoundations.labs._runner.results import ArmNotRun, Results

__all__ = ["arms_without_results", "has_notebook_packages", "write_figures", "write_verdicts"]

FRAME, LAST_FRAME = 700, 3000  # milliseconds


def write_verdicts(lab: Lab, out: Path) -> list[Judged]:
    """Judge the claims of a lab.

    Args:
        lab: the lab.
        out: the folder of its results; `claims.json` is written there.

    Returns:
        The claims with their verdicts.
    """
    return write_claims(Claims.read(lab_folder(lab.name) / "claims.yaml"), Results(out))


def write_figures(lab: Lab, out: Path) -> None:
    """Draw the figures of a lab, once every arm of the preset has a run that was measured.

    A figure of arms that the preset does not run is left out; an older file of it is removed.

    Args:
        lab: the lab.
        out: the folder of its results; the files are written to `figures` below it.
    """
    drawn = import_module(f"nnfoundations.labs.{lab.name}.figures")
    results, folder = Results(out), out / "figures"
    for name, draw in drawn.FIGURES.items():
        with _left_out_if_not_run(folder, name):
            with style():
                figure = draw(results)
            save(figure, folder, name)
    for name, frames in getattr(drawn, "ANIMATIONS", {}).items():
        with _left_out_if_not_run(folder, name):
            with style():
                figures = list(frames(results))
            animate(figures, folder / f"{name}.gif", [FRAME] * (len(figures) - 1) + [LAST_FRAME])


@contextmanager
def _left_out_if_not_run(folder: Path, name: str) -> Iterator[None]:
    try:
        yield
    except ArmNotRun:
        for file in folder.glob(f"{name}.*"):
            file.unlink()


def arms_without_results(lab: Lab, out: Path) -> list[str]:
    """Find the arms of the preset that cannot be drawn yet.

    Args:
        lab: the lab.
        out: the folder of its results.

    Returns:
        The names of the arms without a run that was measured.
    """
    results = Results(out)
    names = [arm.name for arm in lab.arms_of(results.preset)]
    return [name for name in names if name not in results.arms or not results.finished(name)]


def has_notebook_packages() -> bool:
    """Check whether the extra `labs` is installed.

    Returns:
        Whether it is.
    """
    return all(find_spec(name) is not None for name in ("jupytext", "nbclient", "nbconvert", "ipykernel"))
