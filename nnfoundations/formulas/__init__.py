"""The mathematics, once: each formula a forward and a backward over an explicit array namespace.

A formula `f` is a pure function of arrays, `f_backward` gives the gradients of its inputs from the
gradient of its output, `f_jvp` the tangent of its output. All take the library they run on as `xp`:

>>> import numpy as np
>>> from nnfoundations.formulas import numpy_namespace, relu
>>> relu(np.array([-1.0, 2.0]), xp=numpy_namespace())
array([0., 2.])
"""

from nnfoundations.formulas import initialization
from nnfoundations.formulas._namespace import Array, Namespace, numpy_namespace, torch_namespace
from nnfoundations.formulas.activations import relu, relu_backward
from nnfoundations.formulas.linear import linear, linear_backward, linear_jvp
from nnfoundations.formulas.losses import (
    Reduction,
    cross_entropy,
    cross_entropy_backward,
    cross_entropy_jvp,
    soft_cross_entropy,
    soft_cross_entropy_backward,
    soft_cross_entropy_jvp,
)

__all__ = [
    "Array",
    "Namespace",
    "Reduction",
    "cross_entropy",
    "cross_entropy_backward",
    "cross_entropy_jvp",
    "initialization",
    "linear",
    "linear_backward",
    "linear_jvp",
    "numpy_namespace",
    "relu",
    "relu_backward",
    "soft_cross_entropy",
    "soft_cross_entropy_backward",
    "soft_cross_entropy_jvp",
    "torch_namespace",
]
