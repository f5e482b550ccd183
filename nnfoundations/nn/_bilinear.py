"""Bilinear maps: `bilinear` and `Bilinear`."""

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations._errors import DtypeError, ShapeError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._operation import Operation, autocasting
from nnfoundations.nn._override import overridable
from nnfoundations.nn._record import Record

__all__ = ["Bilinear", "bilinear"]

_bilinear = Operation(
    Record(
        formulas.bilinear,
        formulas.bilinear_backward,
        formulas.bilinear_jvp,
        needs={"x1": ("x2", "weight"), "x2": ("x1", "weight"), "weight": ("x1", "x2"), "bias": ()},
        autocast="widest",
    )
)


@overridable
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y_k = x1 W_k x2 + b_k over the last axes. Drop-in for torch.nn.functional.bilinear."""
    _check(input1, input2, weight, bias)
    rows = input1.shape[:-1]
    y = _bilinear(_rows(input1), _rows(input2), weight, bias)
    return y.contiguous().reshape(*rows, weight.shape[0])  # type: ignore[no-any-return]


def _rows(x: Tensor) -> Tensor:
    if x.ndim == 2:
        return x
    return x.flatten(0, -2) if x.ndim > 2 else x.unsqueeze(0)


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
            "Give one number an output feature."
        )
    dtypes = {x.dtype for x in (x1, x2, weight, bias) if x is not None}
    if torch.bool in dtypes or (len(dtypes) > 1 and (x1.is_cpu or not autocasting(x1))):
        found = ", ".join(sorted(map(str, dtypes)))
        raise DtypeError(
            f"Bilinear needs inputs, weight and bias of one dtype of numbers; got {found}. "
            f"Convert the inputs with .to({weight.dtype})."
        )


class Bilinear(torch.nn.Bilinear, metaclass=DropIn):
    r"""Map pairs of vectors by a matrix for each output.

    .. math:: y_k = x_1^\top W_k x_2 + b_k

    Backward: :math:`\bar x_1 = \sum_k \bar y_k W_k x_2`, :math:`\bar x_2 = \sum_k \bar y_k W_k^\top x_1`,
    :math:`\bar W_k = \sum \bar y_k x_1 x_2^\top`, :math:`\bar b = \sum \bar y`. It does not saturate; for
    scores of pairs. Its weight has `out * in1 * in2` numbers.

    Shape: x1 `(*, in1_features)` and x2 `(*, in2_features)` -> `(*, out_features)`; weight `(out_features,
        in1_features, in2_features)`; bias `(out_features,)`.
    Args: in1_features, in2_features, out_features: sizes of the last axes. bias: False leaves b out.
    Raises: ShapeError: inputs that do not fit. DtypeError: dtypes that differ.
    Source: drop-in for torch.nn.Bilinear, whose construction and initial values it inherits.

    >>> Bilinear(3, 4, 2)(torch.zeros(5, 3), torch.zeros(5, 4)).shape
    torch.Size([5, 2])
    """

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """(*, in1_features), (*, in2_features) -> (*, out_features)."""
        return bilinear(input1, input2, self.weight, self.bias)
