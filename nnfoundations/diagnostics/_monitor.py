"""Diagnostics for a plain training loop or Fabric."""

from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Variable
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from nnfoundations.diagnostics._callback import FindingCallback
from nnfoundations.diagnostics._console import Console
from nnfoundations.diagnostics._engine import Engine
from nnfoundations.diagnostics._finding import Finding
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics._judge import Judge
from nnfoundations.diagnostics._wiring import is_compiled
from nnfoundations.errors import OptionError

__all__ = ["Monitor"]

_WRAPPERS = ("_FabricModule", "DistributedDataParallel", "DataParallel")
"""Classes that wrap the network as `module`. Their prefix of layer names carries no information."""


class Monitor:
    """Add diagnostics to a plain training loop, or to one with Fabric, in three lines.

    Call `observe` with the unscaled loss of each batch, before its backward pass, also if gradients are
    accumulated over several batches. Hooks see the optimizer steps. Pass a model and optimizers from Fabric
    as they are. `close` ends the monitoring; ``with Monitor(...) as monitor:`` calls it.

    Example:
        >>> import torch
        >>> from nnfoundations.diagnostics import Monitor
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> monitor = Monitor(model, optimizer, verbose=False)  # 1
        >>> for _ in range(3):
        ...     loss = (model(torch.ones(4, 2)) - 1).square().mean()
        ...     monitor.observe(loss)  # 2: before the backward pass
        ...     optimizer.zero_grad()
        ...     loss.backward()
        ...     optimizer.step()
        >>> monitor.close()  # 3
        >>> monitor.findings
        []

    Args:
        model: the network.
        optimizers: the optimizer, or all optimizers, that train it.
        scaler: the `torch.amp.GradScaler` of float16 training.
        mute: faults that are not reported, as names or patterns: ``"overfitting"``, ``["dead-*"]``, or with
            layers ``"dead-units:encoder.*"``.
        on_finding: called with each new finding. Its exceptions are printed once and do not end the run.
        budget: share of the step time that the measurements may take. For steps below 10 ms the budget is
            0.1 ms per step.
        locate_nonfinite: whether to name the module that makes the first NaN on CUDA too. This waits for the
            device at every step.
        verbose: whether to print each new finding, and a summary at the end.

    Raises:
        OptionError: `mute` matches no fault, on_finding cannot be called, or model or optimizers are not
            those of a training.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Optimizer | Sequence[Optimizer],
        *,
        scaler: Any = None,
        mute: str | Sequence[str] = (),
        on_finding: Callable[[Finding], None] | None = None,
        budget: float = 0.01,
        locate_nonfinite: bool = False,
        verbose: bool = True,
    ) -> None:
        self._on_finding, self._scaler = FindingCallback(on_finding), scaler
        self._console = Console() if verbose else None
        every = _optimizers(optimizers)
        if not isinstance(model, nn.Module) or not all(isinstance(each, Optimizer) for each in every):
            raise OptionError(
                "Monitor needs a model and the optimizers that train it, in this order; got "
                f"{type(model).__name__} and {type(optimizers).__name__}."
            )
        self._engine = Engine(
            _network(model),
            every,
            judge=Judge(mute=mute),
            budget=budget,
            compiled=is_compiled(model),
            scaled=scaler is not None and scaler.is_enabled(),
            locate_nonfinite=locate_nonfinite,
            replay=self._replay,
            on_finding=self._report,
        )
        reason = "Monitor does not see the batches of a validation"
        self._engine.history.unavailable |= dict.fromkeys(("validation_input", "validation_samples"), reason)
        self._inputs: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self._step, self._stepped = 0, False
        self._losses = 0
        self._states = self._scaler_states()
        self._begun = self._observed = self._replaying = False
        self._closure: Optimizer | None = None
        self._versions: list[tuple[int, int]] = []
        self._handles: list[RemovableHandle] = []
        if (hooked := _hookable(model)) is not None:
            self._handles.append(hooked.register_forward_pre_hook(self._on_forward, with_kwargs=True))
        for optimizer in every:
            self._handles.append(optimizer.register_step_pre_hook(self._on_step))
            self._handles.append(optimizer.register_step_post_hook(self._on_stepped))

    @property
    def findings(self) -> list[Finding]:
        """All findings so far, root cause first."""
        return self._engine.findings

    @property
    def history(self) -> History:
        """All measurements. ``history.save(path)`` writes them to a file."""
        return self._engine.history

    @property
    def not_run(self) -> dict[str, str]:
        """The rules that cannot run here, by fault, each with the reason."""
        return self._engine.judge.not_run(self._engine.history)

    @property
    def failure(self) -> Exception | None:
        """The internal error that ended the diagnostics early; None if there was none."""
        return self._engine.failure

    def observe(self, loss: Tensor) -> None:
        """Pass the loss of a batch, before its backward pass.

        Args:
            loss: the loss, before a gradient scaler multiplies it.

        Raises:
            OptionError: the loss is not a tensor.
        """
        if not isinstance(loss, Tensor):
            raise OptionError(
                f"Monitor.observe needs the loss as a tensor; got {type(loss).__name__}. "
                "Pass it without .item(), before loss.backward()."
            )
        if not self._losses:  # now lazy parameters have their shape
            self._versions = _versions(self._engine.model)
        self._losses += 1
        if not self._begun or (self._observed and self._closure is None):
            self._begin(None)  # the model is called in parts, so its own forward was not seen
        self._engine.observe(loss)
        if self._closure is not None and not self._observed and loss.requires_grad:
            loss.register_hook(self._on_closure_backward)
        self._observed = True

    def validated(self, loss: float | None = None, accuracy: float | None = None, samples: int = 0) -> None:
        """Pass the results of a validation.

        Args:
            loss: mean validation loss.
            accuracy: validation accuracy from 0 to 1.
            samples: number of validation samples.
        """
        self._finish()
        self._engine.validated(loss, accuracy, samples=samples)

    def close(self) -> None:
        """Remove all hooks, run the rules a last time and print the summary. A second call does nothing."""
        self._close(unused=self._unused())

    def _close(self, unused: str) -> None:
        if not self._handles:
            return
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._finish()
        self._engine.close()
        if self._console is None:
            return
        if unused:
            self._console.tell(unused)
        self._console.summary(self._engine)

    def _unused(self) -> str:
        """Say what was missing if the monitor could not do its work; empty if nothing was."""
        if not self._losses:
            return (
                "Monitor saw no loss, so nothing was checked. Call monitor.observe(loss) for each batch, "
                "before loss.backward()."
            )
        if self._step:
            return ""
        seen = f"Monitor saw {self._losses:,} loss{'es' * (self._losses != 1)} but no optimizer step"
        if _versions(self._engine.model) != self._versions:
            return (
                f"{seen} after one, although the weights changed. Call observe(loss) before "
                "loss.backward(), and pass the optimizer that trains this model: Monitor(model, optimizer)."
            )
        return f"{seen}. Call optimizer.step() of the optimizer passed to Monitor, before monitor.close()."

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._begun:
            self._engine.raised(error)
        self._close(unused=self._unused() if error is None else "")

    def _on_forward(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # A second call for the same loss, further calls of a closure, and evaluations begin no batch.
        ours = self._replaying or self._engine.evaluating
        if ours or not torch.is_grad_enabled() or (self._begun and not self._observed):
            return
        if self._closure is None or not self._observed:
            self._begin((args, kwargs))

    def _begin(self, inputs: tuple[tuple[Any, ...], dict[str, Any]] | None) -> None:
        self._finish()
        self._begun, self._inputs = True, inputs
        self._engine.begin(self._step, inputs)

    def _finish(self) -> None:
        """End the previous batch, because the next one begins."""
        if self._begun:
            if self._scaler is not None:
                states, self._states = self._states, self._scaler_states()
                if states is not self._states and not self._stepped:
                    self._engine.skipped()
                    self._step += 1
            self._stepped = False
            self._engine.end()
            self._begun = self._observed = False
            self._inputs = None

    def _on_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if (len(args) > 1 or kwargs) and any(callable(a) for a in (*args[1:], *kwargs.values())):
            self._finish()
            self._closure = optimizer  # it computes the gradients, several times
        elif self._observed:
            self._engine.before_step(optimizer, getattr(optimizer, "grad_scale", None))

    def _on_closure_backward(self, grad: Tensor) -> None:
        """The first backward pass of a closure begins. The gradients are complete when it ends."""
        optimizer = self._closure
        if optimizer is not None:
            Variable._execution_engine.queue_callback(lambda: self._engine.before_step(optimizer))

    def _on_stepped(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._closure = None
        if self._observed:
            self._engine.after_step(optimizer, getattr(optimizer, "found_inf", None))
            self._step += 1
            self._stepped = True

    def _scaler_states(self) -> Any:
        """Return the states of the scaler. It replaces them at each `update`, so they show a call of it."""
        return getattr(self._scaler, "_per_optimizer_states", None)

    def _replay(self) -> None:
        if self._inputs is None:
            return
        args, kwargs = self._inputs
        self._replaying = True
        try:
            self._engine.model(*args, **kwargs)
        finally:
            self._replaying = False

    def _report(self, finding: Finding) -> None:
        if self._console is not None:
            self._console.report(finding)
        self._on_finding(finding)


def _network(model: nn.Module) -> nn.Module:
    """Return the network inside the wrappers of Fabric, DDP or the compiler."""
    while True:
        kind = type(model).__name__
        inside = model.module if kind in _WRAPPERS else model._orig_mod if kind == "OptimizedModule" else None
        if not isinstance(inside, nn.Module):
            return model
        model = inside


def _hookable(model: nn.Module) -> nn.Module | None:
    """Return the module whose hook sees each batch; None if a compiler would see the hook."""
    return None if getattr(model, "_compiled_call_impl", None) is not None else model


def _optimizers(given: Any) -> list[Any]:
    """Return all optimizers; of Fabric's the one inside, because its hooks run."""
    every = list(given) if isinstance(given, Iterable) else [given]
    inner = [getattr(optimizer, "optimizer", None) for optimizer in every]
    return [b if isinstance(b, Optimizer) else a for a, b in zip(every, inner, strict=True)]


def _versions(model: nn.Module) -> list[tuple[int, int]]:
    """Return a number per parameter that grows with each change in place."""
    return [(id(p), 0 if p.is_inference() else p._version) for p in model.parameters()]
