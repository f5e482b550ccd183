"""Diagnostics in a training loop of one's own."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from nnfoundations.diagnostics._console import Console
from nnfoundations.diagnostics._engine import Engine
from nnfoundations.diagnostics._finding import Finding
from nnfoundations.diagnostics._judge import Judge


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

    `observe` is called for each batch, also where gradients are accumulated over several. The optimizer's step
    is seen by its own hooks; with a `torch.amp.GradScaler`, pass it as `scaler`.

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
        self._scaler, self._on_finding = scaler, on_finding
        self._console = Console() if verbose else None
        every = [optimizers] if isinstance(optimizers, Optimizer) else list(optimizers)
        self._engine = Engine(
            model,
            every,
            judge=Judge(mute=mute),
            budget=budget,
            scaled=scaler is not None and scaler.is_enabled(),
            locate_nonfinite=locate_nonfinite,
            replay=self._replay,
            on_finding=self._report,
        )
        self._inputs: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self._step = 0
        self._begun = self._observed = False
        self._handles: list[RemovableHandle] = [
            model.register_forward_pre_hook(self._on_forward, with_kwargs=True)
        ]
        for optimizer in every:
            self._handles.append(optimizer.register_step_pre_hook(self._on_step))
            self._handles.append(optimizer.register_step_post_hook(self._on_stepped))

    @property
    def findings(self) -> list[Finding]:
        """Those so far, the first cause first."""
        return self._engine.findings

    @property
    def history(self) -> Any:
        """What was measured; ``history.save(path)`` keeps it."""
        return self._engine.history

    @property
    def not_run(self) -> dict[str, str]:
        """Rules that cannot be judged here, each with the reason."""
        return self._engine.judge.not_run(self._engine.history)

    def observe(self, loss: Tensor) -> None:
        """Hand over the loss of a batch, unscaled, before its backward pass."""
        if not self._begun:  # a model that is called by parts: its own forward was not seen
            self._begin(None)
        self._engine.observe(loss)
        self._observed = True

    def validated(self, loss: float | None = None, accuracy: float | None = None, samples: int = 0) -> None:
        """Hand over the mean of a check on validation data."""
        self._engine.validated(loss, accuracy, samples=samples)

    def close(self) -> None:
        """Take all hooks off, judge what is left, and print the table of findings."""
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
        if module.training or not self._begun:
            import torch

            if not torch.is_grad_enabled():
                return  # an evaluation
            self._begin((args, kwargs))

    def _begin(self, inputs: tuple[tuple[Any, ...], dict[str, Any]] | None) -> None:
        self._finish()
        self._begun, self._inputs = True, inputs
        self._engine.begin(self._step, inputs)

    def _finish(self) -> None:
        """The batch before is over, since the next one begins."""
        if self._begun:
            self._engine.end()
            self._begun = self._observed = False

    def _on_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._observed:  # else a closure will compute the gradients only now
            scale = getattr(optimizer, "grad_scale", None)
            self._engine.before_step(optimizer, scale)

    def _on_stepped(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not self._observed:
            return
        self._engine.before_step(optimizer)  # once a step: does nothing where it was called before it
        self._engine.after_step(optimizer)
        self._step += 1

    def _replay(self) -> None:
        if self._inputs is not None:
            args, kwargs = self._inputs
            self._engine.model(*args, **kwargs)

    def _report(self, finding: Finding) -> None:
        if self._console is not None:
            self._console.report(finding)
        if self._on_finding is not None:
            self._on_finding(finding)
