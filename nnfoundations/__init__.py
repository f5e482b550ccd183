"""nnfoundations: see why a network does not learn.

Nothing is imported here: every room is imported by its own name, so that `nnfoundations.formulas` costs
no torch and `nnfoundations.nn` no Lightning.
"""

__version__ = "0.1.0.dev0"
