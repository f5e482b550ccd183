"""What a finding of severity error does to the run, beside being told."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from nnfoundations.diagnostics import RULES, FaultError, Finding, Severity

Action = Literal["warn", "stop", "raise", "checkpoint"]

LASTS = 10
"""Steps that a tendency, such as a rate that is too high, must last before it is acted on."""

AGREE = 16
"""Batches between two collective decisions of several processes."""

_EXACT = {rule.fault for rule in RULES if rule.family in ("data", "wiring", "loss", "non-finite")}
"""Faults that are facts: acted on at once."""


class Response:
    """Act once on each fault that calls for it.

    Args: trainer: of `lightning.pytorch` or `pytorch_lightning`.
    """

    def __init__(self, action: Action, trainer: Any) -> None:
        self.action, self.trainer = action, trainer
        self._acted: set[str] = set()
        self._since: dict[str, int] = {}
        self._waiting: Finding | None = None

    def judged(self, findings: Iterable[Finding], step: int) -> None:
        """A look is done: act on what is new, or, of several processes, remember it for `agree`."""
        if self.action == "warn":
            return
        for finding in findings:
            if (
                finding.severity is Severity.ERROR
                and not finding.resolved
                and finding.fault not in self._acted
                and (finding.fault in _EXACT or step - self._since.setdefault(finding.fault, step) >= LASTS)
            ):
                self._acted.add(finding.fault)
                if self.trainer.world_size > 1:
                    self._waiting = self._waiting or finding
                else:
                    self._act(finding)

    def agree(self, batch_idx: int) -> None:
        """Several processes must do the same at the same batch; the first of them has looked."""
        if self.action == "warn" or self.trainer.world_size == 1:
            return
        if batch_idx % AGREE == AGREE - 1 or self.trainer.is_last_batch:
            finding = self.trainer.strategy.broadcast(self._waiting)
            self._waiting = None
            if finding is not None:
                self._act(finding)

    def _act(self, finding: Finding) -> None:
        if self.action == "raise":
            raise FaultError(finding)
        if self.action == "stop":
            self.trainer.should_stop = True
        if self.action == "checkpoint":
            saver = self.trainer.checkpoint_callback
            folder = getattr(saver, "dirpath", None) or self.trainer.default_root_dir
            name = f"{finding.fault}-step={self.trainer.global_step}.ckpt"
            self.trainer.save_checkpoint(Path(folder) / name)
