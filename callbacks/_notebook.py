"""Chooses a progress bar that a notebook can draw."""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

__all__ = ["draw_with_tqdm"]


def draw_with_tqdm(trainer: Any) -> None:
    """Replace Lightning's rich progress bar by its tqdm bar in a notebook without ipywidgets.

    There the rich bar draws nothing and prints a warning at each refresh.

    Args:
        trainer: a Trainer of ``lightning`` or ``pytorch_lightning``.
    """
    if "ipykernel.kernelapp" not in sys.modules or find_spec("ipywidgets") is not None:
        return
    for i, bar in enumerate(trainer.callbacks):
        if type(bar).__name__ == "RichProgressBar":  # not a subclass of the user's
            callbacks = import_module(type(bar).__module__.partition(".progress")[0])
            plain = callbacks.TQDMProgressBar(refresh_rate=bar.refresh_rate)
            plain.setup(trainer, trainer.lightning_module, trainer.state.fn)
            trainer.callbacks[i] = plain
