"""The figures of the autograd lab, drawn from its results."""

from nnfoundations.labs._runner.figures import Draw

__all__ = ["FIGURES"]

FIGURES: dict[str, Draw] = {}
