"""What `Operation` guarantees for every formula: what runs, what is saved, what is not computed."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from registry import CASES, Case
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from nnfoundations import nn
from nnfoundations.formulas import Namespace, torch_namespace
from nnfoundations.nn._operation import Operation
from nnfoundations.nn._operation_spec import OperationSpec

each_case = pytest.mark.parametrize("case", CASES, ids=str)

FUSED = (
    "linear",
    "relu",
    "threshold",
    "softmax",
    "nll_loss",
    "cross_entropy",
    "mse_loss",
    "l1_loss",
    "huber_loss",
    "kl_div",
    "log_sigmoid",
    "elu",
    "glu",
    "silu",
    "mish",
    "hard",
    "soft",
    "dropout",
    "_norm",
    "trilinear",
    "var_mean",
    "_backward",
)


class Dispatched(TorchDispatchMode):
    """Records the names of the operators that reach a kernel."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))


class Called(TorchFunctionMode):
    """Records torch's Python functions that are called, also inside our functions."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        module, name = getattr(func, "__module__", None) or "", getattr(func, "__name__", "")
        if module.startswith("nnfoundations."):
            with self:
                return func.__wrapped__(*args, **(kwargs or {}))
        self.names.append(f"{module}.{name}")
        return func(*args, **(kwargs or {}))


@each_case
def test_nothing_fused_or_native_runs(case: Case) -> None:
    ours, _ = case.build()
    inputs = case.inputs()
    with Dispatched() as below, Called() as above:
        y = ours(*inputs)
        torch.autograd.grad(y.sum(), [x for x in (*inputs, *ours.parameters()) if x.requires_grad])
    assert below.names
    assert not [name for name in below.names if any(word in name for word in FUSED)]
    assert not [name for name in above.names if "functional" in name or "_nn" in name]


@pytest.mark.parametrize(
    ("frozen", "products", "sums"),
    [((), 2, 1), (("x",), 1, 1), (("weight",), 1, 1), (("weight", "bias"), 1, 0)],
)
def test_only_wanted_gradients_are_computed(frozen: tuple[str, ...], products: int, sums: int) -> None:
    named = {"x": torch.randn(6, 5), "weight": torch.randn(3, 5), "bias": torch.randn(3)}
    for name, x in named.items():
        x.requires_grad_(name not in frozen)
    y = nn.functional.linear(*named.values())
    with Dispatched() as dispatched:
        y.backward(torch.ones_like(y))
    assert sum(name.startswith("mm") for name in dispatched.names) == products
    assert sum(name.startswith("sum") for name in dispatched.names) == sums


SHARED = {
    nn.MSELoss,
    nn.L1Loss,
    nn.HuberLoss,
    nn.SmoothL1Loss,
}  # the gradient of the target is the negative of the other one


@each_case
def test_unwanted_gradients_are_not_computed(case: Case) -> None:
    def operators(*left_out: int) -> int:
        module, inputs = case.build()[0], case.inputs()
        wanted = [x for x in (*inputs, *module.parameters()) if x.requires_grad]
        for place in left_out:
            wanted[place].requires_grad_(False)
        y = module(*inputs)
        with Dispatched() as dispatched:
            y.backward(torch.ones_like(y), inputs=[x for x in wanted if x.requires_grad])
        return len(dispatched.names)

    module, inputs = case.build()[0], case.inputs()
    count = sum(x.requires_grad for x in (*inputs, *module.parameters()))
    for place in range(count if count > 1 else 0):
        assert operators(place) < operators() + (case.ours in SHARED)


# A formula with everything that a spec supports: a statistic as second output, a mask, an option, a second
# differentiable input.
def centred(
    x: Tensor, scale: Tensor | None, mask: Tensor, *, power: int, xp: Namespace
) -> tuple[Tensor, Tensor]:
    mean = xp.mean(x, -1, keepdims=True)
    y = mask * (x - mean) ** power
    return (y if scale is None else scale * y), mean


def centred_backward(
    grad_output: Tensor,
    grad_mean: Tensor | None,
    x: Tensor,
    mean: Tensor,
    scale: Tensor | None,
    mask: Tensor,
    *,
    power: int,
    wanted: tuple[bool, bool],
    xp: Namespace,
) -> tuple[Tensor | None, Tensor | None]:
    g = grad_output * mask
    grad_scale = xp.sum(g * (x - mean) ** power, 0) if wanted[1] else None
    if not wanted[0]:
        return None, grad_scale
    g = g if scale is None else g * scale
    g = g * power * (x - mean) ** (power - 1)
    g = g - xp.mean(g, -1, keepdims=True)
    return (g if grad_mean is None else g + grad_mean / x.shape[-1]), grad_scale


def centred_jvp(
    tangent_x: Tensor | None,
    tangent_scale: Tensor | None,
    x: Tensor,
    mean: Tensor,
    scale: Tensor | None,
    mask: Tensor,
    *,
    power: int,
    xp: Namespace,
) -> tuple[Tensor, Tensor]:
    moved = xp.zeros_like(x) if tangent_x is None else tangent_x
    moved_mean = xp.mean(moved, -1, keepdims=True)
    y = mask * power * (x - mean) ** (power - 1) * (moved - moved_mean)
    y = y if scale is None else scale * y
    return (y if tangent_scale is None else y + tangent_scale * mask * (x - mean) ** power), moved_mean


_XP = torch_namespace()
_READ = ("x", "mean", "scale", "mask")
CENTRED = Operation(
    OperationSpec(
        centred, centred_backward, centred_jvp, needs={"x": _READ, "scale": _READ}, outputs=("y", "mean")
    )
)


def _toy(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    scale = torch.randn(4, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    return x, scale, (torch.rand(3, 4, generator=generator) > 0.3).to(dtype)


@pytest.mark.parametrize("output", [0, 1, slice(None)], ids=["y", "statistic", "both"])
@pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")
def test_statistics_masks_and_options(output: Any) -> None:
    x, scale, mask = _toy()

    def function(x: Tensor, scale: Tensor) -> Any:
        return CENTRED(x, scale, mask, power=3)[output]

    assert torch.autograd.gradcheck(function, (x, scale), check_batched_grad=True, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, (x, scale))
    if output != slice(None):
        found = torch.func.hessian(lambda x: function(x, scale).sum())(x.detach())
        want = torch.func.hessian(lambda x: centred(x, scale, mask, power=3, xp=_XP)[output].sum())(
            x.detach()
        )
        torch.testing.assert_close(found, want)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, scale), function(x, scale))


def test_half_is_rounded_once_and_statistics_stay_float32() -> None:
    x, scale, mask = _toy(torch.bfloat16)
    y, mean = CENTRED(x, scale, mask, power=3)
    assert (y.dtype, mean.dtype) == (torch.bfloat16, torch.float32)
    exact = centred(x.float(), scale.float(), mask.float(), power=3, xp=_XP)
    assert torch.equal(y, exact[0].bfloat16())
    assert torch.equal(mean, exact[1])
    gradients = torch.autograd.grad((y.sum() + mean.sum()), (x, scale))
    assert [g.dtype for g in gradients] == [torch.bfloat16] * 2


def _forward(x: Tensor, *, xp: Namespace) -> Tensor:
    return x


def _backward(grad_output: Tensor, y: Tensor, *, xp: Namespace) -> Tensor:
    return grad_output


@pytest.mark.parametrize("needs", [{"x": ()}, {"x": ("z",)}, {"z": ("y",)}])
def test_a_spec_that_contradicts_its_formula_is_refused(needs: dict[str, tuple[str, ...]]) -> None:
    jvp: Callable[..., Any] = _backward
    with pytest.raises(TypeError, match="must name exactly the inputs and outputs that the backward reads"):
        OperationSpec(_forward, _backward, jvp, needs=needs)
