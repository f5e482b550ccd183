"""The output of diagnostics under a Trainer: loggers, event files and figures."""

import csv
import types
from pathlib import Path

import numpy as np
import pytest
import zoo
from faults import FAULTS
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger
from reported import RATE, changed, engine, text
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from watched import lines_of

from nnfoundations.callbacks import Diagnostics
from nnfoundations.callbacks._diagnostics_charts import Charts, layers_table, numbers
from nnfoundations.callbacks._diagnostics_figures import (
    MOST,
    NAMED,
    health_figure,
    layers_figure,
    shortened,
)
from nnfoundations.callbacks._loggers import log_folder, logger_place
from nnfoundations.callbacks._reporters import Files, Terminal, reporters
from nnfoundations.diagnostics import History, LayerFacts, ParameterFacts, diagnose
from nnfoundations.diagnostics import _console as console

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")

DOCS = Path(__file__).parent.parent / "docs"


# -- under a Trainer -----------------------------------------------------------------------------------------


def broken(fault="learning-rate-too-high/adam", net="mlp"):
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
    """A logger that accepts only numbers, as most do."""

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
    """A run with three loggers whose learning rate is too high."""
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


def test_a_run_that_failed_at_once_has_no_line(tmp_path, capsys):
    nothing = engine()
    nothing.schedule.steps = 0
    trainer = trainer_stub(default_root_dir=str(tmp_path / "logs"), loggers=[Remembering(tmp_path)])
    for reporter in reporters(trainer, verbose=True):
        reporter.closed(nothing)
    assert capsys.readouterr().err == ""
    assert not list(tmp_path.iterdir())
    nothing.schedule.steps, nothing.schedule.trained = 1, 0.0
    assert text(console.closing(nothing, 100)) == "Diagnostics: nothing found in 1 step (cost 0.12 s)."


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


# -- where a person finds a run ------------------------------------------------------------------------------


class WandbLogger(Remembering):
    """Has the same attributes as that of Lightning: the page is the `url` of its experiment."""

    page = "https://wandb.ai/me/project/runs/7"

    @property
    def experiment(self):
        return types.SimpleNamespace(url=self.page)


class MLFlowLogger(Remembering):
    _tracking_uri, experiment_id, run_id = "http://tracker:5000/", "3", "abc"


def test_the_place_of_each_logger(tmp_path):
    board, table = TensorBoardLogger(tmp_path, name="board"), CSVLogger(tmp_path, name="table")
    offline, local = WandbLogger(tmp_path), MLFlowLogger(tmp_path)
    offline.page, local._tracking_uri = None, "file:./mlruns"
    assert [
        logger_place(logger) for logger in (board, table, WandbLogger(tmp_path), MLFlowLogger(tmp_path))
    ] == [
        ("TensorBoard", f"tensorboard --logdir {tmp_path / 'board'}"),
        ("CSV", str(tmp_path / "table" / "version_0" / "metrics.csv")),
        ("Wandb", "https://wandb.ai/me/project/runs/7"),
        ("MLFlow", "http://tracker:5000/#/experiments/3/runs/abc"),
    ]
    assert logger_place(offline) == ("Wandb", str(tmp_path / "mine" / "7"))
    assert logger_place(local) == ("MLFlow", "mlflow ui --backend-store-uri file:./mlruns")


@pytest.mark.parametrize("kind", ["csv", "wandb", "tensorboard", "none"])
def test_the_summary_says_where_findings_and_curves_are(kind, tmp_path, capsys):
    logger, place, folder = {
        "csv": (CSVLogger(tmp_path, name="a"), f"CSV: {tmp_path}/a/version_0/metrics.csv", "a/version_0"),
        "wandb": (WandbLogger(tmp_path), f"Wandb: {WandbLogger.page}", "mine/7"),
        "tensorboard": (
            TensorBoardLogger(tmp_path, name="a"),
            f"TensorBoard: tensorboard --logdir {tmp_path}/a",
            "a/version_0",
        ),
        "none": (False, "Findings:", "."),
    }[kind]
    run(broken(), tmp_path, logger)
    lines = [line.strip() for line in capsys.readouterr().err.splitlines()]
    assert f"Findings: {tmp_path / folder / 'findings.jsonl'}" in lines
    assert (tmp_path / folder / "findings.jsonl").exists()
    assert any(line.startswith(place) for line in lines)
    assert any("tensorboard" in line for line in lines) == (kind == "tensorboard")


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
    figure = layers_figure(deep_history(layers), "Measured until step 29.")
    upper, lower = figure.axes[:2]
    labels = [label.get_text() for label in upper.get_yticklabels()]
    assert len(labels) == min(layers, NAMED)
    assert len(set(labels)) == len(labels)
    assert labels[0] == "n.e.l.0.s.in_proj_weight"
    rows = min(layers, MOST)
    assert upper.images[0].get_array().shape == lower.images[0].get_array().shape == (rows, 30)
    assert figure.get_suptitle().endswith("Measured until step 29.")
    figure.savefig(tmp_path / "figure.png")


def test_the_timeline_has_a_row_a_finding(tmp_path):
    second = changed(RATE, fault="overfitting", first_step=5, last_step=29, resolved=True)
    figure = health_figure(deep_history(3), [RATE, second])
    loss, rows = figure.axes
    assert loss.get_yscale() == "log"
    assert [label.get_text() for label in rows.get_yticklabels()] == [RATE.fault, "overfitting"]
    assert [(bar.get_x(), bar.get_width()) for bar in rows.patches] == [(0, 12), (5, 24)]
    assert rows.get_title(loc="right") == "red: error, grey: resolved"
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
