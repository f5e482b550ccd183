"""Torch modules on our formulas: ours where we have one, every other public name of torch.nn as it is.

`from nnfoundations import nn` can stand for `from torch import nn`.
"""

from torch.nn import *  # noqa: F403  handed on; what follows replaces

# By full name: `from nnfoundations.nn import functional` would find torch's, which the line above left here.
import nnfoundations.nn.functional as functional  # type: ignore[no-redef]  # noqa: F401
import nnfoundations.nn.init as init  # type: ignore[no-redef]  # noqa: F401
from nnfoundations.nn._activation import ReLU as ReLU
from nnfoundations.nn._linear import Linear as Linear
from nnfoundations.nn._loss import CrossEntropyLoss as CrossEntropyLoss
