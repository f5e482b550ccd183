"""Diagnostics in a training loop of one's own."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Variable
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from nnfoundations.diagnostics._console import Console
from nnfoundations.diagnostics._engine import Engine
from nnfoundations.diagnostics._finding import Finding
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics._judge import Judge
from nnfoundations.diagnostics._wiring import is_compiled

_WRAPPERS = ("_FabricModule", "DistributedDataParallel", "DataParallel")
"""Classes that hold the network as `module`, and whose names before a layer's say nothing."""


class Monitor:
    """Three lines in a plain loop, or with Fabric.

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

    `observe` is called for each batch, also where gradients are accumulated over several, and before the loss
    is scaled. The optimizer's step is seen by its own hooks; a `torch.amp.GradScaler` is passed as `scaler`.
    What Fabric has set up is passed as it is.

    Args:
        model: the network.
        optimizers: one, or all that train it.
        scaler: the gradient scaler of float16 training.
        mute: faults, or ``FAULT:PATTERN`` for layers, that are not reported.
        on_finding: called with each new finding.
        budget: share of a step's time that watching may take; below 10 ms a step, 0.1 ms.
        locate_nonfinite: name the module of a NaN on CUDA too; it waits for the device at each step.
        verbose: print findings when they come, and a table at the end.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Optimizer | Sequence[Optimizer],
        *,
        scaler: Any = None,
        mute: Sequence[str] = (),
        on_finding: Callable[[Finding], None] | None = None,
        budget: float = 0.01,
        locate_nonfinite: bool = False,
        verbose: bool = True,
    ) -> None:
        self._on_finding, self._scaler = on_finding, scaler
        self._console = Console() if verbose else None
        every = [optimizers] if isinstance(optimizers, Optimizer) else list(optimizers)
        every = [_unwrapped(optimizer) for optimizer in every]
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
        self._inputs: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self._step, self._stepped = 0, False
        self._states = self._scaler_states()
        self._begun = self._observed = self._replaying = False
        self._closure: Optimizer | None = None
        self._handles: list[RemovableHandle] = []
        if (hooked := _hookable(model)) is not None:
            self._handles.append(hooked.register_forward_pre_hook(self._on_forward, with_kwargs=True))
        for optimizer in every:
            self._handles.append(optimizer.register_step_pre_hook(self._on_step))
            self._handles.append(optimizer.register_step_post_hook(self._on_stepped))

    @property
    def findings(self) -> list[Finding]:
        """Those so far, the first cause first."""
        return self._engine.findings

    @property
    def history(self) -> History:
        """What was measured; ``history.save(path)`` keeps it."""
        return self._engine.history

    @property
    def not_run(self) -> dict[str, str]:
        """Rules that cannot be judged here, each with the reason."""
        return self._engine.judge.not_run(self._engine.history)

    @property
    def failure(self) -> Exception | None:
        """What ended the watching before its time; None where all is well."""
        return self._engine.failure

    def observe(self, loss: Tensor) -> None:
        """Hand over the loss of a batch, unscaled, before its backward pass."""
        if not self._begun or (self._observed and self._closure is None):
            self._begin(None)  # a model that is called by parts: its own forward was not seen
        self._engine.observe(loss)
        if self._closure is not None and not self._observed and loss.requires_grad:
            loss.register_hook(self._on_closure_backward)
        self._observed = True

    def validated(self, loss: float | None = None, accuracy: float | None = None, samples: int = 0) -> None:
        """Hand over the mean of a check on validation data."""
        self._finish()
        self._engine.validated(loss, accuracy, samples=samples)

    def close(self) -> None:
        """Take all hooks off, judge what is left, print the table of findings. Again, it does nothing."""
        if not self._handles:
            return
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._finish()
        self._engine.close()
        if self._console is not None:
            self._console.summary(self._engine)

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _on_forward(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # Another call for the same loss, a closure's further ones, and evaluations begin no batch.
        if self._replaying or not torch.is_grad_enabled() or (self._begun and not self._observed):
            return
        if self._closure is None or not self._observed:
            self._begin((args, kwargs))

    def _begin(self, inputs: tuple[tuple[Any, ...], dict[str, Any]] | None) -> None:
        self._finish()
        self._begun, self._inputs = True, inputs
        self._engine.begin(self._step, inputs)

    def _finish(self) -> None:
        """The batch before is over, since the next one begins."""
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
            self._closure = optimizer  # it will compute the gradients, again and again
        elif self._observed:
            self._engine.before_step(optimizer, getattr(optimizer, "grad_scale", None))

    def _on_closure_backward(self, grad: Tensor) -> None:
        """A closure's first backward pass begins; when it is through, gradients are whole."""
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
        """A scaler makes these anew at each `update`: how one knows, without waiting, that it was called."""
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
        if self._on_finding is not None:
            self._on_finding(finding)


def _network(model: nn.Module) -> nn.Module:
    """The network in what Fabric, DDP or a compiler has put around it."""
    while True:
        kind = type(model).__name__
        inside = model.module if kind in _WRAPPERS else model._orig_mod if kind == "OptimizedModule" else None
        if not isinstance(inside, nn.Module):
            return model
        model = inside


def _hookable(model: nn.Module) -> nn.Module | None:
    """Where a hook sees each batch and no compiler sees the hook."""
    return None if getattr(model, "_compiled_call_impl", None) is not None else model


def _unwrapped(optimizer: Optimizer) -> Optimizer:
    """Fabric's optimizer steps the one that it holds."""
    inner = getattr(optimizer, "optimizer", None)
    return inner if isinstance(inner, Optimizer) else optimizer
