"""Going on: `--ckpt_path last` and `best`, after kill -9 and after signals; the same weights as in one go."""

import signal

import cli_process
import pytest
import torch

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


def resumed(folder):
    before = {path for path in folder.glob("runs/digits/*") if path.is_dir()}
    code, out, err = cli_process.run([*FIT, "--ckpt_path", "last"], folder)
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
    line = next(line for line in err.splitlines() if line.startswith("Go on with"))
    assert line.endswith("--ckpt_path last")
    assert "Traceback" not in err
    assert equal(resumed(tmp_path)[0], weights(in_one_go))
