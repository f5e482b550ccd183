"""The modules of channel normalization: `BatchNorm1d` to `3d` and `InstanceNorm1d` to `3d`."""

import warnings

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from nnfoundations._errors import ShapeError
from nnfoundations.nn._batch_norm import channel_norm, counted_batch_norm
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._override import overridable

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
]


class _Channels:
    """What the modules of 1, 2 and 3 dimensions differ in: how many axes x may have."""

    _axes: tuple[int, ...]

    def _check_input_dim(self, input: Tensor) -> None:
        if isinstance(input, Tensor) and input.ndim not in self._axes:  # FX hands in a stand-in without sizes
            raise ShapeError(
                f"{type(self).__name__} needs x of {' or '.join(map(str, self._axes))} axes, the channels "
                f"after the samples; got {tuple(input.shape)}. Reshape x, or take the module for its number "
                "of axes."
            )


class _Batch(_Channels, _BatchNorm):
    """What torch's three classes share, computed by ours."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, *) -> the same."""
        self._check_input_dim(input)
        tracks = not self.training or self.track_running_stats
        mean, variance = (self.running_mean, self.running_var) if tracks else (None, None)
        counts = self.training and self.track_running_stats
        return counted_batch_norm(
            input,
            mean,
            variance,
            self.num_batches_tracked if counts else None,
            self.weight,
            self.bias,
            self.training or (self.running_mean is None and self.running_var is None),
            self.momentum,
            self.eps,
        )


class BatchNorm1d(_Batch, torch.nn.BatchNorm1d, metaclass=DropIn):
    r"""Bring each feature to mean zero and variance one over the batch, then scale and shift it.

    .. math:: y = n \, w + b, \qquad n = (x - m) \, r, \qquad r = 1 / \sqrt{v + \epsilon}

    Backward in training: :math:`\bar x = w r (\bar y - \overline{\bar y} - n \, \overline{\bar y n})`,
    :math:`\bar w = \sum \bar y n`, :math:`\bar b = \sum \bar y`; in evaluation, where m and v are running
    averages, :math:`\bar x = w r \bar y`. Samples of a batch see each other in training. For convolutional
    and fully connected networks with batches of 8 or more; the averages need some hundred batches.

    Shape: x `(N, C)` or `(N, C, L)` -> the same; weight, bias and running statistics `(C,)`.
    Args: num_features: C. eps: added to the variance. momentum: share of the newest batch in the running
        statistics; None gives all batches the same. affine: False leaves w and b out. track_running_stats:
        False takes the batch's statistics in evaluation too. bias: False leaves b out.
    Raises: ShapeError: axes or channels that do not fit, or one value a channel in training. DtypeError:
        dtypes that differ.
    Source: Ioffe and Szegedy 2015, algorithm 1. Drop-in for torch.nn.BatchNorm1d.

    >>> BatchNorm1d(1, affine=False)(torch.tensor([[1.0], [3.0]])).flatten()
    tensor([-1.0000,  1.0000])
    """

    _axes = (2, 3)


class BatchNorm2d(_Batch, torch.nn.BatchNorm2d, metaclass=DropIn):
    r"""Bring each channel of images to mean zero and variance one over batch and places.

    .. math:: y = n \, w + b, \qquad n = (x - m) / \sqrt{v + \epsilon}

    Derivative and use are BatchNorm1d's; means are over samples, rows and columns.

    Shape: x `(N, C, H, W)` -> the same; weight, bias and running statistics `(C,)`.
    Args, Raises: as BatchNorm1d.
    Source: Ioffe and Szegedy 2015, section 3.2. Drop-in for torch.nn.BatchNorm2d.

    >>> BatchNorm2d(1, affine=False)(torch.tensor([[[[1.0, 3.0]]]])).flatten()
    tensor([-1.0000,  1.0000])
    """

    _axes = (4,)


class BatchNorm3d(_Batch, torch.nn.BatchNorm3d, metaclass=DropIn):
    r"""Bring each channel of volumes to mean zero and variance one over batch and places.

    .. math:: y = n \, w + b, \qquad n = (x - m) / \sqrt{v + \epsilon}

    Derivative and use are BatchNorm1d's; means are over samples, depth, rows and columns.

    Shape: x `(N, C, D, H, W)` -> the same; weight, bias and running statistics `(C,)`.
    Args, Raises: as BatchNorm1d.
    Source: Ioffe and Szegedy 2015, section 3.2. Drop-in for torch.nn.BatchNorm3d.

    >>> BatchNorm3d(1, affine=False)(torch.tensor([[[[[1.0, 3.0]]]]])).flatten()
    tensor([-1.0000,  1.0000])
    """

    _axes = (5,)


@overridable
def _of_one_or_many(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    own: bool,
    momentum: float,
    eps: float,
    num_features: int,
    unbatched: int,
    affine: bool,
) -> Tensor:
    """Instance norm of a batch, or of one sample, which has `unbatched` axes."""
    axis = input.ndim - unbatched
    if input.shape[axis] != num_features:
        if affine:
            raise ShapeError(
                f"InstanceNorm needs {num_features} channels on axis {axis}; got {tuple(input.shape)}. "
                f"Move the channels there, or build it for {input.shape[axis]}."
            )
        warnings.warn(
            f"InstanceNorm of {num_features} features got {input.shape[axis]} channels. Without affine it "
            "does not use the number; build it with the right one to see no warning.",
            stacklevel=5,
        )
    x = input if axis else input.unsqueeze(0)
    y = channel_norm("InstanceNorm", x, running_mean, running_var, weight, bias, own, momentum, eps)
    return y if axis else y.squeeze(0)


class _Instance(_Channels, _InstanceNorm):
    """What torch's three classes share, computed by ours."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, *) or (C, *) -> the same."""
        self._check_input_dim(input)
        return _of_one_or_many(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
            self.num_features,
            self._get_no_batch_dim(),  # type: ignore[no-untyped-call]
            self.affine,
        )


class InstanceNorm1d(_Instance, torch.nn.InstanceNorm1d, metaclass=DropIn):
    r"""Bring each channel of each sample to mean zero and variance one, then scale and shift the channel.

    .. math:: y = n \, w + b, \qquad n = (x - m) / \sqrt{v + \epsilon}

    The derivative is LayerNorm's, with means over the places of one channel. Removes contrast and offset of
    each sample, so that it suits style transfer, and not tasks that need them.

    Shape: x `(N, C, L)` or `(C, L)` -> the same; weight, bias and running statistics `(C,)`.
    Args: as BatchNorm1d, but affine and track_running_stats are False by default.
    Raises: ShapeError: axes or channels that do not fit, or one value a channel. DtypeError: dtypes that
        differ.
    Source: Ulyanov, Vedaldi and Lempitsky 2016. Drop-in for torch.nn.InstanceNorm1d.

    >>> InstanceNorm1d(1)(torch.tensor([[[1.0, 3.0]]]))
    tensor([[[-1.0000,  1.0000]]])
    """

    _axes = (2, 3)


class InstanceNorm2d(_Instance, torch.nn.InstanceNorm2d, metaclass=DropIn):
    r"""Bring each channel of each image to mean zero and variance one.

    .. math:: y = n \, w + b, \qquad n = (x - m) / \sqrt{v + \epsilon}

    Derivative and use are InstanceNorm1d's.

    Shape: x `(N, C, H, W)` or `(C, H, W)` -> the same; weight, bias and running statistics `(C,)`.
    Args, Raises: as InstanceNorm1d.
    Source: Ulyanov, Vedaldi and Lempitsky 2016. Drop-in for torch.nn.InstanceNorm2d.

    >>> InstanceNorm2d(1)(torch.tensor([[[1.0, 3.0]]]))
    tensor([[[-1.0000,  1.0000]]])
    """

    _axes = (3, 4)


class InstanceNorm3d(_Instance, torch.nn.InstanceNorm3d, metaclass=DropIn):
    r"""Bring each channel of each volume to mean zero and variance one.

    .. math:: y = n \, w + b, \qquad n = (x - m) / \sqrt{v + \epsilon}

    Derivative and use are InstanceNorm1d's.

    Shape: x `(N, C, D, H, W)` or `(C, D, H, W)` -> the same; weight, bias and running statistics `(C,)`.
    Args, Raises: as InstanceNorm1d.
    Source: Ulyanov, Vedaldi and Lempitsky 2016. Drop-in for torch.nn.InstanceNorm3d.

    >>> InstanceNorm3d(1)(torch.tensor([[[[1.0, 3.0]]]]))
    tensor([[[[-1.0000,  1.0000]]]])
    """

    _axes = (4, 5)
