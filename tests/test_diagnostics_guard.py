"""Most steps read one gradient, and a NaN is found wherever backward makes it."""

import pytest
import torch
from architectures import GPT, Cell, Grid, layer_scale, splines
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD
from watched import batches, never_look, watch
from zoo import CNN, LSTM, MLP, RNN, Residual, Transformer

from nnfoundations import nn as ours
from nnfoundations.diagnostics._graph import terminal_parameters

NAN = float("nan")


class Tempered(nn.Module):
    """A parameter beside the network: a NaN on its way reaches no layer."""

    def __init__(self):
        super().__init__()
        self.net, self.cold = nn.Linear(64, 10), nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return self.net(x) * self.cold.exp()


class Towers(nn.Module):
    def __init__(self):
        super().__init__()
        self.left = nn.Sequential(nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 16))
        self.right = nn.Sequential(nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 16))
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        return self.head(torch.cat([self.left(x[:, :32]), self.right(x[:, 32:])], 1))


class Forgetful(nn.Module):
    """Skips its first block at every second step (stochastic depth)."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.calls = nn.Linear(64, 64), nn.Linear(64, 10), 0

    def forward(self, x):
        self.calls += 1
        return self.second(x + self.first(x) if self.calls % 2 else x)


def frozen_below():
    net = MLP(3)
    net[0].requires_grad_(False)
    return net


def readable():
    return nn.Sequential(ours.Linear(64, 32), ours.LayerNorm(32), ours.ReLU(), ours.Linear(32, 10))


class Spare(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.spare = MLP(2), nn.Linear(3, 3)

    def forward(self, x):
        return self.net(x)


NETS = {
    "MLP": MLP,
    "CNN": CNN,
    "residual": Residual,
    "LSTM": LSTM,
    "RNN": RNN,
    "transformer": Transformer,
    "GPT": lambda: GPT(layers=2),
    "LayerScale": layer_scale,
    "splines": splines,
    "LSTM cell": Cell,
    "two inputs": Grid,
    "towers": Towers,
    "temperature": Tempered,
    "frozen below": frozen_below,
    "our modules": readable,
    "layers left out": Forgetful,
    "unused layer": Spare,
}


def poisoned(grad):
    """Replace the largest number."""
    flat = grad.flatten().clone()
    flat[flat.abs().argmax()] = NAN
    return flat.view(grad.shape)


def places(net):
    """The modules whose output has a gradient."""
    (x, _), *_ = batches(1)
    seen = []
    handles = [
        m.register_forward_hook(
            lambda module, args, out, name=name: (
                seen.append(name) if isinstance(out, torch.Tensor) and out.requires_grad else None
            )
        )
        for name, m in net.named_modules()
    ]
    net(x)
    for handle in handles:
        handle.remove()
    return list(dict.fromkeys(seen))


@pytest.mark.parametrize(
    "net",
    [
        pytest.param(
            net, marks=[pytest.mark.slow] * (net in ("residual", "transformer", "GPT", "LayerScale"))
        )
        for net in NETS
    ],
)
def test_a_nan_made_anywhere_in_the_backward_pass_is_found_at_its_step(net):
    """A mask lets it through exactly when the gradient of some parameter contains a NaN."""
    torch.manual_seed(0)
    reached = 0
    for name in places(NETS[net]()):
        torch.manual_seed(0)
        model = NETS[net]()
        optimizer = SGD(model.parameters(), 1e-3)
        monitor = watch(model, optimizer)
        for step, (x, y) in enumerate(batches(8)):
            if step == 3:
                never_look(monitor)
            if step == 7:
                model.get_submodule(name).register_forward_hook(
                    lambda module, args, out: out.register_hook(poisoned) and None
                )
            loss = F.cross_entropy(model(x), y)
            monitor.observe(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found = any(not p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
        reached += found
        assert not monitor._engine._step.gradients
        assert [event.step for event in monitor.history.events_of("non-finite")] == [7] * found, name
        monitor.close()
    assert reached


def watched_by(model, loss):
    parameters = dict(model.named_parameters())
    chosen = {id(p) for p in terminal_parameters(loss, parameters)}
    return {name for name, p in parameters.items() if id(p) in chosen}


ENDS = {
    "MLP": {"0.bias"},
    "residual": {"stem.bias"},
    "towers": {"left.0.bias", "right.0.bias"},
    "temperature": {"net.bias", "cold"},
    "frozen below": {"2.bias"},
    "our modules": {"0.bias"},
    "unused layer": set(),
}


@pytest.mark.parametrize("net", ENDS)
def test_the_ends_of_a_backward_pass(net):
    model = NETS[net]()
    (x, y), *_ = batches(1)
    assert watched_by(model, F.cross_entropy(model(x), y)) == ENDS[net]


@pytest.mark.slow
def test_what_a_compiler_has_joined_is_not_looked_into():
    """One node for all layers, so one gradient of each layer is checked."""
    model = MLP(3)
    (x, y), *_ = batches(1)
    loss = F.cross_entropy(torch.compile(model, backend="aot_eager")(x), y)
    assert watched_by(model, loss) == {"0.bias", "2.bias", "4.bias", "6.bias"}


def found_at(model, n, change=lambda step, monitor: None):
    """Train without measurements from the third step on; return the steps at which a NaN was found."""
    optimizer = SGD(model.parameters(), 1e-3)
    monitor = watch(model, optimizer)
    for step, (x, y) in enumerate(batches(n)):
        if step == 3:
            never_look(monitor)
        change(step, monitor)
        loss = F.cross_entropy(model(x), y)
        monitor.observe(loss)
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        optimizer.step()
    return [event.step for event in monitor.history.events_of("non-finite")]


def from_now_on(module):
    module.register_forward_hook(lambda module, args, out: out.register_hook(poisoned) and None)


def test_layers_that_thaw_in_mid_run():
    model = MLP(3)
    model[0].requires_grad_(False)

    def thaw(step, monitor):
        if step == 7:
            monitor.validated(1.0)  # between two epochs
            model[0].requires_grad_(True)
        if step == 9:
            from_now_on(model[0])

    assert found_at(model, 10, thaw) == [9]


def test_a_gradient_of_zeros_tells_nothing():
    """The step with the NaN skips the first block, where `zero_grad` leaves zeros."""
    torch.manual_seed(0)
    model = Forgetful()

    def poison(step, monitor):
        if step == 9:
            from_now_on(model.second)

    assert found_at(model, 10, poison) == [9]


def test_accumulated_batches_of_two_graphs():
    """The first batch runs the first block and is finite; the second skips it and is not."""
    torch.manual_seed(0)
    model = Forgetful()
    optimizer = SGD(model.parameters(), 1e-3)
    monitor = watch(model, optimizer)
    for i, (x, y) in enumerate(batches(20)):
        if i == 6:
            never_look(monitor)
        if i == 19:
            from_now_on(model.second)
        loss = F.cross_entropy(model(x), y)
        monitor.observe(loss)
        loss.backward()
        if i % 2:
            optimizer.step()
            optimizer.zero_grad()
    assert [event.step for event in monitor.history.events_of("non-finite")] == [9]


class Wrong(torch.autograd.Function):
    """A backward pass written by hand that is wrong for its own weight only."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x @ w

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g @ w.T, (x.T @ g).fill_(NAN)


class ByHand(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.weight = nn.Linear(64, 16), nn.Parameter(torch.randn(16, 10))

    def forward(self, x):
        return Wrong.apply(self.first(x), self.weight)


def test_what_flows_on_to_no_other_layer_is_found_at_the_first_step():
    assert found_at(ByHand(), 2) == [0]
