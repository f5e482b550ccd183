"""Diagnostics on the command line, and the page that documents them."""

import csv
import dataclasses
import re
import runpy
from pathlib import Path

import pytest
from faults import FAULTS
from watched import lines_of

from nnfoundations.cli import main
from nnfoundations.diagnostics import RULES

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


# -- the document ------------------------------------------------------------------------------------------


def test_the_page_is_what_the_rules_and_the_rows_say():
    generate = runpy.run_path(str(DOCS / "generate_diagnostics.py"))
    written = (DOCS / "diagnostics.md").read_text(encoding="utf-8")
    assert written == generate["page"](), (
        "run python docs/generate_diagnostics.py, --page where words changed"
    )
    assert {fault.id for fault in FAULTS} <= set(generate["INJECTED"]), "a fault without words for it"


def test_every_rule_has_a_section_and_small_figures():
    page = (DOCS / "diagnostics.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^### (\S+)$", page, re.M)) == {rule.fault for rule in RULES}
    figures = re.findall(r"\]\((images/\S+\.png)\)", page)
    assert len(figures) >= 15
    for figure in figures:
        assert (DOCS / figure).stat().st_size < 80_000


def test_the_limits_are_those_of_the_rules():
    limits_of = runpy.run_path(str(DOCS / "generate_diagnostics.py"))["limits_of"]
    for rule in RULES:
        shown = {name: float(value) for name, value, _ in limits_of(rule)}
        assert shown == {f.name: getattr(rule, f.name) for f in dataclasses.fields(rule)}


def test_the_committed_rows_are_right():
    with (DOCS / "results" / "diagnostics_faults.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["fault"] for row in rows} == {fault.id for fault in FAULTS}
    assert [row["fault"] for row in rows if row["right"] != "yes"] == []
