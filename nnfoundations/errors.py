"""Errors of the package. Each message states the rule, what was found and the fix.

Each class derives from the exceptions that torch raises in the same situation, so existing `except` clauses
work.
"""

__all__ = ["DtypeError", "HistoryError", "LabelError", "OptionError", "ShapeError"]


class ShapeError(RuntimeError, ValueError):
    """Sizes do not match. Torch raises RuntimeError or ValueError here, depending on the layer."""


class DtypeError(RuntimeError, TypeError):
    """A dtype is not supported, or two dtypes differ."""


class LabelError(IndexError):
    """A class index is outside 0 to C - 1."""


class OptionError(RuntimeError, ValueError):
    """An option is outside its legal values."""


class HistoryError(ValueError):
    """A file is not the history of a run, or it is damaged."""
