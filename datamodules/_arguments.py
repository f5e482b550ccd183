"""Checks of constructor arguments. Each names the argument, what it may be and what came."""


def check_at_least(name: str, value: int, least: int) -> None:
    """Raises: ValueError: value is below least."""
    if value < least:
        raise ValueError(f"{name} must be at least {least}; got {value!r}.")


def check_size(name: str, size: int | float) -> None:
    """What can be said of a size before the data are read. Raises: ValueError: it can stand for no rows."""
    if not (0 < size < 1 if isinstance(size, float) else size >= 1):
        raise ValueError(
            f"{name} must be a number of images, 1 or more, or a fraction between 0 and 1; got {size!r}."
        )


def rows_of(name: str, size: int | float, total: int) -> int:
    """The number of rows that a size, a count or a fraction of total, stands for.

    Raises: ValueError: it would take none of them or leave none.
    """
    check_size(name, size)
    rows = round(size * total) if isinstance(size, float) else size
    if not 1 <= rows < total:
        raise ValueError(f"{name} must leave some of the {total} images and take some; got {size!r}.")
    return rows
