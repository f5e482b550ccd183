"""LightningModules for classification and regression, with their metrics and schedules."""

from nnfoundations.lightning_modules._classifier import Classifier
from nnfoundations.lightning_modules._manual import ManualClassifier, ManualRegressor
from nnfoundations.lightning_modules._numpy_module import NumPyModule
from nnfoundations.lightning_modules._numpy_sgd import NumPySGD
from nnfoundations.lightning_modules._regressor import CurveRegressor, Regressor
from nnfoundations.lightning_modules._schedule_end import early_schedule_end

__all__ = [
    "Classifier",
    "CurveRegressor",
    "ManualClassifier",
    "ManualRegressor",
    "NumPyModule",
    "NumPySGD",
    "Regressor",
    "early_schedule_end",
]
