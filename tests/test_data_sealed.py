"""A run that does not test does not read the test samples either."""

from pathlib import Path
from typing import Any

import pytest
import torch

from nnfoundations.cli import main
from nnfoundations.datamodules import (
    DigitsDataModule,
    IrisDataModule,
    MNISTDataModule,
    NoisyCurveDataModule,
    SetosaDataModule,
    TensorDataModule,
    XORDataModule,
)


@pytest.mark.parametrize("kind", [DigitsDataModule, IrisDataModule, SetosaDataModule, XORDataModule])
@pytest.mark.parametrize("options", [{}, {"train_size": 0.5, "label_noise": 0.3}])
def test_training_is_the_same_without_the_test_samples(
    kind: type[TensorDataModule], options: dict[str, Any]
) -> None:
    whole, sealed = kind(**options), kind(**options)
    whole.setup()
    sealed.setup("fit")
    with pytest.raises(RuntimeError, match=r'was set up for training. Call setup\("test"\) first'):
        sealed.test_dataloader()
    for name in ("train_dataloader", "val_dataloader"):
        pairs = zip(getattr(whole, name)(), getattr(sealed, name)(), strict=True)
        for (x, y), (sealed_x, sealed_y) in pairs:
            assert torch.equal(x, sealed_x)
            assert torch.equal(y, sealed_y)
    sealed.setup("test")
    for (x, _), (sealed_x, _) in zip(whole.test_dataloader(), sealed.test_dataloader(), strict=True):
        assert torch.equal(x, sealed_x)


def test_test_samples_are_not_kept() -> None:
    data = DigitsDataModule(test_size=0.2)
    data.setup("fit")
    assert len(data.train_dataloader().inputs) == 1797 - round(0.2 * 1797)


def test_a_drawn_curve_has_no_test_points_before_the_test() -> None:
    data, whole = NoisyCurveDataModule(), NoisyCurveDataModule()
    data.setup("fit")
    _, y = data.points_of("train")
    assert torch.equal(y, whole.points_of("train")[1])
    with pytest.raises(KeyError):
        data.test_dataloader()
    data.setup("test")
    assert torch.equal(data.points_of("test")[1], whole.points_of("test")[1])


@pytest.fixture
def unreadable_test_files(tmp_path: Path) -> Path:
    """MNIST with its real training files, and test files that are not the published ones."""
    real = MNISTDataModule()
    folder = tmp_path / real.folder
    folder.mkdir(parents=True)
    for file in real.files:
        path = file.find(real.path)
        assert path is not None
        if file.name.startswith("train"):
            (folder / path.name).symlink_to(path)
        else:
            (folder / path.name).write_bytes(b"sealed")
    return tmp_path


@pytest.mark.slow
@pytest.mark.data("MNIST")
def test_fit_without_a_test_opens_no_test_file(
    unreadable_test_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["fit", "--config", "mnist_plain", "--data.root", str(unreadable_test_files)]
    command += ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "5", "--quiet"]
    command += ["--trainer.log_every_n_steps", "1"]
    assert main([*command, "--test", "false"]) == 0
    assert "not the published file" not in capsys.readouterr().err
    assert main(command) == 1
    assert "t10k-images" in capsys.readouterr().err
