"""Real runs: each fault is found, at the right place and in time; healthy runs have no finding.

Every rule finds one fault in the fast tests. The slow ones inject every fault in one net and run the
healthy controls; the weekly ones add the other nets, the held-out controls and a second random seed.
"""

import pytest
import torch
from controls import CONTROLS, HELD_OUT
from faults import FAULTS
from watched import unharmed
from zoo import run

from nnfoundations.callbacks import Diagnostics
from nnfoundations.diagnostics import RULES

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:Found .* in eval mode"),
    pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval"),
    pytest.mark.filterwarnings("ignore:Using a target size"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step`"),
]

FAST = (
    "vanishing-gradients/sigmoids",
    "bad-initialization/unit-weights",
    "symmetric-weights/zero",
    "bad-output-scale/last-layer",
    "unscaled-inputs/times-1000",
    "constant-inputs/one-image",
    "non-finite-input/nan-pixel",
    "exploding-gradients/through-time",
    "dead-units/bias",
    "saturated-units/bias",
    "learning-rate-too-high/adam",
    "learning-rate-too-low/adam",
    "softmax-before-cross-entropy/softmax",
    "unstable-loss-function/log-of-zero",
    "non-finite/overflow",
    "overfitting/few-samples",
    "parameter-not-in-optimizer/left-out",
    "graph-cut/detach",
    "gradients-not-zeroed/no-zero-grad",
    "train-mode-off/eval-in-step",
    "softmax-over-one-unit/sigmoid-replaced",
    "softmax-over-batch/dim-0",
    "loss-needs-log-probabilities/logarithm",
    "output-activation-mismatch/relu",
    "targets-out-of-range/class-indices",
    "shape-broadcast-in-loss/squared",
    "loss-unfit-for-targets/class-indices",
    "constant-targets/one-class",
    "unscaled-targets/times-100",
    "no-gradient/dead-output",
    "no-learning/one-feature-norm",
    "weight-decay-too-strong/sgd",
    "schedule-interval/decay-per-step",
    "schedule-ends-early/linear",
    "schedule-longer-than-run/cosine",
    "clipping-too-tight/norm-1e-4",
    "loss-sign-wrong/minus",
    "loss-not-averaged/sum",
    "stopped-too-early/half-the-steps",
    "train-val-mismatch/raw-pixels",
    "validation-loss-differs/squares",
    "train-val-overlap/copy",
    "batches-not-shuffled/sorted-by-class",
    "bad-batch/times-10000",
    "labels-unrelated-to-inputs/permuted-in-batches",
    "noisy-labels/thirty-per-cent",
    "batch-statistics-too-noisy/batch-of-two",
    "over-regularized/dropout",
    "one-class-predicted/rare-class",
    "samples-mixed/batch-first",
    "causal-leak/off-by-one",
    "targets-equal-inputs/not-shifted",
    "padding-in-loss/not-ignored",
    "padding-attended/mask-ignored",
    "gradient-underflow/small-loss",
    "sequence-padding-read/last-state",
    "dropout-in-evaluation/function",
    "evaluation-differs/flipped",
    "attention-saturation/large-weights",
    "layers-without-gradient/round",
)
"""One fault for each rule."""

FAST_HEALTHY = ("healthy/lora", "healthy/one-big-step")
LONGEST = ("healthy/transformer", "healthy/gpt", "healthy/zero-init-branches", "healthy/long-sequence")
"""More than 5 seconds; only run weekly."""

SLOW, WEEKLY = pytest.mark.slow, pytest.mark.weekly


def faulty_runs():
    """Each fault in its first net; in its other nets weekly."""
    for fault in FAULTS:
        first, *others = fault.nets
        yield pytest.param(fault, first, id=f"{fault.id}/{first}", marks=() if fault.id in FAST else SLOW)
        yield from (pytest.param(fault, net, id=f"{fault.id}/{net}", marks=WEEKLY) for net in others)


@pytest.mark.parametrize(("fault", "net"), list(faulty_runs()))
def test_a_fault_is_found(fault, net):
    """As the only finding, in time, with the layer, the evidence, the cause and the remedy."""
    found_at = {}
    case = fault.broken(net)
    diagnostics = Diagnostics(
        budget=1.0,
        verbose=False,
        on_finding=lambda finding: found_at.setdefault(finding.fault, module.trainer.global_step),
    )
    module = case.build()
    run(module, case.steps, case.data, diagnostics=diagnostics, **case.options)
    unharmed(diagnostics)
    found = [finding.fault for finding in diagnostics.findings]
    assert len(found) == 1, f"one root cause, not {found}"
    (finding,) = diagnostics.findings
    assert finding.fault in fault.causes
    assert found_at[finding.fault] <= fault.by, "too late"
    if fault.where is not None:
        assert any(fault.where(case) in place for place in finding.where), finding.where
    assert finding.evidence, "no evidence"
    assert finding.cause, "no cause"
    assert finding.remedy, "no remedy"


def healthy_twins():
    """One for each net and way to train it; many faults share the same twin."""
    seen = set()
    for fault in FAULTS:
        for i, net in enumerate(fault.nets):
            if (fault.twin, net) not in seen:
                seen.add((fault.twin, net))
                yield pytest.param(fault, net, id=f"{fault.id}/{net}", marks=WEEKLY if i else SLOW)


@pytest.mark.parametrize(("fault", "net"), list(healthy_twins()))
def test_the_healthy_twin_has_no_finding(fault, net):
    case = fault.healthy(net)
    diagnostics = run(case.build(), case.steps, case.data, **case.options)
    unharmed(diagnostics)
    assert diagnostics.findings == []


def controls():
    """Every second one with each change; the others, and all with another seed, weekly."""
    for i, control in enumerate(CONTROLS):
        weekly = i % 2 == 1 or control.id in LONGEST
        marks = () if control.id in FAST_HEALTHY else WEEKLY if weekly else SLOW
        yield pytest.param(control, 0, id=control.id, marks=marks)
        yield pytest.param(control, 1, id=f"{control.id}/seed-1", marks=WEEKLY)
    for control in HELD_OUT:
        yield pytest.param(control, 0, id=control.id, marks=WEEKLY)


@pytest.mark.parametrize(("control", "seed"), list(controls()))
def test_a_healthy_run_has_no_finding(control, seed):
    torch.manual_seed(seed)
    case = control.make()
    torch.manual_seed(seed)
    diagnostics = run(case.build(), case.steps, case.data, **case.options)
    unharmed(diagnostics)
    assert diagnostics.findings == []


def test_every_rule_finds_a_fault_in_the_fast_tests():
    """A rule without a real run that it catches does not count."""
    fast = {fault.causes[0] for fault, _ in (p.values for p in faulty_runs() if not p.marks)}
    assert fast == {rule.fault for rule in RULES}


def test_ids_are_unique_and_all_run():
    """A run whose name is misspelt above would move to another tier unnoticed."""
    faults, healthy = [fault.id for fault in FAULTS], [control.id for control in (*CONTROLS, *HELD_OUT)]
    assert len({*faults, *healthy}) == len(faults) + len(healthy)
    assert set(FAST) <= set(faults)
    assert {*FAST_HEALTHY, *LONGEST} <= {control.id for control in CONTROLS}
