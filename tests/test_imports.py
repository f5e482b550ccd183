"""Which package may import which, and what an import loads."""

import ast
import json
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ANY = {"formulas", "nn", "optim", "numpy", "autograd", "models", "diagnostics", "configs"}
ANY |= {"convert", "testing", "datamodules", "lightning_modules", "callbacks"}

# package: our packages that it may import, and the libraries that its files import at the top
ALLOWED: dict[str, tuple[set[str], set[str]]] = {
    "formulas": (set(), set()),
    "numpy": ({"formulas"}, {"numpy"}),
    "autograd": ({"formulas"}, {"numpy"}),
    "nn": ({"formulas"}, {"torch"}),
    "optim": ({"formulas"}, {"torch"}),
    "models": ({"nn"}, {"torch"}),
    "testing": ({"nn"}, {"torch"}),
    "convert": ({"nn"}, {"torch"}),
    "diagnostics": (set(), {"torch", "numpy"}),
    "datamodules": (set(), {"torch", "numpy", "lightning"}),
    "lightning_modules": (
        {"nn", "models", "numpy", "autograd", "optim"},
        {"torch", "numpy", "lightning", "torchmetrics"},
    ),
    "callbacks": ({"diagnostics"}, {"torch", "numpy", "lightning", "tensorboard"}),
    "check": ({"diagnostics"}, {"torch", "lightning"}),
    # The command `lab` imports the labs when it is called; a lab runs `fit` by calling `cli.main`.
    "cli": (ANY | {"check", "labs"}, {"torch", "numpy", "lightning", "torchmetrics", "jsonargparse", "yaml"}),
    # A lab imports no other lab: of this package it may use its own folder and `_runner` only.
    "labs": (ANY | {"check", "cli"}, {"torch", "numpy", "lightning", "rich"}),
}


# The formulas import these two files only when a namespace is asked for; test_import_is_light holds it.
NAMESPACES = {"_numpy_namespace.py": {"numpy"}, "_torch_namespace.py": {"torch"}}


def source_files():
    """Every module with its package, found without importing it."""
    for package in ALLOWED:
        spec = find_spec(f"nnfoundations.{package}")
        if spec is None:
            continue  # not written yet
        folder = Path(spec.origin).parent
        is_file = spec.submodule_search_locations is None
        for path in [Path(spec.origin)] if is_file else sorted(folder.rglob("*.py")):
            yield pytest.param(package, path, id=f"{package}/{path.relative_to(folder)}")


def imported(tree, *, top_only):
    """Dotted names that a file imports; `top_only` leaves out imports within a block or a function."""
    nodes = tree.body if top_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(("package", "path"), list(source_files()))
def test_a_package_imports_downward_only(package, path):
    packages, libraries = ALLOWED[package]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    ours = {
        name.split(".")[1] for name in imported(tree, top_only=False) if name.startswith("nnfoundations.")
    }
    assert ours <= packages | {package, "errors", "__version__"}
    if package == "labs":
        parts = path.relative_to(Path(find_spec("nnfoundations.labs").origin).parent).parts
        seen = {
            name.split(".")[2]
            for name in imported(tree, top_only=False)
            if name.startswith("nnfoundations.labs.")
        }
        assert seen <= {parts[0], "_runner", *import_module("nnfoundations.labs").__all__}
    others = {name.split(".")[0] for name in imported(tree, top_only=True)} - {"nnfoundations"}
    assert others <= libraries | NAMESPACES.get(path.name, set()) | set(sys.stdlib_module_names)


def modules_after(statement):
    code = f"{statement}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


HEAVY = {"torch", "lightning", "torchmetrics", "torchvision", "matplotlib", "sklearn", "numpy", "rich"}


@pytest.mark.parametrize("statement", ["import nnfoundations", "import nnfoundations.formulas"])
def test_import_is_light(statement):
    assert not modules_after(statement) & HEAVY


@pytest.mark.slow
def test_nn_costs_torch_and_no_more():
    """torch imports NumPy and a few others; our nn may not import more than torch does."""
    ours = modules_after("from nnfoundations import nn") - {"nnfoundations"}
    assert ours <= modules_after("import torch") | set(sys.stdlib_module_names)


def test_version_needs_no_torch():
    after = modules_after("from nnfoundations.cli import main; main(['--version'])")
    assert not after & {"torch", "lightning"}
