"""Modules of channel normalization: `BatchNorm1d` to `3d` and `InstanceNorm1d` to `3d`."""

import warnings

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from nnfoundations.errors import ShapeError
from nnfoundations.nn._batch_norm import channel_norm, counted_batch_norm
from nnfoundations.nn._drop_in import DropIn
from nnfoundations.nn._torch_function import supports_torch_function

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
]


class _ChecksAxes:
    """Checks the number of axes of the input, in which the 1d, 2d and 3d modules differ."""

    _axes: tuple[int, ...]

    def _check_input_dim(self, input: Tensor) -> None:
        if isinstance(input, Tensor) and input.ndim not in self._axes:  # FX passes a proxy without sizes
            raise ShapeError(
                f"{type(self).__name__} needs x with {' or '.join(map(str, self._axes))} axes; got "
                f"{tuple(input.shape)}. Reshape x, or use the module for its number of axes."
            )


class _BatchNormBase(_ChecksAxes, _BatchNorm):
    """The forward pass that the 1d, 2d and 3d modules share."""

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
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


class BatchNorm1d(_BatchNormBase, torch.nn.BatchNorm1d, metaclass=DropIn):
    r"""Normalize each feature to mean 0 and variance 1 over the batch, then scale and shift it.

    .. math:: y = n \, w + b, \qquad n = (x - m) \, r, \qquad r = 1 / \sqrt{v + \epsilon}

    Backward in training: :math:`\bar x = w r (\bar y - \overline{\bar y} - n \, \overline{\bar y n})`,
    :math:`\bar w = \sum \bar y n`, :math:`\bar b = \sum \bar y`; in evaluation, with running averages as m
    and v, :math:`\bar x = w r \bar y`. In training the result for one sample depends on the whole batch. Use
    it in convolutional and fully connected networks with batches of 8 or more; the running averages need some
    hundred batches.

    Shape:
        input: `(N, C)` or `(N, C, L)`.
        output: same as input.
        weight: `(C,)`; bias and running statistics have the same shape.

    Args:
        num_features: number of features or channels C.
        eps: added to the variance.
        momentum: weight of the newest batch in the running statistics; None averages all batches equally.
        affine: False removes w and b.
        track_running_stats: False uses the statistics of the batch in evaluation too.
        bias: False removes b.

    Raises:
        ShapeError: wrong number of axes or channels, or only one value per channel in training.
        DtypeError: input and parameters differ in dtype.

    Source:
        Ioffe and Szegedy 2015, algorithm 1. Drop-in for torch.nn.BatchNorm1d.

    Example:
        >>> BatchNorm1d(1, affine=False)(torch.tensor([[1.0], [3.0]])).flatten()
        tensor([-1.0000,  1.0000])
    """

    _axes = (2, 3)


class BatchNorm2d(_BatchNormBase, torch.nn.BatchNorm2d, metaclass=DropIn):
    r"""Normalize each channel of images to mean 0 and variance 1 over batch and positions.

    .. math:: y = n \, w + b, \qquad n = (x - m) / \sqrt{v + \epsilon}

    Backward: as for BatchNorm1d, with means over samples, rows and columns. Use it as BatchNorm1d.

    Shape:
        input: `(N, C, H, W)`.
        output: same as input.
        weight: `(C,)`; bias and running statistics have the same shape.

    Args:
        num_features: number of channels C.
        eps: added to the variance.
        momentum: weight of the newest batch in the running statistics; None averages all batches equally.
        affine: False removes w and b.
        track_running_stats: False uses the statistics of the batch in evaluation too.
        bias: False removes b.

    Raises:
        ShapeError: wrong number of axes or channels, or only one value per channel in training.
        DtypeError: input and parameters differ in dtype.

    Source:
        Ioffe and Szegedy 2015, section 3.2. Drop-in for torch.nn.BatchNorm2d.

    Example:
        >>> BatchNorm2d(1, affine=False)(torch.tensor([[[[1.0, 3.0]]]])).flatten()
        tensor([-1.0000,  1.0000])
    """

    _axes = (4,)


class BatchNorm3d(_BatchNormBase, torch.nn.BatchNorm3d, metaclass=DropIn):
    r"""Normalize each channel of volumes to mean 0 and variance 1 over batch and positions.

    .. math:: y = n \, w + b, \qquad n = (x - m) / \sqrt{v + \epsilon}

    Backward: as for BatchNorm1d, with means over samples, depth, rows and columns. Use it as BatchNorm1d.

    Shape:
        input: `(N, C, D, H, W)`.
        output: same as input.
        weight: `(C,)`; bias and running statistics have the same shape.

    Args:
        num_features: number of channels C.
        eps: added to the variance.
        momentum: weight of the newest batch in the running statistics; None averages all batches equally.
        affine: False removes w and b.
        track_running_stats: False uses the statistics of the batch in evaluation too.
        bias: False removes b.

    Raises:
        ShapeError: wrong number of axes or channels, or only one value per channel in training.
        DtypeError: input and parameters differ in dtype.

    Source:
        Ioffe and Szegedy 2015, section 3.2. Drop-in for torch.nn.BatchNorm3d.

    Example:
        >>> BatchNorm3d(1, affine=False)(torch.tensor([[[[[1.0, 3.0]]]]])).flatten()
        tensor([-1.0000,  1.0000])
    """

    _axes = (5,)


@supports_torch_function
def _instance_norm_batched_or_not(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    num_features: int,
    unbatched: int,
    affine: bool,
) -> Tensor:
    """Normalize a batch, or one sample, which has `unbatched` axes."""
    axis = input.ndim - unbatched
    if input.shape[axis] != num_features:
        if affine:
            raise ShapeError(
                f"InstanceNorm needs {num_features} channels on axis {axis}; got {tuple(input.shape)}. "
                f"Move the channels there, or build it for {input.shape[axis]}."
            )
        warnings.warn(
            f"InstanceNorm was built for {num_features} features and got {input.shape[axis]} channels. "
            "Without affine this changes nothing; build it with the right number to avoid this warning.",
            stacklevel=5,
        )
    x = input if axis else input.unsqueeze(0)
    y = channel_norm(
        "InstanceNorm", x, running_mean, running_var, weight, bias, use_input_stats, momentum, eps
    )
    return y if axis else y.squeeze(0)


class _InstanceNormBase(_ChecksAxes, _InstanceNorm):
    """The forward pass that the 1d, 2d and 3d modules share."""

    def forward(self, input: Tensor) -> Tensor:
        """Compute the output."""
        self._check_input_dim(input)
        return _instance_norm_batched_or_not(
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


class InstanceNorm1d(_InstanceNormBase, torch.nn.InstanceNorm1d, metaclass=DropIn):
    r"""Normalize each channel of each sample to mean 0 and variance 1, then scale and shift the channel.

    .. math:: y = n \, w + b, \qquad n = (x - m) / \sqrt{v + \epsilon}

    Backward: as for LayerNorm, with means over the positions of one channel. It removes the contrast and
    offset of each sample, so it suits style transfer, but not tasks that need this information.

    Shape:
        input: `(N, C, L)` or `(C, L)`.
        output: same as input.
        weight: `(C,)`; bias and running statistics have the same shape.

    Args:
        num_features: number of channels C.
        eps: added to the variance.
        momentum: weight of the newest batch in the running statistics.
        affine: True adds w and b.
        track_running_stats: True uses running statistics in evaluation.
        bias: False removes b.

    Raises:
        ShapeError: wrong number of axes or channels, or only one value per channel.
        DtypeError: input and parameters differ in dtype.

    Source:
        Ulyanov, Vedaldi and Lempitsky 2016. Drop-in for torch.nn.InstanceNorm1d.

    Example:
        >>> InstanceNorm1d(1)(torch.tensor([[[1.0, 3.0]]]))
        tensor([[[-1.0000,  1.0000]]])
    """

    _axes = (2, 3)


class InstanceNorm2d(_InstanceNormBase, torch.nn.InstanceNorm2d, metaclass=DropIn):
    r"""Normalize each channel of each image to mean 0 and variance 1.

    .. math:: y = n \, w + b, \qquad n = (x - m) / \sqrt{v + \epsilon}

    Backward: as for LayerNorm, with means over the positions of one channel. Use it as InstanceNorm1d.

    Shape:
        input: `(N, C, H, W)` or `(C, H, W)`.
        output: same as input.
        weight: `(C,)`; bias and running statistics have the same shape.

    Args:
        num_features: number of channels C.
        eps: added to the variance.
        momentum: weight of the newest batch in the running statistics.
        affine: True adds w and b.
        track_running_stats: True uses running statistics in evaluation.
        bias: False removes b.

    Raises:
        ShapeError: wrong number of axes or channels, or only one value per channel.
        DtypeError: input and parameters differ in dtype.

    Source:
        Ulyanov, Vedaldi and Lempitsky 2016. Drop-in for torch.nn.InstanceNorm2d.

    Example:
        >>> InstanceNorm2d(1)(torch.tensor([[[1.0, 3.0]]]))
        tensor([[[-1.0000,  1.0000]]])
    """

    _axes = (3, 4)


class InstanceNorm3d(_InstanceNormBase, torch.nn.InstanceNorm3d, metaclass=DropIn):
    r"""Normalize each channel of each volume to mean 0 and variance 1.

    .. math:: y = n \, w + b, \qquad n = (x - m) / \sqrt{v + \epsilon}

    Backward: as for LayerNorm, with means over the positions of one channel. Use it as InstanceNorm1d.

    Shape:
        input: `(N, C, D, H, W)` or `(C, D, H, W)`.
        output: same as input.
        weight: `(C,)`; bias and running statistics have the same shape.

    Args:
        num_features: number of channels C.
        eps: added to the variance.
        momentum: weight of the newest batch in the running statistics.
        affine: True adds w and b.
        track_running_stats: True uses running statistics in evaluation.
        bias: False removes b.

    Raises:
        ShapeError: wrong number of axes or channels, or only one value per channel.
        DtypeError: input and parameters differ in dtype.

    Source:
        Ulyanov, Vedaldi and Lempitsky 2016. Drop-in for torch.nn.InstanceNorm3d.

    Example:
        >>> InstanceNorm3d(1)(torch.tensor([[[[1.0, 3.0]]]]))
        tensor([[[[-1.0000,  1.0000]]]])
    """

    _axes = (4, 5)
