"""`nnfoundations check`: faults that it finds, sound networks that it passes, and its command."""

import csv
import json
import math
from pathlib import Path

import pytest
import torch
from broken import BROKEN, AlwaysDropout, Broadcast, NoMask, OneOutput, RawTargets, Sound, layer
from sound import FAST, SLOW, SOUND
from torch.nn import functional

from nnfoundations.check import CHECKS, State, check
from nnfoundations.check._gradient import compare
from nnfoundations.check._trained_copy import TrainedCopy
from nnfoundations.check._updates import gradient, step
from nnfoundations.cli import main
from nnfoundations.datamodules import DigitsDataModule
from nnfoundations.errors import OptionError

CAUGHT = {
    "loss divided by the batch size twice": {"gradient"},
    "ReLU mask computed before the normalization": {"gradient", "samples stay apart"},
    "updated before backpropagation": {"gradient"},
    "derivative of another GELU": {"gradient"},
    "dropout in evaluation": {"samples stay apart", "evaluation mode"},
    "dropout not rescaled": {"evaluation mode"},
    "softmax twice": {"initial loss", "overfits one batch"},
    "gains left out of the optimizer": {"parameters move"},
    "biased running variance": {"evaluation mode"},
    "clipped layer by layer": {"optimizer's gradient"},
    "chain rule twice in Huber": {"gradient", "overfits one batch", "falls on real batches"},
    "ReLU without its mask": {"gradient"},
    "gradients never zeroed": {"optimizer's gradient", "overfits one batch", "falls on real batches"},
    "labels in another order than the inputs": {"falls on real batches"},
    "samples mixed by a softmax": {"samples stay apart"},
    "one output under cross-entropy": {"initial loss", "overfits one batch", "falls on real batches"},
    "predictions broadcast against targets": {"initial loss", "overfits one batch", "falls on real batches"},
}


ROOT = Path(__file__).parents[1]


def verdicts_of(model, data=None):
    torch.manual_seed(0)
    return {verdict.check: verdict for verdict in check(model(), data)}


def failed(verdicts):
    return {name for name, verdict in verdicts.items() if verdict.state is State.FAIL}


SECOND_FAULT_OF_A_CHECK = {
    "loss divided by the batch size twice",
    "ReLU mask computed before the normalization",
    "updated before backpropagation",
    "dropout not rescaled",
    "ReLU without its mask",
    "gradients never zeroed",
    "samples mixed by a softmax",
    "one output under cross-entropy",
    "predictions broadcast against targets",
}
"""Each check has a fault in the fast tests; these follow in the slow ones."""


def slow_if(slow, *values):
    return pytest.param(*values, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize("name", [slow_if(name in SECOND_FAULT_OF_A_CHECK, name) for name in BROKEN])
def test_a_fault_is_caught_and_a_sound_model_is_not(name):
    torch.manual_seed(0)
    model = BROKEN[name]()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    verdicts = verdicts_of(lambda: model, DigitsDataModule(batch_size=32))
    assert failed(verdicts) == CAUGHT.get(name, set())
    assert all(verdict.remedy for verdict in verdicts.values() if verdict.state is State.FAIL)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", [slow_if(i % 4, name) for i, name in enumerate(FAST)])
def test_no_check_fails_a_sound_network(name):
    verdicts = verdicts_of(FAST[name].build, FAST[name].data and FAST[name].data())
    assert not failed(verdicts), verdicts
    assert list(verdicts) == list(CHECKS)


def marks_of(name):
    """One network of each kind for every change; all of them would take many minutes."""
    soon = ("sigmoid tower of depth 12", "group norm", "RNN", "transformer encoder", "autoencoder", "VGG")
    marks = [pytest.mark.slow if name in (*soon, "Classifier, MNIST") else pytest.mark.weekly]
    return [*marks, pytest.mark.data("MNIST")] if "MNIST" in name else marks


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks_of(name)) for name in SLOW])
def test_no_check_fails_a_sound_network_that_takes_longer(name):
    verdicts = verdicts_of(SLOW[name].build, SLOW[name].data and SLOW[name].data())
    assert not failed(verdicts), verdicts
    assert list(verdicts) == list(CHECKS)


def committed(name):
    """The rows of a results file, and the lines of the page that shows them."""
    with (ROOT / "docs" / "results" / name).open(newline="", encoding="utf-8") as stream:
        rows = {row["model"]: row for row in csv.DictReader(stream)}
    return rows, (ROOT / "docs" / "cli.md").read_text(encoding="utf-8").splitlines()


def columns(row, state):
    return [column for column in CHECKS if row[column] == state]


def test_the_committed_table_of_broken_models_is_this_one():
    rows, shown = committed("check_broken.csv")
    assert rows.keys() == BROKEN.keys()
    for name, row in rows.items():
        assert set(columns(row, "FAIL")) == CAUGHT.get(name, set())
        assert f"| {name} | {', '.join(columns(row, 'FAIL')) or 'none'} |" in shown


def test_the_committed_table_of_sound_networks_is_this_one():
    rows, shown = committed("check_sound.csv")
    assert rows.keys() == SOUND.keys()
    for name, row in rows.items():
        passed, noted, skipped = (columns(row, state) for state in ("pass", "note", "skipped"))
        assert len(passed + noted + skipped) == len(CHECKS)
        assert f"| {name} | {', '.join(noted) or 'none'} | {', '.join(skipped) or 'none'} |" in shown


class Scale(torch.autograd.Function):
    """The identity, with a gradient that is a given factor too large."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return ctx.factor * grad, None


class SigmoidTower(Sound):
    """Initial weights of torch, under which the gradient decreases by an order of magnitude per layer."""

    def __init__(self, depth, factor=1.0):
        super().__init__()
        layers = [torch.nn.Flatten()]
        for i in range(depth):
            layers += [torch.nn.Linear(64 if i == 0 else 32, 32), torch.nn.Sigmoid()]
        self.net, self.head, self.factor = torch.nn.Sequential(*layers), torch.nn.Linear(32, 10), factor

    def forward(self, x):
        return self.head(Scale.apply(self.net(x), self.factor))


@pytest.mark.parametrize("depth", [slow_if(depth not in (4, 12), depth) for depth in (4, 6, 8, 12)])
@pytest.mark.parametrize(
    ("factor", "state"), [(1.0, State.PASS), (1.001, State.FAIL)], ids=["right", "0.1 % too large"]
)
def test_the_limit_of_the_gradient_follows_the_precision_of_differences(depth, factor, state):
    torch.manual_seed(0)
    data = DigitsDataModule(batch_size=32)
    data.setup()
    copy = TrainedCopy(SigmoidTower(depth, factor), [next(iter(data.train_dataloader()))], {})
    assert gradient(copy)[0] is state


def between_kinks(h):
    """The slope is 1 at 0 and 1.005 beyond a kink on each side: larger steps agree on the wrong slope."""
    return 2.3 + h + 5e-3 * math.copysign(max(0.0, abs(h) - 3e-8), h)


class Transposed(torch.autograd.Function):
    """The weight of a convolution, whose gradient is transposed."""

    @staticmethod
    def forward(ctx, weight):
        return weight.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad.transpose(2, 3)


class TransposedConv(torch.nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, Transposed.apply(self.weight), self.bias)


class Scaled(torch.nn.Module):
    """ReLU, with a gradient that is a given factor too large."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return Scale.apply(x.relu(), self.factor)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "fault"),
    [
        (4, None),
        (4, lambda: layer(NoMask)),
        (3, lambda: TransposedConv(16, 32, 3, padding=1)),
        (4, lambda: Scaled(2.0)),
        (4, lambda: Scaled(1.01)),
        (1, lambda: Scaled(1.001)),
    ],
    ids=["right", "without mask", "transposed", "factor 2", "1 % too large", "0.1 % too large"],
)
def test_a_wrong_backward_is_caught_near_many_kinks(place, fault):
    """Thousands of units of a VGG change sign within the larger steps."""
    torch.manual_seed(0)
    model = SLOW["VGG"].build()
    if fault:
        model.net.features[place] = fault()
    copy = TrainedCopy(model, [next(iter(model.train_dataloader()))], {})
    assert gradient(copy)[0] is (State.FAIL if fault else State.PASS)


@pytest.mark.parametrize(
    ("loss", "claimed", "passes"),
    [
        (lambda h: 2.3 + torch.tensor(h).double().sin().item(), 1.0, True),
        (lambda h: 2.3 + torch.tensor(h).double().sin().item(), 1.0001, False),
        (lambda h: 2.3 + 1e-16 * (hash(h) % 7), 1e-17, True),
        (lambda h: 2.3 + 1e-16 * (hash(h) % 7), 1e-3, False),
        (lambda h: 2.3 + h + max(0.0, 1e-3 * (h - 1e-8)), 1.0, True),
        (lambda h: 2.3 + h + max(0.0, 1e-3 * (h - 1e-8)), 1.1, False),
        (between_kinks, 1.0, True),
        (between_kinks, 1.001, False),
    ],
    ids=[
        "smooth",
        "smooth, wrong",
        "zero",
        "zero, wrong",
        "kink",
        "kink, wrong",
        "between kinks",
        "between kinks, wrong",
    ],
)
def test_a_slope_is_compared_within_the_error_of_the_differences(loss, claimed, passes):
    found = compare(loss, claimed)
    assert (found.error <= found.limit) is passes


@pytest.mark.parametrize(
    "loss",
    [functional.mse_loss, functional.l1_loss, functional.smooth_l1_loss, lambda p, y: ((p - y) ** 2).mean()],
    ids=["squared", "absolute", "smooth", "by hand"],
)
@pytest.mark.slow
def test_a_broadcast_loss_is_named_with_its_shapes(loss):
    verdict = verdicts_of(lambda: Broadcast(loss), DigitsDataModule(batch_size=32))["initial loss"]
    assert verdict.state is State.FAIL
    assert "predictions of shape (32, 1) and targets of shape (32,) broadcast to (32, 32)" in verdict.measured
    assert "squeeze(1)" in verdict.remedy


def test_one_output_under_cross_entropy_is_named():
    verdicts = verdicts_of(OneOutput, DigitsDataModule(batch_size=32))
    assert verdicts["initial loss"].measured == "cross-entropy over one output is always 0"
    assert "BCEWithLogitsLoss" in verdicts["initial loss"].remedy
    assert verdicts["overfits one batch"].remedy == "First fix initial loss."


def test_class_indices_above_the_outputs_are_named():
    (verdict,) = verdicts_of(lambda: Sound(last=torch.nn.Linear(48, 1)), DigitsDataModule()).values()
    assert (verdict.check, verdict.state) == ("runs", State.FAIL)
    assert "one output per class" in verdict.remedy


class Raises(Sound):
    """Its training step raises an error, or returns nothing."""

    def __init__(self, error=None):
        super().__init__()
        self.error = error

    def training_step(self, batch, batch_idx):
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    ("error", "measured"),
    [
        (KeyError("lr"), "KeyError: 'lr'"),
        (AssertionError(), "AssertionError"),
        (OptionError("lr must be positive."), "lr must be positive."),
        (None, "training_step returned no loss, so nothing was trained"),
    ],
    ids=["with text", "without text", "of this package", "no loss"],
)
def test_what_a_training_step_raises_is_named_with_its_type(error, measured):
    (verdict,) = verdicts_of(lambda: Raises(error), DigitsDataModule(batch_size=256)).values()
    assert (verdict.check, verdict.state, verdict.measured) == ("runs", State.FAIL, measured)
    if error is None:
        assert verdict.remedy == "Return the loss from training_step."


class NoOptimizer(Sound):
    def configure_optimizers(self):
        return None


def test_without_an_optimizer_its_gradient_is_not_checked():
    data = DigitsDataModule(batch_size=256)
    data.setup("fit")
    copy = TrainedCopy(NoOptimizer(), list(data.train_dataloader()), {})
    copy.train(3, copy.trial)
    assert step(copy) == (State.SKIPPED, "no optimizer has a parameter with a gradient", "")


@pytest.mark.slow
def test_raw_targets_are_to_be_standardized():
    verdicts = verdicts_of(RawTargets, DigitsDataModule(batch_size=32))
    assert verdicts["initial loss"].state is State.NOTE
    assert "the targets have mean 131 and standard deviation 66.1" in verdicts["initial loss"].measured
    assert "Standardize the targets" in verdicts["initial loss"].remedy
    slow = verdicts_of(lambda: RawTargets(lr=1e-5), DigitsDataModule(batch_size=32))
    assert failed(slow) == {"overfits one batch", "falls on real batches"}
    assert "Standardize the targets" in slow["overfits one batch"].remedy


class Named(Sound):
    """Its batches are dicts, forward takes a part of them by keyword, and its output is a dict."""

    def __init__(self, hidden=None, mixes=False):
        super().__init__(hidden)
        self.mixes = mixes

    def forward(self, *, inputs):
        out = self.net(inputs["pixels"]) * inputs["gain"]
        return {"logits": out * (1 + out.softmax(0)) if self.mixes else out}

    def training_step(self, batch, batch_idx):
        inputs = {"pixels": batch["pixels"], "gain": batch["gain"]}
        return functional.cross_entropy(self(inputs=inputs)["logits"], batch["label"])

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
    ids=["sound", "mixed", "random in evaluation"],
)
def test_batches_may_be_nested_containers_of_tensors(model, caught):
    verdicts = {name: verdict.state for name, verdict in verdicts_of(lambda: model).items()}
    modes = {"samples stay apart", "evaluation mode"}
    assert {name for name in modes if verdicts[name] is State.FAIL} == caught
    assert {name for name in modes if verdicts[name] is State.PASS} == modes - caught


def test_a_packaged_config_is_sound(capsys):
    assert main(["check", "--config", "digits"]) == 0
    out = capsys.readouterr().out
    assert "No check failed." in out
    assert all(name in out for name in CHECKS)


def test_a_model_of_ones_own_by_class_path_as_json(tmp_path, capsys):
    args = ["--model", "broken.Probabilities", "--data", "DigitsDataModule", "--json"]
    assert main(["check", *args]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["sound"] is False
    assert {entry["check"] for entry in report["checks"] if entry["state"] == "FAIL"} == CAUGHT[
        "softmax twice"
    ]
    assert set(report["checks"][0]) == {"check", "state", "measured", "remedy"}


def test_a_model_that_raises_is_a_verdict(capsys):
    args = ["--config", "digits", "--model.net.sizes", "[63,10]"]
    assert main(["check", *args]) == 1
    assert "FAIL" in capsys.readouterr().out


@pytest.mark.slow
def test_clipping_by_value_of_the_trainer_is_seen(capsys):
    clipped = ["--trainer.gradient_clip_val", "1e-3", "--trainer.gradient_clip_algorithm"]
    assert main(["check", "--config", "digits", *clipped, "value", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert "optimizer's gradient" in {row["check"] for row in report["checks"] if row["state"] == "FAIL"}


@pytest.mark.slow
def test_clipping_by_the_norm_and_half_precision_are_sound(capsys):
    given = ["--trainer.gradient_clip_val", "1", "--trainer.precision", "bf16-mixed"]
    assert main(["check", "--config", "digits", *given]) == 0
    assert "No check failed." in capsys.readouterr().out


def test_data_that_cannot_be_had_are_a_verdict(capsys):
    assert main(["check", "--model", "broken.Sound", "--json"]) == 1
    (verdict,) = json.loads(capsys.readouterr().out)["checks"]
    assert (verdict["check"], verdict["state"]) == ("data", "FAIL")
