"""Records the network's call in one step, and evaluates it afterwards without a trace."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only
from torch.utils.hooks import RemovableHandle

from nnfoundations.diagnostics._history import Event, History
from nnfoundations.diagnostics._loss_graph import loss_terms
from nnfoundations.diagnostics._loss_terms import Term
from nnfoundations.diagnostics._quantities import measured_by
from nnfoundations.diagnostics._transfer import record_named
from nnfoundations.diagnostics.evaluation._call import Call, NotEvaluatedError, first_output
from nnfoundations.diagnostics.evaluation._masking import measure_masking
from nnfoundations.diagnostics.evaluation._mixing import measure_mixing, rows_are_samples
from nnfoundations.diagnostics.evaluation._modes import measure_modes
from nnfoundations.diagnostics.evaluation._padding import measure_reading
from nnfoundations.diagnostics.evaluation._sequence import measure_sequence
from nnfoundations.diagnostics.nonfinite import (
    RandomState,
    SideEffectError,
    UnsafeError,
    preserved,
    sealed,
    without_checkpoints,
)

__all__ = ["EvaluationProbe"]

MOST_CALLS = 4
"""Number of calls that are kept in a step."""


class EvaluationProbe:
    """Runs the network of a training step again on the same batch: in other modes, and on changed inputs.

    The network is the outermost module with trainable parameters that the training step calls. Hooks record
    its arguments during one step (`attach`, `keep`); at the end of this step `evaluate` runs it again. All
    modules are then in the mode that a measurement sets, and gradients, numbers, buffers, modes and random
    generators are restored. A network that cannot be restored, or that starts to write a file, does not run;
    `History.unavailable` says why.

    Quantities, each with one row per evaluation:

    - `evaluation`: loss of the whole batch in training mode as it is (`train`), in training mode without
      dropout and with the running statistics of normalizations (`plain`), and in evaluation mode
      (`evaluation`); NaN where the loss is not a known function of the network's output. `gap` and `repeated`
      compare outputs: see `Modes`.
    - `mixing`: whether samples of a batch depend on each other: see `Mixing`.
    - `sequence`: what a language model predicts, and from which tokens: see `Sequence`.
    - `reading`: whether the state behind the padding of a sequence is used: see `Reading`.
    - `masking`: whether outputs depend on padding: see `Masking`.
    - `attention_entropy`: by layer.

    To use it for another rule, add a column to one of them in `_evaluate`, and name the quantity in the
    `needs` of the rule.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.model, self.device = model, device
        self.evaluating = False
        self._names: dict[int, str] = {id(module): name for name, module in model.named_modules()}
        self._handles: list[RemovableHandle] = []
        self._calls: list[Call] = []
        self._terms: list[Term] = []
        self._several = False

    def attach(self) -> None:
        """Record the calls of the network until `keep`."""
        self.detach()
        for name, module in self.model.named_modules():
            if not isinstance(module, torch.jit.ScriptModule) and any(
                p.requires_grad for p in module.parameters()
            ):
                self._handles.append(module.register_forward_hook(self._after(name), with_kwargs=True))

    def detach(self) -> None:
        """Remove the hooks, and forget what was recorded."""
        self._unhook()
        self._calls, self._terms = [], []

    def _unhook(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _after(self, name: str) -> Callable[..., None]:
        inside = f"{name}." if name else ""

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            if not torch.is_grad_enabled() or torch._C._functorch.peek_interpreter_stack() is not None:
                return
            kept = (call for call in self._calls if not call.name.startswith(inside) or call.name == name)
            self._calls = list(kept)
            if len(self._calls) < MOST_CALLS and first_output(output) is not None:
                detached = tree_map_only(Tensor, Tensor.detach, (args, kwargs))
                self._calls.append(Call(name, module, *detached))

        return hook

    def keep(self, loss: Tensor) -> None:
        """Keep the targets of a loss, before its backward pass. The calls before it belong to it."""
        self._unhook()
        self._terms = loss_terms(loss, {}) if loss.requires_grad else []

    def evaluate(self, step: int, history: History) -> None:
        """Evaluate the recorded call, and record the results.

        Args:
            step: the optimizer step.
            history: receives the results, or the reason why there are none.
        """
        self._unhook()
        calls, self._calls = self._calls, []
        terms, self._terms = self._terms, []
        names = {call.name for call in calls}
        if not calls:
            return self._refuse(history, "no call of the network was seen")
        if len(names) > 1:
            return self._refuse(history, f"the training step calls {len(names)} networks one after another")
        if _several_processes():
            return self._refuse(history, "other processes would wait for a pass of this one")
        self.evaluating = True
        stopped: list[str] = []
        try:
            with ExitStack() as stack:
                # Arguments are saved too: a layer may change its input in place.
                things = {"": self.model, "an input": (calls[0].args, calls[0].kwargs)}
                stack.enter_context(preserved(self.model, things, "forward"))
                stopped = stack.enter_context(sealed())
                stack.enter_context(RandomState(self.device).again())
                stack.enter_context(torch.compiler.set_stance("force_eager"))
                stack.enter_context(torch.autocast(self.device.type, enabled=False))
                stack.enter_context(torch.no_grad())
                stack.enter_context(without_checkpoints())
                stack.enter_context(calls[0].mode(lambda module: False))
                self._evaluate(calls[0], terms, step, history)
        except UnsafeError as problem:
            self._refuse(history, f"the network was not run again because {problem}")
        except SideEffectError:
            self._refuse(history, f"a second run of the network was stopped because it {stopped[0]}")
        finally:
            self.evaluating = False
        return None

    def _evaluate(self, call: Call, terms: list[Term], step: int, history: History) -> None:
        term = next((term for term in terms if term.target is not None), None)
        measurements = {
            "evaluation": self._modes,
            "sequence": self._sequence,
            "mixing": self._mixing,
            "reading": self._reading,
            "masking": self._masking,
        }
        for quantity, measure in measurements.items():
            try:
                measure(call, term, step, history)
            except NotEvaluatedError as reason:
                history.unavailable.setdefault(quantity, str(reason))
            else:
                history.unavailable.pop(quantity, None)

    def _modes(self, call: Call, term: Term | None, step: int, history: History) -> None:
        found = measure_modes(call, None if _gets_targets(call, term) else term, self._named)
        columns = ("train", "plain", "evaluation", "gap", "repeated")
        history.record("evaluation", step, columns, [getattr(found, name) for name in columns])
        if found.dropout:
            history.note(Event("dropout-in-evaluation", step, found.dropout))
        if entropies := {name: float(value) for name, value in found.entropies.items()}:
            record_named(history, "attention_entropy", step, entropies, entropies)

    def _sequence(self, call: Call, term: Term | None, step: int, history: History) -> None:
        if term is None or term.target is None:
            raise NotEvaluatedError("the loss does not show its targets")
        if not term.clear:
            raise NotEvaluatedError("the loss does not show which of its targets count")
        found = measure_sequence(call, term.target, term.kept)
        history.record("sequence", step, found._fields, list(found))

    def _mixing(self, call: Call, term: Term | None, step: int, history: History) -> None:
        if not call.inputs or not rows_are_samples(call, None if term is None else term.target):
            raise NotEvaluatedError("the rows of the inputs are not known to be samples")
        found = measure_mixing(call, self._named)
        columns = ("reversed", "alone", "axis")
        history.record("mixing", step, columns, [getattr(found, name) for name in columns])
        if found.where:
            history.note(Event("mixing-layer", step, (found.where,)))

    def _reading(self, call: Call, term: Term | None, step: int, history: History) -> None:
        found = measure_reading(call, self._named)
        history.record("reading", step, ("padding", "last"), [found.padding, found.last])
        if found.last:
            history.note(Event("padding-read", step, (found.where,)))

    def _masking(self, call: Call, term: Term | None, step: int, history: History) -> None:
        found = measure_masking(call, self._named)
        history.record(
            "masking", step, ("padding", "moved", "given"), [found.padding, found.moved, found.given]
        )
        if found.where:
            history.note(Event("padded-embedding", step, (found.where,)))

    def _named(self, module: nn.Module) -> str:
        return self._names.get(id(module), type(module).__name__)

    def _refuse(self, history: History, reason: str) -> None:
        for quantity in measured_by("evaluation"):
            history.unavailable.setdefault(quantity, reason)


def _gets_targets(call: Call, term: Term | None) -> bool:
    """Return whether the network gets the targets beside its data: it may use them in training mode only."""
    target = None if term is None else term.target
    if target is None or len(call.inputs) < 2:
        return False
    return any(x.shape == target.shape and bool((x == target).all()) for x in call.inputs)


def _several_processes() -> bool:
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
