"""Torch modules built on our formulas, and every other public name of torch.nn unchanged.

`from nnfoundations import nn` can replace `from torch import nn`.
"""

from torch.nn import *  # noqa: F403  names that we do not define are torch's

# By full name: `from nnfoundations.nn import functional` would find torch's, which the line above imported.
import nnfoundations.nn.functional as functional  # type: ignore[no-redef]  # noqa: F401
import nnfoundations.nn.init as init  # type: ignore[no-redef]  # noqa: F401
from nnfoundations.nn._activation import LogSigmoid as LogSigmoid
from nnfoundations.nn._activation import Sigmoid as Sigmoid
from nnfoundations.nn._activation import Softplus as Softplus
from nnfoundations.nn._activation import Softsign as Softsign
from nnfoundations.nn._activation import Tanh as Tanh
from nnfoundations.nn._activation import Tanhshrink as Tanhshrink
from nnfoundations.nn._alpha_dropout import AlphaDropout as AlphaDropout
from nnfoundations.nn._alpha_dropout import FeatureAlphaDropout as FeatureAlphaDropout
from nnfoundations.nn._batch_norm_modules import BatchNorm1d as BatchNorm1d
from nnfoundations.nn._batch_norm_modules import BatchNorm2d as BatchNorm2d
from nnfoundations.nn._batch_norm_modules import BatchNorm3d as BatchNorm3d
from nnfoundations.nn._batch_norm_modules import InstanceNorm1d as InstanceNorm1d
from nnfoundations.nn._batch_norm_modules import InstanceNorm2d as InstanceNorm2d
from nnfoundations.nn._batch_norm_modules import InstanceNorm3d as InstanceNorm3d
from nnfoundations.nn._bilinear import Bilinear as Bilinear
from nnfoundations.nn._channel_dropout import Dropout1d as Dropout1d
from nnfoundations.nn._channel_dropout import Dropout2d as Dropout2d
from nnfoundations.nn._channel_dropout import Dropout3d as Dropout3d
from nnfoundations.nn._classification_loss import CrossEntropyLoss as CrossEntropyLoss
from nnfoundations.nn._classification_loss import NLLLoss as NLLLoss
from nnfoundations.nn._dropout import Dropout as Dropout
from nnfoundations.nn._exponential_unit import CELU as CELU
from nnfoundations.nn._exponential_unit import ELU as ELU
from nnfoundations.nn._exponential_unit import SELU as SELU
from nnfoundations.nn._gate import GELU as GELU
from nnfoundations.nn._gate import GLU as GLU
from nnfoundations.nn._gate import Mish as Mish
from nnfoundations.nn._gate import SiLU as SiLU
from nnfoundations.nn._gate import SwiGLU as SwiGLU
from nnfoundations.nn._gate import Swish as Swish
from nnfoundations.nn._huber_loss import HuberLoss as HuberLoss
from nnfoundations.nn._huber_loss import SmoothL1Loss as SmoothL1Loss
from nnfoundations.nn._linear import Linear as Linear
from nnfoundations.nn._normalization import GroupNorm as GroupNorm
from nnfoundations.nn._normalization import LayerNorm as LayerNorm
from nnfoundations.nn._normalization import RMSNorm as RMSNorm
from nnfoundations.nn._operation import Operation as Operation
from nnfoundations.nn._operation_spec import OperationSpec as OperationSpec
from nnfoundations.nn._piecewise import Hardsigmoid as Hardsigmoid
from nnfoundations.nn._piecewise import Hardswish as Hardswish
from nnfoundations.nn._piecewise import Hardtanh as Hardtanh
from nnfoundations.nn._piecewise import ReLU6 as ReLU6
from nnfoundations.nn._probability_loss import BCELoss as BCELoss
from nnfoundations.nn._probability_loss import BCEWithLogitsLoss as BCEWithLogitsLoss
from nnfoundations.nn._probability_loss import KLDivLoss as KLDivLoss
from nnfoundations.nn._rectifier import LeakyReLU as LeakyReLU
from nnfoundations.nn._rectifier import PReLU as PReLU
from nnfoundations.nn._rectifier import ReLU as ReLU
from nnfoundations.nn._rectifier import RReLU as RReLU
from nnfoundations.nn._regression_loss import L1Loss as L1Loss
from nnfoundations.nn._regression_loss import MSELoss as MSELoss
from nnfoundations.nn._shrink import Hardshrink as Hardshrink
from nnfoundations.nn._shrink import Softshrink as Softshrink
from nnfoundations.nn._shrink import Threshold as Threshold
from nnfoundations.nn._softmax import LogSoftmax as LogSoftmax
from nnfoundations.nn._softmax import Softmax as Softmax
from nnfoundations.nn._softmax import Softmax2d as Softmax2d
from nnfoundations.nn._softmax import Softmin as Softmin


# There is no __all__: type checkers would then hide the names of torch.nn.
def __dir__() -> list[str]:
    """List the public names: ours and those of torch.nn."""
    return sorted(name for name in globals() if not name.startswith("_"))
