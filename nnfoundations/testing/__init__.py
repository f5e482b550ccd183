"""Tests whether a layer can replace one of torch's layers.

A law is a property that every such drop-in must have; it is a function, named after that property.
`check_drop_in` checks all laws for a layer of yours.
"""

from nnfoundations.testing._check import LAWS, check_drop_in
from nnfoundations.testing._contract import CONTRACT_LAWS
from nnfoundations.testing._layer_case import LayerCase, run_backward, run_forward
from nnfoundations.testing._tolerance import HALF, TOLERANCES, Tolerance, assert_matches
from nnfoundations.testing._transforms import TRANSFORM_LAWS
from nnfoundations.testing._values import VALUE_LAWS

__all__ = [
    "CONTRACT_LAWS",
    "HALF",
    "LAWS",
    "TOLERANCES",
    "TRANSFORM_LAWS",
    "VALUE_LAWS",
    "LayerCase",
    "Tolerance",
    "assert_matches",
    "check_drop_in",
    "run_backward",
    "run_forward",
]
