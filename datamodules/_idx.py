"""The IDX format: two zero bytes, element type, number of axes, big-endian 32-bit sizes, data."""

import math
import struct

import numpy as np
import numpy.typing as npt

__all__ = ["decode_idx"]

UNSIGNED_BYTE = 0x08


def decode_idx(content: bytes, axes: int) -> npt.NDArray[np.uint8]:
    """Decode unsigned bytes on `axes` axes; the result is a read-only view of `content`.

    Raises:
        ValueError: not IDX, another element type or number of axes, or a length that contradicts the header.

    Source: the description on the MNIST page, LeCun, Cortes and Burges 1998.
    """
    head = 4 + 4 * axes
    if len(content) < head or content[:4] != bytes((0, 0, UNSIGNED_BYTE, axes)):
        raise ValueError(
            f"An IDX file of unsigned bytes on {axes} axes begins with 00 00 08 {axes:02x}; "
            f"got {content[:4].hex(' ') or 'nothing'} in {len(content):,} bytes."
        )
    sizes = struct.unpack(f">{axes}I", content[4:head])
    wanted, found = math.prod(sizes), len(content) - head
    if found != wanted:
        raise ValueError(f"An IDX file of shape {sizes} holds {wanted:,} bytes of data; got {found:,}.")
    return np.frombuffer(content, dtype=np.uint8, offset=head).reshape(sizes)
