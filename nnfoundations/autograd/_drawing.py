"""Draws the graph of a value with Graphviz."""

import shutil
import subprocess
from collections.abc import Mapping

from numpy.linalg import norm

from nnfoundations.autograd._engine import Value
from nnfoundations.formulas import Array

__all__ = ["to_dot", "to_svg"]


def to_dot(value: Value, names: Mapping[str, Value] | None = None) -> str:
    r"""Write the graph of a value in Graphviz's DOT language.

    Each box shows a number, or the shape of an array, and after a backward its gradient or the gradient's
    norm. The operands of an operation are drawn in order, the first at the top, because a - b differs from
    b - a.

    Args:
        value: the result whose graph is drawn.
        names: labels of values, such as the weights of a network.

    Returns:
        The DOT text.

    >>> x = Value(2.0)
    >>> print(to_dot(x * x, {"x": x}))
    digraph {
      rankdir=LR ordering=in
      node [fontname="Helvetica"]
      v0 [shape=box label="mul\n4"]
      v1 [shape=box label="x\n2" style=filled fillcolor="#e8eef7"]
      v1 -> v0
      v1 -> v0
    }
    """
    known = {id(named): name for name, named in (names or {}).items()}
    found = value.ancestry()
    number = {id(one): index for index, one in enumerate(found)}
    lines = ["digraph {", "  rankdir=LR ordering=in", '  node [fontname="Helvetica"]']
    for one in found:
        text = [part for part in (known.get(id(one)), one.operation, _shown(one.data)) if part]
        if one.grad is not None:
            text.append(f"|grad| {norm(one.grad):.4g}" if one.shape else f"grad {_shown(one.grad)}")
        label = "\\n".join(part.replace('"', "'") for part in text)
        leaf = "" if one.operation else ' style=filled fillcolor="#e8eef7"'
        lines.append(f'  v{number[id(one)]} [shape=box label="{label}"{leaf}]')
    lines += [f"  v{number[id(p)]} -> v{number[id(one)]}" for one in found for p in one.parents]
    return "\n".join([*lines, "}"])


def to_svg(value: Value, names: Mapping[str, Value] | None = None) -> str:
    """Draw the graph of a value as an SVG picture, with Graphviz's program `dot`.

    Args:
        value: the result whose graph is drawn.
        names: labels of values, such as the weights of a network.

    Returns:
        The SVG text.

    Raises:
        RuntimeError: `dot` is not installed.
    """
    if shutil.which("dot") is None:
        raise RuntimeError(
            "to_svg needs Graphviz's program `dot`, which is not on the PATH. Install graphviz (apt install "
            "graphviz, brew install graphviz), or paste the text of to_dot into a DOT viewer."
        )
    done = subprocess.run(
        ["dot", "-Tsvg"], input=to_dot(value, names), capture_output=True, text=True, check=True
    )
    return done.stdout


def _shown(array: Array) -> str:
    return str(array.shape) if array.shape else f"{array:.4g}"
