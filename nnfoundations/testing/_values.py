"""Laws of values: what comes out, on all kinds of input."""

from collections.abc import Callable

import torch
from torch import Tensor

from nnfoundations.testing._subject import Subject, backpropagated, both, called, moving, require, upstream
from nnfoundations.testing._tolerance import HALF, assert_matches

__all__ = ["VALUES"]

_DTYPES = (torch.float64, torch.float32, *HALF)
_EXTREMES = (1e4, 1e-8, 1e-310, float("inf"), -float("inf"), float("nan"))


def values_and_gradients_match_float64(subject: Subject) -> None:
    """In each dtype, against torch's layer in float64 on the same rounded numbers; buffers too."""
    for dtype in _DTYPES:
        ours, _ = subject.build(dtype)
        _, theirs = subject.build(dtype)
        theirs.double()
        inputs = subject.inputs(dtype)
        raised = tuple(
            x.detach().double().requires_grad_(x.requires_grad) if x.is_floating_point() else x
            for x in inputs
        )
        found, expected = backpropagated(ours, inputs), backpropagated(theirs, raised, dtype)
        for (part, a), (_, r) in zip(found, expected, strict=True):
            require(a.dtype == dtype, f"{part} has {a.dtype} for inputs of {dtype}")
            _assert_close(subject, part, a, r)
        for (name, a), r in zip(ours.named_buffers(), theirs.buffers(), strict=True):
            if a.is_floating_point():
                _assert_close(subject, "forward", a, r)
            else:
                require(torch.equal(a, r), f"buffer {name} is {a} after a call, torch's {r}")


def any_strides_are_taken(subject: Subject) -> None:
    """Inputs with gaps, transposed, channels last; the output is laid out as torch's, for a view of it."""
    for make in (_with_gaps, _reversed_axes, _channels_last):
        _agree_on(subject, make)


def an_expanded_input_is_taken(subject: Subject) -> None:
    """One sample, seen several times by a stride of zero."""
    _agree_on(subject, lambda x: x[:1].expand(x.shape) if x.ndim else x)


def an_empty_batch_is_taken(subject: Subject) -> None:
    """No samples: the result and the zero gradients that torch gives, or an error as torch's."""
    size = subject.inputs()[0].shape[:1]
    if subject.inputs()[0].ndim < 2:
        return  # no batch axis

    def emptied(x: Tensor) -> Tensor:
        return x.detach()[:0] if x.shape[:1] == size else x.detach()

    inputs = tuple(emptied(x).requires_grad_(x.requires_grad) for x in subject.inputs())
    _agree(subject, inputs)


def extreme_values_give_what_torch_gives(subject: Subject) -> None:
    """Large, tiny, subnormal, infinite and NaN: NaN and infinities in the same places, the rest as close."""
    for value in _EXTREMES:
        inputs = subject.inputs()
        with torch.no_grad():
            inputs[0].view(-1)[-1] = value
        _agree(subject, inputs)


def the_incoming_gradient_is_not_written(subject: Subject) -> None:
    """Others may read it after us."""
    ours, _ = subject.build()
    inputs = subject.inputs()
    y = called(ours, inputs)
    grad_output = torch.ones_like(y)
    before = grad_output._version
    torch.autograd.grad(y, moving(ours, inputs), grad_output)
    unwritten = grad_output._version == before and torch.equal(grad_output, torch.ones_like(y))
    require(unwritten, "the backward wrote into its incoming gradient")


def inputs_are_not_written(subject: Subject) -> None:
    """Unless torch writes them too, as with inplace=True."""
    versions = []
    for module in subject.build():
        given = [x * 1 if x.is_floating_point() else x for x in subject.inputs()]
        before = [x._version for x in given]
        called(module, tuple(given))
        versions.append([x._version != was for x, was in zip(given, before, strict=True)])
    require(versions[0] == versions[1], f"inputs written: {versions[0]}, by torch: {versions[1]}")


def the_output_may_be_changed_in_place(subject: Subject) -> None:
    """Wherever torch's may, and the gradients follow."""

    def changed(module: torch.nn.Module) -> list[Tensor]:
        inputs = subject.inputs()
        y = called(module, inputs).mul_(2)
        return [y, *torch.autograd.grad(y, moving(module, inputs), upstream(y))]

    ours, theirs = subject.build()
    for a, r in zip(*(both(lambda: changed(ours), lambda: changed(theirs)) or ((), ())), strict=True):
        torch.testing.assert_close(a, r)


def the_random_state_ends_as_torchs(subject: Subject) -> None:
    """A random layer draws as much as torch's."""
    states = []
    for module in subject.build():
        called(module, subject.inputs())
        states.append(torch.get_rng_state())
    require(torch.equal(*states), "another amount of random numbers was drawn")


def autocast_gives_torchs_dtypes(subject: Subject) -> None:
    """On float32 inputs, and on half inputs, in both half formats."""
    for dtype in HALF:
        for given in (torch.float32, dtype):
            ours, theirs = subject.build(torch.float32)
            found, expected = _autocast(ours, subject, dtype, given), _autocast(theirs, subject, dtype, given)
            pairs = both(found, expected)
            if pairs is None:
                continue
            for a, r in zip(*pairs, strict=True):
                require(a.dtype == r.dtype, f"{a.dtype} under autocast, torch gives {r.dtype}")
                _assert_near(a, r, pairs[1][0].dtype)


def _autocast(
    module: torch.nn.Module, subject: Subject, dtype: torch.dtype, given: torch.dtype
) -> Callable[[], list[Tensor]]:
    def run() -> list[Tensor]:
        inputs = subject.inputs(given)
        with torch.autocast("cpu", dtype=dtype):
            y = called(module, inputs)
        return [y, *torch.autograd.grad(y, moving(module, inputs), upstream(y))]

    return run


def _assert_near(a: Tensor, r: Tensor, dtype: torch.dtype) -> None:
    """Where the output is half, torch rounds in between: two units of that format, at the result's scale."""
    if dtype not in HALF:
        torch.testing.assert_close(a, r, equal_nan=True)
        return
    finite = r[r.isfinite()].abs()
    scale = finite.max().item() if finite.numel() else 0.0
    bound = 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(a, r, rtol=bound, atol=bound * scale, equal_nan=True)


def _agree_on(subject: Subject, make: Callable[[Tensor], Tensor]) -> None:
    strided = tuple(make(x.detach()).requires_grad_(x.requires_grad) for x in subject.inputs())
    _agree(subject, strided)
    found, expected = (_strides(called(module, strided)) for module in subject.build())
    require(found == expected, f"the output has strides {found}, torch's {expected}")


def _strides(y: Tensor) -> list[int]:
    """Of axes with more than one place: an axis with one has any."""
    return [stride for stride, size in zip(y.stride(), y.shape, strict=True) if size > 1]


def _agree(subject: Subject, inputs: tuple[Tensor, ...]) -> None:
    ours, theirs = subject.build()
    pairs = both(
        lambda: list(backpropagated(ours, inputs)),
        lambda: list(backpropagated(theirs, inputs)),
    )
    for (part, a), (_, r) in zip(*pairs, strict=True) if pairs else ():
        finite = r.isfinite()
        require(torch.equal(a.isnan(), r.isnan()), f"{part}: NaN in other places: {a}, torch gives {r}")
        infinite = torch.equal(a[~finite].nan_to_num(), r[~finite].nan_to_num())
        require(infinite, f"{part}: infinities in other places: {a}, torch gives {r}")
        require(a.shape == r.shape, f"{part}: shape {tuple(a.shape)}, torch gives {tuple(r.shape)}")
        _assert_close(subject, part, a[finite], r[finite])


def _assert_close(subject: Subject, part: str, a: Tensor, r: Tensor) -> None:
    assert_matches(a, r, subject.kind, part, looser=subject.looser)


def _with_gaps(x: Tensor) -> Tensor:
    return torch.stack((x, x), -1)[..., 0]


def _reversed_axes(x: Tensor) -> Tensor:
    axes = list(range(x.ndim))[::-1]
    return x.permute(axes).contiguous().permute(axes)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


VALUES = (
    values_and_gradients_match_float64,
    any_strides_are_taken,
    an_expanded_input_is_taken,
    an_empty_batch_is_taken,
    extreme_values_give_what_torch_gives,
    the_incoming_gradient_is_not_written,
    inputs_are_not_written,
    the_output_may_be_changed_in_place,
    the_random_state_ends_as_torchs,
    autocast_gives_torchs_dtypes,
)
