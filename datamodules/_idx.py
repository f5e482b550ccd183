"""The IDX format: two zero bytes, element type, number of axes, their sizes in big-endian 32 bits, data."""

import math
import struct

import numpy as np
import numpy.typing as npt

UNSIGNED_BYTE = 0x08


def decode_idx(content: bytes, axes: int) -> npt.NDArray[np.uint8]:
    """The array of unsigned bytes in `content`: a read-only view, not a copy.

    Raises: ValueError: not IDX, another element type or number of axes, or not as long as its header says.
    Source: the format's description on the page of MNIST, LeCun, Cortes and Burges 1998.
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
