"""Functions: ours where we have one, every other public name of torch.nn.functional as it is."""

from torch.nn.functional import *  # noqa: F403  handed on; what follows replaces

from nnfoundations.nn._activation import relu as relu
from nnfoundations.nn._linear import linear as linear
from nnfoundations.nn._loss import cross_entropy as cross_entropy
