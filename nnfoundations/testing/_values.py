"""Laws about values: outputs and gradients for all kinds of input."""

from collections.abc import Callable

import torch
from torch import Tensor

from nnfoundations.testing._layer_case import (
    LayerCase,
    differentiable,
    output_gradient,
    require,
    run_backward,
    run_both,
    run_forward,
)
from nnfoundations.testing._tolerance import HALF, assert_matches

__all__ = ["VALUE_LAWS"]

_DTYPES = (torch.float64, torch.float32, *HALF)
_EXTREMES = (1e4, 1e-8, 1e-310, float("inf"), -float("inf"), float("nan"))


def values_and_gradients_match_float64(case: LayerCase) -> None:
    """Values, gradients and buffers in each dtype agree with torch's in float64 for equal rounded inputs."""
    for dtype in _DTYPES:
        ours, _ = case.build(dtype)
        _, theirs = case.build(dtype)
        theirs.double()
        inputs = case.inputs(dtype)
        raised = tuple(
            x.detach().double().requires_grad_(x.requires_grad) if x.is_floating_point() else x
            for x in inputs
        )
        found, expected = run_backward(ours, inputs), run_backward(theirs, raised, dtype)
        for (part, a), (_, r) in zip(found, expected, strict=True):
            require(a.dtype == dtype, f"{part} has {a.dtype} for inputs of {dtype}")
            _assert_close(case, part, a, r)
        for (name, a), r in zip(ours.named_buffers(), theirs.buffers(), strict=True):
            if a.is_floating_point():
                _assert_close(case, "forward", a, r)
            else:
                require(torch.equal(a, r), f"buffer {name} is {a} after a call, torch's {r}")


def accepts_any_strides(case: LayerCase) -> None:
    """Inputs with gaps, transposed, channels last; the output has torch's strides."""
    for make in (_with_gaps, _reversed_axes, _channels_last):
        _agree_on(case, make)


def accepts_an_expanded_input(case: LayerCase) -> None:
    """One sample, repeated with a stride of zero, gives torch's results."""
    _agree_on(case, lambda x: x[:1].expand(x.shape) if x.ndim else x)


def accepts_an_empty_batch(case: LayerCase) -> None:
    """A batch without samples: the same result and zero gradients as torch, or an error if torch raises."""
    size = case.inputs()[0].shape[:1]
    if case.inputs()[0].ndim < 2:
        return  # no batch axis

    def emptied(x: Tensor) -> Tensor:
        return x.detach()[:0] if x.shape[:1] == size else x.detach()

    inputs = tuple(emptied(x).requires_grad_(x.requires_grad) for x in case.inputs())
    _agree(case, inputs)


def extreme_values_match_torch(case: LayerCase) -> None:
    """Large, tiny, subnormal, infinite and NaN inputs: NaN and infinities in the same positions."""
    for value in _EXTREMES:
        inputs = case.inputs()
        with torch.no_grad():
            inputs[0].view(-1)[-1] = value
        _agree(case, inputs)


def output_gradient_is_not_modified(case: LayerCase) -> None:
    """The gradient of the output is not changed, because other functions may read it later."""
    ours, _ = case.build()
    inputs = case.inputs()
    y = run_forward(ours, inputs)
    grad_output = torch.ones_like(y)
    before = grad_output._version
    torch.autograd.grad(y, differentiable(ours, inputs), grad_output)
    unwritten = grad_output._version == before and torch.equal(grad_output, torch.ones_like(y))
    require(unwritten, "the backward changed the gradient of the output")


def inputs_are_not_modified(case: LayerCase) -> None:
    """Inputs are not changed, unless torch changes them too, as with inplace=True."""
    versions = []
    for module in case.build():
        given = [x * 1 if x.is_floating_point() else x for x in case.inputs()]
        before = [x._version for x in given]
        run_forward(module, tuple(given))
        versions.append([x._version != was for x, was in zip(given, before, strict=True)])
    require(versions[0] == versions[1], f"inputs modified: {versions[0]}, by torch: {versions[1]}")


def output_can_be_modified_in_place(case: LayerCase) -> None:
    """If torch's output can be modified, so can ours, with the same gradients."""

    def changed(module: torch.nn.Module) -> list[Tensor]:
        inputs = case.inputs()
        y = run_forward(module, inputs).mul_(2)
        return [y, *torch.autograd.grad(y, differentiable(module, inputs), output_gradient(y))]

    ours, theirs = case.build()
    for a, r in zip(*(run_both(lambda: changed(ours), lambda: changed(theirs)) or ((), ())), strict=True):
        torch.testing.assert_close(a, r)


def random_state_matches_torch(case: LayerCase) -> None:
    """A random layer draws as many numbers as torch's."""
    states = []
    for module in case.build():
        run_forward(module, case.inputs())
        states.append(torch.get_rng_state())
    require(torch.equal(*states), "a different amount of random numbers was drawn")


def autocast_dtypes_match_torch(case: LayerCase) -> None:
    """Output dtypes under autocast are torch's, for inputs in float32 and in both half-precision formats."""
    for dtype in HALF:
        for given in (torch.float32, dtype):
            ours, theirs = case.build(torch.float32)
            found, expected = _autocast(ours, case, dtype, given), _autocast(theirs, case, dtype, given)
            pairs = run_both(found, expected)
            if pairs is None:
                continue
            for a, r in zip(*pairs, strict=True):
                require(a.dtype == r.dtype, f"{a.dtype} under autocast, torch gives {r.dtype}")
                _assert_near(a, r, pairs[1][0].dtype)


def _autocast(
    module: torch.nn.Module, case: LayerCase, dtype: torch.dtype, given: torch.dtype
) -> Callable[[], list[Tensor]]:
    def run() -> list[Tensor]:
        inputs = case.inputs(given)
        with torch.autocast("cpu", dtype=dtype):
            y = run_forward(module, inputs)
        return [y, *torch.autograd.grad(y, differentiable(module, inputs), output_gradient(y))]

    return run


def _assert_near(a: Tensor, r: Tensor, dtype: torch.dtype) -> None:
    """Compare; half outputs may differ by two eps of the largest value, since torch rounds in between."""
    if dtype not in HALF:
        torch.testing.assert_close(a, r, equal_nan=True)
        return
    finite = r[r.isfinite()].abs()
    scale = finite.max().item() if finite.numel() else 0.0
    bound = 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(a, r, rtol=bound, atol=bound * scale, equal_nan=True)


def _agree_on(case: LayerCase, make: Callable[[Tensor], Tensor]) -> None:
    strided = tuple(make(x.detach()).requires_grad_(x.requires_grad) for x in case.inputs())
    _agree(case, strided)
    found, expected = (_strides(run_forward(module, strided)) for module in case.build())
    require(found == expected, f"the output has strides {found}, torch's {expected}")


def _strides(y: Tensor) -> list[int]:
    """Strides of axes with more than one element: those of other axes are arbitrary."""
    return [stride for stride, size in zip(y.stride(), y.shape, strict=True) if size > 1]


def _agree(case: LayerCase, inputs: tuple[Tensor, ...]) -> None:
    ours, theirs = case.build()
    pairs = run_both(
        lambda: list(run_backward(ours, inputs)),
        lambda: list(run_backward(theirs, inputs)),
    )
    for (part, a), (_, r) in zip(*pairs, strict=True) if pairs else ():
        finite = r.isfinite()
        require(
            torch.equal(a.isnan(), r.isnan()), f"{part}: NaN in different positions: {a}, torch gives {r}"
        )
        infinite = torch.equal(a[~finite].nan_to_num(), r[~finite].nan_to_num())
        require(infinite, f"{part}: infinities in different positions: {a}, torch gives {r}")
        require(a.shape == r.shape, f"{part}: shape {tuple(a.shape)}, torch gives {tuple(r.shape)}")
        _assert_close(case, part, a[finite], r[finite])


def _assert_close(case: LayerCase, part: str, a: Tensor, r: Tensor) -> None:
    assert_matches(a, r, case.kind, part, tolerance_factor=case.tolerance_factor)


def _with_gaps(x: Tensor) -> Tensor:
    return torch.stack((x, x), -1)[..., 0]


def _reversed_axes(x: Tensor) -> Tensor:
    axes = list(range(x.ndim))[::-1]
    return x.permute(axes).contiguous().permute(axes)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


VALUE_LAWS = (
    values_and_gradients_match_float64,
    accepts_any_strides,
    accepts_an_expanded_input,
    accepts_an_empty_batch,
    extreme_values_match_torch,
    output_gradient_is_not_modified,
    inputs_are_not_modified,
    output_can_be_modified_in_place,
    random_state_matches_torch,
    autocast_dtypes_match_torch,
)
