"""Bilinear maps: `bilinear` and `Bilinear`."""

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations.errors import DtypeError, ShapeError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._operation import Operation, autocast_enabled
from nnfoundations.nn._operation_spec import ROWS, OperationSpec
from nnfoundations.nn._torch_function import supports_torch_function

__all__ = ["Bilinear", "bilinear"]

_bilinear = Operation(
    OperationSpec(
        formulas.bilinear,
        formulas.bilinear_backward,
        formulas.bilinear_jvp,
        needs={"x1": ("x2", "weight"), "x2": ("x1", "weight"), "weight": ("x1", "x2"), "bias": ()},
        autocast="widest",
    )
)


@supports_torch_function
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply a bilinear map to the last axes: y_k = x1 W_k x2 + b_k.

    Drop-in for torch.nn.functional.bilinear.

    Args:
        input1: `(*, in1_features)`.
        input2: `(*, in2_features)`.
        weight: W, `(out_features, in1_features, in2_features)`.
        bias: b, `(out_features,)`.

    Returns:
        Tensor `(*, out_features)`.

    Raises:
        ShapeError: the inputs do not match the weight or each other.
        DtypeError: inputs, weight and bias differ in dtype.
    """
    _check(input1, input2, weight, bias)
    rows = input1.shape[:-1]
    y = _bilinear(ROWS.to_canonical(input1), ROWS.to_canonical(input2), weight, bias)
    return y.contiguous().reshape(*rows, weight.shape[0])  # type: ignore[no-any-return]


def _check(x1: Tensor, x2: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if weight.ndim != 3:
        raise ShapeError(
            f"Bilinear needs a weight of shape (out, in1, in2); got {tuple(weight.shape)}. Reshape it."
        )
    for name, x, features in (("x1", x1, weight.shape[1]), ("x2", x2, weight.shape[2])):
        if x.ndim == 0 or x.shape[-1] != features:
            raise ShapeError(
                f"Bilinear needs {name} to end in {features} features; got {tuple(x.shape)}. "
                "Move the features last."
            )
    if x1.shape[:-1] != x2.shape[:-1]:
        raise ShapeError(
            f"Bilinear needs inputs that differ in their last axis only; got {tuple(x1.shape)} and "
            f"{tuple(x2.shape)}. Expand the smaller one."
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(
            f"Bilinear needs a bias of shape {tuple(weight.shape[:1])}; got {tuple(bias.shape)}. "
            "Give one number per output feature."
        )
    dtypes = {x.dtype for x in (x1, x2, weight, bias) if x is not None}
    if torch.bool in dtypes or (len(dtypes) > 1 and (x1.is_cpu or not autocast_enabled(x1))):
        found = ", ".join(sorted(map(str, dtypes)))
        raise DtypeError(
            f"Bilinear needs inputs, weight and bias of one numeric dtype; got {found}. "
            f"Convert the inputs with .to({weight.dtype})."
        )


class Bilinear(torch.nn.Bilinear, metaclass=DropIn):
    r"""Map pairs of vectors to scores, with one matrix per output.

    .. math:: y_k = x_1^\top W_k x_2 + b_k

    Backward: :math:`\bar x_1 = \sum_k \bar y_k W_k x_2`, :math:`\bar x_2 = \sum_k \bar y_k W_k^\top x_1`,
    :math:`\bar W_k = \sum \bar y_k x_1 x_2^\top`, :math:`\bar b = \sum \bar y`. Does not saturate. Use it to
    score pairs. The weight has `out_features * in1_features * in2_features` numbers.

    Shape:
        input1: `(*, in1_features)`.
        input2: `(*, in2_features)`.
        output: `(*, out_features)`.
        weight: `(out_features, in1_features, in2_features)`.
        bias: `(out_features,)`.

    Args:
        in1_features: size of the last axis of the first input.
        in2_features: size of the last axis of the second input.
        out_features: size of the last axis of the output.
        bias: False removes b.

    Raises:
        ShapeError: the inputs do not match the weight or each other.
        DtypeError: inputs and parameters differ in dtype.

    Source:
        Drop-in for torch.nn.Bilinear; it inherits construction and initial values.

    Example:
        >>> Bilinear(3, 4, 2)(torch.zeros(5, 3), torch.zeros(5, 4)).shape
        torch.Size([5, 2])
    """

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """Compute the output."""
        return bilinear(input1, input2, self.weight, self.bias)
