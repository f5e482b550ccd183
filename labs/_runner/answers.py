"""What the checks of a lab ask of a reader's answer before they look at its values."""

import numpy as np

__all__ = ["as_array", "as_pair"]


def as_array(value: object, what: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Take an answer as an array of numbers.

    Args:
        value: the answer.
        what: its name in the message, such as `sigmoid(x)`.
        shape: that it must have; None means any.

    Returns:
        The array.

    Raises:
        AssertionError: it is None, has no numbers, or another shape; the text says which.
    """
    assert value is not None, f"{what} is None: end the function with `return`"
    try:
        array = np.asarray(value)
    except ValueError:  # rows of several lengths
        raise AssertionError(f"{what} is one array; got parts of several shapes") from None
    assert array.dtype.kind in "biuf", f"{what} has numbers; got {type(value).__name__}"
    assert shape is None or array.shape == shape, f"{what} has the shape {shape}; got {array.shape}"
    return array


def as_pair(value: object, what: str) -> tuple[object, object]:
    """Take an answer as two values.

    Args:
        value: the answer.
        what: its name in the message.

    Returns:
        The two values.

    Raises:
        AssertionError: it is not a tuple or list of two; the text says so.
    """
    assert value is not None, f"{what} is None: end the function with `return`"
    assert isinstance(value, tuple | list), f"{what} is two values; got {type(value).__name__}"
    assert len(value) == 2, f"{what} is two values; got {len(value)}"
    return value[0], value[1]
