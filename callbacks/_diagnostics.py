"""The diagnostics engine under Lightning: it knows the hooks, and nothing else."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from nnfoundations.diagnostics import RULES, Engine, Finding, Judge
from nnfoundations.diagnostics._console import Console


class Diagnostics(Callback):
    """Find out why a network does not learn, while it trains.

    Add it to any Trainer; nothing else is needed. Findings are printed when they come and in a table at the
    end, are listed in `findings`, written to ``findings.jsonl`` beside the logs, and shown in TensorBoard.

    Args:
        action: what a finding of severity error does: ``warn``, ``stop`` the run after the epoch's batch,
            ``raise`` a `FaultError`, or ``checkpoint``: save one and go on.
        mute: faults, or ``FAULT:PATTERN`` for layers by name, that are not reported.
        families: kinds of rules to run, None for all: data, wiring, loss, initialization, learning-rate,
            gradients, units, non-finite, generalization.
        on_finding: called with each new finding.
        budget: share of a step's time that watching may take; below 10 ms a step, 0.1 ms.
        locate_nonfinite: name the module of a NaN on CUDA too; it waits for the device at each step.
        verbose: print.
    """

    def __init__(
        self,
        *,
        action: str = "warn",
        mute: Sequence[str] = (),
        families: Sequence[str] | None = None,
        on_finding: Callable[[Finding], None] | None = None,
        budget: float = 0.01,
        locate_nonfinite: bool = False,
        verbose: bool = True,
    ) -> None:
        self.action, self.mute, self.families = action, tuple(mute), families
        self.on_finding, self.budget, self.locate_nonfinite = on_finding, budget, locate_nonfinite
        self.verbose = verbose
        self._engine: Engine | None = None
        self._handles: list[RemovableHandle] = []
        self._saved: dict[str, Any] | None = None

    @property
    def findings(self) -> list[Finding]:
        """Those so far, the first cause first."""
        return self._engine.findings if self._engine else []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        rules = [r for r in RULES if self.families is None or r.family in self.families]
        self._console = Console()
        self._batch: tuple[Any, int] | None = None
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        self._engine = Engine(
            pl_module,
            trainer.optimizers,
            judge=Judge(rules, self.mute),
            budget=self.budget,
            scaled=scaler is not None,
            locate_nonfinite=self.locate_nonfinite,
            replay=lambda: self._replay(pl_module),
            on_finding=self._report,
        )
        for optimizer in trainer.optimizers:
            self._handles.append(optimizer.register_step_post_hook(self._stepped))

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._engine is not None:
            self._batch = (batch, batch_idx)
            self._engine.begin(trainer.global_step, batch, batch_idx)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        if self._engine is not None and self._batch is not None:
            scaler = getattr(trainer.precision_plugin, "scaler", None)
            scale: Any = None
            if pl_module.automatic_optimization and trainer.accumulate_grad_batches > 1:
                scale = 1 / trainer.accumulate_grad_batches
            if scaler is not None and scaler._scale is not None:
                scale = scaler._scale if scale is None else scaler._scale * scale
            self._engine.observe(loss, scale)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        if self._engine is not None and self._batch is not None:
            self._engine.before_step(optimizer)

    def _stepped(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._engine is not None and self._batch is not None:
            self._engine.after_step(optimizer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._engine is not None:
            self._batch = None
            self._engine.end()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._engine is None or trainer.sanity_checking or trainer.state.fn != "fit":
            return
        m = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val")}
        loss = next((v for k, v in m.items() if "loss" in k), None)
        acc = next((v for k, v in m.items() if "acc" in k), None)
        self._engine.validated(loss, acc)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._engine is not None:
            self._engine.close()
            if self.verbose:
                self._console.summary(self._engine)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _replay(self, pl_module: LightningModule) -> Tensor | None:
        return None

    def _report(self, finding: Finding) -> None:
        if self.verbose:
            self._console.report(finding)
        if self.on_finding is not None:
            self.on_finding(finding)
