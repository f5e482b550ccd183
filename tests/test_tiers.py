"""Every test belongs to a tier that something runs: by default, `.ci/run` or `.ci/run --weekly`."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OPTIONS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"][
    "ini_options"
]
MARKS = {re.match(r"\w+", line)[0] for line in OPTIONS["markers"]}


def expressions():
    """What the default and the two calls of `.ci/run` select."""
    (default,) = re.findall(r"-m '([^']+)'", OPTIONS["addopts"])
    change, weekly = re.findall(r'-m "([^"]+)"', (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    return default, change, weekly


def test_the_marks_in_use_are_declared():
    for expression in expressions():
        assert set(re.findall(r"\w+", expression)) - {"and", "or", "not"} <= MARKS


@pytest.mark.parametrize("mark", ["", *sorted(MARKS)])
def test_every_tier_is_run(mark):
    """All but `gpu` by the weekly call, all but `gpu` and `weekly` for each change."""
    runs = [eval(expression, {name: name == mark for name in MARKS}) for expression in expressions()]
    assert runs == [mark in ("", "data"), mark not in ("weekly", "gpu"), mark != "gpu"]
