"""The diagnostics engine under Lightning: it knows the hooks, and nothing else."""

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, ClassVar, Concatenate, ParamSpec, get_args

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from nnfoundations._errors import OptionError
from nnfoundations.callbacks._action import Action, Response
from nnfoundations.callbacks._reporters import Reporter, reporters
from nnfoundations.callbacks._trainer import Validation, can_replay, replay, settings, unavailable
from nnfoundations.diagnostics import RULES, Engine, FaultError, Finding, History, Judge

P = ParamSpec("P")

STATE = "nnfoundations.diagnostics"
"""The key in a checkpoint. Not `state_dict`: two of a class in one Trainer would be an error, not a twin."""


def guarded(
    hook: "Callable[Concatenate[Diagnostics, P], None]",
) -> "Callable[Concatenate[Diagnostics, P], None]":
    """A failure of ours is no failure of the training."""

    @wraps(hook)
    def run(self: "Diagnostics", /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            hook(self, *args, **kwargs)
        except FaultError:
            raise
        except Exception as error:
            if self._engine is None:
                raise
            self._engine.fail(error)

    return run


class Diagnostics(Callback):
    """Find out why a network does not learn, while it trains.

    Add it to any Trainer; nothing else is needed. Findings are printed when they come and in a table at the
    end, are listed in `findings`, written to ``findings.jsonl`` beside the logs, and shown in TensorBoard.

    Args:
        action: what a finding of severity error does: ``warn``, ``stop`` the run after this batch, ``raise``
            a `FaultError`, or ``checkpoint``: save one and go on. On a CPU, a number that is not finite is
            found before the optimizer steps: the weights are still good. A tendency, such as a rate that is
            too high, must have lasted for ten steps.
        mute: faults, or ``FAULT:PATTERN`` for layers by name, that are not reported.
        families: kinds of rules to run, None for all of these: data, wiring, loss, initialization,
            learning-rate, gradients, units, non-finite, generalization.
        on_finding: called with each new finding.
        budget: share of a step's time that watching may take; below 10 ms a step, 0.1 ms.
        locate_nonfinite: name the module of a NaN on CUDA too; it waits for the device at each step.
        verbose: print.

    Raises: OptionError: an action, family or fault that does not exist, or a budget that is not positive.
    """

    watched: ClassVar[tuple[str, ...] | None] = None
    """The families where the user names none."""

    def __init__(
        self,
        *,
        action: Action = "warn",
        mute: Sequence[str] = (),
        families: Sequence[str] | None = None,
        on_finding: Callable[[Finding], None] | None = None,
        budget: float = 0.01,
        locate_nonfinite: bool = False,
        verbose: bool = True,
    ) -> None:
        _check("action", [action], get_args(Action))
        _check("mute", [rule.partition(":")[0] for rule in mute], [rule.fault for rule in RULES])
        _check("families", families or (), [rule.family for rule in RULES])
        if not budget > 0:
            raise OptionError(
                f"Diagnostics needs a budget above 0; got {budget}. 0.01 is one step in a hundred."
            )
        self.action, self.mute, self.on_finding = action, tuple(mute), on_finding
        self.families = self.watched if families is None else tuple(families)
        self.budget, self.locate_nonfinite, self.verbose = budget, locate_nonfinite, verbose
        self._engine: Engine | None = None
        self._saved: dict[str, Any] | None = None
        self._twin = False
        self._release()

    def _release(self) -> None:
        """Hold nothing of a run any more but what was found."""
        for handle in self.__dict__.get("_handles", ()):
            handle.remove()
        self._handles: list[RemovableHandle] = []
        self._trainer: Any = None
        self._batch: tuple[Any, int] | None = None
        self._scaler: Any = None
        self._accumulated: float | None = None
        self._validation: Validation | None = None
        self._reporters: list[Reporter] = []
        self._response: Response | None = None

    @property
    def findings(self) -> list[Finding]:
        """Those so far, the first cause first."""
        return self._engine.findings if self._engine else []

    @property
    def not_run(self) -> dict[str, str]:
        """Rules that cannot be judged in this run, by fault, each with the reason."""
        return self._engine.judge.not_run(self._engine.history) if self._engine else {}

    @property
    def history(self) -> History:
        """What was measured; ``history.save(path)`` keeps it."""
        return self._engine.history if self._engine else History()

    @property
    def failure(self) -> Exception | None:
        """What ended the watching before its time; None where all is well."""
        return self._engine.failure if self._engine else None

    # -- the run -----------------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        self._release()
        self._engine = None
        others = iter(trainer.callbacks)  # type: ignore[attr-defined]
        before = [c for c in iter(lambda: next(others, self), self) if isinstance(c, Diagnostics)]
        self._twin = any(c._covers(self) for c in before)
        if self._twin and trainer.is_global_zero:
            print(f"{type(self).__name__} is off: another one in this Trainer watches the same.")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        saved, self._saved = self._saved, None
        self._trainer = trainer
        self._response = None if self._twin else Response(self.action, trainer)
        if self._twin or not trainer.is_global_zero:
            return
        self._scaler = getattr(trainer.precision_plugin, "scaler", None)
        self._reporters = reporters(trainer, self.verbose)
        self._engine = self._made(pl_module, trainer.optimizers, can_replay(trainer, pl_module))
        try:
            if saved is not None:
                self._engine.load_state_dict(saved)
        except (KeyError, TypeError, ValueError):  # of another version: what is seen from here on counts
            self._engine = self._made(pl_module, trainer.optimizers, can_replay(trainer, pl_module))
        numbers = settings(trainer)
        history = self._engine.history
        history.settings |= numbers
        history.unavailable = unavailable(trainer, numbers)
        self._hook(trainer.optimizers)

    def _made(self, module: LightningModule, optimizers: list[Optimizer], again: bool) -> Engine:
        rules = [rule for rule in RULES if self.families is None or rule.family in self.families]
        return Engine(
            module,
            optimizers,
            judge=Judge(rules, self.mute),
            budget=self.budget,
            scaled=self._scaler is not None,
            locate_nonfinite=self.locate_nonfinite,
            replay=self._replay if again else None,
            on_finding=self._found,
            on_look=self._looked,
        )

    def _hook(self, optimizers: Iterable[Optimizer]) -> None:
        for optimizer in optimizers:
            if hasattr(optimizer, "register_step_post_hook"):
                self._handles.append(optimizer.register_step_post_hook(self._on_stepped))

    @guarded
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._engine is None:
            return
        self._engine.pause()
        several = pl_module.automatic_optimization and trainer.accumulate_grad_batches > 1
        self._accumulated = 1 / trainer.accumulate_grad_batches if several else None
        if [id(o) for o in trainer.optimizers] != [id(o) for o in self._engine.optimizers]:
            self._engine.adopt(trainer.optimizers)
            self._hook(trainer.optimizers)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._engine is not None:
            self._batch = (batch, batch_idx)
            self._engine.begin(trainer.global_step, batch, batch_idx)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        if self._engine is not None and self._batch is not None:
            scale: Any = self._accumulated
            if self._scaler is not None and (factor := self._scaler._scale) is not None:
                scale = factor if scale is None else factor * scale
            self._engine.observe(loss, scale)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        if self._engine is not None and self._batch is not None:
            inside = self._scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False)
            self._engine.before_step(optimizer, self._scaler._scale if inside else None)

    def _on_stepped(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._engine is not None and self._batch is not None:  # a tuner's steps are not ours
            self._engine.after_step(optimizer, getattr(optimizer, "found_inf", None))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._batch = None
        if self._engine is not None:
            self._engine.end()
        if self._response is not None:
            self._response.agree(batch_idx)

    @guarded
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._engine is not None and trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._engine.pause()
            self._validation = Validation()

    @guarded
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._validation is not None and dataloader_idx == 0:
            self._validation.add(outputs, batch)

    @guarded
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        validation, self._validation = self._validation, None
        if validation is None or self._engine is None:
            return
        loss, accuracy, error = validation.result(trainer.callback_metrics)
        reasons = self._engine.history.unavailable
        if loss is None and not len(self._engine.history["validation_loss"]):
            reasons.setdefault(
                "validation_loss", "validation_step neither returns its loss nor logs it as val_loss"
            )
        self._engine.validated(loss, accuracy, error, validation.samples)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._response = None  # one exception is enough
        self._close()
        self._release()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._release()

    @guarded
    def _close(self) -> None:
        if self._engine is None or self._trainer is None:
            return
        try:
            self._engine.close()
        finally:
            if self.findings or not self._trainer.fast_dev_run:
                for reporter in self._reporters:
                    reporter.closed(self._engine)
            self._reporters = []

    # -- in a checkpoint -----------------------------------------------------------------------------------

    @guarded
    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._engine is not None and self._engine.failure is None:
            checkpoint.setdefault(STATE, {})[type(self).__name__] = self._engine.state_dict()

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn == "fit":
            self._saved = checkpoint.get(STATE, {}).get(type(self).__name__)

    # -- what the engine asks for --------------------------------------------------------------------------

    def _covers(self, other: "Diagnostics") -> bool:
        return self.families is None or (
            other.families is not None and set(other.families) <= set(self.families)
        )

    def _replay(self) -> Tensor | None:
        if self._batch is None or self._engine is None:
            return None
        return replay(self._trainer, self._engine.model, *self._batch)

    def _found(self, finding: Finding) -> None:
        for reporter in self._reporters:
            reporter.found(finding)
        if self.on_finding is not None:
            self.on_finding(finding)

    def _looked(self, step: int) -> None:
        assert self._engine is not None
        for reporter in self._reporters:
            reporter.looked(self._engine, step)
        if self._response is not None:
            self._response.judged(self.findings, step)


def _check(option: str, values: Iterable[str], legal: Iterable[str]) -> None:
    names = list(dict.fromkeys(legal))
    for value in values:
        if value not in names:
            raise OptionError(
                f"Diagnostics takes {option} from {', '.join(names)}; got {value!r}. Use one of those."
            )
