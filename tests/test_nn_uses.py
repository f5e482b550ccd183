"""Our modules where people use them: penalties, batched gradients, checkpoints, autocast, odd values."""

import pytest
import torch

from nnfoundations import nn
from nnfoundations.models import MLP
from nnfoundations.nn import functional as F


def test_a_gradient_penalty_trains() -> None:
    gradients = []
    for theirs in (False, True):
        torch.manual_seed(0)
        source = torch.nn if theirs else nn
        net = torch.nn.Sequential(source.Linear(4, 8), source.ReLU(), source.Linear(8, 1)).double()
        x = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
        (slope.norm(dim=1) - 1).square().mean().backward()
        gradients.append(net[0].weight.grad)
    torch.testing.assert_close(*gradients)


def test_gradients_batched_by_vmap() -> None:
    x = torch.randn(5, 3, requires_grad=True)
    target, weight = torch.tensor([0, 1, 2, 0, 1]), torch.randn(3, 3)
    y = F.cross_entropy(F.linear(F.relu(x), weight), target, reduction="none")
    rows = torch.eye(5)
    each = torch.func.vmap(lambda g: torch.autograd.grad(y, x, g, retain_graph=True)[0])(rows)
    (batched,) = torch.autograd.grad(y, x, rows, is_grads_batched=True, retain_graph=True)
    one_by_one = torch.stack([torch.autograd.grad(y, x, g, retain_graph=True)[0] for g in rows])
    torch.testing.assert_close(each, one_by_one)
    torch.testing.assert_close(batched, one_by_one)


def test_transforms_inside_compile() -> None:
    torch.compiler.reset()
    mlp, x, target = MLP([4, 5, 3]), torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])

    def slope(x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.func.grad(lambda x: F.cross_entropy(mlp(x), target))(x)
        return found

    for function in (slope, torch.func.vmap(F.relu)):
        compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), function(x))


def test_checkpointing() -> None:
    mlp, x = MLP([4, 5, 3]), torch.randn(6, 4)
    mlp(x).sum().backward()
    plain = [p.grad for p in mlp.parameters()]
    mlp.zero_grad()
    y: torch.Tensor = torch.utils.checkpoint.checkpoint(mlp, x, use_reentrant=False)
    y.sum().backward()
    for parameter, want in zip(mlp.parameters(), plain, strict=True):
        torch.testing.assert_close(parameter.grad, want)


def test_complex_linear() -> None:
    x, weight, bias = (
        torch.randn(s, dtype=torch.complex128, requires_grad=True) for s in ((2, 4), (3, 4), (3,))
    )
    assert torch.autograd.gradcheck(F.linear, (x, weight, bias))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_trains_along_torchs_curve(dtype: torch.dtype) -> None:
    x, target = torch.randn(64, 8), torch.randint(3, (64,))
    curves = []
    for source in (nn, torch.nn):
        torch.manual_seed(0)
        net = torch.nn.Sequential(source.Linear(8, 16), source.ReLU(), source.Linear(16, 3))
        optimizer, loss_function = torch.optim.SGD(net.parameters(), lr=0.5), source.CrossEntropyLoss()
        losses = []
        for _ in range(30):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=dtype):
                loss = loss_function(net(x), target)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        curves.append(losses)
    assert curves[0] == pytest.approx(curves[1], rel=0.01)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_a_dead_unit_stops_any_gradient(dtype: torch.dtype) -> None:
    inf, nan = float("inf"), float("nan")
    x = torch.tensor([-1.0, -1.0, -1.0, 0.0, -0.0, 1.0, nan, 1e-38], dtype=dtype, requires_grad=True)
    grad_output = torch.tensor([inf, nan, 1.0, inf, nan, -inf, 2.0, 3.0], dtype=dtype)
    (found,) = torch.autograd.grad(F.relu(x), x, grad_output)
    (expected,) = torch.autograd.grad(torch.nn.functional.relu(x), x, grad_output)
    torch.testing.assert_close(found, expected, equal_nan=True, rtol=0, atol=0)


@pytest.mark.slow
def test_inductor_compiles_a_training_step() -> None:
    torch.compiler.reset()
    mlp, loss_function = MLP([6, 5, 3]), nn.CrossEntropyLoss(label_smoothing=0.1)
    x, target = torch.randn(8, 6), torch.randint(3, (8,))

    def step(x: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor = loss_function(mlp(x), target)
        return loss

    step(x).backward()
    plain = [p.grad for p in mlp.parameters()]
    mlp.zero_grad()
    torch.compile(step, fullgraph=True)(x).backward()
    for parameter, want in zip(mlp.parameters(), plain, strict=True):
        torch.testing.assert_close(parameter.grad, want)
