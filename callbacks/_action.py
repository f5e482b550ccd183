"""Carries out the action that a finding of severity error calls for: stop, raise or save a checkpoint."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from nnfoundations.diagnostics import RULES, FaultError, Finding, Severity

__all__ = ["AGREE", "LASTS", "Action", "Response"]

Action = Literal["warn", "stop", "raise", "checkpoint"]

LASTS = 10
"""Steps that a tendency, such as a learning rate that is too high, must last before the action."""

AGREE = 16
"""Batches between two joint decisions of several processes."""

_EXACT = {rule.fault for rule in RULES if rule.family in ("data", "wiring", "loss", "non-finite")}
"""Faults that are exact facts. The action follows at once."""


class Response:
    """Act once on each fault that calls for it, and say what was done.

    Args:
        action: the action of `Diagnostics`.
        trainer: a Trainer of `lightning.pytorch` or `pytorch_lightning`.
        tell: called with a message that says what was done.
    """

    def __init__(self, action: Action, trainer: Any, tell: Callable[[str], None]) -> None:
        self.action, self.trainer, self.tell = action, trainer, tell
        self._acted: set[str] = set()
        self._since: dict[str, int] = {}
        self._waiting: Finding | None = None

    def act_on(self, findings: Iterable[Finding], step: int) -> None:
        """Act on new findings. With several processes, keep them for `agree`."""
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
        """Act in all processes at the same batch, on the finding of the first process."""
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
            self._say(f"stopping the run after step {self.trainer.global_step}", finding)
        if self.action == "checkpoint":
            saver = self.trainer.checkpoint_callback
            folder = getattr(saver, "dirpath", None) or self.trainer.default_root_dir
            name = f"{finding.fault}-step={self.trainer.global_step}.ckpt"
            path = Path(folder) / name
            self.trainer.save_checkpoint(path, weights_only=False)
            self._say(f"saved {path}", finding)

    def _say(self, what: str, finding: Finding) -> None:
        if self.trainer.is_global_zero:
            self.tell(f'{what} because of {finding.fault} (action="{self.action}").')
