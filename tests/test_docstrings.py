"""Public docstrings are in Google style: every argument, the result and every error that is raised."""

import ast
import enum
import inspect
import re
import textwrap
from dataclasses import is_dataclass
from importlib import import_module

import pytest
import torch

PACKAGES = [
    *("autograd", "callbacks", "check", "cli", "convert", "datamodules", "diagnostics", "errors", "formulas"),
    *("labs", "lightning_modules", "models", "nn", "nn.functional", "nn.init", "numpy", "optim", "testing"),
]
# Torch's own arguments, the same in every layer and loss: they may be left out.
TORCH_ARGUMENTS = {"device", "dtype", "size_average", "reduce"}
SECTION = re.compile(r"^(\w[\w ]*):$")
ENTRY = re.compile(r"^    \*{0,2}(\w+)(?: \([^)]*\))?: \S")


def is_ours(member):
    return getattr(member, "__module__", "").startswith("nnfoundations")


def documented_by_base(owner, name):
    """Whether a base class, of a library or of the project, documents this method."""
    return any(getattr(vars(base).get(name), "__doc__", None) for base in owner.__mro__[1:])


def shares_notation(package, name):
    """Backward and tangent of a formula take its arguments; the head of its file has the notation."""
    return package == "formulas" and name.endswith(("_backward", "_jvp"))


def members_of(owner):
    for name, member in vars(owner).items():
        member = (
            inspect.unwrap(getattr(member, "__func__", member))
            if callable(member) or isinstance(member, (classmethod, staticmethod))
            else member
        )
        if not name.startswith("_") and inspect.isfunction(member) and not documented_by_base(owner, name):
            yield name, member


def public():
    seen = set()
    for package in PACKAGES:
        module = import_module(f"nnfoundations.{package}")
        for name in getattr(module, "__all__", dir(module)):
            member = getattr(module, name)
            documented = inspect.isclass(member) or inspect.isfunction(member)
            if not documented or not is_ours(member) or member in seen or shares_notation(package, name):
                continue
            seen.add(member)
            yield pytest.param(member, id=f"{package}.{name}")
            if inspect.isclass(member):
                for method, function in members_of(member):
                    yield pytest.param(function, id=f"{package}.{name}.{method}")


def sections(docstring):
    """Section name to the names of its entries."""
    found, current = {}, None
    for line in inspect.cleandoc(docstring or "").splitlines():
        if heading := SECTION.match(line):
            current = found.setdefault(heading[1], [])
        elif current is not None and (entry := ENTRY.match(line)):
            current.append(entry[1])
    return found


def arguments(member):
    if inspect.isclass(member) and (
        issubclass(member, (BaseException, enum.Enum)) or not has_constructor(member)
    ):
        return []
    names = list(inspect.signature(member).parameters)
    return [
        name for name in names if name not in {"self", "cls", *TORCH_ARGUMENTS} and not name.startswith("_")
    ]


def has_constructor(owner):
    """Whether the class has a constructor that no base class of the project documents."""
    if is_dataclass(owner):
        return True
    if owner.__init__ is torch.nn.Module.__init__:  # declared with *args and **kwargs, but it takes none
        return False
    defined_by = next(base for base in owner.__mro__ if {"__init__", "__new__"} & set(vars(base)))
    return defined_by is not object and (defined_by is owner or not is_ours(defined_by))


def raised(member):
    """Names of the exceptions that its own body raises."""
    function = vars(member).get("__init__") if inspect.isclass(member) else member
    if not inspect.isfunction(function) or function.__code__.co_filename.startswith("<"):
        return set()
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    calls = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    return {call.func.id for call in calls if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)}


@pytest.mark.parametrize("member", list(public()))
def test_docstring_is_complete(member):
    found = sections(member.__doc__)
    assert member.__doc__, "no docstring"
    assert [name for name in found.get("Args", []) if name not in TORCH_ARGUMENTS] == arguments(member)
    if inspect.isfunction(member):
        returns = inspect.signature(member).return_annotation
        if (
            returns not in (None, "None", inspect.Signature.empty)
            and "Never" not in str(returns)
            and "NoReturn" not in str(returns)
        ):
            assert {"Returns", "Yields"} & set(found), "no Returns section"
    assert raised(member) <= set(found.get("Raises", [])), "no entry under Raises"
