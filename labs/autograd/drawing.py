"""Draws the graph that the engine has recorded, with matplotlib."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nnfoundations.autograd import Value
from nnfoundations.labs._runner.figures import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_graph", "places"]

SIGNS = {"add": "+", "sub": "-", "mul": "×", "div": "/", "matmul": "@"}


def places(value: Value) -> dict[int, tuple[float, float]]:
    """Find a place for each value of a graph: operands to the left of what uses them.

    Args:
        value: the result.

    Returns:
        Column and row by `id`; the leaves have rows of their own, and an operation is between its operands.
    """
    newest_first = value.ancestry()
    column = {id(value): 0}  # from the right: as far as the longest path to the result
    for one in newest_first:
        for parent in one.parents:
            column[id(parent)] = max(column.get(id(parent), 0), column[id(one)] + 1)
    row: dict[int, float] = {}
    taken: set[tuple[int, float]] = set()
    leaves = iter(range(len(newest_first)))

    def visit(one: Value) -> None:
        if id(one) in row:
            return
        for parent in one.parents:
            visit(parent)
        rows = [row[id(parent)] for parent in one.parents]
        free = sum(rows) / len(rows) if rows else float(next(leaves))
        while (column[id(one)], free) in taken:
            free += 1
        taken.add((column[id(one)], free))
        row[id(one)] = free

    visit(value)
    last = max(column.values())
    return {key: (last - column[key], -row[key]) for key in column}


def draw_graph(axis: "Axes", value: Value, names: Mapping[str, Value]) -> None:
    """Draw a graph after its backward: each box has a number above and its gradient below.

    Args:
        axis: where to draw.
        value: the result; `backward` was called.
        names: labels of values.
    """
    place, known = places(value), {id(one): name for name, one in names.items()}
    boxes = {}
    for one in value.ancestry():
        made = SIGNS.get(one.operation, one.operation)
        name = known.get(id(one), "")
        title = f"{name} = {made}" if name and made else name or made
        gradient = 0.0 if one.grad is None else one.grad.item()
        style = {"boxstyle": "round,pad=0.35", "linewidth": 0.8, "facecolor": "white",
                 "edgecolor": COLOURS[0 if one.operation else 1]}  # fmt: skip
        text = f"{title}\n{one.item():.3g}\ngrad {gradient:.3g}"
        boxes[id(one)] = axis.text(*place[id(one)], text, ha="center", va="center", fontsize=8,
                                   linespacing=1.3, zorder=3, bbox=style).get_bbox_patch()  # fmt: skip
    for one in value.ancestry():
        for parent in one.parents:
            (x, y), (start, row) = place[id(one)], place[id(parent)]
            bend = -0.4 if x - start > 1 and y == row else 0  # around the boxes between them
            axis.annotate("", (x, y), (start, row), zorder=2, arrowprops={
                "arrowstyle": "-|>", "color": "#888888", "linewidth": 1, "shrinkA": 0, "shrinkB": 0,
                "patchA": boxes[id(parent)], "patchB": boxes[id(one)],
                "connectionstyle": f"arc3,rad={bend}",
            })  # fmt: skip
    columns, rows = zip(*place.values(), strict=True)
    axis.set(xlim=(min(columns) - 0.4, max(columns) + 0.4), ylim=(min(rows) - 0.5, max(rows) + 0.5))
    axis.set_axis_off()
