"""The messages of a monitor about itself: what it did not see, and exceptions of the user's function."""

import pytest
import torch
from torch.nn import functional as F
from torch.optim import SGD
from watched import batches, unharmed, watch
from zoo import MLP

from nnfoundations.diagnostics import Monitor
from nnfoundations.errors import OptionError


@pytest.fixture
def net():
    torch.manual_seed(0)
    return MLP(3)


def train(net, optimizer, *, observe=None, n=3):
    for x, y in batches(n):
        loss = F.cross_entropy(net(x), y)
        if observe is not None:
            observe(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def printed(capsys):
    return " ".join(capsys.readouterr().err.split())


def test_a_monitor_without_losses_says_so(net, capsys):
    optimizer = SGD(net.parameters(), 1e-3)
    monitor = Monitor(net, optimizer)
    train(net, optimizer)
    monitor.close()
    monitor.close()
    message = "Monitor saw no loss, so nothing was checked. Call monitor.observe(loss) for each batch"
    assert printed(capsys).count(message) == 1


def test_a_monitor_with_another_optimizer_says_so(net, capsys):
    monitor = Monitor(net, SGD(net.parameters(), 1e-3))
    train(net, SGD(net.parameters(), 1e-3), observe=monitor.observe)
    monitor.close()
    err = printed(capsys)
    assert "Monitor saw 3 losses but no optimizer step after one, although the weights changed." in err
    assert "pass the optimizer that trains this model: Monitor(model, optimizer)." in err


def test_a_monitor_without_steps_says_so(net, capsys):
    monitor = Monitor(net, SGD(net.parameters(), 1e-3))
    for x, y in batches(1):
        monitor.observe(F.cross_entropy(net(x), y))
    monitor.close()
    assert "Monitor saw 1 loss but no optimizer step. Call optimizer.step()" in printed(capsys)


def test_a_monitor_that_saw_all_says_nothing_of_it(net, capsys):
    optimizer = SGD(net.parameters(), 1e-3)
    with Monitor(net, optimizer) as monitor:
        train(net, optimizer, observe=monitor.observe, n=25)
    assert "Monitor saw" not in printed(capsys)


def test_an_exception_of_on_finding_does_not_end_the_monitor(net, capsys):
    def send_mail(finding):
        raise RuntimeError("no mail server")

    optimizer = SGD(net.parameters(), 1e-3)
    with Monitor(net, optimizer, on_finding=send_mail) as monitor:
        for x, y in batches(20):
            loss = F.cross_entropy(net(x), y)
            monitor.observe(loss)
            loss.backward()
            optimizer.step()
    unharmed(monitor)
    assert [finding.fault for finding in monitor.findings] == ["gradients-not-zeroed"]
    assert printed(capsys).count("on_finding (send_mail) raised RuntimeError: no mail server") == 1


def test_a_monitor_mutes_by_pattern(net):
    optimizer = SGD(net.parameters(), 1e-3)
    with watch(net, optimizer, mute="gradients-*") as monitor:
        for x, y in batches(20):
            loss = F.cross_entropy(net(x), y)
            monitor.observe(loss)
            loss.backward()
            optimizer.step()
    assert monitor.findings == []
    with pytest.raises(OptionError, match="Did you mean 'gradients-not-zeroed'"):
        watch(net, optimizer, mute="gradient-not-zeroed")


def test_a_loss_that_is_a_number_is_refused_in_one_sentence(net):
    monitor = Monitor(net, SGD(net.parameters(), 1e-3), verbose=False)
    with pytest.raises(OptionError, match=r"needs the loss as a tensor; got float\. Pass it without \.item"):
        monitor.observe(0.5)


def test_swapped_arguments_are_refused_in_one_sentence(net):
    with pytest.raises(OptionError, match=r"in this order; got SGD and MLP\."):
        Monitor(SGD(net.parameters(), 1e-3), net)
    with pytest.raises(OptionError, match=r"in this order; got MLP and int\."):
        Monitor(net, 3)
