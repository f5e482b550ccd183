"""Diagnostics in a plain loop or with Fabric, by three added lines."""

import pytest
import torch
from lightning.fabric import Fabric
from torch import nn
from torch.nn import functional as F
from torch.optim import LBFGS, SGD, Adam
from watched import batches, closed, hooks, unharmed, watch
from zoo import CNN, MLP, digits

from nnfoundations.diagnostics import Monitor


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
    history = closed(monitor)
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
    history = closed(monitor)
    assert history["validation_loss"].steps.tolist() == [9, 19, 29, 39, 49, 59]
    assert history["loss"].steps.tolist() == list(range(60))


@pytest.mark.parametrize("fused", [False, True])
def test_a_loss_scaler_that_skips(net, fused):
    """Scale 2^28: the first steps overflow. Norms are unscaled, and skipped steps are not a fault."""
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
    history = closed(monitor)
    assert history["skipped"].rows[-1, 0] == 60 - taken >= 3
    norms = (history["gradient_norm"].rows ** 2).sum(1) ** 0.5
    assert len(norms) > 5, "of the steps that were taken in the dense start"
    assert (norms < 100).all()
    assert history["update_ratio"].rows[-1, ::2].max() < 0.1  # biases that started at 0 have no ratio yet
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
    norms = (closed(monitor)["gradient_norm"].rows ** 2).sum(1) ** 0.5
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
    history = closed(monitor)
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
    history = closed(monitor)
    assert history["loss"].steps.tolist() == list(range(12))
    measured = (history["gradient_norm"].rows ** 2).sum(1) ** 0.5
    assert measured.tolist() == pytest.approx([each[0] for each in norms], rel=1e-5)
    assert all(len(each) > 1 for each in norms)


def test_two_optimizers_in_turn():
    """A small GAN: cyclic losses are not a fault, and each network has its own gradients."""
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
    history = closed(monitor)
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
    history = closed(monitor)
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
    history = closed(monitor)
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
    assert closed(monitor)["gradient_norm"].columns[0] == "0.weight"


def test_what_is_printed_in_a_notebook(net, capsys):
    """A cell runs by `exec` in a kernel whose streams are not terminals."""
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
    exec(compile(cell, "<cell>", "exec"), {**globals(), "Monitor": Monitor, "net": net})
    said = capsys.readouterr()
    text = said.out + said.err
    assert "gradients-not-zeroed (error), step 1" in text
    assert "right after a step" in " ".join(text.split())
    assert "\x1b[" not in text


def test_an_exception_in_the_loop_takes_the_hooks_off(net, capsys):
    optimizer = SGD(net.parameters(), 1e-3)
    monitor = watch(net, optimizer, verbose=True)

    def loop():
        with monitor:
            for x, y in batches(20):
                monitor.observe(F.cross_entropy(net(x), y))
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop()
    assert "Monitor saw" not in capsys.readouterr().err
    assert hooks(net, optimizer) == 0
    unharmed(monitor)
