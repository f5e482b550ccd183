"""A graph as a picture: each value with its number or shape, each operation between what goes in and out."""

import shutil
import subprocess
from collections.abc import Mapping

from numpy.linalg import norm

from nnfoundations.autograd._engine import Value
from nnfoundations.formulas import Array

__all__ = ["to_dot", "to_svg"]


def to_dot(value: Value, names: Mapping[str, Value] | None = None) -> str:
    """The graph behind a value in Graphviz's DOT language, gradients with it after a backward.

    A number is shown as it is, an array by its shape and its gradient's norm. What goes into an operation
    stands in its order, the first on top: a - b is not b - a.

    Args: names: labels of values, such as the weights of a net.

    >>> x = Value(2.0)
    >>> print(to_dot(x * x, {"x": x}))
    digraph {
      rankdir=LR ordering=in
      node [fontname="Helvetica"]
      v0 [shape=box label="mul\\n4"]
      v1 [shape=box label="x\\n2" style=filled fillcolor="#e8eef7"]
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
    """The same as an SVG picture, drawn by Graphviz's `dot`.

    Raises: RuntimeError: there is no `dot` on this machine.
    """
    if shutil.which("dot") is None:
        raise RuntimeError(
            "to_svg needs Graphviz's program `dot`; it is not on the PATH. Install graphviz (apt install "
            "graphviz, brew install graphviz), or paste to_dot's text into any viewer of DOT."
        )
    done = subprocess.run(
        ["dot", "-Tsvg"], input=to_dot(value, names), capture_output=True, text=True, check=True
    )
    return done.stdout


def _shown(array: Array) -> str:
    return str(array.shape) if array.shape else f"{array:.4g}"
