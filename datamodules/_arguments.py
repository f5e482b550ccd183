"""Checks of constructor arguments. Each names the argument, what it may be and what came."""

from collections.abc import Sequence


def check_at_least(name: str, value: float, least: float) -> None:
    """Raises: ValueError: value is below least, or not a number."""
    if not value >= least:
        raise ValueError(f"{name} must be at least {least}; got {value!r}.")


def check_share(name: str, value: float) -> None:
    """Raises: ValueError: value is no share of a whole."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be at least 0 and at most 1; got {value!r}.")


def check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """Raises: ValueError: value is none of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}.")


def check_size(name: str, size: int | float) -> None:
    """What can be said of a size before the data are read. Raises: ValueError: it can stand for no rows."""
    if not (0 < size < 1 if isinstance(size, float) else size >= 1):
        raise ValueError(
            f"{name} must be a number of samples, 1 or more, or a fraction between 0 and 1; got {size!r}."
        )


def rows_of(name: str, size: int | float, total: int) -> int:
    """The number of rows that a size, a count or a fraction of total, stands for.

    Raises: ValueError: it would take none of them or leave none.
    """
    check_size(name, size)
    rows = round(size * total) if isinstance(size, float) else size
    if not 1 <= rows < total:
        raise ValueError(f"{name} must leave some of the {total} samples and take some; got {size!r}.")
    return rows
