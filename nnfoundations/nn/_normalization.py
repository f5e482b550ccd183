"""Normalization within each sample: `layer_norm`, `rms_norm`, `group_norm` and their modules."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations.errors import DtypeError, ShapeError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._operation import Operation, autocast_enabled
from nnfoundations.nn._operation_spec import OperationSpec
from nnfoundations.nn._torch_function import supports_torch_function

__all__ = [
    "STANDARDIZE",
    "GroupNorm",
    "LayerNorm",
    "RMSNorm",
    "check_channels",
    "check_dtypes",
    "contiguous_or_channels_last",
    "group_norm",
    "layer_norm",
    "rms_norm",
]

_HALF = (torch.float16, torch.bfloat16)
_STANDARDIZE_SPEC = OperationSpec(
    formulas.standardize,
    formulas.standardize_backward,
    formulas.standardize_jvp,
    needs={"x": ("x", "weight", "mean", "variance"), "weight": ("x", "mean", "variance"), "bias": ()},
    outputs=("y", "mean", "variance"),
)
STANDARDIZE = Operation(_STANDARDIZE_SPEC)
_standardize = Operation(replace(_STANDARDIZE_SPEC, autocast="float32", autocast_on_cpu=False))
_rms_norm = Operation(
    OperationSpec(
        formulas.rms_norm,
        formulas.rms_norm_backward,
        formulas.rms_norm_jvp,
        needs={"x": ("x", "weight", "mean_square"), "weight": ("x", "mean_square")},
        outputs=("y", "mean_square"),
        autocast="float32",
        autocast_on_cpu=False,
    )
)


@supports_torch_function
def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize the last axes: y = (x - m) / sqrt(v + eps) w + b.

    Drop-in for torch.nn.functional.layer_norm.

    Args:
        input: `(*, *normalized_shape)`.
        normalized_shape: sizes of the last axes.
        weight: w, `normalized_shape`.
        bias: b, `normalized_shape`.
        eps: added to the variance.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        ShapeError: input or parameters do not match `normalized_shape`.
        DtypeError: input and parameters differ in dtype.
    """
    shape = tuple(normalized_shape)
    _check_trailing("LayerNorm", input, shape, weight, bias)
    check_dtypes("LayerNorm", input, weight, bias)
    rows = _to_rows(input.contiguous(), shape)
    weight, bias = _flatten(weight), _flatten(bias)
    y: Tensor = _standardize(rows, weight, bias, over=(1,), along=(1,), eps=eps)[0]
    return y if y.shape == input.shape else y.view(input.shape)


@supports_torch_function
def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Divide by the root mean square of the last axes: y = x / sqrt(mean(x^2) + eps) w.

    Drop-in for torch.nn.functional.rms_norm.

    Args:
        input: `(*, *normalized_shape)`.
        normalized_shape: sizes of the last axes.
        weight: w, `normalized_shape`.
        eps: added to the mean square; None means the machine epsilon of the dtype of the computation.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        ShapeError: input or weight does not match `normalized_shape`.
        DtypeError: input is neither a floating-point nor a complex tensor.
    """
    shape = tuple(normalized_shape)
    _check_trailing("RMSNorm", input, shape, weight, None)
    if not (input.is_floating_point() or input.is_complex()):
        raise DtypeError(f"RMSNorm needs floating-point numbers; got {input.dtype}. Convert x with .float().")
    dtype = torch.float32 if input.dtype in _HALF else input.dtype
    if weight is not None and weight.dtype not in (input.dtype, dtype):
        weight = weight.to(dtype)  # torch accepts any dtype here
    if eps is None:
        eps = torch.finfo(dtype).eps  # of the dtype of the computation
    y: Tensor = _rms_norm(_to_rows(input, shape), _flatten(weight), eps=eps)[0]
    return y if y.shape == input.shape else y.reshape(input.shape)


@supports_torch_function
def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize groups of channels of each sample: y = (x - m) / sqrt(v + eps) w + b.

    Drop-in for torch.nn.functional.group_norm.

    Args:
        input: `(N, C, *)`.
        num_groups: number of groups, a divisor of C.
        weight: w, `(C,)`.
        bias: b, `(C,)`.
        eps: added to the variance.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        ShapeError: wrong number of channels, or only one value per group.
        DtypeError: input and parameters differ in dtype.
    """
    _check_groups(input, num_groups)
    check_channels("GroupNorm", input.shape[1], weight=weight, bias=bias)
    check_dtypes("GroupNorm", input, weight, bias)
    batch, channels, *space = input.shape
    groups = contiguous_or_channels_last(input).reshape(batch, num_groups, channels // num_groups, *space)
    groups = groups.flatten(3) if space else groups.unsqueeze(3)
    y: Tensor = _standardize(groups, weight, bias, over=(2, 3), along=(1, 2), eps=eps)[0]
    return y.reshape(input.shape)


def _to_rows(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Flatten the last axes into one, and the other axes into another."""
    if len(shape) > 1:
        x = x.flatten(-len(shape))
    if x.ndim == 2:
        return x
    return x.flatten(0, -2) if x.ndim > 2 else x.unsqueeze(0)


def _flatten(weight: Tensor | None) -> Tensor | None:
    return weight if weight is None or weight.ndim == 1 else weight.flatten()


def _check_trailing(
    name: str, x: Tensor, shape: tuple[int, ...], weight: Tensor | None, bias: Tensor | None
) -> None:
    if not shape:
        raise ShapeError(
            f"{name} needs a normalized_shape of at least one axis; got (). Give the sizes of the last axes."
        )
    if x.shape[-len(shape) :] != shape:
        raise ShapeError(
            f"{name} needs x to end in {shape}; got {tuple(x.shape)}. Move the features last, or build "
            f"{name} for the shape that x ends in."
        )
    for role, vector in (("weight", weight), ("bias", bias)):
        if vector is not None and vector.shape != shape:
            raise ShapeError(
                f"{name} needs a {role} of shape {shape}; got {tuple(vector.shape)}. "
                "Give one number per feature."
            )


def _check_groups(x: Tensor, groups: int) -> None:
    if x.ndim < 2 or 0 in x.shape[1:]:
        raise ShapeError(
            "GroupNorm needs x of shape (N, C, *) with at least one channel and position; got "
            f"{tuple(x.shape)}. The channels are axis 1."
        )
    if groups < 1 or x.shape[1] % groups:
        raise ShapeError(
            f"GroupNorm needs a number of channels that {groups} groups divide; got {x.shape[1]}. "
            "Choose a divisor of it."
        )
    if x.shape[0] * x[0:1, 0].numel() * (x.shape[1] // groups) == 1:
        raise ShapeError(
            f"GroupNorm needs more than one value per group; got {tuple(x.shape)} in {groups} groups. "
            "Use fewer groups, or more than one sample."
        )


def contiguous_or_channels_last(x: Tensor) -> Tensor:
    """Make x contiguous, unless it is in channels-last order: the output has the same layout, as in torch."""
    if x.is_contiguous() or (x.ndim in (4, 5) and x.movedim(1, -1).is_contiguous()):
        return x
    return x.contiguous()


def check_channels(name: str, channels: int, **vectors: Tensor | None) -> None:
    """Raise unless each vector has one number per channel."""
    for role, vector in vectors.items():
        if vector is not None and vector.shape != (channels,):
            raise ShapeError(
                f"{name} needs a {role} of shape ({channels},), one number per channel of x; got "
                f"{tuple(vector.shape)}. The channels are axis 1."
            )


def check_dtypes(name: str, x: Tensor, *vectors: Tensor | None) -> None:
    """Raise unless all have the dtype of x, or are float32 while x is in half precision."""
    found = {vector.dtype for vector in vectors if vector is not None}
    mixed = x.dtype in _HALF and found == {torch.float32}
    if x.is_floating_point() and (found <= {x.dtype} or mixed or (not x.is_cpu and autocast_enabled(x))):
        return
    names = ", ".join([str(x.dtype), *sorted(map(str, found))])
    raise DtypeError(
        f"{name} needs floating-point x and parameters of one dtype, or float32 parameters with a "
        f"half-precision x; got {names}. Convert x, or the module, with .to()."
    )


class LayerNorm(torch.nn.LayerNorm, metaclass=DropIn):
    r"""Normalize the features of each sample to mean 0 and variance 1, then scale and shift each feature.

    .. math:: y = n \, w + b, \qquad n = (x - m) \, r, \qquad r = 1 / \sqrt{v + \epsilon}

    Backward, with :math:`h = \bar y w`: :math:`\bar x = r (h - \overline{h} - n \, \overline{h n})`,
    :math:`\bar w = \sum \bar y n`, :math:`\bar b = \sum \bar y`. The gradient is orthogonal to constants and
    to n: neither a shift nor a scale of x changes y. If a sample hardly varies, r is large, at most :math:`1
    / \sqrt\epsilon`. Use it in transformers, and for batches that are small or of changing length.

    Shape:
        input: `(*, *normalized_shape)`.
        output: same as input.
        weight: `normalized_shape`; bias has the same shape.

    Args:
        normalized_shape: sizes of the last axes.
        eps: added to the variance.
        elementwise_affine: False removes w and b.
        bias: False removes b.

    Raises:
        ShapeError: input does not end in `normalized_shape`.
        DtypeError: input and weight differ in dtype.

    Source:
        Ba, Kiros and Hinton 2016, eq. 4. Drop-in for torch.nn.LayerNorm.

    Example:
        >>> LayerNorm(2)(torch.tensor([[1.0, 3.0]]))
        tensor([[-1.0000,  1.0000]], grad_fn=<StandardizeBackward>)
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class RMSNorm(torch.nn.RMSNorm, metaclass=DropIn):
    r"""Divide the features of each sample by their root mean square, then scale each feature.

    .. math:: y = x \, r \, w, \qquad r = 1 / \sqrt{\overline{x^2} + \epsilon}

    Backward, with :math:`h = \bar y w` and :math:`n = x r`: :math:`\bar x = r (h - n \, \overline{h n})`,
    :math:`\bar w = \sum \bar y n`. A scale of x does not change y, a shift does. It works as well as
    LayerNorm in most transformers, with one statistic less.

    Shape:
        input: `(*, *normalized_shape)`.
        output: same as input.
        weight: `normalized_shape`.

    Args:
        normalized_shape: sizes of the last axes.
        eps: added to the mean square; None means the machine epsilon of the dtype of the computation.
        elementwise_affine: False removes w.

    Raises:
        ShapeError: input does not end in `normalized_shape`.
        DtypeError: input is neither a floating-point nor a complex tensor.

    Source:
        Zhang and Sennrich 2019, eq. 4. Drop-in for torch.nn.RMSNorm.

    Example:
        >>> RMSNorm(2, elementwise_affine=False)(torch.tensor([[3.0, 4.0]]))
        tensor([[0.8485, 1.1314]])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Compute the output."""
        return rms_norm(x, self.normalized_shape, self.weight, self.eps)


class GroupNorm(torch.nn.GroupNorm, metaclass=DropIn):
    r"""Normalize groups of channels of each sample to mean 0 and variance 1, then scale and shift.

    .. math:: y = n \, w + b, \qquad n = (x - m) / \sqrt{v + \epsilon}

    Backward: as for LayerNorm, with means over the channels and positions of a group. One group normalizes
    the whole sample; as many groups as channels give InstanceNorm. Use it for images in batches that are too
    small for BatchNorm.

    Shape:
        input: `(N, C, *)`.
        output: same as input.
        weight: `(C,)`; bias has the same shape.

    Args:
        num_groups: number of groups, a divisor of C.
        num_channels: number of channels C.
        eps: added to the variance.
        affine: False removes w and b.
        bias: False removes b.

    Raises:
        ShapeError: wrong number of channels, or only one value per group.
        DtypeError: input and parameters differ in dtype.

    Source:
        Wu and He 2018, eq. 7. Drop-in for torch.nn.GroupNorm.

    Example:
        >>> GroupNorm(1, 2, affine=False)(torch.tensor([[1.0, 3.0]]))
        tensor([[-1.0000,  1.0000]])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps)
