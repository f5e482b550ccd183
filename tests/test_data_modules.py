"""Properties of every data set: true facts, disjoint parts, batches as documented."""

import gzip
import math

import pytest
import torch

from nnfoundations import datamodules
from nnfoundations.cli.commands._data import data_sets
from nnfoundations.datamodules import (
    CIFAR10DataModule,
    FashionMNISTDataModule,
    MNISTDataModule,
)


def needs(kind):
    return [pytest.mark.data(kind.__name__.removesuffix("DataModule"))] * bool(kind.files)


@pytest.fixture(
    scope="module",
    params=[pytest.param(kind, marks=needs(kind), id=name) for name, kind in data_sets().items()],
)  # fmt: skip
def data(request):
    data = request.param()
    data.prepare_data()
    data.setup()
    return data


def is_toy(data):
    return isinstance(data, datamodules._toys.ToyDataModule)


def parts(data):
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    return [loader.rows for loader in loaders]


def pixels(loader):
    """Return all stored images of a loader and their labels."""
    return loader.inputs[loader.rows], loader.labels[loader.rows]


def test_batches(data):
    for loader in (
        data.train_dataloader(),
        data.val_dataloader(),
        data.test_dataloader(),
        data.predict_dataloader(),
    ):
        batches = list(loader)
        assert len(batches) == len(loader) == math.ceil(len(loader.rows) / 64)
        for x, y in batches:
            assert x.shape == (len(y), *data.dims)
            assert x.dtype == torch.float32
            assert x.is_contiguous()
            assert y.dtype == torch.int64
        assert all(len(y) == 64 for _, y in batches[:-1])
        assert sum(len(y) for _, y in batches) == len(loader.rows)


def test_facts(data):
    assert data.dims == data.shape
    assert data.num_classes == len(data.class_names) == len(set(data.class_names))
    inputs, labels = data.train_dataloader().inputs, data.train_dataloader().labels
    if len(data.shape) == 3:
        assert inputs.dtype == torch.uint8
        assert inputs.max() == data.pixel_max
    else:
        assert len(data.feature_names) == data.shape[0]
    assert torch.equal(labels.unique(), torch.arange(data.num_classes))


def test_mean_and_deviation(data):
    # Of the published training samples; of all, where a set is published in one piece or is a formula.
    inputs = data.train_dataloader().inputs
    if data.files:
        inputs = inputs[torch.cat(parts(data)[:2])]
    scaled = inputs.double() / data.pixel_max
    axes = (0, 2, 3) if len(data.shape) == 3 else 0
    error = 0.02 if is_toy(data) else 5.1e-5  # 2,000 points know the formula's mean to 1 / sqrt(2,000)
    assert scaled.mean(dim=axes).tolist() == pytest.approx(list(data.mean), abs=error)
    assert scaled.std(dim=axes).tolist() == pytest.approx(list(data.std), abs=error)


def test_normalised_values(data):
    inputs, labels = pixels(data.test_dataloader())
    x, y = next(iter(data.test_dataloader()))
    scaled = inputs[:64].double() / data.pixel_max
    one_a_channel = (-1,) + (1,) * (len(data.shape) - 1)
    mean, std = (
        torch.tensor(fact, dtype=torch.float64).view(one_a_channel) for fact in (data.mean, data.std)
    )
    torch.testing.assert_close(x.double(), (scaled - mean) / std, rtol=0, atol=1e-6)
    assert torch.equal(y, labels[:64])


def test_flat_samples(data):
    flat = type(data)(flatten=True, train_size=20)
    flat.setup()
    x, _ = next(iter(flat.train_dataloader()))
    assert flat.dims == (math.prod(data.shape),)
    assert x.shape == (20, *flat.dims)


def test_description(data, tmp_path):
    described = data.describe()
    header, *rows, total = (line.split() for line in described.table.splitlines()[-data.num_classes - 2 :])
    assert header == ["class", "train", "val", "test"]
    assert [int(cell) for cell in total[1:]] == [len(part) for part in parts(data)]
    for i in (-3, -2, -1):
        assert sum(int(row[i]) for row in rows) == int(total[i])
    described.figure.savefig(tmp_path / "samples.png")
    assert (tmp_path / "samples.png").stat().st_size > 5000


def test_parts_are_apart_and_whole(data):
    rows = torch.cat(parts(data))
    assert torch.equal(rows.sort().values, torch.arange(len(data.train_dataloader().inputs)))


def test_a_small_training_part(data):
    """Classes are balanced to within one sample; validation and test parts stay the same."""
    few = type(data)(train_size=60)
    few.setup()
    train, val, test = parts(few)
    labels = few.train_dataloader().labels
    share = torch.bincount(labels[parts(data)[0]]) * 60 / len(parts(data)[0])
    assert len(train) == 60
    assert (torch.bincount(labels[train]) - share).abs().max() < 1
    assert set(train.tolist()) <= set(parts(data)[0].tolist())
    assert torch.equal(val, parts(data)[1])
    assert torch.equal(test, parts(data)[2])


def test_label_noise(data):
    noisy = type(data)(label_noise=0.25)
    noisy.setup()
    train, *others = parts(data)
    true, false = data.train_dataloader().labels, noisy.train_dataloader().labels
    assert (true[train] != false[train]).sum() == round(0.25 * len(train))
    assert all(torch.equal(true[rows], false[rows]) for rows in others)
    assert false.max() < data.num_classes


def test_parts_are_stratified(data):
    """Each class keeps its share in the validation part, to within one image."""
    train, val, _ = (data.train_dataloader().labels[rows] for rows in parts(data))
    both = torch.bincount(torch.cat([train, val]))
    share = both * len(val) / (len(train) + len(val))
    assert (torch.bincount(val) - share).abs().max() < 1


def test_setup_reads_once(data, monkeypatch):
    monkeypatch.setattr(data, "read", lambda: pytest.fail("read twice"))
    before = parts(data)
    for stage in ("fit", "validate", "test", "predict", None):
        data.setup(stage)
    assert all(torch.equal(a, b) for a, b in zip(before, parts(data), strict=True))


def test_one_copy_of_the_images(data):
    loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    assert len({loader.inputs.data_ptr() for loader in loaders}) == 1


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=needs(kind))
        for kind in (MNISTDataModule, FashionMNISTDataModule, CIFAR10DataModule)
    ],
)
def test_published_parts(kind):
    data = kind()
    data.setup()
    published = {MNISTDataModule: 60_000, FashionMNISTDataModule: 60_000, CIFAR10DataModule: 50_000}[kind]
    assert [len(rows) for rows in parts(data)] == [published - 5_000, 5_000, 10_000]
    assert torch.equal(parts(data)[2], torch.arange(published, published + 10_000))
    if kind is MNISTDataModule:
        assert data.test_dataloader().labels[60_000:60_008].tolist() == [7, 2, 1, 0, 4, 1, 4, 9]


@pytest.mark.data("MNIST")
def test_unpacked_files_give_the_same(tmp_path):
    packed, unpacked = MNISTDataModule(), MNISTDataModule(str(tmp_path))
    unpacked.path.mkdir(parents=True)
    for file in MNISTDataModule.files:
        content = gzip.decompress((packed.path / file.name).read_bytes())
        (unpacked.path / file.name.removesuffix(".gz")).write_bytes(content)
    unpacked.prepare_data()
    packed.setup()
    unpacked.setup()
    a, b = packed.train_dataloader(), unpacked.train_dataloader()
    assert torch.equal(a.inputs, b.inputs)
    assert torch.equal(a.labels, b.labels)
