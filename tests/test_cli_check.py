"""`nnfoundations check`: which check catches which fault, and the command around it."""

import csv
import json
from pathlib import Path

import pytest
import torch
from broken import BROKEN, AlwaysDropout, Sound

from nnfoundations.check import CHECKS, State, check
from nnfoundations.cli import main
from nnfoundations.datamodules import DigitsDataModule

CAUGHT = {
    "D1 divided by the batch twice": {"gradient"},
    "D2 ReLU mask from before the norm": {"gradient", "samples stay apart"},
    "D3 updated before back-propagation": {"gradient"},
    "D4 derivative of another GELU": {"gradient"},
    "D5 dropout at evaluation": {"samples stay apart", "evaluation mode"},
    "D5 dropout not rescaled": {"evaluation mode"},
    "D6 softmax twice": {"initial loss", "overfits one batch"},
    "D7 gains left out of the optimizer": {"parameters move"},
    "D7 biased running variance": {"evaluation mode"},
    "D10 clipped layer by layer": {"optimizer's gradient"},
    "D11 chain rule twice in Huber": {"gradient", "overfits one batch", "falls on real batches"},
    "ReLU without its mask": {"gradient"},
    "gradients never zeroed": {"optimizer's gradient", "overfits one batch", "falls on real batches"},
    "labels shuffled against rows": {"falls on real batches"},
    "samples mixed by a softmax": {"samples stay apart"},
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_fault_is_caught_and_a_sound_model_is_not(name):
    torch.manual_seed(0)
    model = BROKEN[name]()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    verdicts = list(check(model, DigitsDataModule(batch_size=32)))
    assert {verdict.check for verdict in verdicts if verdict.state is State.FAIL} == CAUGHT.get(name, set())
    assert all(verdict.remedy for verdict in verdicts if verdict.state is State.FAIL)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_the_committed_table_is_this_one():
    path = Path(__file__).parents[1] / "docs" / "results" / "check_broken.csv"
    with path.open(newline="", encoding="utf-8") as stream:
        rows = {row["model"]: row for row in csv.DictReader(stream)}
    assert rows.keys() == BROKEN.keys()
    shown = (Path(__file__).parents[1] / "docs" / "cli.md").read_text(encoding="utf-8").splitlines()
    for name, row in rows.items():
        caught = ", ".join(column for column in CHECKS if row[column] == "FAIL") or "none"
        assert f"| {name} | {caught} |" in shown
        assert {column for column in CHECKS if row[column] == "FAIL"} == CAUGHT.get(name, set())


class Named(Sound):
    """Batches are dicts, of which forward takes a part by keyword; its output is a dict, too."""

    def __init__(self, hidden=None, mixes=False):
        super().__init__(hidden)
        self.mixes = mixes

    def forward(self, *, inputs):
        out = self.net(inputs["pixels"]) * inputs["gain"]
        return {"logits": out * (1 + out.softmax(0)) if self.mixes else out}

    def training_step(self, batch, batch_idx):
        inputs = {"pixels": batch["pixels"], "gain": batch["gain"]}
        return torch.nn.functional.cross_entropy(self(inputs=inputs)["logits"], batch["label"])

    def train_dataloader(self):
        data = DigitsDataModule(batch_size=32)
        data.setup()
        return [{"pixels": x, "gain": torch.ones(len(x), 1), "label": y} for x, y in data.train_dataloader()]


@pytest.mark.parametrize(
    ("model", "caught"),
    [
        (Named(), set()),
        (Named(mixes=True), {"samples stay apart"}),
        (Named(AlwaysDropout()), {"samples stay apart", "evaluation mode"}),
    ],
    ids=["sound", "mixed", "drawn at evaluation"],
)
def test_batches_may_be_any_nest_of_tensors(model, caught):
    torch.manual_seed(0)
    verdicts = {verdict.check: verdict.state for verdict in check(model)}
    modes = {"samples stay apart", "evaluation mode"}
    assert {name for name in modes if verdicts[name] is State.FAIL} == caught
    assert {name for name in modes if verdicts[name] is State.PASS} == modes - caught


def test_a_packaged_config_is_sound(capsys):
    assert main(["check", "--config", "digits"]) == 0
    out = capsys.readouterr().out
    assert "Nothing failed." in out
    assert all(name in out for name in CHECKS)


def test_a_model_of_ones_own_by_class_path_as_json(tmp_path, capsys):
    args = ["--model", "broken.Probabilities", "--data", "DigitsDataModule", "--json"]
    assert main(["check", *args]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["sound"] is False
    failed = {entry["check"] for entry in report["checks"] if entry["state"] == "FAIL"}
    assert failed == CAUGHT["D6 softmax twice"]
    assert set(report["checks"][0]) == {"check", "state", "measured", "remedy"}


def test_a_model_that_raises_is_a_verdict(capsys):
    args = ["--config", "digits", "--model.net.sizes", "[63,10]"]
    assert main(["check", *args]) == 1
    assert "FAIL" in capsys.readouterr().out


def test_clipping_by_value_of_the_trainer_is_seen(capsys):
    clipped = ["--trainer.gradient_clip_val", "1e-3", "--trainer.gradient_clip_algorithm"]
    assert main(["check", "--config", "digits", *clipped, "value", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert "optimizer's gradient" in {row["check"] for row in report["checks"] if row["state"] == "FAIL"}


def test_clipping_by_the_norm_and_half_precision_are_sound(capsys):
    given = ["--trainer.gradient_clip_val", "1", "--trainer.precision", "bf16-mixed"]
    assert main(["check", "--config", "digits", *given]) == 0
    assert "Nothing failed." in capsys.readouterr().out


def test_data_that_cannot_be_had_are_a_verdict(capsys):
    assert main(["check", "--model", "broken.Sound", "--json"]) == 1
    (verdict,) = json.loads(capsys.readouterr().out)["checks"]
    assert (verdict["check"], verdict["state"]) == ("data", "FAIL")
