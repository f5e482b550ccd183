"""Dropout after SELU: `alpha_dropout`, `feature_alpha_dropout` and their modules."""

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._dropout import apply_dropout, mask_per_channel, mask_per_element
from nnfoundations.nn._operation import Operation
from nnfoundations.nn._operation_spec import OperationSpec
from nnfoundations.nn._torch_function import supports_torch_function

__all__ = ["AlphaDropout", "FeatureAlphaDropout", "alpha_dropout", "feature_alpha_dropout"]

_alpha_dropout = Operation(
    OperationSpec(
        formulas.alpha_dropout,
        formulas.alpha_dropout_backward,
        formulas.alpha_dropout_backward,
        needs={"x": ("mask",)},
    )
)


@supports_torch_function
def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Apply dropout after SELU: keeps mean 0 and variance 1.

    Drop-in for torch.nn.functional.alpha_dropout.

    Args:
        input: tensor of any shape.
        p: probability of a dropped element.
        training: False returns the input unchanged.
        inplace: write the result into `input`.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        OptionError: p is outside 0 to 1.
        DtypeError: input is an integer tensor.
    """
    return apply_dropout("AlphaDropout", _drop_to_floor, mask_per_element, input, p, training, inplace)


@supports_torch_function
def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Apply `alpha_dropout` to whole channels.

    Drop-in for torch.nn.functional.feature_alpha_dropout.

    Args:
        input: `(N, C, *)`.
        p: probability of a dropped channel.
        training: False returns the input unchanged.
        inplace: write the result into `input`.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        ShapeError: input has fewer than two axes.
        OptionError: p is outside 0 to 1.
        DtypeError: input is an integer tensor.
    """
    return apply_dropout("FeatureAlphaDropout", _drop_to_floor, mask_per_channel, input, p, training, inplace)


def _drop_to_floor(x: Tensor, mask: Tensor, p: float) -> Tensor:
    y: Tensor = _alpha_dropout(x, mask, p=p)
    return y


class AlphaDropout(torch.nn.AlphaDropout, metaclass=DropIn):
    r"""Set each feature to SELU's lowest value with probability p during training.

    .. math:: y = c \, (m x + (1 - m) f - p f), \qquad y' = c m, \qquad
        c = 1 / \sqrt{(1 - p)(1 + p f^2)}, \qquad f = -1.7581

    Keeps mean 0 and variance 1, which a SELU network needs and Dropout would destroy.

    Shape:
        input: `(*)`, any shape.
        output: same as input.

    Args:
        p: probability of a dropped feature.
        inplace: has no effect, as in torch.

    Raises:
        OptionError: p is outside 0 to 1.
        DtypeError: input is an integer tensor.

    Source:
        Klambauer et al. 2017. Drop-in for torch.nn.AlphaDropout.

    Example:
        >>> AlphaDropout().eval()(torch.ones(3))
        tensor([1., 1., 1.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return alpha_dropout(input, self.p, self.training)  # torch's module ignores inplace too


class FeatureAlphaDropout(torch.nn.FeatureAlphaDropout, metaclass=DropIn):
    r"""Set whole channels to SELU's lowest value with probability p during training.

    .. math:: y_{nc} = c \, (m_{nc} x_{nc} + (1 - m_{nc}) f - p f), \qquad
        \frac{\partial y_{nc}}{\partial x_{nc}} = c \, m_{nc}

    The constants c and f are those of AlphaDropout. Use it after convolutions in a SELU network.

    Shape:
        input: `(N, C, *)`.
        output: same as input.

    Args:
        p: probability of a dropped channel.
        inplace: has no effect, as in torch.

    Raises:
        ShapeError: input has fewer than two axes.
        OptionError: p is outside 0 to 1.
        DtypeError: input is an integer tensor.

    Source:
        Klambauer et al. 2017. Drop-in for torch.nn.FeatureAlphaDropout.

    Example:
        >>> FeatureAlphaDropout().eval()(torch.ones(1, 3))
        tensor([[1., 1., 1.]])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return feature_alpha_dropout(input, self.p, self.training)  # torch's module ignores inplace too
