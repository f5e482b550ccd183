"""The wrapper of everything that a training loop calls: it counts the time and keeps exceptions away."""

from collections.abc import Callable
from functools import wraps
from time import perf_counter
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from nnfoundations.diagnostics._error import FaultError

if TYPE_CHECKING:
    from nnfoundations.diagnostics._step_events import StepEvents

__all__ = ["event"]

P = ParamSpec("P")
E = TypeVar("E", bound="StepEvents")


def event(method: Callable[Concatenate[E, P], None]) -> Callable[Concatenate[E, P], None]:
    """Add the time of an event to the cost of diagnostics, and keep its exceptions away from the training."""

    @wraps(method)
    def run(self: E, /, *args: P.args, **kwargs: P.kwargs) -> None:
        if self.failure is not None:
            return
        start = perf_counter()
        try:
            method(self, *args, **kwargs)
        except FaultError:
            raise
        except Exception as error:
            self.fail(error)
        finally:
            self.schedule.own += perf_counter() - start - self.diagnosis.outside
            self.diagnosis.outside = 0.0

    return run
