"""Torch modules on our formulas: ours where we have one, every other public name of torch.nn as it is.

`from nnfoundations import nn` can stand for `from torch import nn`.
"""

from torch.nn import *  # noqa: F403  handed on; what follows replaces

from nnfoundations.nn import functional as functional
from nnfoundations.nn import init as init
from nnfoundations.nn._activation import ReLU as ReLU
from nnfoundations.nn._linear import Linear as Linear
from nnfoundations.nn._loss import CrossEntropyLoss as CrossEntropyLoss
