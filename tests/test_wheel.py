"""The wheel contains every file of the source tree: a build that leaves one out gives no warning."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("nnfoundations", "callbacks", "datamodules", "docs/faults", "labs", "lightning_modules")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build from a clean copy, because an old build folder would hide missing files."""
    copy = tmp_path_factory.mktemp("tree")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    build = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=copy, check=True, capture_output=True)
    (wheel,) = (copy / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel_files(wheel):
    return set(zipfile.ZipFile(wheel).namelist())


def tree_files():
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                inside = path.relative_to(ROOT).as_posix().removeprefix("docs/")
                yield inside if folder == "nnfoundations" else f"nnfoundations/{inside}"


def test_wheel_holds_every_file_of_the_tree(wheel_files):
    packaged = {name for name in wheel_files if ".dist-info/" not in name}
    assert packaged == set(tree_files())


def test_wheel_has_one_top_level(wheel_files):
    assert {name.split("/")[0].split("-")[0] for name in wheel_files} == {"nnfoundations"}
    assert "nnfoundations/py.typed" in wheel_files


def test_a_fault_is_explained_without_the_repository(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "import sys, nnfoundations; from nnfoundations.cli import main; "
    code += "print(nnfoundations.__file__); sys.exit(main(['explain', 'dead-units']))"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    place, first, *_ = done.stdout.splitlines()
    assert Path(place).is_relative_to(tmp_path)
    assert first == "dead-units"
