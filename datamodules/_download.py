"""One file from the first mirror that gives it fast enough, going on where an earlier try broke off.

pooch does the checksum, the rename and the progress bar; here are the mirrors, the missing range and the
minimum speed. What has come so far lies in `.NAME.part`, which no reader ever takes for the file.
"""

import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Any, BinaryIO

CONNECT_SECONDS, READ_SECONDS = 10.0, 30.0  # the second is between bytes, not for the whole file
SPEED_SECONDS = 20.0  # over which speed is measured
MIN_SPEED = 100_000.0
"""Bytes a second below which the next mirror is tried, unless NNFOUNDATIONS_MIN_SPEED says another number."""


class MirrorError(OSError):
    """A mirror answers, but not as it should."""


def download(addresses: Sequence[str], path: Path, md5: str) -> list[str]:
    """Fetch `path`, which must not exist, from one of the addresses.

    Returns: nothing if the file is now there, whole and with the right md5; else what went wrong, a line an
        address. What has come by then stays in `.NAME.part`, and the next call asks for the rest only.
    """
    import requests  # its own imports cost time that a fit with local files need not spend
    from filelock import FileLock

    part, lock = (path.with_name(f".{path.name}.{suffix}") for suffix in ("part", "lock"))
    of_the_mirror = (requests.RequestException, MirrorError, ConnectionError, TimeoutError, ValueError)
    reasons = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):  # a second process waits, and then finds the file
            for address in addresses:
                if path.exists():
                    break
                try:
                    _retrieve(address, path, part, md5)
                except of_the_mirror as error:
                    reasons.append(f"{address}: {_in_short(error)}")
            if path.exists():
                lock.unlink(missing_ok=True)
                return []
    except OSError as error:  # of this disk, where no mirror helps
        if part.is_file():
            part.unlink()  # a full disk is not left full
        return [f"{path} cannot be written: {_in_short(error)}"]
    return reasons


def _retrieve(address: str, path: Path, part: Path, md5: str) -> None:
    import pooch

    pooch.get_logger().setLevel("WARNING")  # the bar says that and more
    goes_on = part.exists()
    downloader = partial(_fetch_rest, part)
    try:
        pooch.retrieve(address, f"md5:{md5}", path.name, path.parent, downloader=downloader)
    except ValueError:  # a wrong checksum, after which the part is gone
        if not goes_on:
            raise
        # The wrong bytes may be those of an earlier try.
        pooch.retrieve(address, f"md5:{md5}", path.name, path.parent, downloader=downloader)


def _fetch_rest(part: Path, address: str, output_file: str, pooch: Any) -> None:
    """Append to `part` what is missing, then let it be pooch's temporary file."""
    from pooch import HTTPDownloader

    with part.open("ab") as stream:
        have = stream.tell()
        headers = {"Accept-Encoding": "identity"}  # a .gz unpacked on the way would not have its md5
        if have:
            headers["Range"] = f"bytes={have}-"

        def look(response: Any, **_: Any) -> None:
            if address.startswith("https:") and not response.url.startswith("https:"):
                raise MirrorError(f"leads from https to {response.url}")
            wrong_range = response.status_code == 206 and not response.headers.get(
                "Content-Range", ""
            ).startswith(f"bytes {have}-")
            if response.status_code == 416 or wrong_range:
                stream.truncate(0)
                raise ValueError("the mirror does not have the range that is missing here")
            if response.status_code == 200:  # all of it, whether or not a range was asked for
                stream.truncate(0)

        get = HTTPDownloader(
            progressbar=True,
            chunk_size=1 << 16,
            timeout=(CONNECT_SECONDS, READ_SECONDS),
            headers=headers,
            hooks={"response": look},
        )
        get(address, _Metered(stream), pooch)
    os.replace(part, output_file)


class _Metered:
    """Writes on, and raises MirrorError where bytes come too slowly."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.flush = stream, stream.flush
        self.least = float(os.environ.get("NNFOUNDATIONS_MIN_SPEED") or MIN_SPEED)
        self.since, self.count = time.monotonic(), 0

    def write(self, chunk: bytes) -> None:
        self.stream.write(chunk)
        self.count += len(chunk)
        seconds = time.monotonic() - self.since
        if seconds < SPEED_SECONDS:
            return
        if self.count < self.least * seconds:
            raise MirrorError(
                f"gives {self.count / seconds / 1000:.0f} kB/s, less than {self.least / 1000:.0f} "
                "(NNFOUNDATIONS_MIN_SPEED=0 takes what there is, and goes on from here)"
            )
        self.since, self.count = time.monotonic(), 0


def _in_short(error: BaseException) -> str:
    # The innermost one says "Connection refused" where the outermost speaks of pools and retries.
    while inner := error.__cause__ or error.__context__:
        error = inner
    return shorten(f"{type(error).__name__}: {error}", 200)
