"""Makes classes in the working folder importable, as `python -m` does."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["working_folder_importable"]


@contextmanager
def working_folder_importable() -> Iterator[None]:
    """Put the working folder first on `sys.path`; Python's safe-path mode (`-P`) is respected."""
    folder = os.getcwd()
    if sys.flags.safe_path or folder in sys.path or "" in sys.path:
        yield
        return
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
