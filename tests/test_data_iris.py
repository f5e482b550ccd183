"""Iris by pairs of features and by species, and the scaling of features."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from nnfoundations.datamodules import IrisDataModule, SetosaDataModule, VersicolorDataModule
from nnfoundations.numpy import Perceptron


def flowers(data: IrisDataModule) -> tuple[torch.Tensor, torch.Tensor]:
    """All training flowers as the network gets them."""
    data.setup()
    xs, ys = zip(*data.train_dataloader(), strict=True)
    return torch.cat(xs), torch.cat(ys)


@pytest.mark.parametrize(
    ("features", "columns"), [("sepals", [0, 1]), ("petals", [2, 3]), ("all", [0, 1, 2, 3])]
)
def test_features(features: str, columns: list[int]) -> None:
    data = IrisDataModule(features=features, normalize=False)
    x, _ = flowers(data)
    assert data.dims == (len(columns),)
    assert len(data.feature_names) == len(columns)
    published = {tuple(row) for row in load_iris().data[:, columns].astype(np.float32).tolist()}
    assert {tuple(row) for row in x.tolist()} <= published
    standardized = IrisDataModule(features=features)
    torch.testing.assert_close(flowers(standardized)[0].mean(0), torch.zeros(len(columns)), atol=0.15, rtol=0)
    assert IrisDataModule().dims == (4,), "another instance keeps all features"


@pytest.mark.parametrize(("kind", "species"), [(SetosaDataModule, 0), (VersicolorDataModule, 1)])
def test_one_species_against_the_rest(kind: type[IrisDataModule], species: int) -> None:
    data = kind(test_size=0.5, val_size=1, normalize=False)
    _, y = flowers(data)
    assert data.num_classes == len(data.class_names) == 2
    assert abs(float(y.float().mean()) - 1 / 3) < 0.02
    setosa = load_iris().data[load_iris().target == species].astype(np.float32)
    x, y = flowers(data)
    assert {tuple(row) for row in x[y == 1].tolist()} <= {tuple(row) for row in setosa.tolist()}


def test_a_plane_separates_setosa_by_the_sepals_and_none_separates_versicolor() -> None:
    setosa = SetosaDataModule(features="sepals", normalize="min-max", test_size=1, val_size=1)
    x, y = (part.numpy() for part in flowers(setosa))
    assert Perceptron(2).fit(x, y, max_epochs=1000, seed=0).converged
    x, y = (part.numpy() for part in flowers(VersicolorDataModule(test_size=1, val_size=1)))
    assert LogisticRegression(C=1e4, max_iter=5000).fit(x, y).score(x, y) < 0.9


def test_scalings() -> None:
    raw, standardized, unit = (flowers(IrisDataModule(normalize=how))[0] for how in (False, True, "min-max"))
    assert raw.max() > 6
    assert unit.amin(0).abs().max() < 1e-6
    assert (unit.amax(0) - 1).abs().max() < 1e-6
    low, high = raw.amin(0), raw.amax(0)
    torch.testing.assert_close(unit, (raw - low) / (high - low), atol=1e-6, rtol=1e-5)
    mean, std = (torch.tensor(numbers) for numbers in (IrisDataModule.mean, IrisDataModule.std))
    torch.testing.assert_close(standardized, (raw - mean) / std, atol=1e-5, rtol=1e-5)


def test_the_range_is_that_of_the_training_samples() -> None:
    data = IrisDataModule(normalize="min-max", test_size=0.5)
    data.setup()
    values = torch.cat([x for x, _ in data.test_dataloader()])
    assert values.min() < 0 or values.max() > 1


def test_wrong_options() -> None:
    with pytest.raises(ValueError, match="features must be one of all, sepals, petals; got 'sepal'"):
        IrisDataModule(features="sepal")
    with pytest.raises(ValueError, match="normalize must be one of true, false, min-max; got 'minmax'"):
        IrisDataModule(normalize="minmax")
