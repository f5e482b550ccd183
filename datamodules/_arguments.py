"""Checks of constructor arguments: each error names the argument, the allowed values and the given value."""

import os
from collections.abc import Sequence

__all__ = ["check_at_least", "check_choice", "check_share", "check_size", "resolve_seed", "rows_of"]


def check_at_least(name: str, value: float, least: float) -> None:
    """Reject a value below `least` or NaN."""
    if not value >= least:
        raise ValueError(f"{name} must be at least {least}; got {value!r}.")


def check_share(name: str, value: float) -> None:
    """Reject a value outside 0 to 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be at least 0 and at most 1; got {value!r}.")


def check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """Reject a value that is not in `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}.")


def check_size(name: str, size: int | float) -> None:
    """Reject a size that is neither a count of at least 1 nor a fraction, before the data are read."""
    if not (0 < size < 1 if isinstance(size, float) else size >= 1):
        raise ValueError(
            f"{name} must be a number of samples, 1 or more, or a fraction between 0 and 1; got {size!r}."
        )


def rows_of(name: str, size: int | float, total: int) -> int:
    """Return the number of rows that `size` means, as a count or as a fraction of `total`.

    Raises:
        ValueError: no row would be taken, or none would be left.
    """
    check_size(name, size)
    rows = round(size * total) if isinstance(size, float) else size
    if not 1 <= rows < total:
        raise ValueError(f"{name} must leave some of the {total} samples and take some; got {size!r}.")
    return rows


def resolve_seed(seed: int | None) -> int:
    """Return a seed of at least 0; None means Lightning's, which `seed_everything` sets, or 0 without one."""
    if seed is None:
        return int(os.environ.get("PL_GLOBAL_SEED", 0))
    check_at_least("seed", seed, 0)
    return seed
