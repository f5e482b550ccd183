"""A real run with each fault names it, the place and nothing else; the same net without it trains "
"unmentioned."""

import pytest
import torch
from controls import CONTROLS, HELD_OUT
from faults import FAULTS
from zoo import run

from nnfoundations.callbacks import Diagnostics
from nnfoundations.diagnostics import RULES

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:Found .* in eval mode"),
    pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval"),
]


def faulty_runs():
    """Each fault in its first net; in its other nets under `-m slow`."""
    for fault in FAULTS:
        for i, net in enumerate(fault.nets):
            yield pytest.param(fault, net, id=f"{fault.id}-{net}", marks=[pytest.mark.slow] if i else [])


@pytest.mark.parametrize(("fault", "net"), list(faulty_runs()))
def test_a_fault_is_named(fault, net):
    seen = {}
    case = fault.broken(net)
    diagnostics = Diagnostics(
        budget=1.0,
        verbose=False,
        on_finding=lambda finding: seen.setdefault(finding.fault, module.trainer.global_step),
    )
    module = case.build()
    run(module, case.steps, case.data, diagnostics=diagnostics, **case.options)
    assert diagnostics.failure is None
    named = [finding.fault for finding in diagnostics.findings]
    assert len(named) == 1, f"one cause, not {named}"
    (finding,) = diagnostics.findings
    assert finding.fault in fault.causes
    assert seen[finding.fault] <= fault.by, "too late"
    if fault.where is not None:
        assert any(fault.where(case) in place for place in finding.where), finding.where
    assert finding.evidence, "with evidence"
    assert finding.cause, "with a cause"
    assert finding.remedy, "with a remedy"


def healthy_twins():
    """Those that train another net than the usual one; the usual ones are shared by many faults."""
    seen = set()
    for fault in FAULTS:
        for net in fault.nets:
            key = (fault.twin, net)
            if key not in seen:
                seen.add(key)
                slow = [pytest.mark.slow] if fault.id == "F31" and net in "RT" else []
                yield pytest.param(fault, net, id=f"{fault.id}-{net}", marks=slow)


@pytest.mark.parametrize(("fault", "net"), list(healthy_twins()))
def test_its_healthy_twin_is_silent(fault, net):
    case = fault.healthy(net)
    diagnostics = run(case.build(), case.steps, case.data, **case.options)
    assert diagnostics.failure is None
    assert diagnostics.findings == []


def controls():
    yield from (pytest.param(control, 0, id=str(control)) for control in CONTROLS)
    for control in HELD_OUT:
        yield pytest.param(control, 0, id=str(control), marks=pytest.mark.slow)
    for control in CONTROLS:
        yield pytest.param(control, 1, id=f"{control}-again", marks=pytest.mark.slow)


@pytest.mark.parametrize(("control", "seed"), list(controls()))
def test_a_healthy_run_is_silent(control, seed):
    torch.manual_seed(seed)
    case = control.make()
    torch.manual_seed(seed)
    diagnostics = run(case.build(), case.steps, case.data, **case.options)
    assert diagnostics.failure is None
    assert diagnostics.findings == []


def test_every_rule_has_a_run_that_it_catches():
    """A rule without one does not count."""
    assert {rule.fault for rule in RULES} <= {fault.causes[0] for fault in FAULTS}
