"""The cost of diagnostics in a plain loop, at steps with and without measurements."""

import gc
import tracemalloc
from time import perf_counter

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD, Adam
from torch.utils._python_dispatch import TorchDispatchMode
from watched import batches, closed, never_look, watch
from zoo import MLP

from nnfoundations.diagnostics import Monitor
from nnfoundations.diagnostics._schedule import Schedule


class Ops(TorchDispatchMode):
    """Records the operations that run."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen.append(str(function))
        return function(*args, **(kwargs or {}))


def train_step(net, optimizer, monitor, x, y):
    loss = F.cross_entropy(net(x), y)
    if monitor is not None:
        monitor.observe(loss)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


SUM = ["aten.sum.default"]
FUSED = ["aten._amp_foreach_non_finite_check_and_unscale_.default", "aten.zeros.default"]


@pytest.mark.parametrize(("layers", "check"), [(3, FUSED), (20, SUM)], ids=["small", "large"])
def test_a_step_that_is_not_looked_at_reads_two_numbers(layers, check):
    """On a CPU: the loss, and one number that tells whether gradients are finite. Nothing else runs.

    In a small net one call checks all gradients, in a large one the last that backward computes is summed up.
    """
    net = MLP(layers)
    optimizer = SGD(net.parameters(), 1e-3)
    (x, y), *_ = batches(1)
    seen = []
    for monitor in (None, watch(net, optimizer)):
        for _ in range(3):
            train_step(net, optimizer, monitor, x, y)
        if monitor:
            never_look(monitor)
            for _ in range(3):  # measurements come in pairs; the last one is read here
                train_step(net, optimizer, monitor, x, y)
        with Ops() as ops:
            train_step(net, optimizer, monitor, x, y)
        seen.append([op for op in ops.seen if op != "aten.detach.default"])  # an alias, no computation
    without, ours = seen
    for op in without:
        ours.remove(op)
    reads = "aten._local_scalar_dense.default"
    assert sorted(ours) == sorted([*check, reads, reads])


def test_a_device_is_never_waited_for_on_such_a_step():
    """Tensors on `meta` have no numbers, so reading one would raise."""
    with torch.device("meta"):
        net, x, y = MLP(3), torch.empty(64, 64), torch.empty(64, dtype=torch.long)
    optimizer = SGD(net.parameters(), 1e-3)
    monitor = watch(net, optimizer)
    never_look(monitor)
    for _ in range(31):
        train_step(net, optimizer, monitor, x, y)
    measurements = monitor._engine._measurements
    assert monitor.failure is None
    assert not any(
        probe.failed for probe in (measurements.loss, measurements.gradients, measurements.nonfinite)
    )
    assert measurements.watched.losses.pending == 31


def test_the_cost_of_a_step_that_is_not_looked_at():
    """The limit is ten times the measured cost: it shows a gross error, but not a busy machine."""
    net = MLP(3)
    optimizer = SGD(net.parameters(), 1e-3)
    monitor = watch(net, optimizer)
    (x, y), *_ = batches(1)
    for _ in range(3):
        train_step(net, optimizer, monitor, x, y)
    never_look(monitor)
    schedule = monitor._engine.schedule
    before = schedule.spent
    for _ in range(300):
        never_look(monitor)
        train_step(net, optimizer, monitor, x, y)
    assert 0 < schedule.spent - before < 300 * 400e-6


@pytest.mark.parametrize("every", [1, 5, 7, 30])
def test_steps_are_paid_for_however_often_one_validates(every):
    """A validation does not lose the budget that steps have added, or measurements would end."""
    net = MLP(2)
    optimizer = SGD(net.parameters(), 1e-3)
    monitor = watch(net, optimizer)
    (x, y), *_ = batches(1)
    took = 0.0
    for step in range(300):
        start = perf_counter()
        train_step(net, optimizer, monitor, x, y)
        took += perf_counter() - start
        if step % every == every - 1:
            monitor.validated(1.0)
    closed(monitor)
    schedule = monitor._engine.schedule
    assert schedule.steps == 300
    assert schedule.trained + schedule.spent > 0.7 * took


def test_a_rate_that_jumps_again_soon_is_measured_and_no_more():
    net = MLP(2)
    optimizer = SGD(net.parameters(), 1e-4)
    monitor = watch(net, optimizer)
    (x, y), *_ = batches(1)
    looked = []
    for step in range(220):
        if step == 150:
            never_look(monitor)
            monitor._engine.schedule.steps = 150
        if step in (201, 206, 211):
            optimizer.param_groups[0]["lr"] *= 4
        train_step(net, optimizer, monitor, x, y)
        looked.append(monitor._engine._step.gradients)
    assert [step for step in range(204, 220) if looked[step]] == [206, 210, 211, 219]
    assert {206, 211} <= set(closed(monitor)["gradient_norm"].steps.tolist())


@pytest.mark.parametrize(
    ("price", "total", "expected"),
    [
        (1e-3, 1230, [72, 124, 176, 228, 280]),
        (5e-3, 1230, [120, 220, 320, 420, 520]),  # a half of the budget pays for twelve
        (25e-3, 1230, [520, 1020, 1221]),  # for two, and one at the end
        (1e-3, 30, [28]),  # for one
        (1e-3, None, []),  # a run of unknown length
    ],
)
def test_a_short_run_is_measured_until_its_end(price, total, expected):
    """Its dense start is not paid back before the end: a share of the whole budget is kept for later."""
    schedule = Schedule()
    measured = []
    for step in range(min(total or 1230, 1230)):
        schedule.trained += 2e-3
        if schedule.wants_gradients(step, total):
            measured.append(step)
            schedule.gradients.seconds = price
            schedule.measured(step)
            schedule.gradients.seconds = 0.0
        schedule.steps += 1
    assert measured[:21] == list(range(21))
    later = measured[21:]
    assert later[: len(expected)] == expected
    assert bool(later) == bool(expected)
    assert not later or later[-1] > 0.9 * total


def test_a_measurement_that_fails_ends_alone():
    net = MLP(2)
    optimizer = SGD(net.parameters(), 1e-3)
    monitor = watch(net, optimizer, verbose=False)
    (x, y), *_ = batches(1)
    for step in range(60):
        if step == 55:
            monitor._engine._measurements.watched.losses.write = None  # cannot be called
            monitor._engine.schedule.inspect()
        train_step(net, optimizer, monitor, x, y)
    assert monitor.failure is None
    assert monitor.history["gradient_norm"].steps[-1] > 55
    reasons = monitor.not_run
    assert "reading the loss failed with TypeError" in reasons["learning-rate-too-high"]
    assert "constant-inputs" not in reasons


@pytest.mark.weekly
def test_memory_does_not_grow():
    """20,000 steps: the second half needs no more memory, and the history stays within its capacity."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
    optimizer = SGD(net.parameters(), 1e-3)
    monitor = watch(net, optimizer, budget=0.05)
    (x, y), *_ = batches(1, 16)
    sizes = []
    tracemalloc.start()
    for step in range(20_001):
        train_step(net, optimizer, monitor, x, y)
        if step in (10_000, 20_000):
            gc.collect()
            sizes.append((tracemalloc.get_traced_memory()[0], len(gc.get_objects())))
    tracemalloc.stop()
    history = closed(monitor)
    (bytes_then, objects_then), (bytes_now, objects_now) = sizes
    assert bytes_now - bytes_then < 50_000
    assert objects_now - objects_then < 200
    assert all(len(s) <= s.capacity for s in history.series.values())
    assert history["loss"].steps[0] == 0
    assert history["loss"].steps[-1] == 20_000
    assert history["gradient_norm"].steps[-1] > 10_000


@pytest.mark.weekly
def test_the_budget_is_kept():
    """The time of 2,000 steps of a few milliseconds each."""
    torch.manual_seed(0)
    net = MLP(4, 512)
    optimizer = Adam(net.parameters(), 1e-4)
    monitor = Monitor(net, optimizer, verbose=False)
    data = list(batches(20, 256))
    start = perf_counter()
    for i in range(2_000):
        train_step(net, optimizer, monitor, *data[i % 20])
    total = perf_counter() - start
    monitor.close()
    schedule = monitor._engine.schedule
    allowed = 2_000 * max(0.1e-3, 0.01 * total / 2_000)
    assert schedule.spent < 1.5 * allowed + 0.2  # the dense start is paid back later
