"""Going on: `--ckpt_path last` and `best`, after kill -9 and after signals; the same weights as in one go."""

import os
import re
import signal

import cli_process
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

FIT = [
    "fit",
    "--config",
    "digits",
    "--trainer.max_epochs",
    "3",
    "--diagnostics.enabled",
    "false",
    "--model.net",
    "cli_process.Dropped",
]
MID_EPOCH = [
    "--checkpoint.every_n_train_steps",
    "7",
    "--checkpoint.monitor",
    "null",
    "--checkpoint.save_top_k",
    "-1",
]


def weights(folder):
    (path,) = folder.glob("runs/digits/*/checkpoints/last.ckpt")
    return torch.load(path, weights_only=True)["state_dict"]


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def newest(folder):
    return max((folder / "runs" / "digits").iterdir(), key=lambda path: path.stat().st_mtime_ns)


@pytest.fixture(scope="module")
def in_one_go(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one_go")
    code, _, err = cli_process.run(FIT, folder)
    assert code == 0, err
    return folder


def at(name, epoch, batch, hook="train"):
    options = {"name": name, "epoch": epoch, "batch": batch, "hook": hook}
    return ["--trainer.callbacks", str([{"class_path": "cli_process.SignalAt", "init_args": options}])]


def resumed(folder, options=()):
    before = {path for path in folder.glob("runs/digits/*") if path.is_dir()}
    code, out, err = cli_process.run([*FIT, *options, "--ckpt_path", "last"], folder)
    assert code == 0, err
    (run,) = set(folder.glob("runs/digits/*")) - before
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"], out


@pytest.mark.parametrize(
    "place",
    [(1, 3), (1, 20), (1, 40), (2, 0), (1, 0, "validation")],
    ids=lambda place: "-".join(map(str, place)),
)
@pytest.mark.parametrize(
    "often", [MID_EPOCH, pytest.param([], marks=pytest.mark.slow)], ids=["within epochs", "each epoch"]
)
def test_killed_and_resumed_is_the_same_run(place, often, in_one_go, tmp_path):
    code, _, _ = cli_process.run([*FIT, *often, *at("SIGKILL", *place)], tmp_path)
    assert code == -signal.SIGKILL
    again, out = resumed(tmp_path)
    assert "Checkpoint last: runs/digits/" in out
    assert equal(again, weights(in_one_go))


def test_killed_in_a_plateau_only_the_epoch_is_lost(in_one_go, tmp_path):
    """Of a loss that falls the greatest value is the first: no later epoch is the best."""
    upside_down = ["--checkpoint.mode", "max"]
    code, _, _ = cli_process.run([*FIT, *upside_down, *at("SIGKILL", 2, 20)], tmp_path)
    assert code == -signal.SIGKILL
    files = {path.name: path for path in newest(tmp_path).glob("checkpoints/*")}
    assert {name: torch.load(path, weights_only=True)["epoch"] for name, path in files.items()} == {
        "best.ckpt": 0,
        "last.ckpt": 1,
    }
    again, _ = resumed(tmp_path, upside_down)
    assert equal(again, weights(in_one_go))
    best = torch.load(newest(tmp_path) / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] == 0


@pytest.mark.parametrize(
    ("name", "exit_code", "place"),
    [
        ("SIGINT", 130, (0, 2)),
        ("SIGTERM", 143, (1, 20)),
        pytest.param("SIGINT", 130, (1, 40), marks=pytest.mark.slow),
        ("SIGTERM", 143, (1, 0, "validation")),
    ],
)
def test_a_signal_saves_and_says_how_to_go_on(name, exit_code, place, in_one_go, tmp_path):
    code, _, err = cli_process.run([*FIT, *at(name, *place)], tmp_path)
    assert code == exit_code, err
    assert (newest(tmp_path) / "checkpoints" / "interrupted.ckpt").exists()
    said = err.splitlines()
    assert [line.split(":")[0].split(" at step")[0] for line in said if line][:2] == [name, "Stopped"]
    assert said[-1].startswith("Go on with")
    assert said[-1].endswith("--ckpt_path last")
    assert len([line for line in said if line]) == 3
    assert equal(resumed(tmp_path)[0], weights(in_one_go))


def test_a_signal_closes_findings_and_logs(tmp_path):
    """They say what was seen, up to the last step."""
    args = ["fit", "--config", "digits", "--trainer.log_every_n_steps", "1", *at("SIGTERM", 0, 30)]
    code, _, err = cli_process.run(args, tmp_path)
    assert code == 143
    assert "Diagnostics: nothing found in 31 steps" in err
    run = newest(tmp_path)
    assert (run / "history.npz").exists()
    (events,) = run.glob("events.out.tfevents.*")
    scalars = EventAccumulator(str(events)).Reload().Scalars("train/loss_step")
    assert scalars[-1].step == 29  # Lightning logs a batch after the callbacks, where the run ends


def test_a_signal_in_the_closing_test_says_where_the_weights_are(tmp_path):
    code, _, err = cli_process.run([*FIT, "--trainer.max_epochs", "1", *at("SIGINT", 0, 0, "test")], tmp_path)
    assert code == 130
    kept, way = (line for line in err.splitlines() if line)
    assert re.fullmatch(
        r"SIGINT: stopped; the newest checkpoint is runs/digits/.*/checkpoints/\w+.ckpt\.", kept
    )
    assert re.match(r"Go on with .*nnfoundations test --config digits .* --ckpt_path best$", way)


def test_a_signal_to_the_whole_group_leaves_workers_to_finish_the_batch(in_one_go, tmp_path):
    """As a terminal sends Ctrl-C, to two workers of the loader as well."""
    loader = ["--data", "cli_process.Plain", "--data.num_workers", "2"]
    args = [*FIT, *loader, *at("SIGINT", 1, 5, "group")]
    code, _, err = cli_process.run(args, tmp_path)
    assert code == 130
    assert err.count("SIGINT: saving after this batch") == 1
    assert "Traceback" not in err
    assert "Go on with" in err


def test_a_signal_ends_a_check(tmp_path):
    process = cli_process.start(["check", "--config", "digits"], tmp_path)
    cli_process.wait_for(tmp_path / "stdout", "gradient")
    os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == 143
    assert "SIGTERM: stopped" in (tmp_path / "stderr").read_text()
