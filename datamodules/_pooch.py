"""Imports pooch without a warning about progress bars in notebooks."""

import warnings
from typing import Any

__all__ = ["import_pooch"]


def import_pooch() -> Any:
    """Import pooch when it is first needed.

    In a notebook without ipywidgets its import of tqdm warns that there is no progress bar. Downloads here
    draw a text bar of their own.

    Returns:
        The module.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")
        import pooch
    return pooch
