"""A Trainer with diagnostics, and checks that several tests share. Nothing here is a test."""

import json

import lightning.pytorch as lightning
import torch
from zoo import Module, digits

from nnfoundations.callbacks import Diagnostics
from nnfoundations.diagnostics import Monitor, Severity

NAN = float("nan")


def watcher(**options):
    return Diagnostics(**{"verbose": False, "budget": 1.0, **options})


def trainer(*callbacks, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    options = {"accelerator": "cpu", "enable_checkpointing": False, "max_epochs": -1, **quiet, **options}
    return lightning.Trainer(callbacks=list(callbacks), **options)


def unharmed(diagnostics):
    """Assert that nothing ended early: no measurement, no rule, and not the whole."""
    assert diagnostics.failure is None
    reasons = [*diagnostics.history.unavailable.values(), *diagnostics.not_run.values()]
    assert [reason for reason in reasons if "failed with" in reason] == []


def silent(diagnostics):
    """Assert that there is no false alarm and no internal error, and that something was measured."""
    unharmed(diagnostics)
    assert [str(f) for f in diagnostics.findings if f.severity is not Severity.INFO] == []
    assert len(diagnostics.history["gradient_norm"]) > 5
    return diagnostics


def hooks(module, *optimizers):
    found = [h for m in module.modules() for h in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks)]
    found += [h for o in optimizers for h in (o._optimizer_step_pre_hooks, o._optimizer_step_post_hooks)]
    return sum(len(h) for h in found)


class BrokenAt(Module):
    """Has a loss that is not finite at one step."""

    at = 30

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss * NAN if self.trainer.global_step == self.at else loss


def watch(model, optimizer, **options):
    return Monitor(model, optimizer, **{"verbose": False, "budget": 1.0, **options})


def never_look(monitor):
    monitor._engine.schedule.steps = 10**6
    for account in (monitor._engine.schedule.gradients, monitor._engine.schedule.activations):
        account.balance = float("-inf")


def batches(n, size=64):
    x, y, *_ = digits()
    generator = torch.Generator().manual_seed(0)
    for _ in range(n):
        chosen = torch.randint(len(x), (size,), generator=generator)
        yield x[chosen], y[chosen]


def closed(monitor):
    """Close a monitor, assert that it has no finding and no internal error, and return its history."""
    monitor.close()
    unharmed(monitor)
    assert [str(f) for f in monitor.findings if f.severity is not Severity.INFO] == []
    return monitor.history


def lines_of(folder):
    return [json.loads(line) for line in (folder / "findings.jsonl").read_text().splitlines()]
