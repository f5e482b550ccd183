"""LightningModules: what is trained, and what it reports."""

from nnfoundations.lightning_modules._classifier import Classifier

__all__ = ["Classifier"]
