"""LightningModules: what is trained, and what it reports."""

from nnfoundations.lightning_modules._classifier import Classifier
from nnfoundations.lightning_modules._manual import ManualClassifier, NumPyModule, NumPySGD

__all__ = ["Classifier", "ManualClassifier", "NumPyModule", "NumPySGD"]
