"""Published files: find, check and read them, and explain what is missing or wrong.

A file is read once, and the bytes that were checked are the bytes that are used. Existing files are never
changed.
"""

import gzip
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnfoundations.datamodules._download import download

__all__ = ["CorruptFileError", "DataFilesError", "MissingFilesError", "RemoteFile", "fetch", "read_all"]


class DataFilesError(OSError):
    """The files of a data set cannot be used. The message says what is wrong, then how to fix it."""


class MissingFilesError(DataFilesError, FileNotFoundError):
    """Files are missing and could not be downloaded."""


class CorruptFileError(DataFilesError):
    """A file exists but is not the published one."""


@dataclass(frozen=True)
class RemoteFile:
    """A published file. A `.gz` file may also be unpacked, under the same name without `.gz`.

    Args:
        name: name, with the folders above it.
        md5: md5 of the file as published.
        unpacked_md5: md5 of its content, if it may be unpacked.
    """

    name: str
    md5: str
    unpacked_md5: str | None = None

    def find(self, folder: Path) -> Path | None:
        """Find the file.

        Args:
            folder: folder of the data set.

        Returns:
            Path of the file as published, or of the unpacked one, or None.
        """
        candidates = [folder / self.name]
        if self.unpacked_md5:
            candidates.append(folder / self.name.removesuffix(".gz"))
        return next((path for path in candidates if path.is_file()), None)

    def read(self, path: Path) -> bytes:
        """Read and check the file.

        Args:
            path: path that `find` returned.

        Returns:
            The unpacked bytes.

        Raises:
            CorruptFileError: the md5 is not the published one.
        """
        content = path.read_bytes()
        wanted = self.md5 if path.name == Path(self.name).name else self.unpacked_md5
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != wanted:
            raise CorruptFileError(
                f"{path} is not the published file: md5 {found} ({len(content):,} bytes), not {wanted}.\n"
                "Delete it and run again to download it, or replace it with the right file."
            )
        return gzip.decompress(content) if path.suffix == ".gz" else content


Addresses = Callable[[RemoteFile], Sequence[str]]


def fetch(files: Sequence[RemoteFile], folder: Path, addresses: Addresses) -> None:
    """Download missing files into `folder`; `addresses` returns the mirrors of a file.

    Raises:
        MissingFilesError: a file could not be downloaded from any mirror. The other files are then not tried,
            because without a network each would take its time-out.
    """
    for file in files:
        if file.find(folder) is None:
            reasons = download(addresses(file), folder / file.name, file.md5)
            if reasons:
                raise _missing(files, folder, addresses, reasons)


def read_all(files: Sequence[RemoteFile], folder: Path, addresses: Addresses) -> list[bytes]:
    """Return the unpacked, checked bytes of every file.

    Raises:
        MissingFilesError: a file does not exist.
    """
    paths = [file.find(folder) for file in files]
    if None in paths:
        raise _missing(files, folder, addresses, ["not tried; prepare_data() downloads"])
    return [file.read(path) for file, path in zip(files, paths, strict=True) if path is not None]


def _missing(
    files: Sequence[RemoteFile], folder: Path, addresses: Addresses, reasons: Sequence[str]
) -> MissingFilesError:
    missing = [file for file in files if file.find(folder) is None]
    return MissingFilesError(
        "\n".join(
            [
                f"{len(missing)} of {len(files)} files are missing in {folder}. Download:",
                *(f"  {reason}" for reason in reasons),
                "Copy them there, packed or unpacked, or give another folder (--data.root, "
                "NNFOUNDATIONS_DATA) or a mirror (--data.mirror, NNFOUNDATIONS_MIRROR):",
                *(f"  {address}  md5 {file.md5}" for file in missing for address in addresses(file)[-1:]),
                "`nnfoundations fit --config digits` needs no files.",
            ]
        )
    )
