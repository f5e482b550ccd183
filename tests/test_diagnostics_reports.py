"""What people see of diagnostics: the terminal, files, loggers, the command."""

import csv
import dataclasses
import io
import json
import re
import runpy
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import zoo
from faults import FAULTS
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger
from rich.console import Console as RichConsole
from rich.progress import Progress
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tqdm import tqdm

from nnfoundations.callbacks import Diagnostics
from nnfoundations.callbacks._diagnostics_charts import Charts, layers_table, numbers
from nnfoundations.callbacks._diagnostics_figures import MOST, health_figure, layers_figure, shortened
from nnfoundations.callbacks._reporters import Files, Terminal, log_folder, reporters
from nnfoundations.cli import main
from nnfoundations.diagnostics import RULES, Finding, History, Severity, diagnose
from nnfoundations.diagnostics import _console as console
from nnfoundations.diagnostics._findings_file import FindingsFile
from nnfoundations.diagnostics._history import LayerFacts, ParameterFacts

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")

DOCS = Path(__file__).parent.parent / "docs"
RATE = Finding(
    "learning-rate-too-high",
    Severity.ERROR,
    0,
    12,
    ("net.0.weight",),
    "Within the first steps weights move by 1.4 of their size a step (about 0.001 to 0.02 is healthy).",
    "The learning rate 0.3 is too high for this network.",
    "Set lr=0.0042 (now 0.3): updates are then 0.02 of the weights.",
    numbers={"update_ratio": 1.4, "spread": float("inf")},
)


def changed(finding, **fields):
    return Finding(**{**vars(finding), **fields})


def engine(*findings, not_run=None, mute=()):
    judge = types.SimpleNamespace(mute=mute, not_run=lambda history: not_run or {})
    schedule = types.SimpleNamespace(steps=1234, spent=0.123, trained=20.0)
    return types.SimpleNamespace(
        findings=list(findings), judge=judge, schedule=schedule, history=History(), step=99
    )


def text(lines):
    return "\n".join(line for _, line in lines)


# -- the terminal --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_lines_fit_and_names_stay_whole(width):
    finding = changed(RATE, consequences=("dead-units", "exploding-gradients"))
    for lines in (console.announcement(finding, width), console.closing(engine(finding, RATE), width)):
        assert max(len(line) for _, line in lines) <= width
        words = text(lines).split()
        assert "learning-rate-too-high" in words
        assert "exploding-gradients" in words


def test_a_healthy_run_has_one_line():
    assert text(console.closing(engine(), 100)) == (
        "Diagnostics: nothing found in 1,234 steps (0.12 s, 0.6% of training)."
    )


def test_a_run_that_failed_at_once_has_no_line(tmp_path, capsys):
    nothing = engine()
    nothing.schedule.steps = 0
    trainer = trainer_stub(default_root_dir=str(tmp_path / "logs"), loggers=[Remembering(tmp_path)])
    for reporter in reporters(trainer, verbose=True):
        reporter.closed(nothing)
    assert capsys.readouterr().err == ""
    assert not list(tmp_path.iterdir())
    nothing.schedule.steps, nothing.schedule.trained = 1, 0.0
    assert text(console.closing(nothing, 100)) == "Diagnostics: nothing found in 1 step (0.12 s)."


def test_the_closing_table_says_all():
    second = changed(RATE, fault="overfitting", severity=Severity.WARNING, where=(), resolved=True)
    first = changed(RATE, consequences=("dead-units",))
    reasons = {"dead-units": "compiled model", "saturated-units": "compiled model", "graph-cut": "shards"}
    printed = text(console.closing(engine(first, second, not_run=reasons, mute=["dead-units:head"]), 100))
    assert (
        printed
        == """\
Diagnostics: 2 causes, the first one first, in 1,234 steps (0.12 s, 0.6% of training).
  1. learning-rate-too-high (error), steps 0 to 12, net.0.weight
     Within the first steps weights move by 1.4 of their size a step (about 0.001 to 0.02 is
     healthy). The learning rate 0.3 is too high for this network.
     -> Set lr=0.0042 (now 0.3): updates are then 0.02 of the weights.
     explains dead-units
  2. overfitting (warning, resolved), steps 0 to 12
     Within the first steps weights move by 1.4 of their size a step (about 0.001 to 0.02 is
     healthy). The learning rate 0.3 is too high for this network.
     -> Set lr=0.0042 (now 0.3): updates are then 0.02 of the weights.
  Not run: dead-units, saturated-units (compiled model); graph-cut (shards). Muted: dead-units:head."""
    )


def test_a_pipe_gets_plain_text(capsys, recwarn):
    console.Console().report(RATE)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Diagnostics: learning-rate-too-high (error), step 0 in net.0.weight\n  Within")
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
    assert err.endswith("weights.\n")
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
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    console.Console().report(RATE)
    assert "learning-rate-too-high" in capsys.readouterr().out


def test_many_findings_wait_for_the_end(capsys):
    spoken = console.Console(most=2)
    for fault in ("a", "a", "b", "c", "d"):
        spoken.report(changed(RATE, fault=fault))
    err = capsys.readouterr().err
    assert [err.count(f"Diagnostics: {fault} (") for fault in "abcd"] == [1, 1, 0, 0]
    assert err.count("the end of the run lists them all") == 1


# -- files ---------------------------------------------------------------------------------------------------


def lines_of(folder):
    return [json.loads(line) for line in (folder / "findings.jsonl").read_text().splitlines()]


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


# -- under a Trainer -----------------------------------------------------------------------------------------


def broken(fault="F22", net="M"):
    (found,) = (f for f in FAULTS if f.id == fault)
    return found.broken(net)


def run(case, folder, loggers, **options):
    diagnostics = Diagnostics(budget=1.0, **options)
    zoo.run(
        case.build(), 60, case.data, folder=folder, diagnostics=diagnostics, logger=loggers,
        log_every_n_steps=20, **case.options,
    )  # fmt: skip
    return diagnostics


class Remembering(Logger):
    """A logger that only takes numbers, as most do."""

    name, version = "mine", "7"

    def __init__(self, folder):
        super().__init__()
        self.folder, self.rows = folder, []

    @property
    def save_dir(self):
        return str(self.folder)

    @property
    def experiment(self):
        return object()

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, *args, **kwargs):
        pass


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    """A run at a rate too high, with three loggers."""
    folder = tmp_path_factory.mktemp("spoilt")
    board = TensorBoardLogger(folder, name="board", default_hp_metric=False)
    loggers = [board, CSVLogger(folder, name="table"), Remembering(folder / "other")]
    diagnostics = run(broken(), folder, loggers)
    return diagnostics, board, folder, loggers[2].rows


NUMBERS = {"diagnostics/gradient_norm/total"} | {
    f"diagnostics/{quantity}/{place}"
    for quantity in ("gradient_norm", "update_ratio")
    for place in ("smallest", "median", "largest")
}


def test_every_logger_has_the_numbers(spoilt):
    _, board, folder, rows = spoilt
    events = EventAccumulator(board.log_dir).Reload()
    assert {tag for tag in events.Tags()["scalars"] if tag.startswith("diagnostics/")} == NUMBERS
    with (folder / "table" / "version_0" / "metrics.csv").open(newline="") as stream:
        table = [row for row in csv.DictReader(stream) if row["diagnostics/gradient_norm/total"]]
    ours = [(step, row) for step, row in rows if set(row) >= NUMBERS]
    assert [step for step, _ in ours] == [int(row["step"]) for row in table]
    assert [e.step for e in events.Scalars("diagnostics/gradient_norm/total")] == [step for step, _ in ours]
    steps = [step for step, _ in ours]
    assert steps[0] == 0
    assert min(np.diff(steps[:-1])) >= 20, "more often than the Trainer logs"
    for _, row in ours:
        for quantity in ("gradient_norm", "update_ratio"):
            values = [row[f"diagnostics/{quantity}/{place}"] for place in ("smallest", "median", "largest")]
            assert values == sorted(values)
        assert row["diagnostics/gradient_norm/total"] >= row["diagnostics/gradient_norm/largest"]


def test_tensorboard_has_text_and_figures(spoilt):
    diagnostics, board, _, _ = spoilt
    events = EventAccumulator(board.log_dir).Reload()
    assert {"diagnostics/health", "diagnostics/layers"} <= set(events.Tags()["images"])
    said = [
        (event.step, event.tensor_proto.string_val[0].decode())
        for event in events.Tensors("diagnostics/findings/text_summary")
    ]
    assert said[0][1].startswith("**learning-rate-too-high** (error)")
    assert said[-1][0] == 60 or said[-1][0] == 59
    assert diagnostics.findings[0].remedy in said[-1][1]
    layers = events.Tensors("diagnostics/layers/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert "| largest | `net." in layers


def test_the_run_leaves_findings_and_history(spoilt):
    diagnostics, board, folder, _ = spoilt
    rows = lines_of(folder / "board" / "version_0")
    assert (rows[0]["change"], rows[-1]["change"]) == ("new", "end")
    assert rows[-1]["fault"] == diagnostics.findings[0].fault == "learning-rate-too-high"
    history = History.load(f"{board.log_dir}/history.npz")
    assert {finding.fault for finding in diagnose(history)} == {f.fault for f in diagnostics.findings}


def test_nothing_is_logged_on_the_bar(spoilt):
    _, _, _, rows = spoilt
    assert not any("diagnostics/" in name for step, row in rows for name in row if "train_loss" in row)


@pytest.mark.parametrize("verbose", [True, False])
def test_a_run_without_loggers(verbose, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run(broken(), None, False, verbose=verbose)
    assert not list(tmp_path.iterdir()), "the working directory was littered"
    assert ("1. learning-rate-too-high" in capsys.readouterr().err) == verbose
    (tmp_path / "chosen").mkdir()
    run(broken(), tmp_path / "chosen", False, verbose=verbose)
    assert {path.name for path in (tmp_path / "chosen").iterdir()} == {"findings.jsonl", "history.npz"}


def test_a_fast_dev_run_leaves_nothing(tmp_path):
    case = broken()
    trainer = Trainer(
        fast_dev_run=5, callbacks=[Diagnostics(verbose=False)], default_root_dir=tmp_path,
        accelerator="cpu", enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(case.build(), *zoo.loaders())
    assert not list(tmp_path.iterdir())


def trainer_stub(**fields):
    usual = {
        "is_global_zero": True, "fast_dev_run": False, "loggers": [], "default_root_dir": "/some/where",
        "current_epoch": 0, "log_every_n_steps": 50,
    }  # fmt: skip
    return types.SimpleNamespace(**usual | fields)


def test_who_reports(tmp_path):
    def kinds(verbose=True, **fields):
        return [type(reporter) for reporter in reporters(trainer_stub(**fields), verbose)]

    assert kinds() == [Terminal, Files]
    assert kinds(verbose=False) == [Files]
    assert kinds(is_global_zero=False) == []
    assert kinds(fast_dev_run=1, loggers=[Remembering(tmp_path)]) == [Terminal]
    assert kinds(loggers=[Remembering(tmp_path)]) == [Terminal, Files, Charts]


def test_files_lie_where_checkpoints_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert log_folder(trainer_stub(default_root_dir=str(tmp_path))) is None
    assert log_folder(trainer_stub(loggers=[Remembering(tmp_path)])) == tmp_path / "mine" / "7"
    table = CSVLogger(tmp_path, name="table")
    assert str(log_folder(trainer_stub(loggers=[table]))) == table.log_dir


# -- figures -------------------------------------------------------------------------------------------------


def deep_history(layers):
    history = History()
    names = [f"net.encoder.layers.{i}.self_attn.in_proj_weight" for i in range(layers)]
    for name in names:
        module = name.rpartition(".")[0]
        history.parameters[name] = ParameterFacts(module, "Linear", "matrix", (8, 8), True, 0)
        history.layers[module] = LayerFacts("Linear", "weighted", module, 8)
    for step in range(30):
        norms = 10.0 ** np.linspace(-6, 0, layers)
        norms[0], norms[1] = 0.0, float("nan") if step > 20 else 1.0
        history.record("gradient_norm", step, names, norms)
        history.record("update_ratio", step, names[1:], norms[1:] / 100)
        history.record("loss", step, ("loss",), [2.0**-step])
    return history


@pytest.mark.parametrize("layers", [2, 11, 200])
def test_the_heat_map_names_its_rows(layers, tmp_path):
    figure = layers_figure(deep_history(layers))
    left, right = figure.axes[:2]
    labels = [label.get_text() for label in left.get_yticklabels()]
    assert len(labels) == min(layers, MOST)
    assert len(set(labels)) == len(labels)
    assert labels[0] == "n.e.l.0.self_attn.in_proj_weight"
    assert max(map(len, labels)) <= 34
    assert left.images[0].get_array().shape == right.images[0].get_array().shape == (len(labels), 30)
    figure.savefig(tmp_path / "figure.png")


def test_the_timeline_has_a_row_a_finding(tmp_path):
    second = changed(RATE, fault="overfitting", first_step=5, last_step=29, resolved=True)
    figure = health_figure(deep_history(3), [RATE, second])
    loss, rows = figure.axes
    assert loss.get_yscale() == "log"
    assert [label.get_text() for label in rows.get_yticklabels()] == [RATE.fault, "overfitting"]
    assert [(bar.get_x(), bar.get_width()) for bar in rows.patches] == [(0, 12), (5, 24)]
    figure.savefig(tmp_path / "figure.png")


def test_figures_of_nothing(tmp_path):
    figure = health_figure(History(), [])
    assert [label.get_text() for label in figure.axes[1].texts] == ["nothing found"]
    figure.savefig(tmp_path / "figure.png")
    layers_figure(History()).savefig(tmp_path / "layers.png")


def test_numbers_are_of_weight_matrices():
    history = deep_history(5)
    assert numbers(history)["diagnostics/gradient_norm/largest"] == 1.0
    assert "`net.encoder.layers.4.self_attn.in_proj_weight` 1 " in layers_table(history)
    assert shortened("head.weight") == "head"


# -- the command ---------------------------------------------------------------------------------------------


def fit(root, *args, command="fit"):
    before = set(root.glob("*/*"))
    code = main([command, "--config", "digits", "--trainer.default_root_dir", str(root), *args])
    assert code == 0
    (folder,) = set(root.glob("*/*")) - before
    return folder


SPOILT = ("--model.init_args.optimizer.init_args.lr", "30", "--trainer.max_epochs", "1")


def test_fit_names_what_is_wrong(tmp_path, capsys):
    folder = fit(tmp_path, *SPOILT)
    printed = capsys.readouterr()
    assert "Diagnostics: learning-rate-too-high (error), step 0" in printed.err
    assert "1. learning-rate-too-high" in printed.err
    assert f"Findings     {folder / 'findings.jsonl'}" in printed.out
    assert "Next " not in printed.out, "this run is to be mended first"
    assert lines_of(folder)[0]["fault"] == "learning-rate-too-high"
    assert (folder / "history.npz").exists()
    config = [
        "--config",
        str(folder / "config.yaml"),
        "--ckpt_path",
        str(folder / "checkpoints" / "last.ckpt"),
    ]
    assert "Diagnostics" not in capsys.readouterr().err
    tested = fit(tmp_path, *config, command="test")
    assert "Diagnostics" not in capsys.readouterr().err
    assert not (tested / "history.npz").exists()


def test_fit_is_calm_about_a_healthy_run(tmp_path, capsys):
    folder = fit(tmp_path, "--trainer.max_epochs", "3")
    printed = capsys.readouterr()
    assert printed.err.count("Diagnostics") == 1
    assert "nothing found" in printed.err
    assert "Next " in printed.out
    assert not (folder / "findings.jsonl").exists()


def test_diagnostics_can_be_off(tmp_path, capsys):
    folder = fit(tmp_path, *SPOILT, "--diagnostics.enabled", "false")
    assert "Diagnostics" not in capsys.readouterr().err
    assert not (folder / "history.npz").exists()


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
        assert (DOCS / figure).stat().st_size < 60_000


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
