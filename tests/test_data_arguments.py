"""What a DataModule is given: splits, seeds and sizes as they are meant, and wrong values by their names."""

import math
import os
import re
from pathlib import Path

import pytest
import torch
from jsonargparse import ArgumentParser

from nnfoundations.datamodules import (
    DigitsDataModule,
    IrisDataModule,
    MNISTDataModule,
    MoonsDataModule,
    TensorDataModule,
    XORDataModule,
)


def parts(data):
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    return [loader.rows for loader in loaders]


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
    loader = data.test_dataloader()
    x, _ = next(iter(loader))
    assert torch.equal(x, loader.inputs[loader.rows][:64] / 16)


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
        ("train_size", -3, "1 or more, or a fraction between 0 and 1"),
        ("label_noise", 1.5, "at least 0 and at most 1"),
        ("label_noise", math.nan, "at least 0 and at most 1"),
        ("augment", ["crop", "twist"], "crop, shift, flip, rotate, affine, elastic, cutout, mixup, cutmix"),
        ("device_resident", "cuda", "auto, on, off"),
    ],
)
def test_invalid_arguments_are_named(argument, value, allowed):
    came = re.escape(repr(value[-1] if isinstance(value, list) else value))
    with pytest.raises(ValueError, match=f"^{argument} must be .*{allowed}; got {came}"):
        DigitsDataModule(**{argument: value})


def test_points_are_not_augmented():
    with pytest.raises(ValueError, match=r"^augment must be empty .* not images; got \['flip'\] for Iris"):
        IrisDataModule(augment=["flip"])


def test_noise_of_toy_sets():
    with pytest.raises(ValueError, match=r"^noise must be at least 0; got -1"):
        MoonsDataModule(noise=-1)
    exact = XORDataModule(noise=0)
    exact.setup()
    points, labels = exact.train_dataloader().inputs, exact.train_dataloader().labels
    assert points.unique(dim=0).tolist() == [[-1, -1], [-1, 1], [1, -1], [1, 1]]
    assert torch.equal(labels, (points[:, 0] != points[:, 1]).long())


@pytest.mark.parametrize(
    "size", [{"val_size": 1438}, {"test_size": 1797}, {"val_size": 1e-9}, {"train_size": 1294}]
)
def test_sizes_that_leave_nothing(size):
    (name,) = size
    with pytest.raises(ValueError, match=f"^{name} must leave some of the .* samples and take some"):
        setup_digits(**size)


def test_loaders_before_setup():
    with pytest.raises(RuntimeError, match=r"Call setup\(\) first"):
        DigitsDataModule().train_dataloader()


def test_wrong_shape_is_refused():
    class Wrong(DigitsDataModule):
        shape = (3, 8, 8)

    with pytest.raises(ValueError, match=r"uint8 of shape \(1797, 3, 8, 8\)"):
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
    parser.add_subclass_arguments(TensorDataModule, "data")
    arguments = {"batch_size": 32, "val_size": "0.25", "split_seed": 2, "augment": ["crop", "mixup"]}
    parsed = parser.parse_object({"data": {"class_path": "DigitsDataModule", "init_args": arguments}})
    data = parser.instantiate(parsed).data
    assert isinstance(data, DigitsDataModule)
    assert (data.batch_size, data.val_size, data.split_seed, data.augment) == (32, 0.25, 2, ("crop", "mixup"))


@pytest.mark.parametrize(
    ("given", "meant"),
    [("on", "on"), ("off", "off"), ("auto", "auto"), ("'on'", "on"), ("true", "on"), ("False", "off")],
)
def test_device_resident_as_one_writes_it(tmp_path, given, meant):
    """YAML reads a bare `on` as true; on the command line it is a word."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_subclass_arguments(TensorDataModule, "data")
    (tmp_path / "on.yaml").write_text(
        f"data: {{class_path: DigitsDataModule, init_args: {{device_resident: {given}}}}}"
    )
    for arguments in (
        [f"--config={tmp_path / 'on.yaml'}"],
        ["--data=DigitsDataModule", "--data.device_resident", given.strip("'")],  # as a shell does
    ):
        data = parser.instantiate(parser.parse_args(arguments)).data
        assert data.device_resident == meant


def test_hyperparameters_are_plain():
    assert DigitsDataModule(test_size=0.3, seed=7).hparams == {
        "root": None,
        "batch_size": 64,
        "val_size": 0.1,
        "train_size": None,
        "label_noise": 0.0,
        "test_size": 0.3,
        "seed": 7,
        "split_seed": 0,
        "normalize": True,
        "flatten": False,
        "augment": (),
        "device_resident": "auto",
        "mirror": None,
    }
