"""The documents agree with the committed results, the configs and the commands."""

import csv
import re
import runpy
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nnfoundations.cli.config._packaged import packaged_configs

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


def test_readme_quotes_the_accuracy_of_diagnostics():
    with (ROOT / "docs" / "results" / "diagnostics_accuracy.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    faulty = [row for row in rows if row["kind"] == "faulty"]
    healthy = [row for row in rows if row["kind"] != "faulty"]
    right = sum(row["right"] == "1" for row in faulty)
    text = README.replace("\n ", "")
    assert f"the root cause in {right} of our {len(faulty)} faulty runs" in text
    assert f"nothing in {len(healthy)} healthy ones" in text
    assert all(row["right"] == "1" for row in healthy)


def test_the_page_of_configs_lists_every_config():
    page = (ROOT / "docs" / "configs.md").read_text(encoding="utf-8")
    table = page[page.index("| `--config` |") : page.index("## Files of a run")]
    named = {name for name in packaged_configs() if "/" not in name}  # LAB/ARM: `nnfoundations lab`
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.M)) == named


def test_modules_are_described_as_their_docstrings_do():
    generate = runpy.run_path(str(ROOT / "docs" / "generate_modules.py"))
    written = (ROOT / "docs" / "modules.md").read_text(encoding="utf-8")
    assert written == generate["page"](), "run python docs/generate_modules.py"


def test_links_lead_somewhere():
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_what_a_formula_is_tied_to_is_there():
    """In from_scratch.md: each linked piece of code occurs in a line of the file it links to."""
    document = ROOT / "docs" / "from_scratch.md"
    quotes = re.findall(r"\[`([^`]+)`\]\(([^)]+\.py)\)", document.read_text(encoding="utf-8"))
    assert len(quotes) > 20
    for code, target in quotes:
        lines = (document.parent / target).read_text(encoding="utf-8").splitlines()
        assert any(code in line for line in lines), f"{target} has no line `{code}`"


def rows_of(name):
    with (ROOT / "docs" / "results" / name).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_from_scratch_quotes_the_committed_rows():
    """The rows also reach their goals: the accuracy, and at least the speed of torch in the same run."""
    document = (ROOT / "docs" / "from_scratch.md").read_text(encoding="utf-8").replace("\n", " ")
    found = {}
    for recipe in ("momentum", "plain"):
        rows = [row for row in rows_of("numpy_mnist.csv") if row["recipe"] == recipe]
        assert [row["epoch"] for row in rows] == [str(epoch) for epoch in range(1, 11)]
        seconds = [[float(row[f"{name}_seconds"]) for row in rows] for name in ("numpy", "torch")]
        ratio = statistics.median(seconds[0]) / statistics.median(seconds[1])
        found[recipe] = [row["numpy_test_accuracy"] for row in rows], ratio
        assert ratio <= 1
    (momentum, its_ratio), (plain, ratio) = found["momentum"], found["plain"]
    assert float(momentum[-1]) >= 0.98
    assert float(plain[4]) > 0.95
    assert (
        f"{momentum[-1]} of the test images right after 10 epochs, in {its_ratio:.2f} of torch's" in document
    )
    assert f"it has {plain[4]} after five, in {ratio:.2f}." in document
    ratios = [float(row["ratio"]) for row in rows_of("optim.csv")]
    assert max(ratios) <= 1.15
    assert f"takes {min(ratios):.2f} to {max(ratios):.2f} times torch's" in document


def test_committed_fits_reach_their_goals():
    """The rows that the README links to: accuracy, and seconds if the README promises them."""
    rows = {row["config"]: row for row in rows_of("fits.csv")}
    goals = {"numpy_mnist": 0.98, "autograd_digits": 0.95, "autograd_xor": 0.99, "perceptron_iris": 1.0}
    for name, least in goals.items():
        assert float(rows[name]["test_accuracy"]) >= least
    assert float(rows["autograd_digits"]["seconds"]) < 30
    assert float(rows["numpy_mnist"]["seconds"]) < 120


def test_tests_that_are_named_exist():
    """`tests/test_x.py::test_name[id]` in a document, `Checked by tests/test_x.py` in a config."""
    texts = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *packaged_configs().values()]
    found = [
        name
        for text in texts
        for name in re.findall(
            r"(tests/\w+\.py)(?:::(\w+))?(?:\[([^\]]+)\])?", text.read_text(encoding="utf-8")
        )
    ]
    assert len(found) > 30
    for path, test, case in found:
        source = (ROOT / path).read_text(encoding="utf-8")
        assert not test or f"def {test}(" in source, f"{path} has no test {test}"
        assert not case or f'"{case}"' in source, f"{path} has no case {case}"


def test_from_scratch_examples_run(tmp_path):
    """Each example runs by itself, unchanged, and prints what its comments say."""
    document = (ROOT / "docs" / "from_scratch.md").read_text(encoding="utf-8")
    printed = []
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", document, re.S)):
        path = tmp_path / f"example_{number}.py"
        path.write_text(code, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, path.name], cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    digits, neuron = printed
    assert round(float(digits), 2) == 0.98
    slopes = [float(number) for number in neuron.splitlines()[0].split()]
    assert [round(slope, 3) for slope in slopes] == [1.573, 0.393, 0.786]
    assert neuron.splitlines()[1] == "digraph {"


@pytest.mark.filterwarnings("default")
def test_readme_example_runs(tmp_path, monkeypatch):
    """Run it as a reader would: saved as a file, in an empty folder."""
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    (tmp_path / "example.py").write_text(code.replace("max_epochs=10", "max_epochs=1"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    runpy.run_path("example.py", run_name="__main__")
    (folder,) = tmp_path.rglob("version_0")
    scalars = EventAccumulator(str(folder)).Reload().Tags()["scalars"]
    assert {"val/accuracy", "diagnostics/gradient_norm/total"} <= set(scalars)
