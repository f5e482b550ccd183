"""Other tools on the same programs, used as their documentation says, at the settings that suit short runs.

torch-audit 0.3.0: every step is audited, by the rules about faults of a run. Its advice about hardware, data
layout and style (TA2xx, TA304, TA400 to TA404) is left out: it is not about faults, and most runs get some.
gradsnitch 0.1.0: `watch(model, optimizer)` with the loss of each step and each validation loss. This gives it
more than its Lightning callback, namely the ratio of updates to weights.
torchmortem 0.1.1: `Autopsy(model, optimizer, sampling="thorough")`.

An alarm is a finding at the tool's warning level or above. The tables map what each tool says to our names; a
finding that names several causes counts as right if any of them is accepted.
"""

import math
import time
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from training import Key, trained

__all__ = ["NAMES", "TOOLS", "rival"]

AUDIT_RULES = {
    "TA100",
    "TA102",
    "TA103",
    "TA104",
    "TA105",
    "TA301",
    "TA302",
    "TA303",
    "TA305",
    "TA405",
    "TA500",
    "TA501",
}

NAMES: dict[str, tuple[str, ...]] = {
    # torch-audit
    "TA100": ("non-finite", "non-finite-input", "unstable-loss-function"),
    "TA102": (
        "exploding-gradients",
        "learning-rate-too-high",
        "loss-not-averaged",
        "unscaled-inputs",
        "unscaled-targets",
    ),
    "TA103": ("dead-units", "vanishing-gradients", "no-gradient", "gradient-underflow"),
    "TA104": ("graph-cut", "no-gradient", "parameter-not-in-optimizer"),
    "TA105": ("dead-units", "no-learning", "vanishing-gradients"),
    "TA301": ("unscaled-inputs",),
    "TA302": ("constant-inputs",),
    "TA303": (),
    "TA305": ("non-finite-input", "non-finite"),
    "TA405": ("dead-units", "symmetric-weights", "bad-initialization"),
    "TA500": ("parameter-not-in-optimizer", "graph-cut"),
    "TA501": (),
    # gradsnitch
    "GS001": (
        "non-finite",
        "learning-rate-too-high",
        "unstable-loss-function",
        "bad-batch",
        "non-finite-input",
    ),
    "GS002": ("exploding-gradients", "learning-rate-too-high", "non-finite"),
    "GS003": ("bad-batch", "learning-rate-too-high", "exploding-gradients"),
    "GS004": ("overfitting",),
    "GS005": (
        "learning-rate-too-low",
        "dead-units",
        "bad-initialization",
        "parameter-not-in-optimizer",
        "graph-cut",
        "no-gradient",
        "labels-unrelated-to-inputs",
    ),
    "GS006": ("learning-rate-too-high", "loss-sign-wrong", "schedule-interval"),
    "GS007": (
        "vanishing-gradients",
        "dead-units",
        "saturated-units",
        "learning-rate-too-low",
        "bad-initialization",
    ),
    "GS008-high": ("learning-rate-too-high",),
    "GS008-low": ("learning-rate-too-low",),
    "GS009": ("learning-rate-too-high",),
    "GS010": ("schedule-ends-early", "schedule-interval"),
    # torchmortem
    "vanishing-gradients-detected": ("vanishing-gradients", "bad-initialization"),
    "exploding-gradients-detected": ("exploding-gradients", "learning-rate-too-high", "bad-initialization"),
    "gradient-stalling": ("vanishing-gradients", "dead-units", "no-gradient", "graph-cut"),
    "high-gradient-noise": (),
    "training-divergence-detected": ("learning-rate-too-high", "non-finite", "loss-sign-wrong"),
    "loss-plateau-detected": ("learning-rate-too-low",),
    "rank-collapse": ("over-regularized", "weight-decay-too-strong", "learning-rate-too-high"),
    "activation-saturation": ("saturated-units", "bad-initialization", "learning-rate-too-high"),
    "update-ratio-too-low": ("learning-rate-too-low", "vanishing-gradients", "schedule-interval"),
    "update-ratio-too-high": ("learning-rate-too-high",),
    "weight-norm-explosion": ("learning-rate-too-high", "exploding-gradients", "loss-sign-wrong"),
    "stagnant-weight-norms": (
        "vanishing-gradients",
        "learning-rate-too-low",
        "graph-cut",
        "parameter-not-in-optimizer",
    ),
    "inter-layer-weight-norm": ("bad-initialization", "bad-output-scale"),
    "dead-units": ("dead-units", "learning-rate-too-high", "bad-initialization"),
}


class Tool(Callback):
    """Feeds a tool; `findings` gives `name:severity:step:places`, the first one first."""

    loss = math.nan

    def on_before_backward(self, trainer: Trainer, module: LightningModule, loss: torch.Tensor) -> None:
        self.loss = float(loss.detach()) * trainer.accumulate_grad_batches

    def findings(self) -> list[str]:
        raise NotImplementedError


def joined(items: list[tuple[str, str, Any, str]]) -> list[str]:
    """One entry per name and severity, with all its places."""
    places: dict[tuple[str, str, Any], list[str]] = {}
    first: dict[tuple[str, str], tuple[str, str, Any]] = {}
    for name, severity, step, place in items:
        key = first.setdefault((name, severity), (name, severity, step))
        if place and place not in places.setdefault(key, []):
            places[key].append(place)
        places.setdefault(key, [])
    return [f"{n}:{s}:{t}:{'+'.join(where[:6])}" for (n, s, t), where in places.items()]


class TorchAudit(Tool):
    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        from torch_audit import Auditor

        optimizer = trainer.optimizers[0]
        self.auditor = Auditor(module, optimizer=optimizer, every_n_steps=1, select_rules=AUDIT_RULES)
        self.auditor.attach()
        self.auditor.audit_static()
        self.auditor.audit_init()

    def _context(self, phase: str, batch: Any) -> Any:
        from torch_audit.context import AuditContext, AuditState
        from torch_audit.core import Phase

        auditor = self.auditor
        state = AuditState(
            model=auditor.model,
            step=auditor.step,
            phase=Phase(phase),
            batch=batch,
            optimizer=auditor.optimizer,
        )
        return AuditContext(state)

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.batch = batch
        for validator in self.auditor.validators:
            validator.on_phase_start(self._context("forward", batch))
        self.auditor.audit_data(batch)

    def on_after_backward(self, trainer: Trainer, module: LightningModule) -> None:
        self.auditor.runner.run_step(self._context("backward", self.batch))

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Once per step: a GAN runs two backward passes, and its parts are all called only when the step ends.
        rest = [v for v in self.auditor.validators if type(v).__name__ != "DataValidator"]
        self.auditor.runner.run_step(self._context("forward", batch), validators=rest)
        self.auditor.runner.run_step(self._context("optimizer", batch))
        self.auditor.step += 1

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.auditor.detach()

    def findings(self) -> list[str]:
        found = [f for f in self.auditor.finish().findings if f.rule_id in AUDIT_RULES]
        found.sort(key=lambda f: f.severity, reverse=True)
        return joined([(f.rule_id, f.severity.value.lower(), f.step, f.module_path or "") for f in found])


class GradSnitch(Tool):
    monitor: Any = None
    checked = 0.0

    def on_before_optimizer_step(self, trainer: Trainer, module: LightningModule, optimizer: Any) -> None:
        import gradsnitch

        if optimizer is not trainer.optimizers[0]:
            return
        if self.monitor is None:
            self.monitor = gradsnitch.watch(module, optimizer)
        value = float(trainer.callback_metrics.get("val_loss", math.nan))
        new = math.isfinite(value) and value != self.checked
        self.checked = value if new else self.checked
        self.monitor.log(trainer.global_step, self.loss, val_loss=value if new else None)

    def findings(self) -> list[str]:
        with redirect_stdout(StringIO()):
            found = self.monitor.report() if self.monitor else []
        found.sort(key=lambda f: f.severity != "error")
        names = {"GS008": lambda f: "GS008-high" if "too high" in f.name else "GS008-low"}
        return joined([(names.get(f.code, lambda f: f.code)(f), f.severity, "", "") for f in found])


class TorchMortem(Tool):
    autopsy: Any = None

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        from torchmortem import Autopsy

        self.autopsy = Autopsy(module, optimizer=trainer.optimizers[0], sampling="thorough")
        self.autopsy.attach()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.autopsy.step(loss=self.loss)

    def findings(self) -> list[str]:
        self.autopsy.detach()
        report, items = self.autopsy.get_report(), []
        for f in report.findings if report else ():
            name = f.title.split(" in ")[0].lower().replace(" ", "-").replace("(", "").replace(")", "")
            name = next((known for known in NAMES if name.startswith(known)), name)
            places = f.affected_layers or [""]
            items += [(name, f.severity.name.lower(), f.step_range[0], place) for place in places]
        return joined(items)


TOOLS: dict[str, type[Tool]] = {
    "torch-audit": TorchAudit,
    "gradsnitch": GradSnitch,
    "torchmortem": TorchMortem,
}


def rival(tool: str, key: Key, short: bool = False) -> dict[str, Any]:
    """The findings of another tool. If it ends the run with an exception, the row says so."""
    callback, start, error, found = TOOLS[tool](), time.process_time(), "", ""
    try:
        trained(key, [callback], short)
        found = " ".join(callback.findings())
    except Exception as caught:
        error = f"{type(caught).__name__}: {caught}".replace("\n", " ")[:120]
    return {"findings": found, "cpu_seconds": f"{time.process_time() - start:.1f}", "error": error}
