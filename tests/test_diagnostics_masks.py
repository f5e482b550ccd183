"""Which targets count in a loss with masks and weights, and the loss of its best constant prediction."""

import math

import pytest
import torch
from faults_probes import LENGTH, TextLSTM, TextNet, characters
from scipy.optimize import minimize
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import nnfoundations.nn.functional
from nnfoundations.diagnostics import Monitor
from nnfoundations.diagnostics._constant import ConstantLoss
from nnfoundations.diagnostics._loss_graph import loss_terms

LIBRARIES = pytest.mark.parametrize("f", [F, nnfoundations.nn.functional], ids=["torch", "ours"])
ROWS, STEPS, CLASSES = 6, 5, 4


def flat(f, scores, y, **options):
    return f.cross_entropy(scores.flatten(0, 1), y.flatten(), reduction="none", **options)


def in_rows(f, scores, y):
    return f.cross_entropy(scores.transpose(1, 2), y, reduction="none")


def by_hand(scores, y):
    return -scores.log_softmax(-1).gather(2, y[..., None])


def soft(scores, y):
    return -(F.one_hot(y, CLASSES).float() * scores.log_softmax(-1)).sum(-1)


def filled(each, m):
    each = each.clone()
    each[~m] = 0
    return each


WAYS = {
    "flat": lambda f, s, y, m: (flat(f, s, y) * m.flatten()).sum() / m.sum(),
    "view": lambda f, s, y, m: (flat(f, s, y).view_as(y) * m.float()).sum() / m.sum(),
    "rows": lambda f, s, y, m: ((in_rows(f, s, y) * m).sum(1) / m.sum(1)).mean(),
    "transposed": lambda f, s, y, m: (in_rows(f, s, y).T * m.T).sum() / m.sum(),
    "permuted": lambda f, s, y, m: (in_rows(f, s, y)[None].permute(2, 0, 1) * m.T[:, None]).sum() / m.sum(),
    "index": lambda f, s, y, m: flat(f, s, y)[m.flatten()].mean(),
    "index-of-rows": lambda f, s, y, m: in_rows(f, s, y)[m.nonzero(as_tuple=True)].mean(),
    "select": lambda f, s, y, m: in_rows(f, s, y).masked_select(m).mean(),
    "fill": lambda f, s, y, m: in_rows(f, s, y).masked_fill(~m, 0).sum() / m.sum(),
    "fill-in-place": lambda f, s, y, m: filled(in_rows(f, s, y), m).sum() / m.sum(),
    "where": lambda f, s, y, m: torch.where(m, in_rows(f, s, y), 0.0).sum() / m.sum(),
    "dot": lambda f, s, y, m: flat(f, s, y) @ m.flatten().float() / m.sum(),
    "slice": lambda f, s, y, m: in_rows(f, s, y)[:, 1:-1].mean(),
    "slice-then-mask": lambda f, s, y, m: (in_rows(f, s, y)[:, 1:] * m[:, 1:]).sum() / m.sum(),
    "step": lambda f, s, y, m: in_rows(f, s, y)[:, -2].mean(),
    "whole-rows": lambda f, s, y, m: (in_rows(f, s, y).mean(1) * m[:, -2]).sum() / m.sum(),
    "two-masks": lambda f, s, y, m: (in_rows(f, s, y)[m] * (y[m] > 0)).sum() / m.sum(),
    "gather": lambda f, s, y, m: (by_hand(s, y)[..., 0] * m).sum() / m.sum(),
    "gather-where": lambda f, s, y, m: torch.where(m, by_hand(s, y).squeeze(-1), 0.0).sum() / m.sum(),
    "class-weight": lambda f, s, y, m: f.cross_entropy(s.flatten(0, 1), y.flatten(), weight=without(0)),
    "class-weight-then-mask": lambda f, s, y, m: (flat(f, s, y, weight=without(1)) * m.flatten()).sum(),
    "ignored": lambda f, s, y, m: f.cross_entropy(s.transpose(1, 2), y, ignore_index=2),
    "log-likelihood": lambda f, s, y, m: (
        f.nll_loss(s.log_softmax(-1).transpose(1, 2), y, reduction="none", weight=without(3)) * m
    ).mean(),
    "none": lambda f, s, y, m: in_rows(f, s, y).mean(),
}


def without(label):
    weight = torch.full((CLASSES,), 1.5)
    weight[label] = 0
    return weight


def example():
    draw = torch.Generator().manual_seed(0)
    scores = torch.randn(ROWS, STEPS, CLASSES, generator=draw).requires_grad_()
    y = torch.randint(CLASSES, (ROWS, STEPS), generator=draw)
    mask = torch.rand(ROWS, STEPS, generator=draw) < 0.6
    mask[:, 0] = True
    return scores, y, mask


@LIBRARIES
@pytest.mark.parametrize("way", WAYS)
def test_the_labels_that_count_are_those_with_a_gradient(f, way):
    scores, y, mask = example()
    loss = WAYS[way](f, scores, y, mask)
    term, *_ = loss_terms(loss, {})
    loss.backward()
    reached = scores.grad.abs().sum(-1) > 0
    assert term.clear
    kept = torch.ones_like(reached) if term.kept is None else term.kept.reshape(y.shape)
    assert torch.equal(kept, reached)
    assert torch.equal(term.target.reshape(y.shape), y)


def test_a_mask_of_samples_counts_for_probabilities_too():
    scores, y, mask = example()
    for loss in (
        soft(scores, y) * mask,
        nnfoundations.nn.functional.cross_entropy(
            scores.transpose(1, 2), F.one_hot(y, CLASSES).transpose(1, 2).float(), reduction="none"
        )
        * mask,
    ):
        (term,) = loss_terms(loss.sum() / mask.sum(), {})
        axis = -1 if term.target.shape[-1] == CLASSES else 1
        assert torch.equal(term.kept.reshape(term.target.shape).all(axis), mask)
        assert torch.equal(term.kept.reshape(term.target.shape).any(axis), mask)


@LIBRARIES
@pytest.mark.parametrize(
    "hidden",
    [
        lambda each, m: each.flatten().index_select(0, m.flatten().nonzero()[:, 0]).mean(),
        lambda each, m: (torch.cat([each, each]) * torch.cat([m, m])).sum() / m.sum(),
        lambda each, m: (each[:, :, None] * m[:, :, None].expand(-1, -1, 2)).sum(),
    ],
    ids=["index-select", "repeated", "broadcast"],
)
def test_labels_that_may_or_may_not_count_are_unclear(f, hidden):
    scores, y, mask = example()
    (term,) = loss_terms(hidden(in_rows(f, scores, y), mask), {})
    assert not term.clear
    assert ConstantLoss().update([term]) is None


class Operations(TorchDispatchMode):
    """Record the operators that run."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func._overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@LIBRARIES
@pytest.mark.parametrize(
    "hidden",
    [
        lambda each, m: (each * m).sum(),
        lambda each, m: (each.T * m.T).sum(),
        lambda each, m: (each[m] * m[m]).sum(),
        lambda each, m: (each[:, 1:] * m[:, 1:]).sum(1).mean(),
        lambda each, m: torch.where(m, each, 0.0).sum(),
    ],
)
def test_masks_are_read_without_waiting_for_the_device(f, hidden):
    scores, y, mask = example()
    loss = hidden(in_rows(f, scores, y), mask)
    with Operations() as seen:
        (term,) = loss_terms(loss, {})
        ConstantLoss().update([term])
    waits = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero"}
    assert seen.names
    assert not seen.names & waits


# -- padded text -------------------------------------------------------------------------------------------


def padded(step):
    """Texts of different lengths, padded with 0 to twice the longest."""
    text, _ = characters()
    draw = torch.Generator().manual_seed(step)
    starts = torch.randint(len(text) - LENGTH - 1, (16, 1), generator=draw)
    whole = text[starts + torch.arange(LENGTH + 1)]
    short = torch.arange(LENGTH) < torch.randint(4, LENGTH // 2, (16, 1), generator=draw)
    return whole[:, :-1] * short, whole[:, 1:] * short


def trained(net, loss):
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    with Monitor(net, optimizer, verbose=False, budget=1.0) as monitor:
        for step in range(12):
            x, y = padded(step)
            optimizer.zero_grad()
            value = loss(net(x), y)
            monitor.observe(value)
            value.backward()
            optimizer.step()
    assert monitor.failure is None
    return monitor


def test_padding_that_a_mask_removes_is_not_in_the_loss():
    for way in ("flat", "rows", "transposed", "index", "where", "gather"):
        monitor = trained(TextLSTM(), lambda out, y, way=way: WAYS[way](F, out, y, y != 0))
        assert monitor.findings == [], way
        assert monitor.history["sequence"].column("padding")[-1] == 0


def test_padding_that_a_class_weight_removes_is_not_in_the_loss():
    size = characters()[1]
    weight = torch.ones(size + 1)
    weight[0] = 0

    def loss(out, y):
        return F.cross_entropy(out.transpose(1, 2), y, weight=weight[: out.shape[-1]])

    assert trained(TextNet(nn), loss).findings == []


def test_padding_in_the_loss_is_found():
    faults = [one.fault for one in trained(TextLSTM(), lambda out, y: in_rows(F, out, y).mean()).findings]
    assert faults == ["padding-in-loss"]


def test_nothing_is_said_where_it_is_unclear_what_counts():
    def loss(out, y):
        return flat(F, out, y).index_select(0, y.flatten().nonzero()[:, 0]).mean()

    monitor = trained(TextLSTM(), loss)
    assert monitor.findings == []
    assert monitor.history.unavailable["sequence"] == "the loss does not show which of its targets count"


# -- the best constant prediction --------------------------------------------------------------------------


def best(loss, width):
    """The smallest loss of one and the same prediction for all samples."""

    def value(scores):
        return float(loss(torch.tensor(scores, dtype=torch.float64)))

    return minimize(value, [0.1] * width, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9}).fun


def constant(loss):
    facts = ConstantLoss().update(loss_terms(loss, {}))
    return None if facts is None else facts[0].item()


LABELS = torch.tensor([0] * 14 + [1] * 4 + [2] * 2)


def test_weights_of_two_classes_that_balance_them():
    labels = torch.tensor([0] * 18 + [1] * 2)
    for f in (F, nnfoundations.nn.functional):
        scores = torch.zeros(20, 2, requires_grad=True)
        loss = f.cross_entropy(scores, labels, weight=torch.tensor([1.0, 9.0]))
        assert constant(loss) == pytest.approx(math.log(2), abs=1e-5)


@LIBRARIES
@pytest.mark.parametrize("weight", [[1.0, 3.0, 9.0], [0.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
def test_weights_of_classes(f, weight):
    weight = torch.tensor(weight)
    wanted = best(lambda s: F.cross_entropy(s.expand(20, 3), LABELS, weight=weight.double()), 3)
    scores = torch.zeros(20, 3, requires_grad=True)
    assert constant(f.cross_entropy(scores, LABELS, weight=weight)) == pytest.approx(wanted, abs=1e-4)
    log = f.nll_loss(scores.log_softmax(1), LABELS, weight=weight)
    assert constant(log) == pytest.approx(wanted, abs=1e-4)
    # What a sum of weighted losses is divided by is not known.
    assert constant(f.cross_entropy(scores, LABELS, weight=weight, reduction="none").mean()) is None


@LIBRARIES
@pytest.mark.parametrize("positive", [torch.tensor(4.0), torch.tensor([4.0]), torch.tensor([0.5, 6.0])])
def test_weights_of_positive_answers(f, positive):
    y = torch.stack([LABELS > 0, LABELS > 1], 1).float()
    wanted = best(
        lambda s: F.binary_cross_entropy_with_logits(
            s.expand(20, 2), y.double(), pos_weight=positive.double()
        ),
        2,
    )
    scores = torch.zeros(20, 2, requires_grad=True)
    loss = f.binary_cross_entropy_with_logits(scores, y, pos_weight=positive)
    assert constant(loss) == pytest.approx(wanted, abs=1e-4)
    weighted = f.binary_cross_entropy_with_logits(scores, y, weight=torch.rand(20, 2))
    assert constant(weighted) is None


@LIBRARIES
def test_only_the_targets_that_count(f):
    scores, mask = torch.zeros(20, 3, requires_grad=True), torch.arange(20) % 3 > 0
    wanted = best(lambda s: F.cross_entropy(s.expand(20, 3)[mask], LABELS[mask]), 3)
    each = f.cross_entropy(scores, LABELS, reduction="none")
    assert constant((each * mask).sum() / mask.sum()) == pytest.approx(wanted, abs=1e-4)
    assert constant(each[mask].mean()) == pytest.approx(wanted, abs=1e-4)
    assert constant((each * mask).mean()) is None  # a mean over all, which may be corrected later
    y = torch.where(mask, torch.arange(20.0), math.nan)[:, None]
    error = f.mse_loss(scores[:, :1], y, reduction="none").masked_fill(~mask[:, None], 0).sum() / mask.sum()
    facts = ConstantLoss().update(loss_terms(error, {}))
    wanted = [float(y[mask].var(correction=0)), float(y[mask].min()), float(y[mask].max())]
    assert facts.tolist() == pytest.approx(wanted)


def dice(p, y):
    return 1 - 2 * (p * y).sum() / (p.sum() + y.sum())


@LIBRARIES
def test_a_loss_of_several_terms_has_no_known_constant_loss(f):
    net = nn.Linear(4, 3)
    x, yes = torch.randn(20, 4), (LABELS > 0).float()
    scores = net(x)
    entropy, logits = f.cross_entropy(scores, LABELS), scores[:, 0]
    binary = f.binary_cross_entropy_with_logits(logits, yes)
    p = scores.softmax(1)
    for loss in (
        binary + dice(logits.sigmoid(), yes),
        entropy + 0.1 * (p * p.log()).sum(1).mean(),
        entropy + 0.1 * scores.square().mean(),
        entropy + f.mse_loss(scores, torch.randn(20, 3)),
        f.mse_loss(scores, torch.randn(20, 3)) - 0.5 * (1 + scores - scores.exp()).mean(),
        ((1 - p[range(20), LABELS]) ** 2 * f.cross_entropy(scores, LABELS, reduction="none")).mean(),
    ):
        assert constant(loss) is None


@LIBRARIES
def test_penalties_of_weights_and_smooth_labels_are_no_other_terms(f):
    net = nn.Linear(4, 3)
    scores = net(torch.randn(20, 4))
    plain = constant(f.cross_entropy(scores, LABELS))
    penalties = (
        sum(p.square().sum() for p in net.parameters()),
        sum(p.abs().sum() for p in net.parameters()),
        sum(p.norm() for p in net.parameters()),
        nn.utils.parameters_to_vector(net.parameters()).pow(2).mean(),
        (net.weight * net.weight).sum(),
    )
    for penalty in penalties:
        assert constant(f.cross_entropy(scores, LABELS) + 1e-3 * penalty) == plain
    assert constant(f.cross_entropy(scores, LABELS, label_smoothing=0.1)) == plain
