"""The callback that runs diagnostics under Lightning: it passes the events of the Trainer to the engine.

The file is longer than usual because Lightning asks for one class with all hooks of a run.
"""

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from functools import wraps
from itertools import takewhile
from typing import Any, ClassVar, Concatenate, ParamSpec, get_args

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from nnfoundations.callbacks._action import Action, Response
from nnfoundations.callbacks._notebook import draw_with_tqdm
from nnfoundations.callbacks._reporters import Reporter, reporters
from nnfoundations.callbacks._trainer import Validation, can_replay, replay, schedules, settings, unavailable
from nnfoundations.diagnostics import (
    RULES,
    Console,
    Diagnosis,
    Engine,
    FaultError,
    Finding,
    FindingCallback,
    History,
    Judge,
    Rule,
    StepGuard,
    checked,
    describe,
)
from nnfoundations.errors import OptionError

__all__ = ["STATE", "Diagnostics", "guarded"]

P = ParamSpec("P")

_OF_A_RUN = {
    "_batch", "_engine", "_guard", "_handles", "_reporters", "_response", "_scaler", "_trainer",
    "_validation", "log", "log_dict",
}  # fmt: skip
"""Attributes that hold parts of a run, and end with it."""

STATE = "nnfoundations.diagnostics"
"""The key in a checkpoint. Not `state_dict`, with which two callbacks of one class would be an error."""


def guarded(
    hook: "Callable[Concatenate[Diagnostics, P], None]",
) -> "Callable[Concatenate[Diagnostics, P], None]":
    """Wrap a hook so that an internal error ends the diagnostics and not the training."""

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
    """Find out during training why a network does not learn.

    Add it to any Trainer; nothing else is needed. Each new finding is printed, and a summary follows at the
    end of the run. Findings are also in the attribute `findings`, in ``findings.jsonl`` in the folder of the
    logs, and in TensorBoard.

    Args:
        action: what a finding of severity error does: ``"warn"`` prints it only. ``"stop"`` ends the run
            after this batch. ``"raise"`` raises a `FaultError`. ``"checkpoint"`` saves a checkpoint and
            continues. With "stop" and "checkpoint", an optimizer step whose gradient is not finite is not
            taken, so the weights stay finite. On CUDA this waits for the device at each step. A tendency,
            such as a learning rate that is too high, must last for ten steps first.
        mute: faults that are not reported, as names or patterns: ``"overfitting"``, ``["dead-*"]``, or with
            layers ``"dead-units:encoder.*"``.
        families: families of rules to run, of `Family`: data, wiring, loss, initialization, learning-rate,
            gradients, non-finite, units, generalization. None runs all.
        rules: the rules to run, with rules of your own: ``[*RULES, Mine()]``. None runs all of `RULES`.
        on_finding: called with each new finding. Its exceptions are printed once and do not end the run.
        budget: share of the step time that the measurements may take. For steps below 10 ms the budget is
            0.1 ms per step.
        locate_nonfinite: whether to name the module that makes the first NaN on CUDA too. This waits for the
            device at every step.
        verbose: whether to print findings, actions and the summary.

    Raises:
        OptionError: an action, family or fault does not exist, two rules have the same fault, the budget is
            not positive, or on_finding cannot be called.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from nnfoundations.callbacks import Diagnostics
        >>> diagnostics = Diagnostics(action="checkpoint", mute=["overfitting", "dead-units:encoder.*"])
        >>> trainer = Trainer(callbacks=[diagnostics], logger=False, accelerator="cpu")
    """

    default_rules: ClassVar[tuple[Rule, ...]] = RULES
    """The rules that run if the user names none."""

    names_files = True
    """Whether the summary names the files; False in a program that names them itself."""

    def __init__(
        self,
        *,
        action: Action = "warn",
        mute: Sequence[str] | str = (),
        families: Sequence[str] | str | None = None,
        rules: Sequence[Rule] | None = None,
        on_finding: Callable[[Finding], None] | None = None,
        budget: float = 0.01,
        locate_nonfinite: bool = False,
        verbose: bool = True,
    ) -> None:
        _check("action", [action], get_args(Action))
        every = checked(self.default_rules if rules is None else rules)
        names = [rule.family for rule in (*RULES, *every)]
        chosen = names if families is None else _check("families", families, names)
        if not budget > 0:
            raise OptionError(
                f"Diagnostics needs a budget above 0; got {budget}. 0.01 is 1 % of the training time."
            )
        self.action, self.on_finding = action, on_finding
        self.rules = tuple(rule for rule in every if rule.family in chosen)
        self.mute = Judge(self.rules, mute).mute
        self.budget, self.locate_nonfinite, self.verbose = budget, locate_nonfinite, verbose
        self._engine: Engine | None = None
        self._diagnosis: Diagnosis | None = None
        self._failure: Exception | None = None
        self._saved: dict[str, Any] | None = None
        self._is_duplicate = False
        self._release()

    def __getstate__(self) -> dict[str, Any]:
        """Return options and results, without the model and the Trainer of a run that is not over."""
        return {name: value for name, value in self.__dict__.items() if name not in _OF_A_RUN}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._engine = None
        self._release()

    def _release(self) -> None:
        """Release the model, the Trainer and all else of a run except findings and measurements."""
        for handle in self.__dict__.get("_handles", ()):
            handle.remove()
        for name in ("log", "log_dict"):  # methods of the module, which Lightning gives to every callback
            self.__dict__.pop(name, None)
        if self._engine is not None:
            self._failure, self._engine = self._engine.failure, None
        if (response := self.__dict__.get("_response")) is not None:
            response.close()
        self._handles: list[RemovableHandle] = []
        self._hooked: list[int] = []
        self._trainer: Any = None
        self._batch: tuple[Any, int] | None = None
        self._scaler: Any = None
        self._accumulated: float | None = None
        self._validation: Validation | None = None
        self._reporters: list[Reporter] = []
        self._response: Response | None = None
        self._guard: StepGuard | None = None
        self._callback = FindingCallback(self.on_finding)

    @property
    def findings(self) -> list[Finding]:
        """All findings so far, root cause first."""
        return self._diagnosis.judge.findings if self._diagnosis else []

    @property
    def not_run(self) -> dict[str, str]:
        """The rules that cannot run, by fault, each with the reason."""
        return self._diagnosis.judge.not_run(self._diagnosis.history) if self._diagnosis else {}

    @property
    def history(self) -> History:
        """All measurements. ``history.save(path)`` writes them to a file."""
        return self._diagnosis.history if self._diagnosis else History()

    @property
    def failure(self) -> Exception | None:
        """The internal error that ended the diagnostics early; None if there was none."""
        return self._failure if self._engine is None else self._engine.failure

    # -- the run -----------------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        self._release()
        self._diagnosis, self._failure = None, None
        callbacks: list[object] = trainer.callbacks  # type: ignore[attr-defined]  # set by its connector
        if sum(callback is self for callback in callbacks) > 1:
            raise OptionError(
                f"The Trainer got the same {type(self).__name__} object twice, so each step would count "
                "twice. Pass it once."
            )
        before = takewhile(lambda callback: callback is not self, callbacks)
        self._is_duplicate = any(isinstance(c, Diagnostics) and c._covers(self) for c in before)
        if self._is_duplicate and trainer.is_global_zero:
            print(
                f"This {type(self).__name__} is disabled: another one in the Trainer already runs these "
                "rules."
            )
        draw_with_tqdm(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        saved, self._saved = self._saved, None
        self._trainer = trainer
        self._response = (
            None
            if self._is_duplicate
            else Response(self.action, trainer, self._tell, {rule.fault for rule in self.rules if rule.exact})
        )
        self._scaler = getattr(trainer.precision_plugin, "scaler", None)
        if self._protects():
            self._guard = StepGuard(self._not_finite)
        if self._is_duplicate or not trainer.is_global_zero:
            if self._guard is not None:
                self._hook(trainer.optimizers)
            return
        self._reporters = reporters(trainer, self.verbose, self.names_files)
        self._engine = self._make_engine(pl_module, trainer.optimizers, can_replay(trainer, pl_module))
        try:
            if saved is not None:
                self._engine.load_state_dict(saved)
        except (KeyError, TypeError, ValueError):  # saved by another version: start with an empty history
            self._engine = self._make_engine(pl_module, trainer.optimizers, can_replay(trainer, pl_module))
        numbers = settings(trainer)
        history = self._engine.history
        history.settings |= numbers
        history.unavailable = unavailable(trainer, numbers)
        history.schedules = schedules(trainer, pl_module.automatic_optimization)
        self._hook(trainer.optimizers)

    def _make_engine(self, module: LightningModule, optimizers: list[Optimizer], again: bool) -> Engine:
        engine = Engine(
            module,
            optimizers,
            judge=Judge(self.rules, self.mute),
            budget=self.budget,
            scaled=self._scaler is not None,
            locate_nonfinite=self.locate_nonfinite,
            replay=self._replay if again else None,
            on_finding=self._found,
            on_measured=self._measured,
        )
        self._diagnosis = engine.diagnosis
        return engine

    def _protects(self) -> bool:
        """Return whether a step with a gradient that is not finite must not be taken.

        A loss scaler skips such steps itself.
        """
        if self.action not in ("stop", "checkpoint") or self._scaler is not None or self._is_duplicate:
            return False
        muted = any(fnmatchcase("non-finite", pattern) for pattern in self.mute)
        return not muted and any(rule.fault == "non-finite" for rule in self.rules)

    def _hook(self, optimizers: Sequence[Optimizer]) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._hooked = [id(optimizer) for optimizer in optimizers]
        for optimizer in optimizers:
            if hasattr(optimizer, "register_step_post_hook"):
                if self._guard is not None:
                    self._handles += self._guard.attach(optimizer)
                self._handles.append(optimizer.register_step_post_hook(self._on_stepped))

    @guarded
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        replaced = [id(optimizer) for optimizer in trainer.optimizers] != self._hooked
        if replaced and (self._engine is not None or self._guard is not None):
            self._hook(trainer.optimizers)
        if self._engine is None:
            return
        self._engine.pause()
        several = pl_module.automatic_optimization and trainer.accumulate_grad_batches > 1
        self._accumulated = 1 / trainer.accumulate_grad_batches if several else None
        if replaced:
            self._engine.adopt(trainer.optimizers)

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
        if self._engine is not None and self._batch is not None:  # not a step of a tuner
            self._engine.after_step(optimizer, getattr(optimizer, "found_inf", None))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._engine is not None:
            self._engine.end()
        self._batch = None
        if self._response is not None:
            self._response.agree(batch_idx)

    @guarded
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._engine is not None and trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._engine.pause()
            self._validation = Validation()

    @guarded
    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._validation is not None and self._engine is not None:
            self._engine.validating(batch, dataloader_idx)

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
        if self._validation is None:
            return
        if self._engine is not None:
            self._engine.validated_batch()
        if dataloader_idx == 0:
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
        self._close(ended=not trainer.should_stop)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._response is not None:
            self._response.close()
        self._response = None  # one exception is enough
        if self._engine is not None:
            self._engine.raised(exception)
        self._close()
        self._release()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._release()

    @guarded
    def _close(self, ended: bool = False) -> None:
        if self._engine is None or self._trainer is None:
            return
        if self._response is not None:
            self._response.close()
        try:
            self._engine.close(ended)
        finally:
            if self.findings or not self._trainer.fast_dev_run:
                engine = self._engine
                self._report(lambda reporter: reporter.closed(engine))
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
        return {rule.fault for rule in other.rules} <= {rule.fault for rule in self.rules}

    def _replay(self) -> Tensor | None:
        if self._batch is None or self._engine is None:
            return None
        return replay(self._trainer, self._engine.model, *self._batch)

    def _found(self, finding: Finding) -> None:
        self._report(lambda reporter: reporter.found(finding))
        self._callback(finding)

    def _report(self, event: Callable[[Reporter], None]) -> None:
        """Pass an event to all reporters. One that raises an exception, as on a full disk, gets no more."""
        for reporter in list(self._reporters):
            try:
                event(reporter)
            except Exception as error:
                self._reporters.remove(reporter)
                name = type(reporter).__name__
                self._tell(f"{name} could not report and ended ({describe(error)}). All else continues.")

    def _not_finite(self, optimizer: Optimizer) -> None:
        if self._engine is not None and self._batch is not None:
            self._engine.not_finite(optimizer)
        if self._response is not None:
            self._response.withheld()

    def _tell(self, text: str) -> None:
        if self.verbose:
            Console().tell(text)

    def _measured(self, step: int) -> None:
        assert self._engine is not None
        engine = self._engine
        self._report(lambda reporter: reporter.measured(engine, step))
        if self._response is not None:
            self._response.act_on(self.findings, step)


def _check(option: str, value: Any, legal: Iterable[str]) -> tuple[str, ...]:
    names = list(dict.fromkeys(legal))
    given = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
    for each in given:
        if each not in names:
            raise OptionError(f"Diagnostics takes {option} from {', '.join(names)}; got {each!r}.")
    return given
