"""`nnfoundations sweep`: trials, tables, the best config, and what happens when something goes wrong."""

import csv
import json
import re
from pathlib import Path

import cli_process
import pytest
import yaml

from nnfoundations.cli import main
from nnfoundations.cli.config._settings import CommandError
from nnfoundations.cli.sweep._rehearsal import Logged, choose_objective

DIGITS = ["--config", "digits", "--trainer.max_epochs", "1", "--trainer.log_every_n_steps", "5"]
RANDOM = ["--sampler", "random", "--monitor", "val/accuracy"]
RATES = "model.optimizer.lr: {low: 1e-2, high: 0.3, log: true}\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def space(text: str) -> list[str]:
    Path("space.yaml").write_text(text)
    return ["--space", "space.yaml"]


def table(name, out="runs/sweeps/digits"):
    with Path(out, name).open(newline="") as stream:
        return list(csv.DictReader(stream))


# -- a whole sweep -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep of 4 trials with 2 seeds, of which at least one diverges; its folder and its output."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "space.yaml").write_text(
        "# the learning rate, far too high in two of three choices\n"
        "model.optimizer.lr: {choices: [1e20, 0.05, 1e19]}\n"
        "model.net.sizes: {choices: [[64, 16, 10], [64, 10]]}\n"
    )
    args = ["sweep", *DIGITS, *RANDOM, "--space", "space.yaml", "--seeds", "2", "--trials"]
    code, out, err = cli_process.run([*args, "4"], folder)
    assert code == 0, out + err
    return folder, args, out


def test_every_trial_is_a_row_and_every_run_a_folder(swept, monkeypatch):
    monkeypatch.chdir(swept[0])
    trials, runs = table("trials.csv"), table("runs.csv")
    assert [row["trial"] for row in trials] == list("0123")
    finished = [row for row in trials if row["state"] == "finished"]
    failed = [row for row in trials if row["state"] == "failed"]
    assert finished
    assert failed
    assert len(finished) + len(failed) == 4
    for row in finished:
        mine = [run for run in runs if run["trial"] == row["trial"]]
        assert [run["seed"] for run in mine] == ["0", "1"]
        mean = sum(float(run["val/accuracy"]) for run in mine) / 2
        assert float(row["val/accuracy"]) == pytest.approx(mean)
    for run in runs:
        config = yaml.safe_load(Path(run["folder"], "config.yaml").read_text())
        row = trials[int(run["trial"])]
        assert config["seed_everything"] == int(run["seed"])
        assert config["test"] is False
        assert config["model"]["init_args"]["optimizer"]["init_args"]["lr"] == float(
            row["model.optimizer.lr"]
        )
        assert config["model"]["init_args"]["net"]["init_args"]["sizes"] == json.loads(row["model.net.sizes"])


def test_a_failed_trial_names_its_first_cause(swept, monkeypatch):
    monkeypatch.chdir(swept[0])
    failed = [row for row in table("trials.csv") if row["state"] == "failed"]
    causes = set()
    for row in failed:
        (run,) = [run for run in table("runs.csv") if run["trial"] == row["trial"]]  # other seeds do not run
        lines = Path(run["folder"], "findings.jsonl").read_text().splitlines()
        first = next(line for line in map(json.loads, lines) if line["change"] == "end")
        assert row["cause"] == first["fault"]
        assert row["error"].startswith("the weights are not finite")
        causes.add(row["cause"])
    (line,) = [line for line in swept[2].splitlines() if "failed:" in line]
    assert line.startswith(f"{len(failed)} of 4 failed: ")
    assert all(cause in line for cause in causes)


def test_the_best_config_gives_the_value_of_its_trial(swept, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(swept[0])
    best = Path("runs/sweeps/digits/best.yaml").resolve()
    number = re.match(r"# Trial (\d+) of the sweep digits: val/accuracy", best.read_text())[1]
    (run,) = [run for run in table("runs.csv") if (run["trial"], run["seed"]) == (number, "0")]
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--config", str(best)]) == 0
    out = capsys.readouterr().out
    assert float(re.search(r"val/accuracy +([\d.]+)", out)[1]) == pytest.approx(
        float(run["val/accuracy"]), abs=1e-4
    )
    assert "test/accuracy" in out


def test_the_summary_says_where_everything_is(swept):
    folder, _, out = swept
    assert "Results      runs/sweeps/digits\n" in out
    assert "tensorboard --logdir runs/sweeps/digits/runs" in out
    assert "nnfoundations fit --config runs/sweeps/digits/best.yaml" in out
    for name in ("history", "options"):
        assert (folder / f"runs/sweeps/digits/figures/{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_command_adds_what_is_missing_and_show_prints_it(swept, monkeypatch, capsys):
    folder, args, out = swept
    monkeypatch.chdir(folder)
    before = table("trials.csv")
    assert main([*args, "4"]) == 0
    assert capsys.readouterr().out == out.replace("\r", "")
    assert table("trials.csv") == before
    assert main([*args, "5"]) == 0
    assert "Continues digits: 4 of 5 trials are done." in capsys.readouterr().err
    assert table("trials.csv")[:4] == before
    assert len(table("trials.csv")) == 5
    assert main(["sweep", "--show", "runs/sweeps/digits/study.journal"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("digits: 5 trials (")
    assert "failed: " in shown


# -- processes that end --------------------------------------------------------------------------------------


def signalling(signum, epoch=0):
    callback = ["--trainer.callbacks+=cli_process.SignalOnce", "--trainer.callbacks.file", "now"]
    return [*callback, "--trainer.callbacks.name", signum, "--trainer.callbacks.epoch", str(epoch)]


def test_a_killed_sweep_continues(here):
    """SIGKILL in the middle of a trial: it is failed at the next start, and its values are tried again."""
    args = ["sweep", *DIGITS, *RANDOM, *space(RATES), "--trials", "2", *signalling("SIGKILL")]
    Path("now").touch()
    code, _, _ = cli_process.run(args, here)
    assert code == -9
    code, out, _ = cli_process.run(["sweep", "--show", "runs/sweeps/digits/study.journal"], here)
    assert (code, out) == (0, "digits: 1 trials (1 running)\n")
    code, out, err = cli_process.run(args, here)
    assert code == 0, err
    rows = table("trials.csv")
    assert [row["state"] for row in rows] == ["stopped", "finished", "finished"]
    assert rows[0]["cause"] == "its process was killed"
    assert rows[0]["model.optimizer.lr"] == rows[1]["model.optimizer.lr"] != rows[2]["model.optimizer.lr"]
    assert "digits: 2 trials (2 finished)" in out
    assert "1 stopped before their end; their values are tried again" in out


def test_ctrl_c_ends_a_sweep_with_130_and_it_continues_in_a_database(here):
    storage = ["--storage", "sqlite:///study.db"]
    args = ["sweep", *DIGITS, *RANDOM, *space(RATES), *storage, "--trials", "1", *signalling("SIGINT")]
    Path("now").touch()
    code, _, err = cli_process.run(args, here)
    assert code == 130
    assert "Stopped. Trials that have ended are kept; the same command continues." in err
    assert "Traceback" not in err
    code, _, _ = cli_process.run(args, here)
    assert code == 0
    rows = table("trials.csv")
    assert [(row["state"], row["cause"]) for row in rows] == [
        ("stopped", "interrupted by SIGINT"),
        ("finished", ""),
    ]
    code, shown, _ = cli_process.run(["sweep", "--show", "sqlite:///study.db"], here)
    assert code == 0
    assert shown.splitlines()[0] == "digits: 1 trials (1 finished)"
    assert not list(here.rglob("*.journal"))


def test_two_sweeps_share_a_journal(here):
    """Two processes at the same time: no trial twice, no value twice, not one trial too many."""
    args = ["sweep", *DIGITS, *RANDOM, *space(RATES), "--trials", "4"]
    processes = [cli_process.start(args, here) for _ in range(2)]
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0]
    rows = table("trials.csv")
    assert [row["state"] for row in rows] == ["finished"] * 4
    assert len({row["model.optimizer.lr"] for row in rows}) == 4
    log = [json.loads(line) for line in Path("runs/sweeps/digits/study.journal").read_text().splitlines()]
    assert len({line["worker_id"] for line in log if line["op_code"] == 4}) == 2  # both began trials


@pytest.mark.weekly
def test_jobs_run_trials_in_processes_of_their_own(here, capfd):
    args = ["sweep", *DIGITS, *RANDOM, *space(RATES), "--trials", "4"]
    assert main([*args, "--jobs", "2"]) == 0
    rows = table("trials.csv")
    assert main([*args, "--out", "one"]) == 0
    again = table("trials.csv", "one")
    # A trial is drawn with its number as the seed, so the number of workers changes nothing.
    names = ("trial", "state", "val/accuracy", "model.optimizer.lr")
    assert [[row[name] for name in names] for row in rows] == [[row[name] for name in names] for row in again]


# -- pruning -------------------------------------------------------------------------------------------------


@pytest.mark.weekly
def test_median_prunes_by_epoch(here):
    rates = space("model.optimizer.lr: {choices: [0.05, 0.06, 0.07, 1e-6]}\n")
    args = ["sweep", "--config", "digits", "--trainer.max_epochs", "3", *RANDOM, *rates]
    assert main([*args, "--trials", "14", "--pruner", "median"]) == 0
    rows, runs = table("trials.csv"), table("runs.csv")
    pruned = [row["trial"] for row in rows if row["state"] == "pruned"]
    assert pruned
    for run in runs:
        assert (int(run["epochs"]) < 3) == (run["trial"] in pruned)


@pytest.mark.weekly
def test_wilcoxon_prunes_by_seed(here):
    rates = space("model.optimizer.lr: {choices: [0.05, 1e-6]}\n")
    args = ["sweep", *DIGITS, *RANDOM, *rates, "--trials", "4", "--seeds", "6", "--pruner", "wilcoxon"]
    assert main(args) == 0
    rows = table("trials.csv")
    assert {(row["state"], row["runs"]) for row in rows} == {("finished", "6"), ("pruned", "4")}


# -- failures ------------------------------------------------------------------------------------------------


def test_a_run_that_a_finding_stops_is_a_failed_trial(here, capsys):
    rates = space("model.optimizer.lr: {choices: [3000.0]}\n")
    args = [*DIGITS, *RANDOM, *rates, "--trials", "1", "--diagnostics.action", "stop"]
    assert main(["sweep", *args]) == 1  # no trial has finished
    (row,) = table("trials.csv")
    assert (row["state"], row["cause"]) == ("failed", "learning-rate-too-high")
    assert row["error"] == "stopped because of learning-rate-too-high"
    out = capsys.readouterr().out
    assert "1 of 1 failed: learning-rate-too-high" in out
    assert not Path("runs/sweeps/digits/best.yaml").exists()


def test_a_run_that_raises_is_a_failed_trial_with_its_error(here, capsys):
    """The value is accepted by the parser, the rehearsal has another one, and the run refuses it."""
    sizes = space("model.net.sizes: {choices: [[64, 10], [32, 10]]}\n")
    assert main(["sweep", *DIGITS, *RANDOM, *sizes, "--trials", "3"]) == 0
    rows = table("trials.csv")
    failed = [row for row in rows if row["state"] == "failed"]
    assert failed
    for row in failed:
        assert row["model.net.sizes"] == "[32, 10]"
        assert "shape" in row["cause"] or "features" in row["cause"]
    assert "Traceback" not in capsys.readouterr().err


def test_a_first_batch_that_fails_is_reported_like_that_of_fit(here, capsys):
    sizes = space("model.net.sizes: {choices: [[32, 10], [64, 10]]}\n")
    assert main(["sweep", *DIGITS, *RANDOM, *sizes]) == 1
    assert "Linear needs x to end in 32 features" in capsys.readouterr().err
    assert not Path("runs").exists()


# -- bad input -----------------------------------------------------------------------------------------------

GOOD = ["sweep", *DIGITS, "--trials", "1"]


def refused(capsys, *args):
    before = sorted(Path().rglob("*"))
    assert main([*args]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2, lines
    assert sorted(Path().rglob("*")) == before, "something is left"
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("a: [\n", "invalid YAML"),
        ("model.optimizer.lr: 0.1\n", "line 1: `model.optimizer.lr`: got `0.1`"),
        ("model.optimizer.lr: [0.1, 0.2]\n", "Write `{low: 0.001"),
        ("model.optimizer.lr: {low: 0.1}\n", "`high` is missing"),
        ("model.optimizer.lr: {low: 0.1, hihg: 1}\n", "did you mean `high`?"),
        ("model.optimizer.lr: {low: 1.0, high: 0.1}\n", "low <= high"),
        ("model.optimizer.lr: {low: 0.0, high: 1.0, log: true}\n", "low > 0"),
        ("model.optimizer.lr: {low: a, high: 1}\n", "`a` is not a number"),
        ("model.optimizer.lr: {low: .nan, high: 1}\n", "is not a number"),
        ("model.optimizer.lr: {low: true, high: 1}\n", "is not a number"),
        ("model.optimizer.lr: {low: 0.1, high: 1, log: yess}\n", "`log` is true or false"),
        ("data.batch_size: {low: 1, high: 8, step: 3}\n", "not divisible"),
        ("data.batch_size: {low: 1, high: 8, step: 0}\n", "step"),
        ("data.batch_size: {choices: []}\n", "at least one value"),
        ("data.batch_size: {choices: 16}\n", "is a list"),
        ("data.batch_size: {choices: [16, 16]}\n", "given twice"),
        ("data.batch_size: {choices: [16], low: 1}\n", "stands alone"),
        ("seed_everything: {low: 0, high: 9}\n", "--seeds"),
        ("trainer.devices: {choices: [1, 2]}\n", "--jobs"),
        ("test: {choices: [true]}\n", "is set by the sweep"),
    ],
)
def test_a_space_that_cannot_be_read(here, capsys, text, said):
    assert said in refused(capsys, *GOOD, *space(text))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "--space is missing"),
        (["--space", "no.yaml"], "`no.yaml` does not exist"),
        (["--space", "space.yaml", "--trails", "3"], "Did you mean `--trials`?"),
        (["--space", "space.yaml", "--trials", "0"], "at least 1"),
        (["--space", "space.yaml", "--timeout", "inf"], "seconds"),
        (["--space", "space.yaml", "--pruner", "mean"], "invalid choice"),
        (["--space", "space.yaml", "--pruner", "wilcoxon"], "Give --seeds 5 or more"),
        (["--space", "space.yaml", "--seed_everything", "3"], "--seeds"),
        (["--space", "space.yaml", "--trainer.devices", "2"], "--jobs"),
        (["--space", "space.yaml", "--ckpt_path", "last"], "is set by the sweep"),
        (["--space", "space.yaml", "--name", "../a"], "`name` cannot be"),
    ],
)
def test_options_that_cannot_be_used(here, capsys, args, said):
    space(RATES)
    assert said in refused(capsys, "sweep", *DIGITS, *args)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["no.journal"], "`no.journal` does not exist"),
        (["space.yaml"], "is not a journal of Optuna"),
        (["empty"], "It holds no study."),
        (["empty", "--config", "digits"], "takes no further options"),
    ],
)
def test_a_storage_that_cannot_be_shown(here, capsys, args, said):
    space(RATES)
    Path("empty").touch()
    assert said in refused(capsys, "sweep", "--show", *args)


@pytest.mark.parametrize(
    ("text", "more", "said"),
    [
        (
            "# the rate\nmodel.optimizer.lrr: {low: 0.1, high: 1.0}\n",
            [],
            "space.yaml, line 2: SGD has no option `lrr`.\nDid you mean `--model.optimizer.lr`?",
        ),
        ("data.batch_size: {choices: [16, many]}\n", [], "`data.batch_size` cannot be `many`"),
        ("model.optimizer.lr: {low: -1.0, high: 1.0}\n", [], "model.optimizer.lr"),
        (RATES, ["--monitor", "val/acuracy"], "Did you mean `val/accuracy`?"),
        (RATES, ["--storage", "no/such/study.journal"], "No such file or directory"),
        (RATES, ["--storage", "space.yaml"], "is not a journal of Optuna"),
        (RATES, ["--storage", "nosuch://server/db"], "is not a database for Optuna"),
        (RATES, ["--out", "space.yaml/out"], "--out"),
    ],
)
def test_mistakes_that_are_found_before_the_first_trial(here, capsys, text, more, said):
    assert said in refused(capsys, *GOOD, *space(text), *more)


def test_a_storage_of_another_study(swept, monkeypatch, capsys):
    folder, args, _ = swept
    monkeypatch.chdir(folder)
    Path("other.yaml").write_text(RATES)
    other = [*args, "9", "--space", "other.yaml"]
    assert "study `digits` with another space" in refused(capsys, *other)
    assert "with another config" in refused(capsys, *args, "9", "--data.batch_size", "16")
    assert "with another seeds" in refused(capsys, *args, "9", "--seeds", "3")


@pytest.mark.parametrize(
    ("metric", "mode"),
    [("val/loss", "min"), ("val_acc", "max"), ("val/score", "max"), ("val/f1", "max"), ("val/mine", None)],
)
def test_the_direction_follows_from_the_name(metric, mode):
    logged = Logged([metric], {}, None, "min")
    if mode is None:
        with pytest.raises(CommandError, match="Give --mode min or --mode max"):
            choose_objective(logged, metric, None)
    else:
        assert choose_objective(logged, metric, None).mode == mode
    assert choose_objective(logged, metric, "max").mode == "max"
