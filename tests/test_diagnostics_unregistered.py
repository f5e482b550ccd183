"""Layers in a Python list or dict are found; what is kept outside a model on purpose is not."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD
from watched import batches, unharmed, watch
from zoo import MLP


class Head(nn.Module):
    """Has a registered last layer, so that there is something to train."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(16, 10)

    def before(self, x):
        raise NotImplementedError

    def forward(self, x):
        return self.last(self.before(x))


class InAList(Head):
    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(64, 16)]

    def before(self, x):
        return self.layers[0](x)


class InADict(Head):
    def __init__(self):
        super().__init__()
        self.paths = {"left": nn.Linear(64, 16, bias=False)}

    def before(self, x):
        return self.paths["left"](x)


class Scales(Head):
    def __init__(self):
        super().__init__()
        self.first, self.scales = nn.Linear(64, 16), (nn.Parameter(torch.ones(16)),)

    def before(self, x):
        return self.first(x) * self.scales[0]


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(InAList())

    def forward(self, x):
        return self.blocks(x)


class Features(Head):
    """Holds a network in evaluation mode for a perceptual loss, in a list so that it is not saved."""

    def __init__(self):
        super().__init__()
        self.first, self.known = nn.Linear(64, 16), [MLP(2).eval()]

    def before(self, x):
        h = self.first(x)
        return h + 0 * self.known[0](x).sum()


class Teacher(Features):
    def __init__(self):
        super().__init__()
        self.known[0].train()

    def before(self, x):
        with torch.no_grad():
            self.known[0](x)
        return self.first(x)


class Outside(Head):
    """Uses an outside module or a perturbation of the input. Neither belongs to this model."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 16)
        known, delta = MLP(2), nn.Parameter(torch.zeros(64))
        self.extra = lambda x: known(x + delta).sum()

    def before(self, x):
        return self.first(x) + 0 * self.extra(x)


def named(net, parameters=None):
    monitor = watch(net, SGD(list(parameters or net.parameters()), 1e-3))
    for x, y in batches(4):
        loss = F.cross_entropy(net(x), y)
        monitor.observe(loss)
        for optimizer in monitor._engine.optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in monitor._engine.optimizers:
            optimizer.step()
    monitor.close()
    unharmed(monitor)
    return {finding.fault: finding.where for finding in monitor.findings}


@pytest.mark.parametrize(
    ("net", "where"),
    [
        (InAList, ("layers[0].weight", "layers[0].bias")),
        (InADict, ("paths['left'].weight",)),
        (Scales, ("scales[0]",)),
        (Nested, ("blocks.0.layers[0].weight", "blocks.0.layers[0].bias")),
    ],
)
def test_layers_that_are_not_registered_are_named(net, where):
    assert named(net()) == {"parameter-not-in-optimizer": where}


def test_with_layers_that_are_left_out_of_the_optimizer():
    net = nn.Sequential(nn.Linear(64, 64), InAList())
    found = named(net, net[1].parameters())
    where = ("1.layers[0].weight", "1.layers[0].bias", "0.weight", "0.bias")
    assert found == {"parameter-not-in-optimizer": where}


def test_layers_in_a_list_that_an_optimizer_has():
    net = InAList()
    assert named(net, [*net.parameters(), *net.layers[0].parameters()]) == {}


@pytest.mark.parametrize("net", [Features, Teacher, Outside])
def test_what_is_kept_out_on_purpose_is_no_fault(net):
    assert named(net()) == {}
