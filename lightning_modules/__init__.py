"""LightningModules: what is trained, and what it reports."""

from nnfoundations.lightning_modules._classifier import Classifier
from nnfoundations.lightning_modules._manual import ManualClassifier, NumPyModule
from nnfoundations.lightning_modules._numpy_sgd import NumPySGD
from nnfoundations.lightning_modules._regressor import CurveRegressor, Regressor

__all__ = ["Classifier", "CurveRegressor", "ManualClassifier", "NumPyModule", "NumPySGD", "Regressor"]
