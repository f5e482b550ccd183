"""Write docs/modules.md from the docstrings of nnfoundations.nn.

python docs/generate_modules.py
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
FIELDS = ("Shape", "Args", "Returns", "Raises", "Source")

HEAD = """# Modules

`from nnfoundations import nn` in place of `from torch import nn`. These modules are ours, forward and
backward; every other name of `torch.nn` is handed on as it is. Written by `docs/generate_modules.py` from
the docstrings.

Where a model can tell them from torch's:

- `type(layer)` differs. `isinstance` holds both ways, of torch's layer and `nn.Linear` too, since the layers
  that torch builds itself, of an encoder or a backbone, stay torch's.
- Nested and sparse tensors, and `torch.jit.script`, need torch's layers: `convert.to_torch(model)` first.
- Cross-entropy keeps the logits themselves. Whoever writes over them before the backward gets torch's error.
- Dropout and RReLU draw torch's numbers on the CPU in eager mode; on CUDA and compiled, others.
- An InstanceNorm with affine takes an empty batch, where torch's module raises.
- The third derivative of LayerNorm and `jacfwd` of `jacfwd` of normalizations are wrong in torch 2.15, the
  third derivative of BatchNorm is missing. Ours are right.

"""


@dataclass(frozen=True)
class Entry:
    """A docstring, taken apart."""

    name: str
    family: str
    sentence: str
    mathematics: tuple[str, ...]  # the formula, then its derivatives
    prose: str
    fields: dict[str, str]
    example: str


def entries() -> Iterator[Entry]:
    """Every class that nn has in place of torch's, or beside them, in the order of our files."""
    ours = {
        value: name
        for name, value in vars(nn).items()
        if inspect.isclass(value) and issubclass(value, nn.Module)
        if value.__module__.startswith("nnfoundations.")
    }
    for kind in sorted(ours, key=lambda kind: (kind.__module__, _line(kind))):
        yield parsed(kind)


def _line(kind: type) -> int:
    return inspect.getsourcelines(kind)[1]


def parsed(kind: type) -> Entry:
    """Its docstring in parts. Raises ValueError if one is missing."""
    text = inspect.getdoc(kind) or ""
    text, _, example = text.partition("\n>>> ")
    pieces = re.split(rf"^({'|'.join(FIELDS)}): ", text, flags=re.M)
    body, fields = pieces[0], dict(zip(pieces[1::2], map(_joined, pieces[2::2]), strict=True))
    paragraphs = [part for part in re.split(r"\n\s*\n", body) if part.strip()]
    formulas = [part for part in paragraphs if part.startswith(".. math::")]
    prose = [part for part in paragraphs[1:] if part not in formulas]
    missing = [name for name in ("Shape", "Source") if name not in fields]
    missing += [name for name, part in (("formula", formulas), ("example", example)) if not part]
    if missing:
        raise ValueError(f"The docstring of {kind.__name__} lacks {', '.join(missing)}.")
    mathematics = [
        _joined(piece).rstrip(",").strip()
        for part in formulas
        for piece in re.split(r",?\s*\\qquad", part.removeprefix(".. math::"))
    ]
    family = kind.__module__.rpartition(".")[2].strip("_").replace("_", " ").capitalize()
    return Entry(
        kind.__name__,
        family,
        _joined(paragraphs[0]),
        tuple(piece for piece in mathematics if piece),
        "\n\n".join(map(_joined, prose)),
        fields,
        f">>> {example.rstrip()}",
    )


def _joined(text: str) -> str:
    return " ".join(textwrap.dedent(text).split())


def _marked(text: str) -> str:
    """reStructuredText's roles as GitHub reads them."""
    return re.sub(r":math:`([^`]*)`", r"$\1$", text)


def _is_derivative(piece: str) -> bool:
    return any(sign in piece.partition("=")[0] for sign in ("'", r"\partial", r"\bar", r"\nabla", r"^\prime"))


def _in_cell(text: str) -> str:
    """Prose for a table."""
    marked = re.sub(r"\$([^$]*)\$", lambda found: _formula(found[1]), _marked(text))
    return marked.replace("\n\n", " ").replace("|", r"\|")


def _formula(text: str) -> str:
    """Inline mathematics for a table, where a bar would end the cell."""
    return "$" + text.replace(r"\|", r"\Vert ").replace("|", r"\vert ") + "$"


def page() -> str:
    """The whole document."""
    all_of_it = list(entries())
    lines = [HEAD + "| module | what it does | formula | derivative | where it saturates, when to use it |"]
    lines.append("|---|---|---|---|---|")
    for entry in all_of_it:
        formulas = [piece for piece in entry.mathematics if not _is_derivative(piece)]
        derivatives = [_formula(piece) for piece in entry.mathematics if _is_derivative(piece)]
        prose = _marked(entry.prose)
        backward = re.search(r"Backward(.*?): (.*?)\.(?:\s|$)", prose, re.S)
        if backward:
            where = backward[1].strip(", ")
            derivatives.append(_in_cell(f"{where}: {backward[2]}" if where else backward[2]))
        notes = prose.replace(backward[0], "") if backward else prose
        cells = [
            f"[{entry.name}](#{entry.name.lower()})",
            _in_cell(entry.sentence),
            ", ".join(map(_formula, formulas)),
            ", ".join(derivatives),
            _in_cell(notes),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    family = ""
    for entry in all_of_it:
        if entry.family != family:
            family = entry.family
            lines.append(f"\n## {family}")
        lines.append(section(entry))
    return "\n".join(lines) + "\n"


def section(entry: Entry) -> str:
    """A module's own part."""
    parts = [f"\n### {entry.name}", _marked(entry.sentence)]
    parts += ["```math\n" + r", \qquad ".join(entry.mathematics) + "\n```"]
    parts += [_marked(entry.prose)] if entry.prose else []
    parts += ["\n".join(f"- **{name}**: {_marked(text)}" for name, text in entry.fields.items())]
    parts += [f"```python\n{entry.example}\n```"]
    return "\n\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name}: {sum(1 for _ in entries())} modules\n")
