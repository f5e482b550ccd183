"""The door that torch keeps open in its own functions: types with `__torch_function__` may take a call over.

FX tracing, tensor subclasses and `TorchFunctionMode` come in here.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from torch.overrides import handle_torch_function, has_torch_function

__all__ = ["overridable"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def overridable(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let an argument's type, or an active mode, answer in place of `function`."""

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        relevant = (*args, *kwargs.values()) if kwargs else args
        if has_torch_function(relevant):
            answer: _R = handle_torch_function(call, relevant, *args, **kwargs)
            return answer
        return function(*args, **kwargs)

    return call
