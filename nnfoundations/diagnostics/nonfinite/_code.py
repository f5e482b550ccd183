"""Lists the names that functions of the user contain: what a training step may use outside its module.

Functions of Python and of installed packages are not read.
"""

import dis
import sys
import sysconfig
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

__all__ = ["EFFECTS", "is_library", "members", "names_in", "top_package"]

EFFECTS = frozenset(
    {
        "aim", "clearml", "comet_ml", "httpx", "mlflow", "multiprocessing", "neptune", "ray", "requests",
        "shutil", "socket", "sqlite3", "subprocess", "swanlab", "tensorboardX", "threading", "urllib",
        "wandb",
    }
)  # fmt: skip
"""Packages whose calls cannot be undone."""

_KNOWN = {"builtins", "lightning", "nnfoundations", "numpy", "pytorch_lightning", "torch", "torchmetrics"}
_FOLDERS = ("site-packages", "dist-packages", sysconfig.get_paths()["stdlib"], "<frozen ")


def top_package(thing: Any) -> str:
    """Return the first part of the name of the module that defines a class or function."""
    name = getattr(thing, "__module__", None)
    return name.partition(".")[0] if isinstance(name, str) else ""


def is_library(thing: Any) -> bool:
    """Return whether a class, function or Python module belongs to Python or to an installed package."""
    if isinstance(thing, ModuleType):
        known = thing.__name__.partition(".")[0] in _KNOWN or thing.__name__ in sys.builtin_module_names
        return known or _installed(getattr(thing, "__file__", None) or "")
    if top_package(thing) in _KNOWN:
        return True
    if isinstance(thing, FunctionType):
        return _installed(thing.__code__.co_filename)
    home = sys.modules.get(getattr(thing, "__module__", ""))
    return home is not None and is_library(home)


def _installed(file: str) -> bool:
    return any(folder in file for folder in _FOLDERS)


def names_in(code: CodeType) -> Iterator[tuple[str, bool]]:
    """Yield the names in a function and in the functions that it defines, and whether each is a global."""
    for instruction in dis.get_instructions(code):
        if instruction.opcode in dis.hasname and isinstance(instruction.argval, str):
            yield instruction.argval, instruction.opname.endswith(("_GLOBAL", "_NAME"))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_in(constant)


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the methods and the attributes of a class, by name, without those of its bases."""
    for name, value in vars(kind).items():
        parts = (value.fget, value.fset) if isinstance(value, property) else (value,)
        for part in parts:
            plain = getattr(part, "__func__", getattr(part, "func", part))
            if isinstance(plain, FunctionType) or not (name.startswith("__") or hasattr(plain, "__get__")):
                yield name, plain
