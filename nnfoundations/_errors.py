"""The errors of the package: each names the rule, what came and the fix, in that order.

Each is also an instance of what torch raises in the same place, so that existing `except` clauses hold.
"""

__all__ = ["DtypeError", "LabelError", "OptionError", "ShapeError"]


class ShapeError(RuntimeError, ValueError):
    """Sizes that do not fit each other. Torch raises RuntimeError or ValueError, by layer."""


class DtypeError(RuntimeError, TypeError):
    """A number format that the operation does not take, or two that differ."""


class LabelError(IndexError):
    """A class index outside 0 to C - 1."""


class OptionError(RuntimeError, ValueError):
    """An option outside its legal values."""
