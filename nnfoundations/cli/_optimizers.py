"""Does torch take the optimizers and schedules of a config? Each is tried on one parameter, before a run."""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

import torch
from jsonargparse import Namespace
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from nnfoundations.cli._settings import CommandError, Setting

Made = tuple[type, dict[str, Any]]
"""A class and its options."""


def check_optimizers(model: Namespace, settings: Setting) -> None:
    """Refuse values that a class refuses when it is made, or at its first step.

    Args: model: its parsed options. settings: what was given, with places.

    Raises:
        CommandError: with the option at fault.
    """
    for key, found in _classes("model", model):
        optimizers = {name: made for name, made in found.items() if issubclass(made[0], Optimizer)}
        beside = next(iter(optimizers.values()), (SGD, {"lr": 0.1, "momentum": 0.9}))
        for name in sorted(found, key=lambda name: name not in optimizers):
            attempt = _optimizer_refuses if name in optimizers else partial(_schedule_refuses, beside)
            refusal = attempt(found[name])
            if refusal is not None and not isinstance(refusal, TypeError):
                raise _mistake(f"{key}.{name}", settings.find(f"{key}.{name}"), found[name], attempt, refusal)


def _classes(key: str, node: Namespace) -> Iterator[tuple[str, dict[str, Made]]]:
    """The optimizers and schedules among the options of a class, and of the classes within."""
    found: dict[str, Made] = {}
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


def _optimizer_refuses(made: Made) -> Exception | None:
    return _refusal(lambda: _optimizer(made))


def _schedule_refuses(beside: Made, made: Made) -> Exception | None:
    return _refusal(lambda: _step(_optimizer(beside), made))


def _optimizer(made: Made) -> Optimizer:
    cls, options = made
    optimizer: Optimizer = cls([torch.nn.Parameter(torch.zeros(1, 1))], **options)
    return optimizer


def _step(optimizer: Optimizer, made: Made) -> None:
    """Some divide by their length, and only in their first step."""
    cls, options = made
    try:
        schedule = cls(optimizer, **options)
    except ValueError as error:
        if "total_steps" not in str(error):
            raise
        schedule = cls(optimizer, **{**options, "total_steps": 100})  # the run's, where none is given
    schedule.step(*[1.0] if isinstance(schedule, ReduceLROnPlateau) else [])
    if (rate := min(group["lr"] for group in optimizer.param_groups)) < 0:
        raise ValueError(f"the learning rate becomes {float(rate):.3g}: it climbs the loss")


def _refusal(attempt: Callable[[], object]) -> Exception | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a schedule that steps before its optimizer
        try:
            attempt()
        except (ValueError, ArithmeticError, TypeError) as error:
            return error
        except Exception:  # a class that cannot be tried like this is left to the run
            return None
    return None


def _mistake(
    key: str,
    given: Setting | None,
    made: Made,
    attempt: Callable[[Made], Exception | None],
    refusal: Exception,
) -> CommandError:
    """The option at fault is the one without which, or with 1 in its place, the class says yes."""
    cls, options = made
    words = str(refusal).strip().rstrip(".")
    said = words if words.startswith(cls.__name__) else f"{cls.__name__}: {words}"
    for name, option in (given.children if given else {}).items():
        others = {other: value for other, value in options.items() if other != name}
        if name in options and None in (attempt((cls, others)), attempt((cls, {**others, name: 1}))):
            where = "" if option.place.startswith("`--") else f"{option.place}: "
            return CommandError(f"{where}`{key}.{name}` cannot be `{options[name]}`.\n{said}.")
    return CommandError(f"`{key}` cannot be made of these options.\n{said}.")
