"""Diagnostics on the command line, and the page that documents them."""

import csv
import dataclasses
import re
import runpy
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from faults import FAULTS
from watched import lines_of

from nnfoundations.cli import main
from nnfoundations.cli.commands._explain import plain
from nnfoundations.diagnostics import RULES, Rule

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")

DOCS = Path(__file__).parent.parent / "docs"


# -- the command ---------------------------------------------------------------------------------------------


def fit(root, *args, command="fit"):
    before = set(root.glob("*/*"))
    code = main([command, "--config", "digits", "--trainer.default_root_dir", str(root), *args])
    assert code == 0
    (folder,) = set(root.glob("*/*")) - before
    return folder


SPOILT = ("--model.optimizer.lr", "30", "--trainer.max_epochs", "1")


def test_fit_names_what_is_wrong(tmp_path, capsys):
    folder = fit(tmp_path, *SPOILT)
    printed = capsys.readouterr()
    assert "Diagnostics: learning-rate-too-high (error), step 0" in printed.err
    assert "1. learning-rate-too-high" in printed.err
    assert f"Findings     {folder / 'findings.jsonl'}" in printed.out
    assert "Next " not in printed.out, "this run must be fixed first"
    assert lines_of(folder)[0]["fault"] == "learning-rate-too-high"
    assert (folder / "history.npz").exists()


@pytest.mark.slow
def test_fit_is_calm_about_a_healthy_run(tmp_path, capsys):
    folder = fit(tmp_path, "--trainer.max_epochs", "3")
    printed = capsys.readouterr()
    assert printed.err.count("Diagnostics") == 1
    assert "nothing found" in printed.err
    assert "Next " in printed.out
    assert not (folder / "findings.jsonl").exists()
    checkpoint = str(folder / "checkpoints" / "last.ckpt")
    tested = fit(tmp_path, "--ckpt_path", checkpoint, command="test")
    assert "Diagnostics" not in capsys.readouterr().err
    assert not (tested / "history.npz").exists()


def test_diagnostics_can_be_off(tmp_path, capsys):
    folder = fit(tmp_path, *SPOILT, "--diagnostics.enabled", "false")
    assert "Diagnostics" not in capsys.readouterr().err
    assert not (folder / "history.npz").exists()


@pytest.mark.slow
def test_ones_own_diagnostics_come_alone(tmp_path, capsys):
    own = ["--trainer.callbacks+=Diagnostics", "--trainer.callbacks.mute=[learning-rate-too-high]"]
    fit(tmp_path, *SPOILT, *own)
    err = capsys.readouterr().err
    assert "learning-rate-too-high (error)" not in err
    assert " ".join(err.split()).count("Muted: learning-rate-too-high.") == 1


def test_a_typo_is_two_lines_at_most(tmp_path, capsys):
    args = ["fit", "--config", "digits", "--trainer.default_root_dir", str(tmp_path)]
    assert main([*args, "--diagnostics.mute", "[ded-units]"]) == 2
    err = capsys.readouterr().err
    assert "got 'ded-units'" in err
    assert "Traceback" not in err


def test_a_fault_can_be_muted(tmp_path, capsys):
    fit(tmp_path, *SPOILT, "--diagnostics.mute", "[learning-rate-too-high]")
    assert "learning-rate-too-high (error)" not in capsys.readouterr().err


# -- the documents -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generate():
    return SimpleNamespace(**runpy.run_path(str(DOCS / "generate_diagnostics.py")))


def rows_of(name):
    with (DOCS / "results" / name).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_the_pages_are_what_the_rules_and_the_rows_say(generate):
    for path, text in generate.pages().items():
        assert path.read_text(encoding="utf-8") == text, (
            f"{path}: run python docs/generate_diagnostics.py, with --page if only words changed"
        )
    assert {fault.id for fault in FAULTS} <= set(generate.INJECTED), "a fault without words for it"


def test_every_rule_has_a_page_and_no_other_page_is_left():
    pages = {path.stem for path in (DOCS / "faults").glob("*.md")}
    assert pages == {"README", *(rule.fault for rule in RULES)}


@pytest.mark.parametrize("fault", [rule.fault for rule in RULES])
def test_a_page_goes_from_symptom_to_fix_beside_a_small_figure(fault):
    page = (DOCS / "faults" / f"{fault}.md").read_text(encoding="utf-8")
    heads = re.findall(r"^## (.+)$", page, re.M)
    assert heads[:4] == ["Symptom", "Evidence", "Cause", "Fix"], "no committed run shows this fault"
    (figure,) = re.findall(r"^!\[[^]]+\]\((\S+\.png)\)$", page, re.M)
    assert (DOCS / "faults" / figure).stat().st_size < 80_000
    assert page.index("## Symptom") < page.index(figure) < page.index("## Evidence")


def test_links_between_the_pages_lead_somewhere():
    for page in (DOCS / "faults").glob("*.md"):
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@dataclass(frozen=True)
class Quiet(Rule):
    """The loss does not change."""

    fault, family, needs = "quiet", "loss", ("loss",)
    change: float = 0.5  # smallest change; a judgement

    def judge(self, history):
        return None


def test_a_rule_without_committed_runs_gets_a_page(generate):
    """So that a new rule can be explained before its run is committed."""
    page = plain(generate.fault_pages.fault_page(Quiet(), []), 80)
    assert "No committed run shows this fault as root cause." in page
    assert "  - change = 0.5: smallest change; a judgement" in page
    assert "Symptom" not in page


def test_the_limits_are_those_of_the_rules(generate):
    for rule in RULES:
        shown = {name: float(value) for name, value, _ in generate.fault_pages.limits_of(rule)}
        assert shown == {f.name: getattr(rule, f.name) for f in dataclasses.fields(rule)}


def test_every_limit_was_moved():
    """The range of each limit is in the committed rows of `benchmarks/diagnostics_ablation.py margins`."""
    limits = {(rule.fault, field.name) for rule in RULES for field in dataclasses.fields(rule)}
    assert {(row["rule"], row["limit"]) for row in rows_of("diagnostics_margins.csv")} == limits


def test_the_committed_rows_are_right():
    rows = rows_of("diagnostics_faults.csv")
    assert {row["fault"] for row in rows} == {fault.id for fault in FAULTS}
    assert [row["fault"] for row in rows if row["right"] != "yes"] == []
