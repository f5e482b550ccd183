"""Local data files: packed, unpacked, wrong or truncated. The digits serve as IDX files."""

import os
import struct

import pytest
import torch
from mirror import publish, put, state

from nnfoundations.datamodules import CorruptFileError, DataFilesError, DigitsDataModule, MissingFilesError
from nnfoundations.datamodules._idx import decode_idx


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder of .gz files, and the class of their data set."""
    folder = tmp_path_factory.mktemp("published")
    return folder, publish(folder)


@pytest.fixture
def data(published, tmp_path):
    """A data module with an empty root."""
    return published[1](str(tmp_path / "root"), val_size=0.1)


@pytest.mark.parametrize("unpacked", [False, True])
def test_files_are_read_as_they_are(published, data, unpacked):
    put(published, data, unpacked)
    before = state(data.path)
    os.chmod(data.path, 0o555)
    try:
        data.prepare_data()
        data.setup()
    finally:
        os.chmod(data.path, 0o755)
    assert state(data.path) == before
    assert data.test_dataloader().rows.tolist() == list(range(1500, 1797))
    digits = DigitsDataModule()
    digits.setup()
    assert torch.equal(data.test_dataloader().inputs, digits.test_dataloader().inputs)


@pytest.mark.parametrize("unpacked", [False, True])
@pytest.mark.parametrize("fault", ["truncated", "changed", "empty"])
def test_a_wrong_file_is_named_and_left_alone(published, data, unpacked, fault):
    """Nothing is made up in place of real data."""
    put(published, data, unpacked)
    wrong = data.path / ("train-images" if unpacked else "train-images.gz")
    content = wrong.read_bytes()
    half = len(content) // 2
    wrong.write_bytes(
        {
            "truncated": content[:-10],
            "changed": content[:half] + bytes((content[half] ^ 1,)) + content[half + 1 :],
            "empty": b"",
        }[fault]
    )
    before = state(data.path)
    data.prepare_data()
    with pytest.raises(CorruptFileError) as caught:
        data.setup()
    problem, cure = str(caught.value).split("\n")
    assert problem.startswith(f"{wrong} is not the published file: md5 ")
    assert cure.startswith("Delete it")
    assert isinstance(caught.value, DataFilesError)
    assert state(data.path) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with 00 00 08 03; got nothing"),
        (b"\x00\x00\x08\x01" + bytes(12), "begins with 00 00 08 03; got 00 00 08 01"),
        (b"\x00\x00\x0d\x03" + bytes(12), "got 00 00 0d 03"),
        (b"\x00\x00\x08\x03" + bytes(8), "in 12 bytes"),
        (b"\x00\x00\x08\x03" + struct.pack(">3I", 2, 2, 2) + bytes(7), "holds 8 bytes of data; got 7"),
        (b"\x00\x00\x08\x03" + struct.pack(">3I", 2, 2, 2) + bytes(9), "holds 8 bytes of data; got 9"),
    ],
)
def test_idx_headers(content, message):
    with pytest.raises(ValueError, match=message):
        decode_idx(content, axes=3)


def test_setup_does_not_download(data):
    """Missing data is an error that names the remedy."""
    with pytest.raises(MissingFilesError, match=r"4 of 4 .*\n  not tried; prepare_data\(\) downloads"):
        data.setup()
