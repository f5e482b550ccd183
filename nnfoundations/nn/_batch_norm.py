"""Normalization of channels with running statistics: the functions `batch_norm` and `instance_norm`."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from nnfoundations import formulas
from nnfoundations.errors import DtypeError, OptionError, ShapeError
from nnfoundations.nn._normalization import (
    STANDARDIZE,
    check_channels,
    check_dtypes,
    contiguous_or_channels_last,
)
from nnfoundations.nn._operation import Operation
from nnfoundations.nn._operation_spec import OperationSpec
from nnfoundations.nn._torch_function import supports_torch_function

__all__ = ["batch_norm", "channel_norm", "counted_batch_norm", "instance_norm"]

_standardize_by = Operation(
    OperationSpec(
        formulas.standardize_by,
        formulas.standardize_by_backward,
        formulas.standardize_by_jvp,
        needs={"x": ("weight", "variance"), "weight": ("x", "mean", "variance"), "bias": ()},
    )
)


@supports_torch_function
def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel over the batch: y = (x - m) / sqrt(v + eps) w + b.

    Drop-in for torch.nn.functional.batch_norm.

    Args:
        input: `(N, C, *)`.
        running_mean: m in evaluation, `(C,)`; updated in training.
        running_var: v in evaluation, `(C,)`; updated in training.
        weight: w, `(C,)`.
        bias: b, `(C,)`.
        training: True takes m and v from the batch.
        momentum: weight of this batch in the running statistics.
        eps: added to the variance.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        ShapeError: wrong number of axes or channels, or only one value per channel in training.
        DtypeError: input and parameters differ in dtype.
        OptionError: running statistics are missing or require a gradient, or eps is too small.
    """
    return channel_norm("BatchNorm", input, running_mean, running_var, weight, bias, training, momentum, eps)


@supports_torch_function
def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel of each sample: y = (x - m) / sqrt(v + eps) w + b.

    Drop-in for torch.nn.functional.instance_norm.

    Args:
        input: `(N, C, *)`.
        running_mean: m if `use_input_stats` is False, `(C,)`; otherwise it is updated.
        running_var: v if `use_input_stats` is False, `(C,)`; otherwise it is updated.
        weight: w, `(C,)`.
        bias: b, `(C,)`.
        use_input_stats: True takes m and v from the input.
        momentum: weight of this batch in the running statistics.
        eps: added to the variance.

    Returns:
        Tensor with the shape of `input`.

    Raises:
        ShapeError: wrong number of axes or channels, or only one value per channel.
        DtypeError: input and parameters differ in dtype.
        OptionError: running statistics are missing or require a gradient.
    """
    return channel_norm(
        "InstanceNorm", input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps
    )


@supports_torch_function
def counted_batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    num_batches_tracked: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float | None,
    eps: float,
) -> Tensor:
    """Count the batch, then call `channel_norm`; without a momentum, all batches so far weigh the same."""
    blend: float | Tensor = 0.0 if momentum is None else momentum
    if num_batches_tracked is not None:
        num_batches_tracked.add_(1)
        if momentum is None and running_mean is not None:
            # Stays a tensor: float() would synchronize with the device.
            blend = 1 / num_batches_tracked.to(running_mean.dtype)
    return channel_norm("BatchNorm", input, running_mean, running_var, weight, bias, training, blend, eps)


def channel_norm(
    name: str,
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    use_input_stats: bool,
    momentum: float | Tensor,
    eps: float,
) -> Tensor:
    """Normalize by the statistics of x, and update the running ones; or normalize by the running ones."""
    per_sample = name == "InstanceNorm"
    _check_input(name, x)
    _check_running_statistics(name, running_mean, running_var, use_input_stats)
    _check_training(name, x, use_input_stats, eps)
    check_channels(
        name, x.shape[1], running_mean=running_mean, running_var=running_var, weight=weight, bias=bias
    )
    check_dtypes(name, x, weight, bias, running_mean, running_var)
    x = x.contiguous() if per_sample else contiguous_or_channels_last(x)
    flat = x.flatten(2) if x.ndim > 3 else x
    if not x.numel():  # an empty batch has no statistics, and does not change the running ones
        use_input_stats, running_mean, running_var = (
            False,
            x.new_zeros(x.shape[1]),
            x.new_ones(x.shape[1]),
        )
    if not use_input_stats:
        y: Tensor = _standardize_by(flat, running_mean, running_var, weight, bias, along=(1,), eps=eps)
        return y.reshape(x.shape)
    over = (2,) if per_sample else (0, 2)[: x.ndim - 1]
    y, mean, variance = STANDARDIZE(flat, weight, bias, over=over, along=(1,), eps=eps)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            count = flat.numel() // mean.numel()
            mean, variance = mean.detach(), variance.detach()
            if per_sample:
                mean, variance = mean.mean(0), variance.mean(0)
            _update_running(running_mean, mean.reshape(-1), momentum)
            _update_running(running_var, variance.reshape(-1) * (count / (count - 1)), momentum)
    return y.reshape(x.shape)


def _update_running(running: Tensor, statistic: Tensor, momentum: float | Tensor) -> None:
    if torch._C._are_functorch_transforms_active() and not torch.compiler.is_compiling():
        _UpdateRunning.apply(running, statistic, momentum)
    else:
        _blend(running, statistic, momentum)


def _blend(running: Tensor, statistic: Tensor, momentum: float | Tensor) -> Tensor:
    return running.copy_((1 - momentum) * running.to(statistic.dtype) + momentum * statistic)


class _UpdateRunning(Function):
    """`_blend` under a transform, where only a Function may write to a captured tensor."""

    generate_vmap_rule = True

    @staticmethod
    def forward(running: Tensor, statistic: Tensor, momentum: float | Tensor) -> Tensor:
        return _blend(running, statistic, momentum).new_zeros(())

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> None:
        return None


def _check_input(name: str, x: Tensor) -> None:
    if x.ndim < 2:
        raise ShapeError(f"{name} needs x of shape (N, C, *); got {tuple(x.shape)}. The channels are axis 1.")
    if not x.is_floating_point():
        raise DtypeError(f"{name} needs floating-point numbers; got {x.dtype}. Convert x with .float().")


def _check_running_statistics(
    name: str, running_mean: Tensor | None, running_var: Tensor | None, use_input_stats: bool
) -> None:
    if (running_mean is None) != (running_var is None) or (running_mean is None and not use_input_stats):
        raise OptionError(
            f"{name} needs both running_mean and running_var, or in training neither; got "
            f"{'none' if running_mean is running_var else 'one'}. Give both, or set training=True."
        )
    if any(running is not None and running.requires_grad for running in (running_mean, running_var)):
        raise OptionError(
            f"{name} computes no gradient of running statistics; got one that requires it. Detach "
            "running_mean and running_var."
        )


def _check_training(name: str, x: Tensor, use_input_stats: bool, eps: float) -> None:
    if name == "BatchNorm" and (eps < 0 or (use_input_stats and eps == 0)):
        raise OptionError(
            f"BatchNorm needs eps > 0 in training, and eps >= 0 in evaluation; got {eps}. Use 1e-5."
        )
    if not use_input_stats:
        return
    values = 1 if name == "InstanceNorm" else x.shape[0]
    for size in x.shape[2:]:
        values = values * size
    if values == 1:
        raise ShapeError(
            f"{name} needs more than one value per channel when training; got {tuple(x.shape)}. "
            "Use more samples or positions, drop the last small batch, or call eval()."
        )
