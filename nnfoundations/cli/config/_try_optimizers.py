"""Try the optimizers and learning-rate schedules of a config on one parameter before a run."""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

import torch
from jsonargparse import Namespace
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from nnfoundations.cli.config._settings import CommandError, Setting

__all__ = ["Choice", "check_optimizers"]

Choice = tuple[type, dict[str, Any]]
"""A class and its options."""


def check_optimizers(model: Namespace, settings: Setting) -> None:
    """Find values that an optimizer or a schedule refuses in its constructor or first step.

    Args:
        model: the parsed options of the model.
        settings: what was given, with places.

    Raises:
        CommandError: a value is refused; the text names the option.
    """
    for key, found in _classes("model", model):
        optimizers = {name: choice for name, choice in found.items() if issubclass(choice[0], Optimizer)}
        companion = next(iter(optimizers.values()), (SGD, {"lr": 0.1, "momentum": 0.9}))
        for name in sorted(found, key=lambda name: name not in optimizers):
            attempt = _optimizer_refuses if name in optimizers else partial(_schedule_refuses, companion)
            refusal = attempt(found[name])
            if refusal is not None and not isinstance(refusal, TypeError):
                raise _mistake(f"{key}.{name}", settings.find(f"{key}.{name}"), found[name], attempt, refusal)


def _classes(key: str, node: Namespace) -> Iterator[tuple[str, dict[str, Choice]]]:
    """The optimizers and schedules among the options of a class and of the classes nested in it."""
    found: dict[str, Choice] = {}
    for name, value in _options(node).items():
        if not isinstance(value, Namespace) or "class_path" not in value:
            continue
        module, _, last = value.class_path.rpartition(".")
        cls = getattr(import_module(module), last)
        if isinstance(cls, type) and issubclass(cls, Optimizer | LRScheduler | ReduceLROnPlateau):
            found[name] = cls, _options(value)
        else:
            yield from _classes(f"{key}.{name}", value)
    yield key, found


def _options(node: Namespace) -> dict[str, Any]:
    options = node.get("init_args")
    return dict(vars(options)) if options else {}


def _optimizer_refuses(choice: Choice) -> Exception | None:
    return _refusal(lambda: _optimizer(choice))


def _schedule_refuses(optimizer: Choice, choice: Choice) -> Exception | None:
    return _refusal(lambda: _step(_optimizer(optimizer), choice))


def _optimizer(choice: Choice) -> Optimizer:
    cls, options = choice
    optimizer: Optimizer = cls([torch.nn.Parameter(torch.zeros(1, 1))], **options)
    return optimizer


def _step(optimizer: Optimizer, choice: Choice) -> None:
    """Take one step: some schedules divide by their length there, not in the constructor."""
    cls, options = choice
    try:
        schedule = cls(optimizer, **options)
    except ValueError as error:
        if "total_steps" not in str(error):
            raise
        schedule = cls(optimizer, **{**options, "total_steps": 100})  # a run fills in its own length
    schedule.step(*[1.0] if isinstance(schedule, ReduceLROnPlateau) else [])
    if (rate := min(group["lr"] for group in optimizer.param_groups)) < 0:
        raise ValueError(f"the learning rate becomes negative ({float(rate):.3g})")


def _refusal(attempt: Callable[[], object]) -> Exception | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a schedule warns when it steps before its optimizer
        try:
            attempt()
        except (ValueError, ArithmeticError, TypeError) as error:
            return error
        except Exception:  # the run will show it: this trial proves nothing about such a class
            return None
    return None


def _mistake(
    key: str,
    given: Setting | None,
    choice: Choice,
    attempt: Callable[[Choice], Exception | None],
    refusal: Exception,
) -> CommandError:
    """The option at fault: without it, or with 1 in its place, the class accepts the others."""
    cls, options = choice
    words = str(refusal).strip().rstrip(".")
    said = words if words.startswith(cls.__name__) else f"{cls.__name__}: {words}"
    for name, option in (given.children if given else {}).items():
        others = {other: value for other, value in options.items() if other != name}
        if name in options and None in (attempt((cls, others)), attempt((cls, {**others, name: 1}))):
            return CommandError(f"{option.prefix}`{key}.{name}` cannot be `{options[name]}`.\n{said}.")
    return CommandError(f"`{key}` does not accept these options together.\n{said}.")
