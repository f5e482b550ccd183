"""Our modules in typical use: gradient penalties, batched gradients, checkpoints, autocast."""

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


# Torch's RMSNorm warns under autocast, once per process.
own_warning = pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight:UserWarning")
NETS = {
    "mlp": lambda m: [m.Linear(8, 16), m.ReLU(), m.Linear(16, 3)],
    "batch": lambda m: [m.Linear(8, 16), m.BatchNorm1d(16), m.SiLU(), m.Dropout(0.2), m.Linear(16, 3)],
    "layer": lambda m: [
        m.Linear(8, 16),
        m.LayerNorm(16),
        m.GELU(),
        m.Linear(16, 8),
        m.RMSNorm(8),
        m.Linear(8, 3),
    ],
    "group": lambda m: [m.Linear(8, 16), m.GroupNorm(4, 16), m.Softplus(), m.Linear(16, 3), m.Tanh()],
}
LOSSES = {
    "labels": lambda m, y, t: m.CrossEntropyLoss(label_smoothing=0.1)(y, t),
    "logits": lambda m, y, t: m.BCEWithLogitsLoss()(y, torch.eye(3)[t].to(y.dtype)),
    "distance": lambda m, y, t: m.HuberLoss()(y, torch.eye(3)[t].to(y.dtype)),
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("net", NETS)
@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight:UserWarning")  # torch's RMSNorm
def test_autocast_trains_along_torchs_curve(net: str, loss: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 8, generator=generator)
    target = (x[:, :3] + 0.1 * torch.randn(64, 3, generator=generator)).argmax(1)
    curves = []
    for source in (nn, torch.nn):
        torch.manual_seed(0)
        model = torch.nn.Sequential(*NETS[net](source))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        losses = []
        for _ in range(20):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=dtype):
                found = LOSSES[loss](source, model(x), target)
            found.backward()
            optimizer.step()
            losses.append(found.item())
        curves.append(losses)
    assert curves[0] == pytest.approx(curves[1], rel=0.02)
    assert curves[0][-1] < curves[0][0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_a_dead_unit_stops_any_gradient(dtype: torch.dtype) -> None:
    inf, nan = float("inf"), float("nan")
    x = torch.tensor([-1.0, -1.0, -1.0, 0.0, -0.0, 1.0, nan, 1e-38], dtype=dtype, requires_grad=True)
    grad_output = torch.tensor([inf, nan, 1.0, inf, nan, -inf, 2.0, 3.0], dtype=dtype)
    (found,) = torch.autograd.grad(F.relu(x), x, grad_output)
    (expected,) = torch.autograd.grad(torch.nn.functional.relu(x), x, grad_output)
    torch.testing.assert_close(found, expected, equal_nan=True, rtol=0, atol=0)


FAMILIES: dict[str, tuple[torch.nn.Module, tuple[int, ...]]] = {
    "linear": (nn.Linear(6, 5), (8, 6)),
    "piecewise": (torch.nn.Sequential(nn.ReLU(), nn.LeakyReLU(0.1), nn.Hardswish()), (8, 6)),
    "smooth": (torch.nn.Sequential(nn.GELU(), nn.SiLU(), nn.Mish(), nn.Softplus()), (8, 6)),
    "gates": (torch.nn.Sequential(nn.SwiGLU(), nn.GLU()), (8, 8)),
    "softmax": (torch.nn.Sequential(nn.LogSoftmax(1), nn.Softmax(1)), (8, 6)),
    "features": (torch.nn.Sequential(nn.LayerNorm(6), nn.RMSNorm(6)), (8, 6)),
    "batch": (torch.nn.Sequential(nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4)), (3, 4, 5, 5)),
    "dropout": (
        nn.Dropout(0.0),
        (8, 6),
    ),  # p = 0: compiled code draws other masks, which could not be compared
}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_inductor_compiles_each_family(family: str) -> None:
    torch.compiler.reset()
    module, shape = FAMILIES[family]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    wanted = [x, *module.parameters()]
    compiled = torch.compile(module, fullgraph=True)
    results = []
    for call in (compiled, module):
        y = call(x)
        results.append((y, *torch.autograd.grad((y * y.detach().cos()).sum(), wanted)))
    for a, r in zip(*results, strict=True):
        torch.testing.assert_close(a, r, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(label_smoothing=0.1),
        nn.HuberLoss(),
        nn.BCEWithLogitsLoss(),
        nn.KLDivLoss(reduction="sum"),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_inductor_compiles_a_training_step(loss: torch.nn.Module) -> None:
    torch.compiler.reset()
    mlp, x = MLP([6, 5, 3]), torch.randn(8, 6)
    labels = torch.randint(3, (8,))
    target = labels if isinstance(loss, nn.CrossEntropyLoss) else torch.eye(3)[labels]

    def step(x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = loss(mlp(x), target)
        return found

    step(x).backward()
    plain = [p.grad for p in mlp.parameters()]
    mlp.zero_grad()
    torch.compile(step, fullgraph=True)(x).backward()
    for parameter, want in zip(mlp.parameters(), plain, strict=True):
        torch.testing.assert_close(parameter.grad, want)
