"""Neural networks on NumPy alone: each layer has a forward and a backward that you can read.

The mathematics is in `nnfoundations.formulas`. Nothing here imports torch: the layers compute all gradients
themselves.

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
from nnfoundations.numpy._loss import CrossEntropyLoss, HuberLoss, Loss, MSELoss
from nnfoundations.numpy._network import MLP, Sequential
from nnfoundations.numpy._normalization import BatchNorm, LayerNorm, RMSNorm
from nnfoundations.numpy._perceptron import Perceptron, novikoff_bound
from nnfoundations.numpy._perceptron_history import PerceptronHistory, PerceptronUpdate, PerceptronWeights
from nnfoundations.numpy._sgd import SGD, check_sgd, sgd_update

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
    "Loss",
    "MSELoss",
    "Perceptron",
    "PerceptronHistory",
    "PerceptronUpdate",
    "PerceptronWeights",
    "RMSNorm",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "check_sgd",
    "he",
    "novikoff_bound",
    "sgd_update",
    "xavier",
]
