"""The second evaluation of a batch: what it measures, what it leaves as it was, and where it does not run."""

import io

import pytest
import torch
from faults_probes import LENGTH, Classifier, TextLSTM, TextNet, characters
from torch import nn
from torch.nn import functional as F
from zoo import Module, digits, run

from nnfoundations.diagnostics import History, Monitor, diagnose
from nnfoundations.diagnostics.rules._evaluation import EvaluationDiffers

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")

STEPS = 12
"""The evaluation follows step 10."""


class Texts:
    """Batches of text, 16 sequences each."""

    def __init__(self, seed=0):
        self.text, self.size = characters()
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, shift=1):
        starts = torch.randint(len(self.text) - LENGTH - 1, (16, 1), generator=self.generator)
        whole = self.text[starts + torch.arange(LENGTH + 1)]
        return whole[:, :LENGTH], whole[:, shift : LENGTH + shift]


def rows_of_digits(step):
    x, y, *_ = digits()
    part = slice(32 * step, 32 * step + 32)
    return x[part].view(-1, 8, 8), y[part]


def of_tokens(out, y):
    return F.cross_entropy(out.flatten(0, 1), y.flatten())


def watched(net, loss, batches, steps=STEPS, call=None):
    """Train with a plain loop; return the monitor."""
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    with Monitor(net, optimizer, verbose=False, budget=1.0) as monitor:
        for step in range(steps):
            x, y = batches(step)
            optimizer.zero_grad()
            value = loss((call or net)(x), y)
            monitor.observe(value)
            value.backward()
            optimizer.step()
    assert monitor.failure is None
    reasons = [*monitor.history.unavailable.values(), *monitor.not_run.values()]
    assert [reason for reason in reasons if "failed with" in reason] == []
    return monitor


def found(monitor):
    return [finding.fault for finding in monitor.findings]


class Noisy(nn.Module):
    """Draws random numbers, counts its calls and keeps running statistics."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 10)
        self.register_buffer("calls", torch.zeros(()))
        self.seen = []

    def forward(self, x):
        self.calls += 1
        self.seen.append(len(x))
        hidden = F.dropout(self.norm(self.first(x.mean(1))), 0.2, self.training)
        return self.last(hidden + 0.1 * torch.randn_like(hidden) * self.training)


def test_an_evaluation_leaves_no_trace():
    results = []
    for budget in (1.0, None):
        torch.manual_seed(0)
        net = Noisy()
        if budget:
            monitor = watched(net, F.cross_entropy, rows_of_digits)
            assert len(monitor.history["evaluation"]) == 1
        else:
            optimizer = torch.optim.Adam(net.parameters(), 1e-3)
            for step in range(STEPS):
                x, y = rows_of_digits(step)
                optimizer.zero_grad()
                F.cross_entropy(net(x), y).backward()
                optimizer.step()
        results.append((net.state_dict(), net.seen, net.training, torch.rand(3)))
    (state, *rest), (expected, *other) = results
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert rest[:2] == other[:2]
    assert torch.equal(rest[2], other[2])


def test_the_loss_of_a_batch_in_three_modes():
    """With dropout and the statistics of the batch, without both, and in evaluation mode."""
    torch.manual_seed(0)
    row = watched(Noisy(), F.cross_entropy, rows_of_digits).history["evaluation"]
    values = dict(zip(row.columns, row.rows[0].tolist(), strict=True))
    assert values["train"] != values["evaluation"]
    assert values["plain"] != values["plain"], "random numbers in training mode"
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Dropout(), nn.Linear(16, 10))
    row = watched(net, F.cross_entropy, rows_of_digits).history["evaluation"]
    values = dict(zip(row.columns, row.rows[0].tolist(), strict=True))
    assert values["plain"] == values["evaluation"] != values["train"]
    assert values["gap"] == values["repeated"] == 0


@pytest.mark.parametrize(
    ("gaps", "losses", "found"),
    [
        ((0.3, 0.7), (1.06, 1.5), ["evaluation-differs"]),
        ((0.3, 0.7), (1.0, 1.0), []),
        ((0.9, 0.01), (3.0, 1.0), []),
    ],
    ids=["late-harm", "no-harm", "averaged-weights"],
)
def test_evaluation_differs_if_outputs_do_twice_and_the_loss_at_last(gaps, losses, found):
    history = History()
    for step, (gap, loss) in enumerate(zip(gaps, losses, strict=True)):
        history.record("loss", 10 + 400 * step, ("loss",), [1.0])
        row = [1.0, 1.0, loss, gap, 0.0]
        history.record(
            "evaluation", 10 + 400 * step, ("train", "plain", "evaluation", "gap", "repeated"), row
        )
    assert [finding.fault for finding in diagnose(history, rules=[EvaluationDiffers()])] == found


def test_a_layer_that_takes_samples_for_steps_is_named_and_judged_again_from_a_file(tmp_path):
    monitor = watched(Classifier(False, attention=True), F.cross_entropy, rows_of_digits)
    (finding,) = monitor.findings
    assert (finding.fault, finding.where) == ("samples-mixed", ("reader.self_attn",))
    assert "batch_first=True" in finding.remedy
    monitor.history.save(tmp_path / "history.npz")
    assert diagnose(History.load(tmp_path / "history.npz"))[0].fault == "samples-mixed"


class Companions(nn.Module):
    """Attention between the samples of a batch, as some networks for tables have it on purpose."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(64, 32), nn.Linear(32, 10)

    def forward(self, x):
        rows = self.embed(x.flatten(1))
        return self.head(rows + (rows @ rows.T / 6).softmax(-1) @ rows)


def test_attention_between_samples_is_information_only():
    (finding,) = watched(Companions(), F.cross_entropy, rows_of_digits).findings
    assert (finding.fault, str(finding.severity)) == ("samples-mixed", "info")


class StandardizedByBatch(nn.Module):
    """Divides by the standard deviation over the batch, which one sample does not have."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(64, 16), nn.Linear(16, 10)

    def forward(self, x):
        hidden = self.first(x.flatten(1))
        return self.last((hidden - hidden.mean(0)) / hidden.std(0))


def test_statistics_of_the_batch_that_one_sample_does_not_have_are_found():
    (finding,) = watched(StandardizedByBatch(), F.cross_entropy, rows_of_digits).findings
    assert finding.fault == "samples-mixed"
    assert "is NaN when the sample is alone" in finding.evidence


class Reshaping(nn.Module):
    """Makes sequences of the rows of a table; right only if the reader takes the batch first."""

    def __init__(self, batch_first):
        super().__init__()
        self.reader, self.head = nn.GRU(8, 16, batch_first=batch_first), nn.Linear(16, 10)

    def forward(self, table):
        return self.head(self.reader(table.view(len(table), 8, 8))[0][:, -1])


def flat_digits(step):
    x, y = rows_of_digits(step)
    return x.flatten(1), y


def test_a_table_that_the_network_reshapes_is_a_batch():
    assert found(watched(Reshaping(True), F.cross_entropy, flat_digits)) == []
    (finding,) = watched(Reshaping(False), F.cross_entropy, flat_digits).findings
    assert (finding.fault, finding.where) == ("samples-mixed", ("reader",))


class StepsFirst(nn.Module):
    """Reads data of shape (steps, samples)."""

    def __init__(self):
        super().__init__()
        self.net = TextLSTM(batch_first=False)

    def forward(self, tokens):
        return self.net(tokens)


def test_rows_that_are_steps_are_not_mixed_samples():
    texts = Texts()
    monitor = watched(StepsFirst(), of_tokens, lambda _: tuple(part.T for part in texts()))
    assert found(monitor) == []
    assert "not known to be samples" in monitor.not_run["samples-mixed"]


def test_one_sentence_without_a_batch_axis_is_not_a_batch():
    net = nn.Sequential(nn.Embedding(100, 8), nn.RNN(8, 8, batch_first=True))
    texts = Texts()
    monitor = watched(net, lambda out, y: F.cross_entropy(out[0], y % 8), lambda _: [t[0] for t in texts()])
    assert found(monitor) == []


class Graph(nn.Module):
    """A layer on the nodes of one graph, with a fixed matrix of neighbours."""

    def __init__(self, nodes):
        super().__init__()
        self.layer, self.head = nn.Linear(64, 16), nn.Linear(16, 10)
        self.register_buffer("neighbours", torch.eye(nodes) / 2 + torch.ones(nodes, nodes) / nodes / 2)

    def forward(self, x):
        return self.head(self.neighbours @ self.layer(x.flatten(1)).relu())


def test_a_graph_is_not_a_batch():
    monitor = watched(Graph(32), F.cross_entropy, rows_of_digits)
    assert found(monitor) == []
    assert "does not accept changed inputs" in monitor.not_run["samples-mixed"]


def test_a_normalization_over_the_batch_is_intended():
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16, track_running_stats=False), nn.Linear(16, 10)
    )
    monitor = watched(net, F.cross_entropy, rows_of_digits)
    assert found(monitor) == []
    assert "without running statistics" in monitor.not_run["samples-mixed"]


class Unmasked(TextNet):
    def __init__(self):
        super().__init__(nn)
        self.mask.zero_()


class TokenAutoencoder(TextNet):
    """Sees all tokens and gives them back."""

    def __init__(self):
        super().__init__(nn)
        self.mask.zero_()


class ShiftsItself(TextLSTM):
    """Predicts each token from those before it, so its targets are its inputs."""

    def forward(self, tokens):
        return super().forward(F.pad(tokens, (1, -1)))


def hidden_tokens(texts):
    """A few tokens are hidden, and only these are targets."""
    x, _ = texts()
    hidden = torch.rand(x.shape, generator=texts.generator) < 0.2
    return x.masked_fill(hidden, 0), x.masked_fill(~hidden, -100)


def prompted(texts):
    """The first half of each sequence is not a target."""
    x, y = texts()
    return x, y.masked_fill(torch.arange(LENGTH) < LENGTH // 4, -100)


@pytest.mark.parametrize(
    ("make", "batch", "expected"),
    [
        (Unmasked, lambda texts: texts(), ["causal-leak"]),
        (Unmasked, prompted, ["causal-leak"]),
        (Unmasked, hidden_tokens, []),
        (TokenAutoencoder, lambda texts: texts(0), []),
        (TextLSTM, lambda texts: texts(0), ["targets-equal-inputs"]),
        (ShiftsItself, lambda texts: texts(0), []),
        (lambda: TextNet(nn), prompted, []),
        (lambda: TextNet(nn), lambda texts: texts(), []),
    ],
    ids=[
        "leak",
        "leak-prompted",
        "masked-model",
        "autoencoder",
        "copy",
        "shifts-itself",
        "prompted",
        "causal",
    ],
)
def test_what_language_models_may_see(make, batch, expected):
    torch.manual_seed(0)
    texts = Texts()
    assert found(watched(make(), of_tokens, lambda _: batch(texts))) == expected


def test_targets_that_the_loss_takes_from_the_inputs():
    """As in models that get only tokens, and shift them in the loss."""
    texts = Texts()
    torch.manual_seed(0)
    loss = lambda out, x: F.cross_entropy(out[:, :-1].flatten(0, 1), x[:, 1:].flatten())  # noqa: E731
    assert found(watched(Unmasked(), loss, lambda _: texts(0))) == ["causal-leak"]
    assert found(watched(TextNet(nn), loss, lambda _: texts(0))) == []


class WritesAFile(Noisy):
    def forward(self, x):
        if not self.training:
            with open("/dev/null", "w") as file:
                file.write("seen")
        return super().forward(x)


class HoldsAFile(Noisy):
    def __init__(self):
        super().__init__()
        self.file = open("/dev/null", "w")  # noqa: SIM115


@pytest.mark.parametrize(("make", "reason"), [(WritesAFile, "writes a file"), (HoldsAFile, "an open file")])
def test_a_network_with_effects_is_not_run_again(make, reason):
    net = make()
    monitor = watched(net, F.cross_entropy, rows_of_digits)
    assert reason in monitor.not_run["samples-mixed"]
    assert len(net.seen) == STEPS
    assert net.training
    getattr(net, "file", io.StringIO()).close()


class TwoNetworks(Module):
    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self.net[1](self.net[0](batch[0]).relu()), batch[1])


def test_several_networks_in_a_step_are_not_run_again():
    module = TwoNetworks(nn.ModuleList([nn.Linear(64, 16), nn.Linear(16, 10)]))
    diagnostics = run(module, STEPS, limit_val_batches=0)
    assert "calls 2 networks one after another" in diagnostics.not_run["samples-mixed"]


def test_a_network_that_is_called_in_parts_is_not_seen():
    net = nn.ModuleDict({"first": nn.Linear(64, 16), "last": nn.Linear(16, 10)})

    def call(x):
        return net["last"](net["first"](x.flatten(1)).relu())

    monitor = watched(net, F.cross_entropy, rows_of_digits, call=call)
    assert "no call of the network was seen" in monitor.not_run["samples-mixed"]


class Sampling(nn.Module):
    """Adds noise in both modes, as a variational autoencoder may."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(64, 16), nn.Linear(16, 10)

    def forward(self, x):
        hidden = self.first(x.flatten(1))
        return self.last(hidden + torch.randn_like(hidden))


def test_a_network_that_samples_is_healthy():
    monitor = watched(Sampling(), F.cross_entropy, rows_of_digits)
    assert found(monitor) == []
    assert "draws random numbers" in monitor.not_run["samples-mixed"]


class Masked(nn.Module):
    """Removes a part of its hidden units at random in both modes."""

    def __init__(self, mask):
        super().__init__()
        self.first, self.last, self.mask = nn.Linear(64, 16), nn.Linear(16, 10), mask

    def forward(self, x):
        return self.last(self.mask(self.first(x.flatten(1)).relu()))


@pytest.mark.parametrize(
    "mask",
    [
        F.dropout,
        lambda h: h * (torch.rand_like(h) < 0.5) * 2,
        lambda h: h * torch.bernoulli(torch.full_like(h, 0.5)),
        lambda h: F.feature_alpha_dropout(h, 0.5, training=True),
    ],
    ids=["function", "rand", "bernoulli", "alpha"],
)
def test_dropout_in_evaluation_is_found_however_it_is_written(mask):
    assert found(watched(Masked(mask), F.cross_entropy, rows_of_digits)) == ["dropout-in-evaluation"]


def test_units_that_are_drawn_from_their_probability_are_no_dropout():
    net = Masked(lambda h: h + (torch.bernoulli(h.sigmoid()) - h).detach())
    assert "dropout-in-evaluation" not in found(watched(net, F.cross_entropy, rows_of_digits))


def test_a_branch_that_starts_at_zero_wakes():
    """As in LoRA: the first factor has no gradient at the first step."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Linear(16, 16, bias=False), nn.Linear(16, 10))
    nn.init.zeros_(net[2].weight)
    assert "layers-without-gradient" not in found(watched(net, F.cross_entropy, rows_of_digits, steps=40))
