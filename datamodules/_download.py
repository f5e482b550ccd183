"""Download a file from the first mirror that is fast enough, and continue earlier attempts.

pooch does the temporary file, the checksum and the rename. This file adds mirrors, byte ranges and a minimum
speed. A partial download is kept as `.NAME.part`, so that it is never mistaken for the file.
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

from nnfoundations.datamodules._pooch import import_pooch

__all__ = ["download"]

CONNECT_SECONDS, READ_SECONDS = 10.0, 30.0  # the second limits the time between bytes
SPEED_SECONDS = 20.0  # interval over which speed is measured
MIN_SPEED = 100_000.0
"""Below this number of bytes per second the next mirror is tried. NNFOUNDATIONS_MIN_SPEED overrides it."""


class MirrorError(OSError):
    """A mirror gives a wrong or slow answer."""


def download(addresses: Sequence[str], path: Path, md5: str) -> list[str]:
    """Download `path`, which must not exist, from one of the addresses.

    Returns:
        An empty list if the file is now complete and has the right md5, otherwise one reason per address. The
        bytes received so far stay in `.NAME.part`, and the next call requests only the rest.
    """
    import requests  # slow to import, and not needed if the files are local
    from filelock import FileLock
    from urllib3.exceptions import HTTPError

    part, lock = (path.with_name(f".{path.name}.{suffix}") for suffix in ("part", "lock"))
    mirror_errors = (requests.RequestException, HTTPError, MirrorError, ValueError)
    reasons = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):  # a second process waits and then finds the file
            for address in addresses:
                if path.exists():
                    break
                try:
                    _retrieve(address, path, part, md5)
                except mirror_errors as error:
                    reasons.append(f"{address}: {_shorten(error)}")
            if path.exists():
                lock.unlink(missing_ok=True)
                return []
    except (OSError, NotImplementedError) as error:  # the local disk fails, so another mirror cannot help
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            with suppress(OSError):
                part.unlink()  # frees the space on a full disk
        return [f"{path} cannot be written: {_shorten(error)}"]
    return reasons


def _retrieve(address: str, path: Path, part: Path, md5: str) -> None:
    pooch = import_pooch()
    pooch.get_logger().setLevel("WARNING")  # the progress bar shows more
    continues = part.exists()
    downloader = partial(_fetch_rest, part)
    try:
        pooch.retrieve(address, f"md5:{md5}", path.name, path.parent, downloader=downloader)
    except ValueError:  # a wrong checksum; pooch has then deleted the partial file
        if not continues:
            raise
        # The wrong bytes may come from an earlier attempt.
        pooch.retrieve(address, f"md5:{md5}", path.name, path.parent, downloader=downloader)


def _fetch_rest(part: Path, address: str, output_file: str, pooch: Any) -> None:
    """Append the missing bytes to `part`, then rename it to the temporary file of pooch."""
    import requests
    from tqdm import tqdm

    with part.open("ab") as stream:
        have = stream.tell()
        headers = {"Accept-Encoding": "identity"}  # an unpacked .gz would not have the published md5
        if have:
            headers["Range"] = f"bytes={have}-"
        timeouts = CONNECT_SECONDS, READ_SECONDS
        with requests.get(address, headers=headers, timeout=timeouts, stream=True) as response:
            for step in (*response.history, response):
                if address.startswith("https:") and not step.url.startswith("https:"):
                    raise MirrorError(f"redirects from https to {step.url}")
            if response.status_code == 416 or not _continues(response, have):
                stream.truncate(0)
                raise ValueError("the mirror does not support the byte range that is missing")
            response.raise_for_status()
            if response.status_code == 200:  # the whole file, even if a range was requested
                stream.truncate(0)
                have = 0
            total = have + int(response.headers.get("Content-Length", 0)) or None
            name = address.rpartition("/")[2]
            with tqdm(desc=name, total=total, initial=have, unit="B", unit_scale=True) as bar:
                speed = _Speed()
                # The iterator of requests waits for a whole chunk, so a slow mirror would not be noticed.
                while chunk := response.raw.read1(1 << 16):
                    stream.write(chunk)
                    bar.update(len(chunk))
                    speed.check(len(chunk))
    os.replace(part, output_file)


def _continues(response: Any, have: int) -> bool:
    given = str(response.headers.get("Content-Range", ""))
    return response.status_code != 206 or given.startswith(f"bytes {have}-")


class _Speed:
    """Measures bytes per second over intervals of SPEED_SECONDS."""

    def __init__(self) -> None:
        self.least = float(os.environ.get("NNFOUNDATIONS_MIN_SPEED") or MIN_SPEED)
        self.since, self.count = time.monotonic(), 0

    def check(self, count: int) -> None:
        """Count received bytes; raise MirrorError if they arrive too slowly."""
        self.count += count
        seconds = time.monotonic() - self.since
        if seconds < SPEED_SECONDS:
            return
        if self.count < self.least * seconds:
            raise MirrorError(
                f"delivers {self.count / seconds / 1000:.0f} kB/s, less than {self.least / 1000:.0f} "
                "(NNFOUNDATIONS_MIN_SPEED=0 accepts any speed and continues from here)"
            )
        self.since, self.count = time.monotonic(), 0


def _shorten(error: BaseException) -> str:
    # The innermost error says "Connection refused"; the outermost one talks about pools and retries.
    while inner := error.__cause__ or error.__context__:
        error = inner
    return shorten(f"{type(error).__name__}: {error}", 200)
