"""Carries out the action that a finding of severity error calls for: stop, raise or save a checkpoint."""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, Literal

from nnfoundations.diagnostics import FaultError, Finding, Severity, describe

__all__ = ["AGREE", "LASTS", "Action", "Response"]

Action = Literal["warn", "stop", "raise", "checkpoint"]

LASTS = 10
"""Steps that a tendency, such as a learning rate that is too high, must last before the action."""

AGREE = 16
"""Batches between two joint decisions of several processes."""


class Response:
    """Act once on each fault that calls for it, and say what was done.

    Args:
        action: the action of `Diagnostics`.
        trainer: a Trainer of `lightning.pytorch` or `pytorch_lightning`.
        tell: called with a message that says what was done.
        exact: faults that are exact facts. The action follows at once.
    """

    def __init__(
        self, action: Action, trainer: Any, tell: Callable[[str], None], exact: Collection[str]
    ) -> None:
        self.action, self.trainer, self.tell, self.exact = action, trainer, tell, exact
        self._acted: set[str] = set()
        self._withheld: list[int] = []
        self._limits: tuple[Any, Any] | None = None
        self._since: dict[str, int] = {}
        self._waiting: list[Finding] = []

    def act_on(self, findings: Iterable[Finding], step: int) -> None:
        """Act on new findings. With several processes, keep them for `agree`."""
        if self.action == "warn":
            return
        for finding in findings:
            if finding.severity is not Severity.ERROR or finding.resolved:
                self._since.pop(finding.fault, None)
            elif finding.fault not in self._acted and self._lasts(finding, step):
                self._acted.add(finding.fault)
                if self.trainer.world_size > 1:
                    self._waiting.append(finding)
                else:
                    self._act(finding)

    def _lasts(self, finding: Finding, step: int) -> bool:
        """Return whether a finding is an exact fact, or a tendency that has lasted."""
        return finding.fault in self.exact or step - self._since.setdefault(finding.fault, step) >= LASTS

    def agree(self, batch_idx: int) -> None:
        """Act in all processes at the same batch, on the finding of the first process."""
        if self.action == "warn" or self.trainer.world_size == 1:
            return
        if batch_idx % AGREE == AGREE - 1 or self.trainer.is_last_batch:
            findings = self.trainer.strategy.broadcast(self._waiting)
            self._waiting = []
            for finding in findings:
                self._act(finding)

    def _act(self, finding: Finding) -> None:
        if self.action == "raise":
            raise FaultError(finding)
        if self.action == "stop":
            self._stop()
            self._say(f"stopping the run after step {self.trainer.global_step}", finding)
        if self.action == "checkpoint":
            saver = self.trainer.checkpoint_callback
            folder = getattr(saver, "dirpath", None) or self.trainer.default_root_dir
            name = f"{finding.fault}-step={self.trainer.global_step}.ckpt"
            path = Path(folder) / name
            try:
                self.trainer.save_checkpoint(path, weights_only=False)
            except OSError as error:
                self._say(f"could not save {path} ({describe(error)})", finding)
            else:
                self._say(f"saved {path}", finding)

    def _stop(self) -> None:
        """End the run after this batch, even if a smallest number of epochs or steps is not reached."""
        loop = self.trainer.fit_loop
        if self._limits is None:
            self._limits = loop.min_epochs, loop.epoch_loop.min_steps
        loop.min_epochs, loop.epoch_loop.min_steps = 0, None
        self.trainer.should_stop = True

    def withheld(self) -> None:
        """Note that an optimizer is kept from its step. The first time, say so."""
        self._withheld.append(self.trainer.global_step)
        if len(self._withheld) == 1 and self.trainer.is_global_zero:
            self.tell(
                f"optimizer step {self._withheld[0]} is not taken, because its gradient is not finite "
                f'(action="{self.action}"). The weights stay as they are.'
            )

    def close(self) -> None:
        """Restore the limits of the Trainer, and say how many steps were not taken."""
        if self._limits is not None:
            loop = self.trainer.fit_loop
            loop.min_epochs, loop.epoch_loop.min_steps = self._limits
            self._limits = None
        if len(self._withheld) > 1 and self.trainer.is_global_zero:
            self.tell(
                f"{len(self._withheld):,} optimizer steps were not taken, because their gradients were not "
                "finite."
            )
        self._withheld = []

    def _say(self, what: str, finding: Finding) -> None:
        if self.trainer.is_global_zero:
            self.tell(f'{what} because of {finding.fault} (action="{self.action}").')
