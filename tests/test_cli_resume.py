"""Resuming with `--ckpt_path last` and `best` after kill -9 and after signals gives the same weights."""

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
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
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
    [
        (1, 20),
        *(pytest.param(p, marks=pytest.mark.slow) for p in [(1, 3), (1, 40), (2, 0), (1, 0, "validation")]),
    ],
    ids=lambda place: "-".join(map(str, place)),
)
@pytest.mark.parametrize(
    "often", [MID_EPOCH, pytest.param([], marks=pytest.mark.slow)], ids=["within epochs", "each epoch"]
)
@pytest.mark.slow
def test_killed_and_resumed_is_the_same_run(place, often, uninterrupted, tmp_path):
    code, _, _ = cli_process.run([*FIT, *often, *at("SIGKILL", *place)], tmp_path)
    assert code == -signal.SIGKILL
    again, out = resumed(tmp_path)
    assert "Checkpoint last: runs/digits/" in out
    assert equal(again, weights(uninterrupted))


@pytest.mark.slow
def test_killed_without_improvement_only_the_epoch_is_lost(uninterrupted, tmp_path):
    """With mode max and a falling loss the first epoch is the best one."""
    maximize = ["--checkpoint.mode", "max"]
    code, _, _ = cli_process.run([*FIT, *maximize, *at("SIGKILL", 2, 20)], tmp_path)
    assert code == -signal.SIGKILL
    files = {path.name: path for path in newest(tmp_path).glob("checkpoints/*")}
    assert {name: torch.load(path, weights_only=True)["epoch"] for name, path in files.items()} == {
        "best.ckpt": 0,
        "last.ckpt": 1,
    }
    again, _ = resumed(tmp_path, maximize)
    assert equal(again, weights(uninterrupted))
    best = torch.load(newest(tmp_path) / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] == 0


@pytest.mark.parametrize(
    ("name", "exit_code", "place"),
    [
        ("SIGINT", 130, (0, 2)),
        pytest.param("SIGTERM", 143, (1, 20), marks=pytest.mark.slow),
        pytest.param("SIGINT", 130, (1, 40), marks=pytest.mark.slow),
        pytest.param("SIGTERM", 143, (1, 0, "validation"), marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_a_signal_saves_and_says_how_to_continue(name, exit_code, place, uninterrupted, tmp_path):
    code, _, err = cli_process.run([*FIT, *at(name, *place)], tmp_path)
    assert code == exit_code, err
    assert (newest(tmp_path) / "checkpoints" / "interrupted.ckpt").exists()
    said = err.splitlines()
    assert [line.split(":")[0].split(" after step")[0] for line in said if line][:2] == [name, "Stopped"]
    assert said[-1].startswith("Continue with: ")
    assert said[-1].endswith("--ckpt_path last")
    assert len([line for line in said if line]) == 3
    assert equal(resumed(tmp_path)[0], weights(uninterrupted))


@pytest.mark.slow
def test_a_signal_closes_findings_and_logs(tmp_path):
    """They hold everything up to the last step."""
    args = ["fit", "--config", "digits", "--trainer.log_every_n_steps", "1", *at("SIGTERM", 0, 30)]
    code, out, err = cli_process.run(args, tmp_path)
    assert code == 143
    said = [line.split(":")[0] for line in err.splitlines() if line and not line.startswith(" ")]
    assert said == ["SIGTERM", "Stopped after step 31. Checkpoint", "Diagnostics", "Continue with"]
    assert "Diagnostics: nothing found in 31 steps" in err
    run = newest(tmp_path)
    place = run.relative_to(tmp_path)
    assert out.splitlines()[-3:-1] == [f"Run          {place}", f"Curves       {place}/curves.png"]
    assert (run / "history.npz").exists()
    (events,) = run.glob("events.out.tfevents.*")
    scalars = EventAccumulator(str(events)).Reload().Scalars("train/loss_step")
    assert scalars[-1].step == 29  # Lightning logs a batch after the callbacks, where the run ends


@pytest.mark.slow
def test_a_signal_in_the_final_test_names_the_checkpoint(tmp_path):
    code, _, err = cli_process.run([*FIT, "--trainer.max_epochs", "1", *at("SIGINT", 0, 0, "test")], tmp_path)
    assert code == 130
    kept, way = (line for line in err.splitlines() if line)
    assert re.fullmatch(
        r"Interrupted by SIGINT: the newest checkpoint is runs/digits/.*/checkpoints/\w+.ckpt\.", kept
    )
    assert re.match(r"Continue with: .*nnfoundations test --config digits .* --ckpt_path best$", way)


@pytest.mark.slow
def test_a_signal_to_the_whole_group_leaves_workers_to_finish_the_batch(uninterrupted, tmp_path):
    """A terminal sends Ctrl-C to the whole group, here with two workers of the loader."""
    loader = ["--data", "cli_process.Plain", "--data.num_workers", "2"]
    args = [*FIT, *loader, *at("SIGINT", 1, 5, "group")]
    code, _, err = cli_process.run(args, tmp_path)
    assert code == 130
    assert err.count("SIGINT: saving a checkpoint after this batch") == 1
    assert "Traceback" not in err
    assert "Continue with: " in err


@pytest.mark.slow
def test_a_signal_ends_a_check(tmp_path):
    process = cli_process.start(["check", "--config", "digits"], tmp_path)
    cli_process.wait_for(tmp_path / "stdout", "gradient")
    os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == 143
    assert "interrupted by SIGTERM" in (tmp_path / "stderr").read_text()
