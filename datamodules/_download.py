"""One file from the first mirror that gives it fast enough, going on where an earlier try broke off.

pooch does the temporary file, the checksum and the rename; here are the mirrors, the missing range and the
minimum speed. What has come so far lies in `.NAME.part`, which no reader ever takes for the file.
"""

import errno
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Any

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
    from urllib3.exceptions import HTTPError

    part, lock = (path.with_name(f".{path.name}.{suffix}") for suffix in ("part", "lock"))
    of_the_mirror = (requests.RequestException, HTTPError, MirrorError, ValueError)
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
    except (OSError, NotImplementedError) as error:  # of this disk, where no mirror helps
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            with suppress(OSError):
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
    import requests
    from tqdm import tqdm

    with part.open("ab") as stream:
        have = stream.tell()
        headers = {"Accept-Encoding": "identity"}  # a .gz unpacked on the way would not have its md5
        if have:
            headers["Range"] = f"bytes={have}-"
        timeouts = CONNECT_SECONDS, READ_SECONDS
        with requests.get(address, headers=headers, timeout=timeouts, stream=True) as response:
            for step in (*response.history, response):
                if address.startswith("https:") and not step.url.startswith("https:"):
                    raise MirrorError(f"leads from https to {step.url}")
            if response.status_code == 416 or not _continues(response, have):
                stream.truncate(0)
                raise ValueError("the mirror does not have the range that is missing here")
            response.raise_for_status()
            if response.status_code == 200:  # all of it, whether or not a range was asked for
                stream.truncate(0)
                have = 0
            total = have + int(response.headers.get("Content-Length", 0)) or None
            name = address.rpartition("/")[2]
            with tqdm(desc=name, total=total, initial=have, unit="B", unit_scale=True) as bar:
                speed = _Speed()
                # What requests has for it waits until a whole chunk is there, however slowly it comes.
                while chunk := response.raw.read1(1 << 16):
                    stream.write(chunk)
                    bar.update(len(chunk))
                    speed.check(len(chunk))
    os.replace(part, output_file)


def _continues(response: Any, have: int) -> bool:
    given = str(response.headers.get("Content-Range", ""))
    return response.status_code != 206 or given.startswith(f"bytes {have}-")


class _Speed:
    """Bytes a second, over SPEED_SECONDS at a time."""

    def __init__(self) -> None:
        self.least = float(os.environ.get("NNFOUNDATIONS_MIN_SPEED") or MIN_SPEED)
        self.since, self.count = time.monotonic(), 0

    def check(self, count: int) -> None:
        """Raises: MirrorError: they came too slowly."""
        self.count += count
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
