"""A small engine for reverse-mode automatic differentiation of numbers and NumPy arrays.

>>> from nnfoundations.autograd import Value, tanh
>>> w, x = Value(0.5), Value(2.0)
>>> y = tanh(w * x)
>>> y.backward()
>>> round(w.grad.item(), 3)
0.84

`_engine.py` holds the engine and `_operations.py` the table of derivatives. The other files hold functions, a
network and drawings of the graph.
"""

from nnfoundations.autograd._drawing import to_dot, to_svg
from nnfoundations.autograd._engine import Value
from nnfoundations.autograd._functions import (
    exp,
    gelu,
    log,
    mean_squared_error,
    relu,
    sigmoid,
    silu,
    softmax_cross_entropy,
    tanh,
)
from nnfoundations.autograd._network import MLP
from nnfoundations.autograd._operations import OPERATIONS, Operation

__all__ = [
    "MLP",
    "OPERATIONS",
    "Operation",
    "Value",
    "exp",
    "gelu",
    "log",
    "mean_squared_error",
    "relu",
    "sigmoid",
    "silu",
    "softmax_cross_entropy",
    "tanh",
    "to_dot",
    "to_svg",
]
