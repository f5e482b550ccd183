"""One file from the first mirror that has it. pooch does the temporary file, the checksum and the rename."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten

CONNECT_SECONDS, READ_SECONDS = 10, 30


def download(addresses: Sequence[str], path: Path, md5: str) -> list[str]:
    """Fetch `path`, which must not exist, from one of the addresses.

    Returns: nothing if the file is now there, whole and with the right md5; else what went wrong, a line an
        address. No part of a file is left behind.
    """
    import pooch  # its own imports cost time that a fit with local files need not spend

    downloader = pooch.HTTPDownloader(
        timeout=(CONNECT_SECONDS, READ_SECONDS),  # the second is between bytes, not for the whole file
        headers={"Accept-Encoding": "identity"},  # a .gz unpacked on the way would not have its md5
        chunk_size=1 << 16,
    )
    reasons = []
    for address in addresses:
        try:
            pooch.retrieve(address, f"md5:{md5}", path.name, path.parent, downloader=downloader)
        except (OSError, ValueError) as error:  # network and disk; a wrong checksum is a ValueError
            reasons.append(f"{address}: {_in_short(error)}")
        else:
            return []
    return reasons


def _in_short(error: BaseException) -> str:
    # The innermost one says "Connection refused" where the outermost speaks of pools and retries.
    while inner := error.__cause__ or error.__context__:
        error = inner
    return shorten(f"{type(error).__name__}: {error}", 200)
