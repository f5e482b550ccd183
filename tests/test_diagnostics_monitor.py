"""The same diagnostics from a plain loop, or with Fabric, in three added lines; and what they cost there."""

import gc
import tracemalloc
from time import perf_counter

import pytest
import torch
from lightning.fabric import Fabric
from torch import nn
from torch.nn import functional as F
from torch.optim import LBFGS, SGD, Adam
from torch.utils._python_dispatch import TorchDispatchMode
from zoo import CNN, MLP, digits

from nnfoundations.diagnostics import Monitor, Severity


def watch(model, optimizer, **options):
    return Monitor(model, optimizer, **{"verbose": False, "budget": 1.0, **options})


def batches(n, size=64):
    x, y, *_ = digits()
    generator = torch.Generator().manual_seed(0)
    for _ in range(n):
        chosen = torch.randint(len(x), (size,), generator=generator)
        yield x[chosen], y[chosen]


def silent(monitor):
    monitor.close()
    assert monitor.failure is None
    assert [str(f) for f in monitor.findings if f.severity is not Severity.INFO] == []
    return monitor.history


def hooks(model, *optimizers):
    found = [h for m in model.modules() for h in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks)]
    found += [h for o in optimizers for h in (o._optimizer_step_pre_hooks, o._optimizer_step_post_hooks)]
    return sum(len(h) for h in found)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return MLP(3)


@pytest.mark.parametrize("order", ["zero first", "zero after observe", "zero after step"])
def test_three_lines_in_any_usual_order(net, order):
    optimizer = Adam(net.parameters(), 1e-3)
    monitor = watch(net, optimizer)
    for x, y in batches(60):
        if order == "zero first":
            optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        monitor.observe(loss)
        if order == "zero after observe":
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if order == "zero after step":
            optimizer.zero_grad(set_to_none=False)
    history = silent(monitor)
    assert history["loss"].steps.tolist() == list(range(60))
    assert history["stale_gradient"].rows.max() == 0
    assert hooks(net, optimizer) == 0


def test_gradients_that_are_never_zeroed_are(net):
    optimizer = SGD(net.parameters(), 1e-3)
    with watch(net, optimizer) as monitor:
        for x, y in batches(20):
            loss = F.cross_entropy(net(x), y)
            monitor.observe(loss)
            loss.backward()
            optimizer.step()
    assert monitor.findings[0].fault == "gradients-not-zeroed"


def test_evaluation_in_between_is_no_batch(net):
    optimizer = Adam(net.parameters(), 1e-3)
    monitor = watch(net, optimizer)
    x_val, y_val = digits()[2:]
    for i, (x, y) in enumerate(batches(60)):
        loss = F.cross_entropy(net(x), y)
        monitor.observe(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if i % 10 == 9:
            net.eval()
            with torch.no_grad():
                out = net(x_val)
            net.train()
            accuracy = float((out.argmax(1) == y_val).float().mean())
            monitor.validated(float(F.cross_entropy(out, y_val)), accuracy, samples=500)
    history = silent(monitor)
    assert history["validation_loss"].steps.tolist() == [9, 19, 29, 39, 49, 59]
    assert history["loss"].steps.tolist() == list(range(60))


@pytest.mark.parametrize("fused", [False, True])
def test_a_loss_scaler_that_skips(net, fused):
    """Scale 2^28: the first steps overflow. Norms are unscaled, skipped steps are counted, no fault."""
    optimizer = Adam(net.parameters(), 1e-3, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**28)
    monitor = watch(net, optimizer, scaler=scaler)
    taken = 0
    for x, y in batches(60):
        with torch.autocast("cpu", torch.float16):
            loss = F.cross_entropy(net(x), y)
        monitor.observe(loss)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        before = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        taken += scaler.get_scale() >= before
    history = silent(monitor)
    assert history["skipped"].rows[-1, 0] == 60 - taken >= 3
    norms = (history["gradient_norm"].rows ** 2).sum(1) ** 0.5
    assert len(norms) > 10
    assert (norms < 100).all()
    assert history["update_ratio"].rows[-1].max() < 0.1
    assert history["loss"].steps.tolist() == list(range(60))


def test_clipping_after_unscaling(net):
    optimizer = SGD(net.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    monitor = watch(net, optimizer, scaler=scaler)
    for x, y in batches(60):
        loss = F.cross_entropy(net(x), y)
        monitor.observe(loss)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
    norms = (silent(monitor)["gradient_norm"].rows ** 2).sum(1) ** 0.5
    assert norms.max() <= 1.001


def test_accumulation_with_a_short_last_cycle(net):
    optimizer = Adam(net.parameters(), 1e-3)
    monitor = watch(net, optimizer)
    for _ in range(6):
        for i, (x, y) in enumerate(batches(10, 16)):
            loss = F.cross_entropy(net(x), y)
            monitor.observe(loss)
            (loss / 4).backward()
            if i % 4 == 3 or i == 9:
                optimizer.step()
                optimizer.zero_grad()
    history = silent(monitor)
    assert history["loss"].steps.tolist() == list(range(18))
    assert history["gradient_norm"].steps.tolist() == list(range(18))


def test_a_closure_counts_once_and_before_the_weights_move(net):
    optimizer = LBFGS(net.parameters(), lr=0.5, max_iter=4)
    monitor = watch(net, optimizer)
    norms = []
    for x, y in batches(12):

        def closure(x=x, y=y):
            loss = F.cross_entropy(net(x), y)
            monitor.observe(loss)
            optimizer.zero_grad()
            loss.backward()
            total = torch.stack([p.grad.norm() for p in net.parameters()]).norm()
            norms[-1].append(float(total))
            return loss

        norms.append([])
        optimizer.step(closure)
    history = silent(monitor)
    assert history["loss"].steps.tolist() == list(range(12))
    measured = (history["gradient_norm"].rows ** 2).sum(1) ** 0.5
    assert measured.tolist() == pytest.approx([each[0] for each in norms], rel=1e-5)
    assert all(len(each) > 1 for each in norms)


def test_two_optimizers_in_turn():
    """A small GAN: losses that cycle are no fault, and each net has gradients of its own."""
    torch.manual_seed(0)
    make, judge = MLP(2), nn.Sequential(nn.Linear(10, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
    both = nn.ModuleDict({"make": make, "judge": judge})
    optimizers = [Adam(judge.parameters(), 2e-4), Adam(make.parameters(), 2e-4)]
    monitor = watch(both, optimizers)
    for x, _ in batches(80):
        fake = make(x)
        real = torch.randn(64, 10) + 2
        loss = F.softplus(-judge(real)).mean() + F.softplus(judge(fake.detach())).mean()
        monitor.observe(loss)
        optimizers[0].zero_grad()
        loss.backward()
        optimizers[0].step()
        loss = F.softplus(-judge(fake)).mean()
        monitor.observe(loss)
        optimizers[1].zero_grad()
        loss.backward()
        optimizers[1].step()
    history = silent(monitor)
    assert "several optimizers" in monitor.not_run["learning-rate-too-low"]
    assert {"make.0.weight", "judge.0.weight"} <= set(history["gradient_norm"].columns)


def test_with_fabric():
    torch.manual_seed(0)
    fabric = Fabric(accelerator="cpu", devices=1)
    model = MLP(3)
    optimizer = Adam(model.parameters(), 1e-3)
    net, outer = fabric.setup(model, optimizer)
    monitor = watch(net, outer)
    for x, y in batches(60):
        loss = F.cross_entropy(net(x), y)
        monitor.observe(loss)
        outer.zero_grad()
        fabric.backward(loss)
        outer.step()
    history = silent(monitor)
    assert history["gradient_norm"].columns[0] == "0.weight"
    assert len(history["update_ratio"]) > 10
    assert hooks(model, optimizer) == 0


@pytest.mark.parametrize("how", ["function", "method", "part"])
def test_compiled(how):
    torch.manual_seed(0)
    model, counts = CNN(), []
    for watched in (False, True):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        model = MLP(3)
        net = torch.compile(model, backend="aot_eager") if how == "function" else model
        if how == "method":
            net.compile(backend="aot_eager")
        if how == "part":
            net = nn.Sequential(torch.compile(model, backend="aot_eager"), nn.Identity())
        optimizer = Adam(net.parameters(), 1e-3)
        monitor = watch(net, optimizer) if watched else None
        for x, y in batches(30):
            loss = F.cross_entropy(net(x), y)
            if monitor:
                monitor.observe(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        counters = torch._dynamo.utils.counters
        counts.append((dict(counters["stats"]), dict(counters["graph_break"])))
    torch._dynamo.reset()
    history = silent(monitor)
    assert counts[0] == counts[1]
    assert counts[0][0]["unique_graphs"] > 0
    assert len(history["gradient_norm"]) > 10
    assert "compiled" in monitor.not_run["dead-units"]


def test_lazy_layers():
    torch.manual_seed(0)
    net = nn.Sequential(nn.LazyLinear(32), nn.ReLU(), nn.LazyLinear(10))
    optimizer = None
    monitor = None
    for x, y in batches(40):
        if optimizer is None:
            optimizer = Adam(net.parameters(), 1e-3)
            monitor = watch(net, optimizer)
        loss = F.cross_entropy(net(x), y)
        monitor.observe(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert silent(monitor)["gradient_norm"].columns[0] == "0.weight"


def test_what_is_printed_in_a_notebook(net, capsys):
    """A cell is code run by `exec` in a kernel whose streams are no terminal."""
    cell = """
optimizer = SGD(net.parameters(), 1e-3)
monitor = Monitor(net, optimizer)
for x, y in batches(20):
    loss = F.cross_entropy(net(x), y)
    monitor.observe(loss)
    loss.backward()
    optimizer.step()
monitor.close()
"""
    exec(compile(cell, "<cell>", "exec"), {**globals(), "net": net})
    said = capsys.readouterr()
    text = said.out + said.err
    assert "gradients-not-zeroed (error), step 1" in text
    assert "right after a step" in " ".join(text.split())
    assert "\x1b[" not in text


def test_an_exception_in_the_loop_takes_the_hooks_off(net):
    optimizer = SGD(net.parameters(), 1e-3)
    monitor = watch(net, optimizer)

    def loop():
        with monitor:
            for x, y in batches(20):
                monitor.observe(F.cross_entropy(net(x), y))
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop()
    assert hooks(net, optimizer) == 0
    assert monitor.failure is None


# -- cost ------------------------------------------------------------------------------------------------


class Ops(TorchDispatchMode):
    """Which operations run."""

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


def never_look(monitor):
    monitor._engine.schedule.steps = 10**6
    for account in (monitor._engine.schedule.gradients, monitor._engine.schedule.activations):
        account.balance = float("-inf")


def test_a_step_that_is_not_looked_at_reads_a_number_a_layer(net):
    """On a CPU the loss, and of each of a few layers a product of a gradient; nothing else runs."""
    optimizer = SGD(net.parameters(), 1e-3)
    (x, y), *_ = batches(1)
    seen = []
    for monitor in (None, watch(net, optimizer)):
        for _ in range(3):
            train_step(net, optimizer, monitor, x, y)
        if monitor:
            never_look(monitor)
            for _ in range(3):  # the last look comes in pairs, and is read
                train_step(net, optimizer, monitor, x, y)
        with Ops() as ops:
            train_step(net, optimizer, monitor, x, y)
        seen.append(ops.seen)
    without, ours = seen
    for op in without:
        ours.remove(op)
    ours = [op for op in ours if op != "aten.detach.default"]
    layers = sum(isinstance(module, nn.Linear) for module in net.modules())
    assert sorted(ours) == sorted(
        ["aten._local_scalar_dense.default"] * (1 + layers) + ["aten.dot.default"] * layers
    )


def test_of_many_layers_two_numbers_are_read():
    net = MLP(20)
    optimizer = SGD(net.parameters(), 1e-3)
    monitor = watch(net, optimizer)
    (x, y), *_ = batches(1)
    for step in range(5):
        if step == 1:
            never_look(monitor)
        with Ops() as ops:
            train_step(net, optimizer, monitor, x, y)
    assert ops.seen.count("aten._local_scalar_dense.default") == 2
    assert "aten.cat.default" in ops.seen


def test_a_device_is_never_waited_for_on_such_a_step():
    """Tensors on `meta` have no numbers at all: any read of one would raise."""
    with torch.device("meta"):
        net, x, y = MLP(3), torch.empty(64, 64), torch.empty(64, dtype=torch.long)
    optimizer = SGD(net.parameters(), 1e-3)
    monitor = watch(net, optimizer)
    never_look(monitor)
    for _ in range(31):
        train_step(net, optimizer, monitor, x, y)
    assert monitor.failure is None
    assert monitor._engine._subject.tape.pending == 31


def test_the_cost_of_a_step_that_is_not_looked_at(net):
    """Ten times what was measured: a gross error shows, a busy machine does not."""
    optimizer = SGD(net.parameters(), 1e-3)
    monitor = watch(net, optimizer)
    (x, y), *_ = batches(1)
    for _ in range(3):
        train_step(net, optimizer, monitor, x, y)
    never_look(monitor)
    engine, spent = monitor._engine, []
    for _ in range(300):
        never_look(monitor)
        before = engine.schedule.spent
        train_step(net, optimizer, monitor, x, y)
        spent.append(engine.schedule.spent - before)
    assert sorted(spent)[150] < 400e-6


@pytest.mark.slow
def test_memory_does_not_grow():
    """20,000 steps: the second half adds nothing, and the history stays within its capacity."""
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
    history = silent(monitor)
    (bytes_then, objects_then), (bytes_now, objects_now) = sizes
    assert bytes_now - bytes_then < 50_000
    assert objects_now - objects_then < 200
    assert all(len(s) <= s.capacity for s in history.series.values())
    assert history["loss"].steps[0] == 0
    assert history["loss"].steps[-1] == 20_000
    assert history["gradient_norm"].steps[-1] > 10_000  # on a busy machine the looks are rarer, yet go on


@pytest.mark.slow
def test_the_budget_is_kept():
    """At steps of a few milliseconds, the time of 2,000 of them."""
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
