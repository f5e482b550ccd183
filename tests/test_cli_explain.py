"""`nnfoundations explain`: the page of every fault as plain text, and the list of faults."""

import json
import re
import subprocess
import sys

import pytest

from nnfoundations.cli import main
from nnfoundations.diagnostics import RULES, Family

FAULTS = [rule.fault for rule in RULES]


def explain(capsys, *args):
    assert main(["explain", *args]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("fault", FAULTS)
def test_the_page_of_every_rule_is_plain_text(fault, capsys):
    out = explain(capsys, fault)
    lines = out.splitlines()
    assert lines[0] == fault
    assert max(map(len, lines)) <= 80
    assert not re.search(r"^#|[*]{2}|`|!\[|\]\(", out, re.M), "marks of Markdown"
    assert f"docs/faults/{fault}.md" in lines[-1]


def test_the_page_has_symptom_evidence_cause_and_fix_in_this_order(capsys):
    lines = explain(capsys, "dead-units").splitlines()
    places = [lines.index(head) for head in ("Symptom", "Evidence", "Cause", "Fix", "Related faults")]
    assert places == sorted(places)
    symptom = " ".join(" ".join(lines[places[0] : places[1]]).split())
    assert re.search(r"training loss goes from \S+ to \S+ in \d+ steps; without the fault it goes", symptom)
    assert "units" in lines[places[1] + 2]


def test_lines_fit_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "44")
    assert max(map(len, explain(capsys, "overfitting").splitlines())) <= 44


@pytest.mark.parametrize("name", ["Dead-Units", "dead_units", "dead units "])
def test_a_name_may_be_written_in_other_ways(name, capsys):
    assert explain(capsys, name).startswith("dead-units\n")


def test_without_a_name_it_lists_every_fault_by_family(capsys):
    out = explain(capsys)
    listed = re.findall(r"^  - (\S+): \S", out, re.M)
    assert sorted(listed) == sorted(FAULTS)
    families = {rule.fault: Family.rank(rule.family) for rule in RULES}
    ranks = [families[fault] for fault in listed]
    assert ranks == sorted(ranks), "in causal order"
    for family in {rule.family for rule in RULES}:
        assert family.replace("-", " ").capitalize() in out.splitlines()
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("ded-units", "Did you mean `dead-units`?"),
        ("overfit", "Did you mean `overfitting`?"),
        ("README", "`nnfoundations explain` lists all faults."),
        ("../diagnostics", "`nnfoundations explain` lists all faults."),
        ("", "`nnfoundations explain` lists all faults."),
    ],
)
def test_a_wrong_name_gives_the_nearest(name, fix, capsys):
    assert main(["explain", name]) == 2
    assert capsys.readouterr().err == f"nnfoundations: unknown fault `{name}`.\n{fix}\n"


def test_an_installation_without_the_pages_says_so(capsys, monkeypatch):
    """An editable installation knows the folders of the version that was installed."""
    monkeypatch.setitem(sys.modules, "nnfoundations.faults", None)
    assert main(["explain", "dead-units"]) == 2
    assert "the pages are not installed.\nInstall nnfoundations again." in capsys.readouterr().err


def test_it_needs_no_torch(tmp_path):
    code = "import json, sys; from nnfoundations.cli import main; main(['explain', 'dead-units']); "
    code += "print(json.dumps(sorted({'torch', 'numpy', 'lightning'} & set(sys.modules))))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []
