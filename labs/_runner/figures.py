"""One style for the figures of all labs, and files that are the same, byte for byte, each time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "WIDTH", "Draw", "animate", "new_figure", "points_by_arm", "save", "style"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, which colour-blind readers tell apart."""
WIDTH = 7.0
"""Inches: the text width of the report, so that letters have the size that `style` says."""

Draw = Callable[[Any], "Figure"]

_STYLE = {
    "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "legend.fontsize": 8, "xtick.labelsize": 8,
    "ytick.labelsize": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.color": "#dddddd", "grid.linewidth": 0.6, "axes.axisbelow": True, "lines.linewidth": 1.5,
    "legend.frameon": False, "figure.facecolor": "white", "svg.hashsalt": "nnfoundations",
    "figure.constrained_layout.use": True,
}  # fmt: skip


@contextmanager
def style() -> Iterator[None]:
    """The style, for whatever is drawn or saved within."""
    from matplotlib import rc_context, rcParamsDefault

    # From the defaults, so that a reader's own style changes nothing. The backend stays.
    plain: dict[Any, Any] = {name: value for name, value in rcParamsDefault.items() if "backend" not in name}
    with rc_context(plain | _STYLE):
        yield


def new_figure(
    rows: int = 1, columns: int = 1, height: float = 2.6, **options: Any
) -> tuple["Figure", np.ndarray]:
    """A figure of the text width; no window opens.

    Args:
        rows: of panels.
        columns: of panels.
        height: inches.
        options: those of `Figure.subplots`.

    Returns:
        The figure, and its panels `(rows, columns)`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def points_by_arm(axis: "Axes", labels: Sequence[str], values: Sequence[np.ndarray]) -> None:
    """All values of each arm as points side by side, with a bar at the median.

    Args:
        axis: where to draw.
        labels: of the arms.
        values: of the arms, one number per seed.
    """
    for i, numbers in enumerate(values):
        spread = (np.arange(len(numbers)) / max(len(numbers) - 1, 1) - 0.5) * 0.5
        colour = COLOURS[i % len(COLOURS)]
        axis.plot(i + spread, numbers, "o", color=colour, markersize=3, alpha=0.6)
        axis.hlines(np.median(numbers), i - 0.35, i + 0.35, color=colour, linewidth=2.5)
    axis.set_xticks(range(len(labels)), labels)
    axis.grid(visible=False, axis="x")


def save(figure: "Figure", folder: Path, name: str) -> None:
    """Write NAME.svg and NAME.png.

    Args:
        figure: drawn within `style`.
        folder: of the files; it is created.
        name: of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with style():
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
        figure.set_layout_engine("none")  # keep the places just found: finding them takes most of the time
        figure.savefig(folder / f"{name}.png", dpi=160, metadata={"Software": None})


def animate(figures: Iterable["Figure"], path: Path, milliseconds: Sequence[int]) -> None:
    """Write figures as an animated GIF.

    Args:
        figures: one per frame, all of one size.
        path: the file.
        milliseconds: how long each frame is shown.
    """
    from PIL import Image

    frames = []
    for figure in figures:
        buffer = BytesIO()
        with style():
            figure.savefig(buffer, dpi=100, format="png")
        frames.append(Image.open(buffer).convert("P", palette=Image.Palette.ADAPTIVE, colors=64))
    path.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=list(milliseconds), loop=0)
