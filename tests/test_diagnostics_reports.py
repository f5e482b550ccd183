"""The output of diagnostics: terminal and files."""

import io
import json
import sys
import types
from pathlib import Path

import pytest
from reported import RATE, changed, engine, text
from rich.console import Console as RichConsole
from rich.progress import Progress
from tqdm import tqdm
from watched import lines_of

from nnfoundations.diagnostics import Severity
from nnfoundations.diagnostics import _console as console
from nnfoundations.diagnostics._findings_file import FindingsFile

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")

DOCS = Path(__file__).parent.parent / "docs"


# -- the terminal --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_lines_fit_and_names_stay_whole(width):
    finding = changed(RATE, consequences=("dead-units", "exploding-gradients"))
    for lines in (console.announcement(finding, width), console.closing(engine(finding, RATE), width)):
        assert max(len(line) for _, line in lines) <= width
        words = text(lines).split()
        assert "learning-rate-too-high" in words
        assert "exploding-gradients" in words


def test_the_fault_of_a_users_own_rule_has_no_page():
    own = changed(RATE, fault="loss-plateau")
    assert "more:" not in text(console.announcement(own, 80))
    assert console.announcement(RATE, 80)[-1][1] == "  more: nnfoundations explain learning-rate-too-high"


def test_a_healthy_run_has_one_line():
    assert text(console.closing(engine(), 100)) == (
        "Diagnostics: nothing found in 1,234 steps (cost 0.12 s, 0.6% of training)."
    )


def test_the_closing_table_says_all():
    second = changed(RATE, fault="overfitting", severity=Severity.WARNING, where=(), resolved=True)
    first = changed(RATE, consequences=("dead-units",))
    reasons = {"dead-units": "compiled model", "saturated-units": "compiled model", "graph-cut": "shards"}
    finished = engine(first, second, not_run=reasons, mute=["dead-units:head"])
    printed = text(console.closing(finished, 100, ["Findings: logs/findings.jsonl"]))
    assert (
        printed
        == """\
Diagnostics: 2 findings, root cause first, in 1,234 steps (cost 0.12 s, 0.6% of training).
  1. learning-rate-too-high (error), steps 0 to 12, net.0.weight
     In the first steps each update changes the weights by 1.4 times their size (healthy updates:
     0.001 to 0.02). The learning rate 0.3 is too high for this network.
     -> Set lr=0.0042 (now 0.3): each update is then 0.02 of the weights.
     explains dead-units
     more: nnfoundations explain learning-rate-too-high
  2. overfitting (warning, resolved), steps 0 to 12
     In the first steps each update changes the weights by 1.4 times their size (healthy updates:
     0.001 to 0.02). The learning rate 0.3 is too high for this network.
     -> Set lr=0.0042 (now 0.3): each update is then 0.02 of the weights.
     more: nnfoundations explain overfitting
  Findings: logs/findings.jsonl
  Not run: dead-units, saturated-units (compiled model); graph-cut (shards). Muted: dead-units:head."""
    )


@pytest.mark.parametrize(("steps", "trained"), [(499, 60.0), (5000, 4.0), (3, 0.0)])
def test_a_short_run_has_no_share_of_training(steps, trained):
    """The dense measurements of the first steps would dominate it."""
    short = engine()
    short.schedule.steps, short.schedule.trained = steps, trained
    assert (
        text(console.closing(short, 100)) == f"Diagnostics: nothing found in {steps:,} steps (cost 0.12 s)."
    )


@pytest.mark.parametrize("findings", [(), (RATE,)])
def test_the_summary_says_since_when_diagnostics_did_not_run(findings):
    ended = engine(*findings, failure=KeyError("net.0"))
    printed = " ".join(text(console.closing(ended, 100)).split())
    assert "Diagnostics ended at step 99 because of an internal error (KeyError: 'net.0')" in printed
    assert "later steps were not checked" in printed


def test_a_pipe_gets_plain_text(capsys, recwarn):
    console.Console().report(RATE)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Diagnostics: learning-rate-too-high (error), step 0 in net.0.weight\n  In the")
    assert "\x1b" not in err
    assert not recwarn.list, "it must not depend on what Python does with warnings"


def test_rich_is_not_needed(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    console.Console().report(RATE)
    assert "-> Set lr=0.0042" in capsys.readouterr().err


def test_a_dumb_terminal_gets_no_colour(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for term, coloured in (("dumb", False), ("xterm-256color", True)):
        monkeypatch.setenv("TERM", term)
        monkeypatch.setattr(sys, "stderr", Terminal())
        console.Console().report(RATE)
        assert ("\x1b" in sys.stderr.getvalue()) == coloured


def test_no_stream_kills_a_run(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    closed = io.StringIO()
    closed.close()
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    for stream in (Gone(), closed, None, ascii_only):
        monkeypatch.setattr(sys, "stderr", stream)
        console.Console().report(changed(RATE, where=("größe",)))
    ascii_only.flush()
    assert b"gr??e" in ascii_only.buffer.getvalue()


def test_it_prints_above_a_bar_of_tqdm(capsys):
    with tqdm(total=3, file=sys.stdout, mininterval=0) as bar:
        bar.update()
        console.Console().report(RATE)
    out, err = capsys.readouterr()
    assert err.startswith("Diagnostics: learning-rate-too-high")
    assert err.endswith("  more: nnfoundations explain learning-rate-too-high\n")
    assert out.count("1/3") >= 2, "the bar was not drawn again"


def test_it_prints_above_a_bar_of_rich(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    bar_console = RichConsole(file=screen, force_terminal=True, width=100)
    with Progress(console=bar_console) as bar:
        bar.add_task("epoch", total=3)
        console.Console().report(RATE)
    drawn = screen.getvalue()
    assert "-> Set lr=0.0042" in drawn, "it must pass through what draws the bar"
    assert drawn.rindex("epoch") > drawn.index("-> Set lr=0.0042")


def test_a_notebook_shows_it_as_output(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipykernel.kernelapp", types.ModuleType("kernelapp"))
    console.Console().report(RATE)
    assert "learning-rate-too-high" in capsys.readouterr().out


def test_many_findings_wait_for_the_end(capsys):
    spoken = console.Console(most=2)
    for fault in ("a", "a", "b", "c", "d"):
        spoken.report(changed(RATE, fault=fault))
    err = " ".join(capsys.readouterr().err.split())  # lines are as long as the terminal is wide
    assert [err.count(f"Diagnostics: {fault} (") for fault in "abcd"] == [1, 1, 0, 0]
    assert err.count("The summary at the end of the run lists them all") == 1


# -- files ---------------------------------------------------------------------------------------------------


def test_a_line_a_change(tmp_path):
    file = FindingsFile(tmp_path / "new" / "folder", pytest.fail)
    file.update([], 0)
    assert not (tmp_path / "new").exists(), "nothing is written of a healthy run"
    more = changed(RATE, consequences=("dead-units",))
    gone = changed(more, resolved=True)
    for step, findings in enumerate([[RATE], [RATE], [more], [gone], [more], [gone]], 1):
        file.update(findings, step)
    earlier = changed(RATE, fault="unscaled-inputs", consequences=("learning-rate-too-high",))
    file.update([earlier], 7)
    file.close([earlier], 9)
    rows = lines_of(tmp_path / "new" / "folder")
    assert [(row["step"], row["change"], row["fault"]) for row in rows] == [
        (1, "new", "learning-rate-too-high"),
        (3, "consequences", "learning-rate-too-high"),
        (4, "resolved", "learning-rate-too-high"),
        (5, "back", "learning-rate-too-high"),
        (6, "resolved", "learning-rate-too-high"),
        (7, "new", "unscaled-inputs"),
        (7, "explained", "learning-rate-too-high"),
        (9, "end", "unscaled-inputs"),
    ]
    assert rows[0] == {**rows[0], **RATE.as_dict(), "numbers": {"update_ratio": 1.4, "spread": None}}
    assert rows[0]["time"]
    assert rows[0]["explain"] == "nnfoundations explain learning-rate-too-high"


def test_a_torn_line_does_not_spoil_the_next(tmp_path):
    (tmp_path / "findings.jsonl").write_text('{"fault": "cut sh')
    FindingsFile(tmp_path, pytest.fail).update([RATE], 1)
    torn, whole = (tmp_path / "findings.jsonl").read_text().splitlines()
    assert torn == '{"fault": "cut sh'
    assert json.loads(whole)["fault"] == RATE.fault


def test_what_cannot_be_written_is_told_once(tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "findings.jsonl").symlink_to("/dev/full")
    for name in ("taken", "full"):
        told = []
        file = FindingsFile(tmp_path / name, told.append)
        for fault in "abc":
            file.update([changed(RATE, fault=fault)], 1)
        assert len(told) == 1, name
        assert "findings.jsonl" in told[0]
    assert "No space left" in told[0]
