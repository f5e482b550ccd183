"""Laws that every data set is under: its facts are true, its parts apart, its batches what they say."""

import gzip
import math
import os
from pathlib import Path

import pytest
import torch
from jsonargparse import ArgumentParser

from nnfoundations.datamodules import (
    DigitsDataModule,
    FashionMNISTDataModule,
    ImageDataModule,
    MNISTDataModule,
)


def require_files(kind):
    if not all(file.find(kind().path) for file in kind.files):
        pytest.skip(f"{kind().path} lacks files; set NNFOUNDATIONS_DATA to a folder that holds {kind.folder}")


@pytest.fixture(
    scope="module",
    params=[
        DigitsDataModule,
        pytest.param(MNISTDataModule, marks=pytest.mark.data),
        pytest.param(FashionMNISTDataModule, marks=pytest.mark.data),
    ],
)
def data(request):
    require_files(request.param)
    data = request.param()
    data.prepare_data()
    data.setup("fit")
    return data


def parts(data):
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    return [loader.rows for loader in loaders]


def pixels(loader):
    """All of a loader's images, as they are stored, and their labels."""
    return loader.images[loader.rows], loader.labels[loader.rows]


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
    images, labels = data.train_dataloader().images, data.train_dataloader().labels
    assert images.dtype == torch.uint8
    assert images.max() == data.pixel_max
    assert torch.equal(labels.unique(), torch.arange(data.num_classes))


def test_mean_and_deviation(data):
    # Of the published training images; of all digits, which are published in one piece.
    images = data.train_dataloader().images
    if data.files:
        images = images[torch.cat(parts(data)[:2])]
    scaled = images.double() / data.pixel_max
    assert scaled.mean(dim=(0, 2, 3)).tolist() == pytest.approx(list(data.mean), abs=5.1e-5)
    assert scaled.std(dim=(0, 2, 3)).tolist() == pytest.approx(list(data.std), abs=5.1e-5)


def test_normalised_pixels(data):
    images, labels = pixels(data.test_dataloader())
    x, y = next(iter(data.test_dataloader()))
    scaled = images[:64].double() / data.pixel_max
    mean, std = (torch.tensor(fact, dtype=torch.float64).view(-1, 1, 1) for fact in (data.mean, data.std))
    torch.testing.assert_close(x.double(), (scaled - mean) / std, rtol=0, atol=1e-6)
    assert torch.equal(y, labels[:64])


def test_parts_are_apart_and_whole(data):
    rows = torch.cat(parts(data))
    assert torch.equal(rows.sort().values, torch.arange(len(data.train_dataloader().images)))


def test_parts_are_stratified(data):
    """Each class has its share of the validation part, to within one image."""
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
    assert len({loader.images.data_ptr() for loader in loaders}) == 1


@pytest.mark.data
@pytest.mark.parametrize("kind", [MNISTDataModule, FashionMNISTDataModule])
def test_published_parts(kind):
    require_files(kind)
    data = kind()
    data.setup()
    assert [len(rows) for rows in parts(data)] == [55_000, 5_000, 10_000]
    assert torch.equal(parts(data)[2], torch.arange(60_000, 70_000))
    if kind is MNISTDataModule:
        assert data.test_dataloader().labels[60_000:60_008].tolist() == [7, 2, 1, 0, 4, 1, 4, 9]


@pytest.mark.data
def test_unpacked_files_give_the_same(tmp_path):
    require_files(MNISTDataModule)
    packed, unpacked = MNISTDataModule(), MNISTDataModule(str(tmp_path))
    unpacked.path.mkdir(parents=True)
    for file in MNISTDataModule.files:
        content = gzip.decompress((packed.path / file.name).read_bytes())
        (unpacked.path / file.name.removesuffix(".gz")).write_bytes(content)
    unpacked.prepare_data()
    packed.setup()
    unpacked.setup()
    a, b = packed.train_dataloader(), unpacked.train_dataloader()
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.labels, b.labels)


def setup_digits(**arguments):
    data = DigitsDataModule(**arguments)
    data.setup()
    return data


def test_digits_test_part_is_stratified():
    data = setup_digits(test_size=0.2)
    labels = data.test_dataloader().labels
    test = labels[parts(data)[2]]
    assert len(test) == 359
    assert (torch.bincount(test) - torch.bincount(labels) * 359 / 1797).abs().max() < 1


def test_split_seed_alone_makes_the_split():
    first, again = setup_digits(split_seed=3, seed=0), setup_digits(split_seed=3, seed=1)
    torch.manual_seed(99)
    assert all(torch.equal(a, b) for a, b in zip(parts(first), parts(again), strict=True))
    other = setup_digits(split_seed=4)
    assert all(not torch.equal(a, b) for a, b in zip(parts(first), parts(other), strict=True))


def test_seed_alone_makes_the_order():
    def labels(seed):
        return torch.cat([y for _, y in setup_digits(seed=seed).train_dataloader()])

    torch.manual_seed(1)
    first = labels(0)
    torch.manual_seed(2)
    assert torch.equal(first, labels(0))
    assert not torch.equal(first, labels(1))


def test_sizes_as_numbers():
    assert [len(rows) for rows in parts(setup_digits(val_size=100, test_size=297))] == [1400, 100, 297]


def test_without_normalising_x_is_the_pixel():
    data = setup_digits(normalize=False)
    images, _ = pixels(data.test_dataloader())
    x, _ = next(iter(data.test_dataloader()))
    assert torch.equal(x, images[:64] / 16)


@pytest.mark.parametrize(
    ("argument", "value", "allowed"),
    [
        ("batch_size", 0, "at least 1"),
        ("seed", -1, "at least 0"),
        ("split_seed", -1, "at least 0"),
        ("val_size", 0, "1 or more, or a fraction between 0 and 1"),
        ("val_size", 1.0, "1 or more, or a fraction between 0 and 1"),
        ("test_size", 0.0, "1 or more, or a fraction between 0 and 1"),
        ("test_size", math.nan, "1 or more, or a fraction between 0 and 1"),
    ],
)
def test_invalid_arguments_are_named(argument, value, allowed):
    with pytest.raises(ValueError, match=f"^{argument} must be .*{allowed}; got {value}"):
        DigitsDataModule(**{argument: value})


@pytest.mark.parametrize("size", [{"val_size": 1438}, {"test_size": 1797}, {"val_size": 1e-9}])
def test_sizes_that_leave_nothing(size):
    (name,) = size
    with pytest.raises(ValueError, match=f"^{name} must leave some of the .* images and take some"):
        setup_digits(**size)


def test_loaders_before_setup():
    with pytest.raises(RuntimeError, match=r"call setup\(\) first"):
        DigitsDataModule().train_dataloader()


def test_wrong_shape_is_refused():
    class Wrong(DigitsDataModule):
        shape = (3, 8, 8)

    with pytest.raises(ValueError, match=r"uint8 images of shape \(1797, 3, 8, 8\)"):
        Wrong().setup()


def test_root(monkeypatch, tmp_path):
    monkeypatch.setenv("NNFOUNDATIONS_DATA", str(tmp_path / "variable"))
    assert MNISTDataModule().path == tmp_path / "variable" / "MNIST" / "raw"
    assert MNISTDataModule(str(tmp_path)).path == tmp_path / "MNIST" / "raw"
    assert MNISTDataModule("~/sets").path == Path.home() / "sets" / "MNIST" / "raw"
    monkeypatch.setenv("NNFOUNDATIONS_DATA", "")
    assert os.path.join("nnfoundations", "MNIST", "raw") in str(MNISTDataModule().path)


def test_built_from_a_config():
    parser = ArgumentParser()
    parser.add_subclass_arguments(ImageDataModule, "data")
    arguments = {"batch_size": 32, "val_size": "0.25", "split_seed": 2, "normalize": False}
    parsed = parser.parse_object({"data": {"class_path": "DigitsDataModule", "init_args": arguments}})
    data = parser.instantiate(parsed).data
    assert isinstance(data, DigitsDataModule)
    assert (data.batch_size, data.val_size, data.split_seed, data.normalize) == (32, 0.25, 2, False)


def test_hyperparameters_are_plain():
    assert DigitsDataModule(test_size=0.3, seed=7).hparams == {
        "root": None,
        "batch_size": 64,
        "val_size": 0.1,
        "test_size": 0.3,
        "seed": 7,
        "split_seed": 0,
        "normalize": True,
    }
