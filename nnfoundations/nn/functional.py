"""Functions built on our formulas, and every other public name of torch.nn.functional unchanged."""

from typing import Any

import torch
from torch.nn.functional import *  # noqa: F403  names that we do not define are torch's

from nnfoundations.nn._activation import logsigmoid as logsigmoid
from nnfoundations.nn._activation import sigmoid as sigmoid
from nnfoundations.nn._activation import softplus as softplus
from nnfoundations.nn._activation import softsign as softsign
from nnfoundations.nn._activation import tanh as tanh
from nnfoundations.nn._activation import tanhshrink as tanhshrink
from nnfoundations.nn._alpha_dropout import alpha_dropout as alpha_dropout
from nnfoundations.nn._alpha_dropout import feature_alpha_dropout as feature_alpha_dropout
from nnfoundations.nn._batch_norm import batch_norm as batch_norm
from nnfoundations.nn._batch_norm import instance_norm as instance_norm
from nnfoundations.nn._bilinear import bilinear as bilinear
from nnfoundations.nn._channel_dropout import dropout1d as dropout1d
from nnfoundations.nn._channel_dropout import dropout2d as dropout2d
from nnfoundations.nn._channel_dropout import dropout3d as dropout3d
from nnfoundations.nn._classification_loss import cross_entropy as cross_entropy
from nnfoundations.nn._classification_loss import nll_loss as nll_loss
from nnfoundations.nn._dropout import dropout as dropout
from nnfoundations.nn._exponential_unit import celu as celu
from nnfoundations.nn._exponential_unit import elu as elu
from nnfoundations.nn._exponential_unit import selu as selu
from nnfoundations.nn._gate import gelu as gelu  # type: ignore[assignment]
from nnfoundations.nn._gate import glu as glu
from nnfoundations.nn._gate import mish as mish
from nnfoundations.nn._gate import silu as silu
from nnfoundations.nn._gate import swiglu as swiglu
from nnfoundations.nn._huber_loss import huber_loss as huber_loss
from nnfoundations.nn._huber_loss import smooth_l1_loss as smooth_l1_loss
from nnfoundations.nn._linear import linear as linear
from nnfoundations.nn._normalization import group_norm as group_norm
from nnfoundations.nn._normalization import layer_norm as layer_norm
from nnfoundations.nn._normalization import rms_norm as rms_norm
from nnfoundations.nn._piecewise import hardsigmoid as hardsigmoid
from nnfoundations.nn._piecewise import hardswish as hardswish
from nnfoundations.nn._piecewise import hardtanh as hardtanh
from nnfoundations.nn._piecewise import relu6 as relu6
from nnfoundations.nn._probability_loss import binary_cross_entropy as binary_cross_entropy
from nnfoundations.nn._probability_loss import (
    binary_cross_entropy_with_logits as binary_cross_entropy_with_logits,
)
from nnfoundations.nn._probability_loss import kl_div as kl_div
from nnfoundations.nn._rectifier import leaky_relu as leaky_relu
from nnfoundations.nn._rectifier import prelu as prelu
from nnfoundations.nn._rectifier import relu as relu
from nnfoundations.nn._rectifier import rrelu as rrelu
from nnfoundations.nn._regression_loss import l1_loss as l1_loss
from nnfoundations.nn._regression_loss import mse_loss as mse_loss
from nnfoundations.nn._shrink import hardshrink as hardshrink  # type: ignore[assignment]
from nnfoundations.nn._shrink import softshrink as softshrink
from nnfoundations.nn._shrink import threshold as threshold
from nnfoundations.nn._softmax import log_softmax as log_softmax
from nnfoundations.nn._softmax import softmax as softmax
from nnfoundations.nn._softmax import softmin as softmin

# The modules that define torch's functions; other names in torch.nn.functional are imports of its own.
_SOURCES = ("torch", "torch._C._nn", "torch.nn.functional")


def __getattr__(name: str) -> Any:
    """Return torch's private name: existing models read `_in_projection_packed`, for example."""
    return getattr(torch.nn.functional, name)


# There is no __all__: type checkers would then hide the names of torch.nn.functional.
def __dir__() -> list[str]:
    """List the functions: ours and those of torch.nn.functional."""
    return sorted(name for name, value in globals().items() if _is_public(name, value))


def _is_public(name: str, value: object) -> bool:
    if name.startswith("_") or value is torch.Tensor or not callable(value):
        return False
    source = getattr(value, "__module__", None) or ""
    return source in _SOURCES or source.startswith("nnfoundations.")
