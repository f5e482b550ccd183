"""The wheel contains every file of the source tree: a build that leaves one out gives no warning."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("nnfoundations", "callbacks", "datamodules", "labs", "lightning_modules")


@pytest.fixture(scope="module")
def wheel_files(tmp_path_factory):
    """Build from a clean copy, because an old build folder would hide missing files."""
    copy = tmp_path_factory.mktemp("tree")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    build = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=copy, check=True, capture_output=True)
    (wheel,) = (copy / "dist").glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def tree_files():
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                inside = path.relative_to(ROOT).as_posix()
                yield inside if folder == "nnfoundations" else f"nnfoundations/{inside}"


def test_wheel_holds_every_file_of_the_tree(wheel_files):
    packaged = {name for name in wheel_files if ".dist-info/" not in name}
    assert packaged == set(tree_files())


def test_wheel_has_one_top_level(wheel_files):
    assert {name.split("/")[0].split("-")[0] for name in wheel_files} == {"nnfoundations"}
    assert "nnfoundations/py.typed" in wheel_files
