"""`check_drop_in` accepts drop-ins and names the laws that other layers break."""

from typing import Any

import pytest
import torch
from torch import Tensor

from nnfoundations import nn
from nnfoundations.testing import LAWS, check_drop_in

X = torch.linspace(-3, 3, 8, dtype=torch.float64).reshape(2, 4).requires_grad_()
QUICK = ["compiles_into_one_graph", "recompiles_no_more_often_than_torch", "exports_with_torch_export"]


@pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")
@pytest.mark.slow
def test_ours_and_torchs_own_pass() -> None:
    check_drop_in(
        nn.Linear, torch.nn.Linear, [X], arguments={"in_features": 4, "out_features": 3}, kind="linear"
    )
    check_drop_in(torch.nn.Dropout, torch.nn.Dropout, [X], arguments={"p": 0.3})
    check_drop_in(
        torch.nn.CrossEntropyLoss,
        torch.nn.CrossEntropyLoss,
        [X, torch.tensor([1, 3])],
        kind="loss",
        extra_saved=2,
    )


class _Doubled(torch.autograd.Function):
    """Wrong second derivative: the backward uses a tensor that autograd did not record."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.tanh()
        ctx.y = y.detach()
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad * (1 - ctx.y.square())


class Detached(torch.nn.Tanh):
    def forward(self, input: Tensor) -> Tensor:
        return _Doubled.apply(input)  # type: ignore[no-any-return]


class Coarse(torch.nn.Tanh):
    def forward(self, input: Tensor) -> Tensor:
        return input.float().tanh().to(input.dtype)


class Renamed(torch.nn.Tanh):
    def forward(self, x: Tensor) -> Tensor:
        return x.tanh()


class Branching(torch.nn.Tanh):
    def forward(self, input: Tensor) -> Tensor:
        return input.tanh() if input.sum() < 100 else input


class Talkative(torch.nn.Tanh):
    def extra_repr(self) -> str:
        return "smooth"


class Stranger(torch.nn.Module):
    def forward(self, input: Tensor) -> Tensor:
        return input.tanh()


class Writing(torch.nn.Tanh):
    def forward(self, input: Tensor) -> Tensor:
        y = input.tanh()
        with torch.no_grad():
            input.add_(0)
        return y


class Random(torch.nn.Tanh):
    def forward(self, input: Tensor) -> Tensor:
        torch.rand(1)
        return input.tanh()


class Forgetful(torch.nn.Tanh):
    def forward(self, input: Tensor) -> Tensor:
        return input.detach().tanh() + 0 * input


class _View(torch.autograd.Function):
    """Returns a view."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x / (1 + x.abs())).view(x.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad / (1 + ctx.saved_tensors[0].abs()).square()


class Viewing(torch.nn.Softsign):
    def forward(self, input: Tensor) -> Tensor:
        return _View.apply(input)  # type: ignore[no-any-return]


class Transposing(torch.nn.Tanh):
    def forward(self, input: Tensor) -> Tensor:
        return input.mT.contiguous().tanh().mT


class _Once(torch.autograd.Function):
    """Its tangent has no tangent, because torch switches forward mode off in jvp."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.tanh()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad * (1 - ctx.saved_tensors[0].square())

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:  # type: ignore[override]
        return tangent * (1 - ctx.saved_tensors[0].square())


class Forward(torch.nn.Tanh):
    def forward(self, input: Tensor) -> Tensor:
        return _Once.apply(input)  # type: ignore[no-any-return]


class Hoarding(torch.nn.Tanh):
    def forward(self, input: Tensor) -> Tensor:
        return ((input.exp() - (-input).exp()) / (input.exp() + (-input).exp())).clamp(-1, 1)


@pytest.mark.parametrize(
    ("layer", "law"),
    [
        (Detached, "second_gradients_pass_gradgradcheck"),
        (Detached, "forward_mode_passes_gradcheck"),
        (Detached, "vmap_over_samples_matches_torch"),
        (Coarse, "values_and_gradients_match_float64"),
        (Renamed, "signatures_match_torch"),
        (Branching, "compiles_into_one_graph"),
        (Branching, "exports_with_torch_export"),
        (Talkative, "repr_matches_torch"),
        (Stranger, "is_instance_of_torch_layer"),
        (Writing, "inputs_are_not_modified"),
        (Random, "random_state_matches_torch"),
        (Forgetful, "gradients_pass_gradcheck"),
        (Hoarding, "saves_no_more_memory_than_torch"),
        (Hoarding, "extreme_values_match_torch"),
        (Viewing, "output_can_be_modified_in_place"),
        (Transposing, "accepts_any_strides"),
        (Forward, "func_transforms_match_torch"),
    ],
)
@pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")
def test_broken_laws_are_named(layer: type[torch.nn.Module], law: str) -> None:
    others = [name for name in LAWS if name != law]
    theirs = (
        torch.nn.Softsign if layer is Viewing else torch.nn.Tanh
    )  # the backward of Tanh itself reads its output
    with pytest.raises(
        AssertionError, match=rf"{layer.__name__} breaks 1 of 1 laws .*torch.*|{law}: "
    ) as caught:
        check_drop_in(layer, theirs, [X], skip=others)
    assert f"{law}: " in str(caught.value)


def test_the_random_state_of_the_user_stays() -> None:
    before = torch.get_rng_state()
    check_drop_in(nn.ReLU, torch.nn.ReLU, [X], skip=QUICK)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("wrong", [{"kind": "tanh"}, {"skip": ["tanh"]}])
def test_unknown_names_are_rejected(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="got tanh"):
        check_drop_in(nn.ReLU, torch.nn.ReLU, [X], **wrong)


def test_each_law_has_a_docstring() -> None:
    assert all(law.__doc__ for law in LAWS.values())
    assert len(LAWS) > 25
