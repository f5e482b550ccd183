"""A check of the arrays that a user passes to code that uses NumPy."""

from typing import Any

from nnfoundations.errors import DtypeError

__all__ = ["check_plain"]


def check_plain(name: str, given: Any) -> None:
    """Reject a masked array, whose mask would be lost, and a matrix, whose `*` differs; this imports NumPy.

    Args:
        name: of the class or argument, for the message.
        given: what the user passed, an array or not.

    Raises:
        DtypeError: it is a masked array or a matrix.
    """
    import numpy as np

    if isinstance(given, np.ma.MaskedArray):
        raise DtypeError(
            f"{name} needs a plain NumPy array; got a masked array, whose mask would be ignored. "
            "Fill it with filled(0), or drop the rows with masked entries."
        )
    if isinstance(given, np.matrix):
        raise DtypeError(f"{name} needs a plain NumPy array; got np.matrix. Convert it with np.asarray.")
