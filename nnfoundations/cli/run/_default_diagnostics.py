"""The diagnostics of every `fit`."""

from typing import Any

from nnfoundations.callbacks import Diagnostics

__all__ = ["DefaultDiagnostics"]


class DefaultDiagnostics(Diagnostics):
    """The diagnostics of every `fit`, with an option to turn them off.

    Args:
        enabled: whether to run them.
        kwargs: the options of `Diagnostics`.
    """

    def __init__(self, *, enabled: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.enabled = enabled
