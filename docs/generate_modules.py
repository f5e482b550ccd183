"""Write docs/modules.md from the docstrings of nnfoundations.nn.

Run `python docs/generate_modules.py` after a change of these docstrings.
"""

import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nnfoundations import nn

PAGE = Path(__file__).with_name("modules.md")
SECTIONS = ("Shape", "Args", "Raises", "Source", "Example")

HEAD = """# Modules

Write `from nnfoundations import nn` instead of `from torch import nn`. The modules on this page are computed
by our own formulas, forward and backward. Every other name of `torch.nn` is torch's own.
`docs/generate_modules.py` writes this page from the docstrings.

A program can notice these differences from torch:

- `type(layer)` differs. `isinstance` works in both directions: a layer of torch is also an instance of our
  class, because torch builds its own layers inside encoders and backbones.
- Nested and sparse tensors, and `torch.jit.script`, need torch's layers: call `convert.to_torch(model)`
  first.
- Cross-entropy saves the logits themselves. Overwriting them before the backward raises torch's error.
- Dropout and RReLU draw the same random numbers as torch on the CPU in eager mode, but not on CUDA or
  compiled.
- InstanceNorm with `affine=True` accepts an empty batch; torch's module raises.
- In torch 2.15 the third derivative of LayerNorm and `jacfwd` of `jacfwd` of normalizations are wrong, and
  the third derivative of BatchNorm is missing. Ours are correct.

"""


@dataclass(frozen=True)
class Entry:
    """A docstring, split into its parts."""

    name: str
    family: str
    summary: str
    mathematics: tuple[str, ...]  # the formula, then its derivatives
    prose: str
    sections: dict[str, str]  # name to dedented text


def entries() -> Iterator[Entry]:
    """Every module class that we define, in the order of our files."""
    ours = {
        value: name
        for name, value in vars(nn).items()
        if inspect.isclass(value) and issubclass(value, nn.Module)
        if value.__module__.startswith("nnfoundations.")
    }
    for kind in sorted(ours, key=lambda kind: (kind.__module__, _line(kind))):
        yield parse(kind)


def _line(kind: type) -> int:
    return inspect.getsourcelines(kind)[1]


def parse(kind: type) -> Entry:
    """Split the docstring of a class. Raises ValueError if a part is missing."""
    pieces = re.split(rf"^({'|'.join(SECTIONS)}):\n", inspect.getdoc(kind) or "", flags=re.M)
    sections = dict(zip(pieces[1::2], map(textwrap.dedent, pieces[2::2]), strict=True))
    paragraphs = [part for part in re.split(r"\n\s*\n", pieces[0]) if part.strip()]
    formulas = [part for part in paragraphs if part.startswith(".. math::")]
    prose = [part for part in paragraphs[1:] if part not in formulas]
    missing = [name for name in ("Shape", "Source", "Example") if name not in sections]
    missing += [] if formulas else ["formula"]
    if missing:
        raise ValueError(f"The docstring of {kind.__name__} lacks {', '.join(missing)}.")
    mathematics = [
        _one_line(piece).rstrip(",").strip()
        for part in formulas
        for piece in re.split(r",?\s*\\qquad", part.removeprefix(".. math::"))
    ]
    return Entry(
        kind.__name__,
        kind.__module__.rpartition(".")[2].strip("_").removesuffix("_modules").replace("_", " ").capitalize(),
        _one_line(paragraphs[0]),
        tuple(piece for piece in mathematics if piece),
        "\n\n".join(map(_one_line, prose)),
        sections,
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _to_markdown(text: str) -> str:
    """Write reStructuredText's mathematics as GitHub reads it."""
    return re.sub(r":math:`([^`]*)`", r"$\1$", text)


def _is_derivative(piece: str) -> bool:
    return any(sign in piece.partition("=")[0] for sign in ("'", r"\partial", r"\bar", r"\nabla", r"^\prime"))


def _table_cell(text: str) -> str:
    marked = re.sub(r"\$([^$]*)\$", lambda found: _table_formula(found[1]), _to_markdown(text))
    return marked.replace("\n\n", " ").replace("|", r"\|")


def _table_formula(text: str) -> str:
    """Inline mathematics without a bar, which would end the cell."""
    return "$" + text.replace(r"\|", r"\Vert ").replace("|", r"\vert ") + "$"


def page() -> str:
    """The whole document."""
    all_entries = list(entries())
    lines = [HEAD + "| module | what it does | formula | derivative | notes |"]
    lines.append("|---|---|---|---|---|")
    lines += map(_row, all_entries)
    family = ""
    for entry in all_entries:
        if entry.family != family:
            family = entry.family
            lines.append(f"\n## {family}")
        lines.append(_module(entry))
    return "\n".join(lines) + "\n"


def _row(entry: Entry) -> str:
    """A module's row in the table."""
    formulas = [_table_formula(piece) for piece in entry.mathematics if not _is_derivative(piece)]
    derivatives = [_table_formula(piece) for piece in entry.mathematics if _is_derivative(piece)]
    prose = _to_markdown(entry.prose)
    backward = re.search(r"Backward(.*?): (.*?)\.(?:\s|$)", prose, re.S)
    if backward:
        condition = backward[1].strip(", ")
        derivatives.append(_table_cell(f"{condition}: {backward[2]}" if condition else backward[2]))
    notes = prose.replace(backward[0], "") if backward else prose
    link = f"[{entry.name}](#{entry.name.lower()})"
    cells = [
        link,
        _table_cell(entry.summary),
        ", ".join(formulas),
        ", ".join(derivatives),
        _table_cell(notes),
    ]
    return f"| {' | '.join(cells)} |"


def _module(entry: Entry) -> str:
    """A module's own part."""
    parts = [f"\n### {entry.name}", _to_markdown(entry.summary)]
    parts += ["```math\n" + r", \qquad ".join(entry.mathematics) + "\n```"]
    parts += [_to_markdown(entry.prose)] if entry.prose else []
    listed = [name for name in SECTIONS if name in entry.sections and name != "Example"]
    parts += ["\n".join(_section(name, entry.sections[name]) for name in listed)]
    parts += [f"```python\n{entry.sections['Example'].strip()}\n```"]
    return "\n\n".join(parts)


def _section(name: str, text: str) -> str:
    """A section as a list item; its entries are items below it."""
    if name == "Source":
        return f"- **{name}**: {_one_line(text)}"
    items = re.findall(r"^(\w+): (.*(?:\n +.*)*)", text, re.M)
    return "\n".join(
        [f"- **{name}**", *(f"  - `{item}`: {_to_markdown(_one_line(rest))}" for item, rest in items)]
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name}: {sum(1 for _ in entries())} modules\n")
