"""What diagnostics see of a validation, and where its rules must be silent."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import _len_torch_function_stack
from torch.utils.data import DataLoader, TensorDataset
from watched import trainer, unharmed, watcher
from zoo import MLP, Module, digits, loaders, run, table_loaders

from nnfoundations.diagnostics import History, Monitor, Severity, diagnose
from nnfoundations.diagnostics._samples import SeenSamples, fingerprints
from nnfoundations.diagnostics.rules import RULES
from nnfoundations.diagnostics.rules._batches import BadBatch, BatchesNotShuffled
from nnfoundations.diagnostics.rules._generalization import Overfitting
from nnfoundations.diagnostics.rules._labels import LabelsUnrelatedToInputs
from nnfoundations.diagnostics.rules._validation import (
    TrainValMismatch,
    TrainValOverlap,
    ValidationLossDiffers,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval"),
]


def faults(history, rule):
    return [finding.fault for finding in diagnose(history, rules=[rule])]


def history_of(**series):
    """Each series is a list of rows; spread over 100 steps and recorded in their order."""
    history = History()
    rows = [
        (100 * i // max(1, len(rows) - 1), name, row)
        for name, rows in series.items()
        for i, row in enumerate(rows)
    ]
    columns = {
        "validation_input": ("rms", "train_rms", "scale", "shift", "samples"),
        "validation_samples": ("seen", "samples", "training", "repeated"),
        "validation_loss": ("loss", "error"),
        "batch_classes": ("equal_pairs", "expected", "classes", "samples"),
    }
    for step, name, row in sorted(rows, key=lambda entry: entry[0]):
        history.record(name, step, columns.get(name, ("number",)), row)
    return history


# -- the samples -------------------------------------------------------------------------------------------


def test_a_sample_has_the_same_fingerprint_in_any_batch():
    x, y, _, _ = digits()
    whole = fingerprints((x, y))
    assert len(whole.unique()) == len(x)
    rows = torch.tensor([5, 900, 17])
    assert torch.equal(fingerprints({"x": x[rows].clone(), "y": y[rows]}), whole[rows])
    assert not torch.isin(fingerprints((x, (y + 1) % 10)), whole).any(), "the label belongs to the sample"
    assert not torch.isin(fingerprints((x + 1e-6, y)), whole).any()


@pytest.mark.parametrize(
    "batch",
    [
        (torch.randn(5, 8), torch.zeros(2, 9, dtype=torch.long)),
        (torch.arange(5), torch.arange(5)),
        torch.tensor(1.0),
        ["text"],
        (torch.randn(4, 8, dtype=torch.cfloat), torch.zeros(4)),
    ],
    ids=["graph", "user-and-item", "number", "text", "complex"],
)
def test_what_is_not_one_row_for_each_sample_has_no_fingerprints(batch):
    assert fingerprints(batch) is None


def test_samples_that_recur_at_once_are_counted():
    x, y, _, _ = digits()
    seen = SeenSamples()
    for _ in range(3):
        seen.add((x[:100], y[:100]))
    numbers = seen.numbers([fingerprints((x[:50], y[:50]))])
    assert (numbers["seen"], numbers["samples"], numbers["training"]) == (50, 50, 100)
    assert numbers["repeated"] == 1
    assert seen.numbers([]) is None


def overlap(seen, training=1000.0, repeated=0.0, **settings):
    history = history_of(
        validation_samples=[[seen, 500.0, training, repeated]], validation_loss=[[1.0, math.nan]]
    )
    history.record("input", 0, ("rms", "spread", "samples"), [1.0, 1.0, 64.0])
    history.settings = settings
    return faults(history, TrainValOverlap())


def test_an_overlap_is_estimated_from_the_samples_that_were_compared():
    assert overlap(260) == ["train-val-overlap"]
    assert overlap(240) == []
    assert overlap(15, batches_per_epoch=600) == ["train-val-overlap"], "1,000 of 38,400 were compared"
    assert overlap(500, repeated=1.0) == [], "each step sees the same set"
    assert overlap(500, overfit_batches=10) == [], "on purpose"
    assert overlap(9, batches_per_epoch=10_000) == [], "too few to tell"


def test_the_same_data_passed_on_purpose_are_no_alarm():
    train, _ = loaders()
    (finding,) = run(Module(MLP(2)), 50, (train, DataLoader(train.dataset, 250))).findings
    assert (finding.fault, finding.severity) == ("train-val-overlap", Severity.INFO)
    again = run(Module(MLP(2)), 50, (loader := DataLoader(train.dataset, 64), loader))
    assert again.findings == []
    assert "same loader" in again.not_run["train-val-overlap"]


def test_a_second_validation_loader_may_hold_training_data():
    train, validation = loaders()
    again = DataLoader(TensorDataset(*(t[:500] for t in train.dataset.tensors)), 250)

    class Two(Module):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))

    diagnostics = watcher()
    trainer(diagnostics, max_steps=50).fit(Two(MLP(2)), train, [again, validation])
    unharmed(diagnostics)
    assert diagnostics.findings == []
    assert not len(diagnostics.history["validation_samples"])


# -- the inputs --------------------------------------------------------------------------------------------


def mismatch(scale, shift=0.0, samples=250.0, validation=2.0, training=0.5):
    history = history_of(
        validation_input=[[scale, 1.0, scale, shift, samples]],
        validation_loss=[[validation, math.nan]],
        loss=[[training]] * 30,
    )
    return faults(history, TrainValMismatch())


def test_inputs_of_another_scale_are_a_fault_if_the_validation_suffers():
    assert mismatch(0.3) == mismatch(118.0) == mismatch(1.0, shift=2.0) == ["train-val-mismatch"]
    assert mismatch(0.7) == mismatch(1.5) == [], "noise or dropout in training"
    assert mismatch(0.3, validation=0.6) == [], "no harm"
    assert mismatch(0.3, samples=4.0) == []


def test_pixels_that_are_only_divided_are_found():
    """The usual mistake: ToTensor alone in validation, and Normalize in training."""
    train, validation = loaders()
    x, y = validation.dataset.tensors
    low, high = digits()[0].min(), digits()[0].max()
    case = DataLoader(TensorDataset((x - low) / (high - low), y), 250)
    diagnostics = run(Module(MLP(3)), 70, (train, case))
    unharmed(diagnostics)
    (finding,) = diagnostics.findings
    assert finding.fault == "train-val-mismatch"
    assert 0.3 < finding.numbers["scale"] < 0.45


# -- the loss ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["in-the-step", "at-the-end"])
def test_the_validation_step_may_raise(place):
    class Failing(Module):
        def validation_step(self, batch, batch_idx):
            super().validation_step(batch, batch_idx)
            if place == "in-the-step":
                raise ValueError("no")

        def on_validation_epoch_end(self):
            raise ValueError("no")

    diagnostics = watcher()
    before = _len_torch_function_stack()
    with pytest.raises(ValueError, match="no"):
        trainer(diagnostics, max_steps=50, num_sanity_val_steps=0).fit(Failing(MLP(2)), *loaders())
    assert _len_torch_function_stack() == before
    assert diagnostics.failure is None


def test_a_sigmoid_before_the_logits_loss_of_a_validation_is_found():
    class Twice(Module):
        def training_step(self, batch, batch_idx):
            return F.binary_cross_entropy_with_logits(self(batch[0])[:, 0], (batch[1] > 4).float())

        def validation_step(self, batch, batch_idx):
            out = torch.sigmoid(self(batch[0])[:, 0])
            self.log("val_loss", F.binary_cross_entropy_with_logits(out, (batch[1] > 4).float()))

    (finding,) = run(Twice(MLP(2)), 60).findings
    assert finding.fault == "softmax-before-cross-entropy"
    assert finding.severity is Severity.WARNING
    assert "validation_step" in finding.remedy


def test_a_saved_run_is_judged_the_same(tmp_path):
    train, _ = loaders()
    x, y = train.dataset.tensors
    diagnostics = run(Module(MLP(2)), 60, (train, DataLoader(TensorDataset(x[:250], y[:250]), 250)))
    diagnostics.history.save(tmp_path / "history.npz")
    again = diagnose(History.load(tmp_path / "history.npz"), rules=RULES)
    assert [f.fault for f in again] == [f.fault for f in diagnostics.findings] == ["train-val-overlap"]


def test_a_monitor_says_that_it_sees_no_validation_batches():
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Monitor(model, optimizer, verbose=False) as monitor:
        for _ in range(30):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(torch.randn(8, 4)), torch.randint(0, 2, (8,)))
            monitor.observe(loss)
            loss.backward()
            optimizer.step()
        monitor.validated(0.7)
    assert "does not see the batches" in monitor.not_run["train-val-mismatch"]
    assert "batches-not-shuffled" not in monitor.not_run


# -- batches and labels ------------------------------------------------------------------------------------


def test_few_classes_in_a_batch_are_not_sorted_batches():
    def batches(equal, expected, n=12, samples=32.0):
        return faults(
            history_of(batch_classes=[[equal, expected, 10.0, samples]] * n, loss=[[1.0]] * 20),
            BatchesNotShuffled(),
        )

    assert batches(0.9, 0.1) == ["batches-not-shuffled"]
    assert batches(0.33, 0.1) == [], "three classes in each batch"
    assert batches(0.97, 0.92) == [], "one class is rare"
    assert batches(0.9, 0.1, n=3) == batches(0.9, 0.1, samples=2.0) == [], "chance"


def test_a_batch_is_odd_only_beside_many_others():
    def sizes(odd, jump=50.0):
        history = History()
        for step in range(60):
            history.record("loss", step, ("loss",), [jump if step == 40 else 1.0])
            history.record("batch_rms", step, ("rms",), [odd if step == 40 else 1.0])
        return [(f.fault, f.first_step) for f in diagnose(history, rules=[BadBatch()])]

    assert sizes(1e4) == [("bad-batch", 40)]
    assert sizes(4.0) == sizes(1e4, jump=1.2) == []


def test_a_loss_that_falls_on_new_samples_exonerates_the_labels():
    """A validation that is prepared or labelled otherwise looks the same to its own loss."""
    train, validation = loaders()
    x, y = validation.dataset.tensors
    diagnostics = run(Module(MLP(3)), 230, (train, DataLoader(TensorDataset(x, (y + 1) % 10), 250)))
    assert "labels-unrelated-to-inputs" not in [f.fault for f in diagnostics.findings]
    history = diagnostics.history
    constant = history["constant_loss"].rows[-1, 0]
    assert history["validation_loss"].column("loss").min() > LabelsUnrelatedToInputs().level * constant


# -- another loss in validation ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("training", "validation", "found"),
    [
        (F.mse_loss, (F.l1_loss,), ["validation-loss-differs"]),
        (F.l1_loss, (F.mse_loss,), ["validation-loss-differs"]),
        (F.mse_loss, (F.mse_loss, F.l1_loss), []),
        (F.huber_loss, (F.mse_loss,), []),
        (lambda out, y: (out - y).square().mean(), (F.l1_loss,), []),
        (F.mse_loss, (lambda out, y: (out - y).abs().mean(),), []),
    ],
    ids=["absolute", "squared", "and-a-metric", "alike", "hand-written", "hand-written-validation"],
)
def test_only_another_loss_alone_is_one_that_differs(training, validation, found):
    class Several(Module):
        def validation_step(self, batch, batch_idx):
            x, y = batch
            for i, loss in enumerate(validation):
                self.log("val_loss" if i == 0 else "val_mae", loss(self(x), y))

    net = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 1))
    history = run(Several(net, loss=training), 30, table_loaders("diabetes")).history
    assert faults(history, ValidationLossDiffers()) == found


# -- overfitting -------------------------------------------------------------------------------------------


def test_an_accuracy_counts_where_no_validation_loss_is_logged():
    class OnlyAccuracy(Module):
        def validation_step(self, batch, batch_idx):
            self.log("val_acc", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    diagnostics = run(OnlyAccuracy(MLP(3, 256)), 90, loaders(60, batch_size=20))
    (finding,) = diagnostics.findings
    assert finding.fault == "overfitting"
    assert finding.numbers["training"] - finding.numbers["validation"] > 0.08
    assert run(OnlyAccuracy(MLP(3, 256)), 230).findings == []


def test_memorized_samples_are_named_without_a_rise():
    def gap(validation, training, constant=2.3):
        history = History()
        for step in range(200):
            history.record("loss", step, ("loss",), [max(training, 2.3 * 0.9**step)])
            if step == 50:
                history.record("constant_loss", step, ("loss", "low", "high"), [constant, math.nan, math.nan])
            if step % 10 == 9:
                loss = validation + 2 * 0.9**step
                history.record("validation_loss", step, ("loss", "error"), [loss, math.nan])
        return [(f.fault, f.severity) for f in diagnose(history, rules=[Overfitting()])]

    assert gap(0.7, 0.01) == [("overfitting", Severity.INFO)]
    assert gap(0.2, 0.001) == [], "a good result"
    assert gap(0.7, 0.3) == [], "it still learns"
    assert gap(2.4, 0.001) == [("overfitting", Severity.INFO)], "learned by heart, and nothing that holds"
    assert gap(2.4, 2.0) == [], "nothing was learned"
