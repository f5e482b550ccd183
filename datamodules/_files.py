"""Published files: where they lie, whether they are the right ones, what to say when they are not.

A file is read once, checked on those very bytes, and used; nothing that is there is ever written to.
"""

import gzip
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnfoundations.datamodules._download import download


class DataFilesError(OSError):
    """A data set's files cannot be used. First what is wrong, then, on the next lines, the cure."""


class MissingFilesError(DataFilesError, FileNotFoundError):
    """Files are not there and could not be fetched."""


class CorruptFileError(DataFilesError):
    """A file is there but is not the published one."""


@dataclass(frozen=True)
class RemoteFile:
    """A published file. A `.gz` may also lie there unpacked, under the same name without `.gz`.

    Args: name: with folders above it, if any. md5: of the file as published. unpacked_md5: of what is in it.
    """

    name: str
    md5: str
    unpacked_md5: str | None = None

    def find(self, folder: Path) -> Path | None:
        """The file in `folder`, as published if it is there, else unpacked."""
        candidates = [folder / self.name]
        if self.unpacked_md5:
            candidates.append(folder / self.name.removesuffix(".gz"))
        return next((path for path in candidates if path.is_file()), None)

    def read(self, path: Path) -> bytes:
        """The unpacked bytes of `path`, which `find` gave.

        Raises: CorruptFileError: the md5 is not the published one.
        """
        content = path.read_bytes()
        wanted = self.md5 if path.name == Path(self.name).name else self.unpacked_md5
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != wanted:
            raise CorruptFileError(
                f"{path} is not the published file: md5 {found} ({len(content):,} bytes), not {wanted}.\n"
                "Move it away and run again, so that it is fetched anew, or put the right file in its place."
            )
        return gzip.decompress(content) if path.suffix == ".gz" else content


Addresses = Callable[[RemoteFile], Sequence[str]]


def fetch(files: Sequence[RemoteFile], folder: Path, addresses: Addresses) -> None:
    """Download into `folder` the files that are not there. Args: addresses: where a file is to be had.

    Raises: MissingFilesError: one of them could not be had from any mirror; the others are not tried then,
        since a machine without a network would wait for each in turn.
    """
    for file in files:
        if file.find(folder) is None:
            reasons = download(addresses(file), folder / file.name, file.md5)
            if reasons:
                raise _missing(files, folder, addresses, reasons)


def read_all(files: Sequence[RemoteFile], folder: Path, addresses: Addresses) -> list[bytes]:
    """The unpacked bytes of every file, checked.

    Raises: MissingFilesError, CorruptFileError.
    """
    paths = [file.find(folder) for file in files]
    if None in paths:
        raise _missing(files, folder, addresses, ["not tried: prepare_data() does that"])
    return [file.read(path) for file, path in zip(files, paths, strict=True) if path is not None]


def _missing(
    files: Sequence[RemoteFile], folder: Path, addresses: Addresses, reasons: Sequence[str]
) -> MissingFilesError:
    missing = [file for file in files if file.find(folder) is None]
    return MissingFilesError(
        "\n".join(
            [
                f"{len(missing)} of {len(files)} files are missing in {folder}; the download:",
                *(f"  {reason}" for reason in reasons),
                "Put them there, as they are or unpacked; or name another root (--data.root, "
                "NNFOUNDATIONS_DATA) or a mirror of your own (--data.mirror, NNFOUNDATIONS_MIRROR):",
                *(f"  {address}  md5 {file.md5}" for file in missing for address in addresses(file)[-1:]),
                "`nnfoundations fit --config digits` needs no files.",
            ]
        )
    )
