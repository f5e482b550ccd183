"""Networks on NumPy alone: each layer a forward and a backward that one can read, on the shared formulas.

No torch is imported, no gradient is found by anyone but the layers themselves:

>>> import numpy as np
>>> from nnfoundations.numpy import MLP, SGD
>>> net = MLP([4, 8, 3], seed=0)
>>> loss, logits, gradients = net.differentiate(np.ones((5, 4), np.float32), np.zeros(5, int))
>>> sorted(gradients)
['0.bias', '0.weight', '2.bias', '2.weight']
"""

from nnfoundations.numpy._activation import GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Softmax, Tanh
from nnfoundations.numpy._dropout import Dropout
from nnfoundations.numpy._layer import Layer
from nnfoundations.numpy._linear import Linear, he, xavier
from nnfoundations.numpy._loss import CrossEntropyLoss, HuberLoss, MSELoss
from nnfoundations.numpy._network import MLP, Sequential
from nnfoundations.numpy._normalization import BatchNorm, LayerNorm, RMSNorm
from nnfoundations.numpy._perceptron import Perceptron, novikoff_bound
from nnfoundations.numpy._sgd import SGD, sgd_update

__all__ = [
    "GELU",
    "MLP",
    "SGD",
    "BatchNorm",
    "CrossEntropyLoss",
    "Dropout",
    "HuberLoss",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MSELoss",
    "Perceptron",
    "RMSNorm",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "he",
    "novikoff_bound",
    "sgd_update",
    "xavier",
]
