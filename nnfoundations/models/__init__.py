"""Networks built from the modules of `nnfoundations.nn`."""

from nnfoundations.models._cnn import ResidualCNN, SmallCNN
from nnfoundations.models._mlp import MLP

__all__ = ["MLP", "ResidualCNN", "SmallCNN"]
