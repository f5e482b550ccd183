"""Networks built from our modules."""

from nnfoundations.models._mlp import MLP

__all__ = ["MLP"]
