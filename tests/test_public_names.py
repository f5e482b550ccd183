"""What a user can import: the short names, and nothing private in `dir()` of a public package."""

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

import nnfoundations

PACKAGES = [
    *("autograd", "callbacks", "check", "cli", "convert", "datamodules", "diagnostics", "errors"),
    *("formulas", "labs", "lightning_modules", "models", "numpy", "optim", "testing"),
]
SHORT = "Diagnostics, Monitor, Finding, Classifier, Regressor, MLP, nn, convert, errors"


def test_short_names_are_the_classes_of_their_packages():
    from nnfoundations import MLP, Diagnostics, Finding, Monitor, callbacks, diagnostics, models, nn

    assert Diagnostics is callbacks.Diagnostics
    assert Monitor is diagnostics.Monitor
    assert Finding is diagnostics.Finding
    assert MLP is models.MLP
    assert issubclass(nn.Linear, nn.Module)


def test_dir_lists_the_short_names():
    assert set(dir(nnfoundations)) == {*SHORT.split(", "), "__version__"}
    assert set(nnfoundations.__all__) == set(SHORT.split(", "))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Diagnostic'"):
        nnfoundations.Diagnostic  # noqa: B018  the access is what is tested


@pytest.mark.parametrize("name", PACKAGES)
def test_a_public_package_shows_public_names_only(name):
    module = import_module(f"nnfoundations.{name}")
    submodules = {name for name in dir(module) if isinstance(getattr(module, name), ModuleType)}
    ours = {name for name in submodules if getattr(module, name).__name__.startswith(module.__name__)}
    assert set(module.__all__) == {name for name in dir(module) if not name.startswith("_")} - (
        ours - set(module.__all__)
    )


def source_files():
    root = Path(find_spec("nnfoundations").origin).parent
    for package in ("", "callbacks", "datamodules", "labs", "lightning_modules"):
        folder = Path(find_spec(f"nnfoundations.{package}".rstrip(".")).origin).parent
        for path in sorted(folder.rglob("*.py")):
            if path.name == "notebook.py" and "labs" in path.parts:
                continue  # cells, not a module
            parts = path.relative_to(folder).with_suffix("").parts
            yield pytest.param(package or parts[0], path, id="/".join((package or root.name, *parts)))


@pytest.mark.parametrize(("package", "path"), list(source_files()))
def test_no_private_import_from_another_package(package, path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nnfoundations."):
            _, owner, *rest = node.module.split(".")
            private = any(part.startswith("_") for part in [*rest, *(alias.name for alias in node.names)])
            assert owner == package or not private, f"line {node.lineno}: {node.module}"


@pytest.mark.parametrize("path", [entry.values[1] for entry in source_files()], ids=lambda path: path.stem)
def test_a_module_declares_its_public_names(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {
        getattr(target, "id", "")
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
    }
    defines = any(
        isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
        for node in tree.body
    )
    assert "__all__" in names or not defines
