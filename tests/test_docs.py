"""What the documents say is what the rows, the configs and the commands say."""

import csv
import re
import statistics
from pathlib import Path

from nnfoundations.cli._configs import packaged_configs

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_quotes_the_committed_rows():
    with (ROOT / "docs" / "results" / "digits_splits.csv").open(newline="") as stream:
        accuracies = [float(row["test_accuracy"]) for row in csv.DictReader(stream)]
    sentence = f"mean test accuracy is {statistics.mean(accuracies):.4f}, the lowest {min(accuracies):.4f}"
    assert sentence in README.replace("\n", " ")


def test_committed_rows_reach_the_goal():
    with (ROOT / "docs" / "results" / "digits_splits.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 5
    assert statistics.mean(float(row["test_accuracy"]) for row in rows) >= 0.975
    assert min(float(row["test_accuracy"]) for row in rows) >= 0.96
    assert max(float(row["seconds"]) for row in rows) < 60


def test_readme_lists_every_config():
    table = README[README.index("| `--config` |") :]
    assert set(re.findall(r"^\| `([\w/]+)` \|", table, re.M)) == set(packaged_configs())


def test_links_lead_somewhere():
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_ci_calls_the_readme_commands():
    """CI runs the README's test command, on the wheel instead of the tree."""
    assert "uv run --extra test pytest" in README
    assert "uv run --extra test pytest" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
