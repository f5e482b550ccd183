"""CIFAR-10 in its three forms: pictures made of the digits, published as CIFAR-10 is."""

import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest
import torch

from nnfoundations.datamodules import CIFAR10DataModule, CorruptFileError, DigitsDataModule, RemoteFile

PARTS = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")
EACH = 20


def md5(content):
    return hashlib.md5(content).hexdigest()


@pytest.fixture(scope="module")
def published():
    """Images, labels and the content of every file, and a class with their md5."""
    digits = DigitsDataModule()
    digits.setup()
    rows = np.arange(EACH * len(PARTS))
    images = digits._data.inputs[rows].numpy().repeat(4, axis=2).repeat(4, axis=3) * 15
    images = np.concatenate([images, 255 - images, images // 2], axis=1)
    labels = digits._data.labels[rows].numpy().astype(np.uint8)
    contents, tar = {}, io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:gz") as archive:
        for i, part in enumerate(PARTS):
            mine = slice(i * EACH, (i + 1) * EACH)
            flat = images[mine].reshape(EACH, -1)
            records = np.concatenate([labels[mine, None], flat], axis=1).tobytes()
            contents[f"cifar-10-batches-bin/{part}.bin"] = records
            batch = {b"data": flat, b"labels": labels[mine].tolist()}
            contents[f"cifar-10-batches-py/{part}"] = pickle.dumps(batch, protocol=2)
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{part}.bin")
            member.size = len(records)
            archive.addfile(member, io.BytesIO(records))
    contents["cifar-10-binary.tar.gz"] = tar.getvalue()

    class Small(CIFAR10DataModule):
        mirrors = ()

    for form in ("files", "unpacked", "pickled"):
        facts = [RemoteFile(file.name, md5(contents[file.name])) for file in getattr(Small, form)]
        setattr(Small, form, tuple(facts))
    return torch.from_numpy(images), torch.from_numpy(labels).long(), contents, Small


def put(root, contents, files):
    for file in files:
        (root / file.name).parent.mkdir(parents=True, exist_ok=True)
        (root / file.name).write_bytes(contents[file.name])


@pytest.mark.parametrize("form", ["files", "unpacked", "pickled"])
def test_every_form_gives_the_same(published, tmp_path, form):
    images, labels, contents, kind = published
    put(tmp_path, contents, getattr(kind, form))
    data = kind(str(tmp_path), val_size=10)
    data.prepare_data()
    data.setup()
    loader = data.test_dataloader()
    assert torch.equal(loader.inputs, images)
    assert torch.equal(loader.labels, labels)
    assert loader.rows.tolist() == list(range(5 * EACH, 6 * EACH))


def test_a_changed_pickle_is_never_opened(published, tmp_path):
    _, _, contents, kind = published
    put(tmp_path, contents, kind.pickled)

    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("it was run",))

    wrong = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    wrong.write_bytes(pickle.dumps({b"data": Trap()}))
    data = kind(str(tmp_path), val_size=10)
    with pytest.raises(CorruptFileError, match=f"{wrong} is not the published file"):
        data.setup()


def test_half_a_folder_is_not_taken(published, tmp_path):
    """With five of six files, the archive is reported as missing."""
    _, _, contents, kind = published
    put(tmp_path, contents, kind.unpacked[:-1])
    with pytest.raises(FileNotFoundError, match="1 of 1 files are missing"):
        kind(str(tmp_path), val_size=10).setup()
