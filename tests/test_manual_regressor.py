"""ManualRegressor: networks with hand-written gradients learn numbers."""

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from quiet import QUIET

from nnfoundations import autograd
from nnfoundations.datamodules import NoisyCurveDataModule
from nnfoundations.errors import OptionError, ShapeError
from nnfoundations.lightning_modules import ManualRegressor


def fitted(net, epochs=20):
    module = ManualRegressor(net, optimizer=lambda params: torch.optim.Adam(params, lr=0.05))
    trainer = Trainer(max_epochs=epochs, enable_checkpointing=False, **QUIET)
    trainer.fit(module, datamodule=NoisyCurveDataModule(noise=0, outliers=0))
    return trainer.callback_metrics


def test_it_fits_a_curve():
    net = autograd.MLP([1, 16, 1], activation="tanh", seed=0, loss="mse")
    metrics = fitted(net)
    assert metrics["val/rmse"] < 0.1
    assert metrics["val/loss"] == pytest.approx(metrics["val/rmse"] ** 2)


def test_a_skip_connection_is_a_linear_map_beside_the_layers():
    net = autograd.MLP([2, 3, 2], seed=0, loss="mse", skip=True, dtype="float64")
    x = np.random.default_rng(0).normal(size=(5, 2))
    skip = net.parameters["skip.weight"].copy()
    whole = net.forward(x)
    net.parameters["skip.weight"][:] = 0
    np.testing.assert_allclose(whole, net.forward(x) + x @ skip.T)
    _, _, gradients = net.differentiate(x, np.zeros((5, 2)))
    assert gradients["skip.weight"].shape == (2, 2)


def test_other_shapes_are_refused():
    with pytest.raises(ShapeError, match="predictions of"):
        fitted(autograd.MLP([1, 2, 2], seed=0, loss="mse"), epochs=1)
    with pytest.raises(OptionError, match="'mae'"):
        autograd.MLP([1, 1], loss="mae")
