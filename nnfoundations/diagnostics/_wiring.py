"""Facts about how a model and its optimizers are connected. They wait for the device: first steps only."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nnfoundations.diagnostics._history import Event, ParameterFacts
from nnfoundations.diagnostics._quantities import measured_by

__all__ = [
    "EARLY",
    "cut_off",
    "evaluating",
    "is_compiled",
    "limits",
    "listed_parameters",
    "mode_sensitive",
    "not_in_optimizer",
    "sharded",
    "strong_dropout",
    "symmetric",
    "wiring_events",
]

EARLY = 5
"""Number of first steps at which the wiring is checked."""

STRONG = 0.8
"""Share of the activations above which dropout counts as strong."""


def limits(model: nn.Module, optimizers: Sequence[Optimizer], compiled: bool) -> dict[str, str]:
    """Return the quantities that cannot be measured on this model, each with the reason."""
    reasons: dict[str, str] = {}
    if compiled or is_compiled(model):
        reasons |= dict.fromkeys(
            measured_by("activations", "evaluation"),
            "the model is compiled, so its activations cannot be observed",
        )
    if sharded(model):
        reasons |= dict.fromkeys(
            measured_by("gradients", "activations", "evaluation", "wiring"),
            "the parameters are sharded or on several devices, so a process sees only parts of them",
        )
    if len(optimizers) > 1:
        reasons |= dict.fromkeys(
            ("loss", "stale_gradient", "validation_loss"),
            "several optimizers: there is no single loss to check",
        )
    if any("LBFGS" in type(optimizer).__name__ for optimizer in optimizers):
        reasons["update_ratio"] = "LBFGS takes several inner steps per call and chooses their length itself"
    return reasons


def is_compiled(model: nn.Module) -> bool:
    """Return whether any part is compiled. It ignores hooks that are added later, or breaks its graph."""
    return getattr(model, "_compiler_ctx", None) is not None or any(
        type(module).__name__ == "OptimizedModule" or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )


def sharded(model: nn.Module) -> bool:
    """Return whether a process holds only parts of the parameters, or they are on several devices."""
    parameters = list(model.parameters())
    return (
        any(type(p).__name__ == "DTensor" or hasattr(p, "ds_id") for p in parameters)
        or any(type(p.data).__name__ == "DTensor" for p in parameters)
        or any("FullyShardedDataParallel" in type(module).__name__ for module in model.modules())
        or len({p.device for p in parameters}) > 1
    )


def wiring_events(
    step: int,
    facts: Mapping[str, ParameterFacts],
    parameters: Mapping[str, Tensor],
    missing: Sequence[str],
    executed: Sequence[str],
) -> list[Event]:
    """Return what is wrong at this step. Arguments as in the checks below."""
    events = []
    if names := not_in_optimizer(facts, parameters):
        events.append(Event("parameter-not-in-optimizer", step, names))
    if executed and (cut := cut_off(facts, missing, executed)):
        events.append(Event("graph-cut", step, cut[0], {"after": cut[1]}))
    if names := symmetric(facts, parameters):
        events.append(Event("symmetric-weights", step, names))
    return events


def not_in_optimizer(
    facts: Mapping[str, ParameterFacts], parameters: Mapping[str, Tensor]
) -> tuple[str, ...]:
    """Name the trainable parameters that have a gradient other than zero but no optimizer."""
    return tuple(
        name
        for name, p in parameters.items()
        if facts[name].optimizer is None and p.requires_grad and p.grad is not None and bool(p.grad.any())
    )


def listed_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters in plain lists, tuples or dicts of modules, by path; training mode only."""
    found: dict[str, nn.Parameter] = {}
    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            if attribute in ("_parameters", "_buffers", "_modules") or not isinstance(
                value, list | tuple | dict
            ):
                continue
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, item in items:
                path = f"{name}.{attribute}[{key!r}]".removeprefix(".")
                if isinstance(item, nn.Parameter):
                    found[path] = item
                elif isinstance(item, nn.Module) and item.training:
                    found |= {f"{path}.{inner}": p for inner, p in item.named_parameters()}
    return found


def cut_off(
    facts: Mapping[str, ParameterFacts], missing: Sequence[str], executed: Sequence[str]
) -> tuple[tuple[str, ...], str] | None:
    """Find modules that ran without receiving a gradient although later ones did.

    Args:
        facts: facts about all parameters.
        missing: trainable parameters without a gradient.
        executed: modules in the order in which they ran.

    Returns:
        Those modules and the first later one with a gradient; None if there are none.
    """
    order = {name: i for i, name in enumerate(executed)}
    cut = {facts[name].module for name in missing} & order.keys()
    # A module is connected if any of its parameters has a gradient.
    connected = {f.module for name, f in facts.items() if f.optimizer is not None and f.trainable}
    alive = sorted(order[m] for m in connected - {facts[n].module for n in missing} if m in order)
    before = sorted((m for m in cut if alive and order[m] < alive[-1]), key=order.__getitem__)
    if not before:
        return None
    last = order[before[-1]]
    after = next((executed[i] for i in alive if i > last), executed[alive[-1]])
    return tuple(before), after


def mode_sensitive(model: nn.Module) -> tuple[str, ...]:
    """Name the modules that behave differently in evaluation mode: dropout and batch normalization."""
    return tuple(
        name
        for name, module in model.named_modules()
        if ("Dropout" in type(module).__name__ and getattr(module, "p", False))
        or (
            getattr(module, "track_running_stats", False)
            and any(p.requires_grad for p in module.parameters(recurse=False))
        )
    )


def strong_dropout(model: nn.Module) -> list[Event]:
    """Return an event that names the dropout layers which remove most of their input."""
    shares = {
        name: module.p
        for name, module in model.named_modules()
        if "Dropout" in type(module).__name__ and isinstance(getattr(module, "p", None), float)
    }
    strong = {name: p for name, p in shares.items() if STRONG <= p < 1}
    return [Event("strong-dropout", 0, tuple(strong), {"p": max(strong.values())})] if strong else []


def evaluating(model: nn.Module, sensitive: Sequence[str]) -> tuple[str, ...]:
    """Name the mode-sensitive modules that are in evaluation mode together with a container that is trained.

    A batch normalization alone in evaluation mode, or in a container without gradients, is intended.
    """
    if not model.training:
        return ()  # the engine checks this case at every step
    found = []
    for name in sensitive:
        around = model.get_submodule(name.rpartition(".")[0])
        off = not model.get_submodule(name).training and not around.training
        if off and any(p.grad is not None for p in around.parameters()):
            found.append(name)
    return tuple(found)


def symmetric(facts: Mapping[str, ParameterFacts], parameters: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Name the weight matrices of four or more equal rows whose gradients have equal rows too."""
    found = []
    for name, p in parameters.items():
        known = facts[name]
        if known.kind != "matrix" or known.shape[0] < 4 or known.optimizer is None or p.grad is None:
            continue
        if p.grad.is_sparse or not _equal_rows(p) or not _equal_rows(p.grad):
            continue
        found.append(name)
    return tuple(found)


def _equal_rows(matrix: Tensor) -> bool:
    rows = matrix.detach().flatten(1)
    if not torch.equal(rows[0], rows[-1]) and not torch.allclose(rows[0], rows[-1], rtol=1e-3, atol=0):
        return False  # decides almost every case
    largest = rows[0].abs().max()
    return bool((rows - rows[0]).abs().max() <= 1e-3 * largest)
