"""The drop-in contract: what it means that a layer can stand in for one of torch's.

Each law is a function of its own, named for what it promises; `check_drop_in` holds all of them at once.
"""

from nnfoundations.testing._check import LAWS, check_drop_in
from nnfoundations.testing._contract import CONTRACT
from nnfoundations.testing._subject import Subject, backpropagated, called
from nnfoundations.testing._tolerance import HALF, K, Tolerance, assert_matches
from nnfoundations.testing._transforms import TRANSFORMS
from nnfoundations.testing._values import VALUES

__all__ = [
    "CONTRACT",
    "HALF",
    "LAWS",
    "TRANSFORMS",
    "VALUES",
    "K",
    "Subject",
    "Tolerance",
    "assert_matches",
    "backpropagated",
    "called",
    "check_drop_in",
]
