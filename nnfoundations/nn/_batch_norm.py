"""Normalization of channels, with running statistics: `batch_norm`, `instance_norm` and their modules."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from nnfoundations import formulas
from nnfoundations._errors import DtypeError, OptionError, ShapeError
from nnfoundations.nn._normalization import STANDARDIZE, check_channels, check_dtypes, dense
from nnfoundations.nn._operation import Operation
from nnfoundations.nn._override import overridable
from nnfoundations.nn._record import Record

__all__ = ["batch_norm", "channel_norm", "counted_batch_norm", "instance_norm"]

_standardize_by = Operation(
    Record(
        formulas.standardize_by,
        formulas.standardize_by_backward,
        formulas.standardize_by_jvp,
        needs={"x": ("weight", "variance"), "weight": ("x", "mean", "variance"), "bias": ()},
    )
)


@overridable
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
    """y = (x - m) / sqrt(v + eps) w + b, channel by channel. Drop-in for torch.nn.functional.batch_norm."""
    return channel_norm("BatchNorm", input, running_mean, running_var, weight, bias, training, momentum, eps)


@overridable
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
    """y = (x - m) / sqrt(v + eps) w + b, each channel of each sample. Drop-in for torch's instance_norm."""
    return channel_norm(
        "InstanceNorm", input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps
    )


@overridable
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
    """`batch_norm` that first counts the batch; without a momentum, each batch so far has the same share."""
    share: float | Tensor = 0.0 if momentum is None else momentum
    if num_batches_tracked is not None:
        num_batches_tracked.add_(1)
        if momentum is None and running_mean is not None:
            share = 1 / num_batches_tracked.to(running_mean.dtype)  # float() would wait for the device
    return channel_norm("BatchNorm", input, running_mean, running_var, weight, bias, training, share, eps)


def channel_norm(
    name: str,
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    own: bool,
    momentum: float | Tensor,
    eps: float,
) -> Tensor:
    """By x's own statistics, which the running ones then follow, or by the running ones."""
    each = name == "InstanceNorm"
    _check(name, x, running_mean, running_var, own, eps)
    check_channels(
        name, x.shape[1], running_mean=running_mean, running_var=running_var, weight=weight, bias=bias
    )
    check_dtypes(name, x, weight, bias, running_mean, running_var)
    x = x.contiguous() if each else dense(x)
    flat = x.flatten(2) if x.ndim > 3 else x
    if not x.numel():  # nothing to average, nothing to follow
        own, running_mean, running_var = False, x.new_zeros(x.shape[1]), x.new_ones(x.shape[1])
    if not own:
        y: Tensor = _standardize_by(flat, running_mean, running_var, weight, bias, along=(1,), eps=eps)
        return y.reshape(x.shape)
    over = (2,) if each else (0, 2)[: x.ndim - 1]
    y, mean, variance = STANDARDIZE(flat, weight, bias, over=over, along=(1,), eps=eps)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            mean, variance = mean.detach(), variance.detach()
            if each:
                mean, variance = mean.mean(0), variance.mean(0)
            count = flat.numel() // mean.numel() // (flat.shape[0] if each else 1)
            _follow(running_mean, mean.reshape(-1), momentum)
            _follow(running_var, variance.reshape(-1) * (count / (count - 1)), momentum)
    return y.reshape(x.shape)


def _follow(running: Tensor, statistic: Tensor, momentum: float | Tensor) -> None:
    if torch._C._are_functorch_transforms_active() and not torch.compiler.is_compiling():
        _Follow.apply(running, statistic, momentum)
    else:
        _step(running, statistic, momentum)


def _step(running: Tensor, statistic: Tensor, momentum: float | Tensor) -> Tensor:
    return running.copy_((1 - momentum) * running.to(statistic.dtype) + momentum * statistic)


class _Follow(Function):
    """The step under a transform, which lets a Function write to what it captured, and nothing else."""

    generate_vmap_rule = True

    @staticmethod
    def forward(running: Tensor, statistic: Tensor, momentum: float | Tensor) -> Tensor:
        return _step(running, statistic, momentum).new_zeros(())

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> None:
        return None


def _check(
    name: str, x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, own: bool, eps: float
) -> None:
    if x.ndim < 2:
        raise ShapeError(f"{name} needs x of shape (N, C, *); got {tuple(x.shape)}. The channels are axis 1.")
    if not x.is_floating_point():
        raise DtypeError(f"{name} needs floating-point numbers; got {x.dtype}. Convert x with .float().")
    if (running_mean is None) != (running_var is None) or (running_mean is None and not own):
        raise OptionError(
            f"{name} needs both running_mean and running_var, or in training neither; got "
            f"{'none' if running_mean is running_var else 'one'}. Give both, or train."
        )
    if any(running is not None and running.requires_grad for running in (running_mean, running_var)):
        raise OptionError(
            f"{name} gives running statistics no gradient; got one that requires it. Detach running_mean and "
            "running_var."
        )
    if name == "BatchNorm" and (eps < 0 or (own and eps == 0)):
        raise OptionError(
            f"BatchNorm needs eps above 0 in training, and not below 0 else; got {eps}. Take 1e-5."
        )
    if not own:
        return
    values = 1 if name == "InstanceNorm" else x.shape[0]
    for size in x.shape[2:]:
        values = values * size
    if values == 1:
        raise ShapeError(
            f"{name} needs more than one value per channel when training; got {tuple(x.shape)}. "
            "Take more samples or places, drop the last small batch, or call eval()."
        )
