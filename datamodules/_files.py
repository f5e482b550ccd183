"""Published files: where they lie, whether they are the right ones, what to say when they are not.

A file is read once, checked on those very bytes, and used; nothing that is there is ever written to.
"""

import gzip
import hashlib
from collections.abc import Sequence
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
    """A published `.gz` file, which may also lie there unpacked, under the same name without `.gz`.

    Args: name: ends in `.gz`. md5: of the file as published. unpacked_md5: of what is in it.
    """

    name: str
    md5: str
    unpacked_md5: str

    def find(self, folder: Path) -> Path | None:
        """The file in `folder`, as published if it is there, else unpacked."""
        candidates = (folder / self.name, folder / self.name.removesuffix(".gz"))
        return next((path for path in candidates if path.is_file()), None)

    def read(self, path: Path) -> bytes:
        """The unpacked bytes of `path`, which `find` gave.

        Raises: CorruptFileError: the md5 is not the published one.
        """
        content = path.read_bytes()
        packed = path.suffix == ".gz"
        wanted = self.md5 if packed else self.unpacked_md5
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != wanted:
            raise CorruptFileError(
                f"{path} is not the published file: md5 {found} ({len(content):,} bytes), not {wanted}.\n"
                "Move it away and run again, so that it is fetched anew, or put the right file in its place."
            )
        return gzip.decompress(content) if packed else content


def fetch(files: Sequence[RemoteFile], folder: Path, mirrors: Sequence[str]) -> None:
    """Download into `folder` the files that are not there.

    Raises: MissingFilesError: one of them could not be had from any mirror; the others are not tried then,
        since a machine without a network would wait for each in turn.
    """
    for file in files:
        if file.find(folder) is None:
            reasons = download([mirror + file.name for mirror in mirrors], folder / file.name, file.md5)
            if reasons:
                raise _missing(files, folder, mirrors, reasons)


def read_all(files: Sequence[RemoteFile], folder: Path, mirrors: Sequence[str]) -> list[bytes]:
    """The unpacked bytes of every file, checked.

    Raises: MissingFilesError, CorruptFileError.
    """
    paths = [file.find(folder) for file in files]
    if None in paths:
        raise _missing(files, folder, mirrors, ["not tried: prepare_data() does that"])
    return [file.read(path) for file, path in zip(files, paths, strict=True) if path is not None]


def _missing(
    files: Sequence[RemoteFile], folder: Path, mirrors: Sequence[str], reasons: Sequence[str]
) -> MissingFilesError:
    missing = [file for file in files if file.find(folder) is None]
    width = max(len(file.name) for file in missing)
    return MissingFilesError(
        "\n".join(
            [
                f"{len(missing)} of {len(files)} files are missing in {folder}; the download:",
                *(f"  {reason}" for reason in reasons),
                "Put them there, as they are or unpacked, or name another root by --data.root or "
                "NNFOUNDATIONS_DATA:",
                *(f"  {file.name:{width}}  md5 {file.md5}" for file in missing),
                *(f"  {'from' if mirror is mirrors[0] else 'or'} {mirror}" for mirror in mirrors),
                "`nnfoundations fit --config digits` needs no files.",
            ]
        )
    )
