"""The diagnostics of every `fit`."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback

from nnfoundations.callbacks import Diagnostics

__all__ = ["DefaultDiagnostics", "choose_diagnostics"]


class DefaultDiagnostics(Diagnostics):
    """The diagnostics of every `fit`, with an option to turn them off.

    Args:
        enabled: whether to run them.
        kwargs: the options of `Diagnostics`.
    """

    def __init__(self, *, enabled: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.enabled = enabled


def choose_diagnostics(callbacks: list[Callback], own: Sequence[Callback], *, fits: bool) -> None:
    """Keep the default diagnostics only if they are enabled, and leave the files to the summary of the run.

    Args:
        callbacks: of the command line, with the default diagnostics.
        own: of the user; a `Diagnostics` among them replaces the default one.
        fits: whether the command trains.
    """
    replacements = [callback for callback in own if isinstance(callback, Diagnostics)]
    (default,) = (callback for callback in callbacks if isinstance(callback, DefaultDiagnostics))
    for diagnostics in (default, *replacements):
        diagnostics.names_files = False
    if replacements or not (fits and default.enabled):
        callbacks.remove(default)
