"""Support for `__torch_function__` in our functions: FX tracing, tensor subclasses, `TorchFunctionMode`."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from torch.overrides import handle_torch_function, has_torch_function

__all__ = ["supports_torch_function"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def supports_torch_function(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorate `function` so that an argument's type, or an active mode, can override it."""

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        relevant = (*args, *kwargs.values()) if kwargs else args
        if has_torch_function(relevant):
            answer: _R = handle_torch_function(call, relevant, *args, **kwargs)
            return answer
        return function(*args, **kwargs)

    return call
