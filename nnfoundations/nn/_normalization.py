"""Normalization of each sample by itself: `layer_norm`, `rms_norm`, `group_norm` and their modules."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nnfoundations import formulas
from nnfoundations._errors import DtypeError, ShapeError
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._operation import Operation, autocasting
from nnfoundations.nn._override import overridable
from nnfoundations.nn._record import Record

__all__ = [
    "STANDARDIZE",
    "GroupNorm",
    "LayerNorm",
    "RMSNorm",
    "check_channels",
    "check_dtypes",
    "dense",
    "group_norm",
    "layer_norm",
    "rms_norm",
]

_HALF = (torch.float16, torch.bfloat16)
_RECORD = Record(
    formulas.standardize,
    formulas.standardize_backward,
    formulas.standardize_jvp,
    needs={"x": ("x", "weight", "mean", "variance"), "weight": ("x", "mean", "variance"), "bias": ()},
    outputs=("y", "mean", "variance"),
)
STANDARDIZE = Operation(_RECORD)
_standardize = Operation(replace(_RECORD, autocast="float32", autocast_on_cpu=False))
_rms_norm = Operation(
    Record(
        formulas.rms_norm,
        formulas.rms_norm_backward,
        formulas.rms_norm_jvp,
        needs={"x": ("x", "weight", "mean_square"), "weight": ("x", "mean_square")},
        outputs=("y", "mean_square"),
        autocast="float32",
        autocast_on_cpu=False,
    )
)


@overridable
def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """y = (x - m) / sqrt(v + eps) w + b over the last axes. Drop-in for torch.nn.functional.layer_norm."""
    shape = tuple(normalized_shape)
    _check_trailing("LayerNorm", input, shape, weight, bias)
    check_dtypes("LayerNorm", input, weight, bias)
    rows = _rows(input.contiguous(), shape)
    weight, bias = _flat(weight), _flat(bias)
    y: Tensor = _standardize(rows, weight, bias, over=(1,), along=(1,), eps=eps)[0]
    return y if y.shape == input.shape else y.view(input.shape)


@overridable
def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """y = x / sqrt(mean of x^2 + eps) w over the last axes. Drop-in for torch.nn.functional.rms_norm."""
    shape = tuple(normalized_shape)
    _check_trailing("RMSNorm", input, shape, weight, None)
    if not (input.is_floating_point() or input.is_complex()):
        raise DtypeError(f"RMSNorm needs floating-point numbers; got {input.dtype}. Convert x with .float().")
    dtype = torch.float32 if input.dtype in _HALF else input.dtype
    if weight is not None and weight.dtype not in (input.dtype, dtype):
        weight = weight.to(dtype)  # torch takes any
    if eps is None:
        eps = torch.finfo(dtype).eps  # of the dtype in which it is computed
    y: Tensor = _rms_norm(_rows(input, shape), _flat(weight), eps=eps)[0]
    return y if y.shape == input.shape else y.reshape(input.shape)


@overridable
def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """y = (x - m) / sqrt(v + eps) w + b over groups of channels. Drop-in for torch's group_norm."""
    _check_groups(input, num_groups)
    check_channels("GroupNorm", input.shape[1], weight=weight, bias=bias)
    check_dtypes("GroupNorm", input, weight, bias)
    batch, channels, *space = input.shape
    groups = dense(input).reshape(batch, num_groups, channels // num_groups, *space)
    groups = groups.flatten(3) if space else groups.unsqueeze(3)
    y: Tensor = _standardize(groups, weight, bias, over=(2, 3), along=(1, 2), eps=eps)[0]
    return y.reshape(input.shape)


def _rows(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The last axes as one, the others as another."""
    if len(shape) > 1:
        x = x.flatten(-len(shape))
    if x.ndim == 2:
        return x
    return x.flatten(0, -2) if x.ndim > 2 else x.unsqueeze(0)


def _flat(weight: Tensor | None) -> Tensor | None:
    return weight if weight is None or weight.ndim == 1 else weight.flatten()


def _check_trailing(
    name: str, x: Tensor, shape: tuple[int, ...], weight: Tensor | None, bias: Tensor | None
) -> None:
    if not shape:
        raise ShapeError(f"{name} needs a normalized_shape of one axis or more; got (). Name the last axes.")
    if x.shape[-len(shape) :] != shape:
        raise ShapeError(
            f"{name} needs x to end in {shape}; got {tuple(x.shape)}. Move the features last, or build "
            f"{name} for the shape that x ends in."
        )
    for role, vector in (("weight", weight), ("bias", bias)):
        if vector is not None and vector.shape != shape:
            raise ShapeError(
                f"{name} needs a {role} of shape {shape}; got {tuple(vector.shape)}. "
                "Give one number a feature."
            )


def _check_groups(x: Tensor, groups: int) -> None:
    if x.ndim < 2 or 0 in x.shape[1:]:
        raise ShapeError(
            f"GroupNorm needs x of shape (N, C, *), at least a channel and a place; got {tuple(x.shape)}. "
            "The channels are axis 1."
        )
    if groups < 1 or x.shape[1] % groups:
        raise ShapeError(
            f"GroupNorm needs channels that {groups} groups divide; got {x.shape[1]}. Take a divisor of it."
        )
    if x.shape[0] * x[0:1, 0].numel() * (x.shape[1] // groups) == 1:
        raise ShapeError(
            f"GroupNorm needs more than one value a group; got {tuple(x.shape)} in {groups} groups. "
            "Take fewer groups, or more than one sample."
        )


def dense(x: Tensor) -> Tensor:
    """x without gaps, the channels second or last: in one of these two orders y comes, as torch's."""
    if x.is_contiguous() or (x.ndim in (4, 5) and x.movedim(1, -1).is_contiguous()):
        return x
    return x.contiguous()


def check_channels(name: str, channels: int, **vectors: Tensor | None) -> None:
    """Raise unless each vector has one number a channel."""
    for role, vector in vectors.items():
        if vector is not None and vector.shape != (channels,):
            raise ShapeError(
                f"{name} needs a {role} of shape ({channels},), one number a channel of x; got "
                f"{tuple(vector.shape)}. The channels are axis 1."
            )


def check_dtypes(name: str, x: Tensor, *vectors: Tensor | None) -> None:
    """Raise unless all share x's dtype, or are float32 beside a half x."""
    found = {vector.dtype for vector in vectors if vector is not None}
    mixed = x.dtype in _HALF and found == {torch.float32}
    if x.is_floating_point() and (found <= {x.dtype} or mixed or (not x.is_cpu and autocasting(x))):
        return
    names = ", ".join([str(x.dtype), *sorted(map(str, found))])
    raise DtypeError(
        f"{name} needs floating-point x and parameters of one dtype, or float32 parameters beside a half x; "
        f"got {names}. Convert x, or the module, with .to()."
    )


class LayerNorm(torch.nn.LayerNorm, metaclass=DropIn):
    r"""Bring the features of each sample to mean zero and variance one, then scale and shift each.

    .. math:: y = n \, w + b, \qquad n = (x - m) \, r, \qquad r = 1 / \sqrt{v + \epsilon}

    Backward, with :math:`h = \bar y w`: :math:`\bar x = r (h - \overline{h} - n \, \overline{h n})`,
    :math:`\bar w = \sum \bar y n`, :math:`\bar b = \sum \bar y`. The gradient is orthogonal to constants and
    to n: neither a shift nor a scale of x changes y. Where a sample hardly varies, r is large, at most
    :math:`1 / \sqrt\epsilon`. For transformers, and wherever batches are small or of changing length.

    Shape: x `(*, normalized_shape)` -> the same; weight and bias `normalized_shape`.
    Args: normalized_shape: sizes of the last axes. eps: added to the variance. elementwise_affine: False
        leaves w and b out. bias: False leaves b out.
    Raises: ShapeError: x does not end in `normalized_shape`. DtypeError: x and weight differ in dtype.
    Source: Ba, Kiros and Hinton 2016, eq. 4. Drop-in for torch.nn.LayerNorm.

    >>> LayerNorm(2)(torch.tensor([[1.0, 3.0]]))
    tensor([[-1.0000,  1.0000]], grad_fn=<StandardizeBackward>)
    """

    def forward(self, input: Tensor) -> Tensor:
        """(*, normalized_shape) -> the same."""
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class RMSNorm(torch.nn.RMSNorm, metaclass=DropIn):
    r"""Divide by the root mean square of the features of each sample, then scale each.

    .. math:: y = x \, r \, w, \qquad r = 1 / \sqrt{\overline{x^2} + \epsilon}

    Backward, with :math:`h = \bar y w` and :math:`n = x r`: :math:`\bar x = r (h - n \, \overline{h n})`,
    :math:`\bar w = \sum \bar y n`. A scale of x changes nothing, a shift does. As good as LayerNorm in most
    transformers, with one statistic less.

    Shape: x `(*, normalized_shape)` -> the same; weight `normalized_shape`.
    Args: normalized_shape: sizes of the last axes. eps: added to the mean square; None takes the epsilon of
        the dtype in which it is computed. elementwise_affine: False leaves w out.
    Raises: ShapeError: x does not end in `normalized_shape`. DtypeError: x is no floating-point number.
    Source: Zhang and Sennrich 2019, eq. 4. Drop-in for torch.nn.RMSNorm.

    >>> RMSNorm(2, elementwise_affine=False)(torch.tensor([[3.0, 4.0]]))
    tensor([[0.8485, 1.1314]])
    """

    def forward(self, x: Tensor) -> Tensor:
        """(*, normalized_shape) -> the same."""
        return rms_norm(x, self.normalized_shape, self.weight, self.eps)


class GroupNorm(torch.nn.GroupNorm, metaclass=DropIn):
    r"""Bring groups of channels of each sample to mean zero and variance one, then scale and shift channels.

    .. math:: y = n \, w + b, \qquad n = (x - m) / \sqrt{v + \epsilon}

    The derivative is LayerNorm's, with means over a group's channels and places. One group normalizes the
    whole sample, as many groups as channels make InstanceNorm. For images in batches too small for BatchNorm.

    Shape: x `(N, C, *)` -> the same; weight and bias `(C,)`.
    Args: num_groups: a divisor of C. num_channels: C. eps: added to the variance. affine: False leaves w and
        b out. bias: False leaves b out.
    Raises: ShapeError: channels that do not fit, or one value a group. DtypeError: dtypes that differ.
    Source: Wu and He 2018, eq. 7. Drop-in for torch.nn.GroupNorm.

    >>> GroupNorm(1, 2, affine=False)(torch.tensor([[1.0, 3.0]]))
    tensor([[-1.0000,  1.0000]])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, *) -> the same."""
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps)
