"""Models: accepted inputs, initial values, training, and equality with the same network of torch."""

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser

from nnfoundations import convert, nn
from nnfoundations.datamodules import DigitsDataModule
from nnfoundations.models import MLP, ResidualCNN, SmallCNN


def as_torch(mlp: MLP) -> torch.nn.Sequential:
    """The same network of torch's modules."""
    layers: list[torch.nn.Module] = [torch.nn.Flatten()]
    for layer in list(mlp.layers)[1:]:
        if isinstance(layer, torch.nn.Linear):
            theirs = torch.nn.Linear(layer.in_features, layer.out_features)
            theirs.load_state_dict(layer.state_dict())
            layers.append(theirs)
        else:
            layers.append(getattr(torch.nn, type(layer).__name__)())
    return torch.nn.Sequential(*layers)


@pytest.mark.parametrize("shape", [(5, 64), (5, 1, 8, 8)])
def test_takes_rows_and_images(shape: tuple[int, ...]) -> None:
    assert MLP([64, 32, 10])(torch.zeros(shape)).shape == (5, 10)


def test_value_and_gradient_are_torchs() -> None:
    torch.manual_seed(0)
    mlp = MLP([12, 9, 7, 4]).double()
    theirs = as_torch(mlp).double()
    x, target = torch.randn(6, 3, 4, dtype=torch.float64), torch.randint(4, (6,))
    ours_loss = nn.CrossEntropyLoss()(mlp(x), target)
    their_loss = torch.nn.CrossEntropyLoss()(theirs(x), target)
    ours_loss.backward()
    their_loss.backward()
    torch.testing.assert_close(ours_loss, their_loss, rtol=1e-14, atol=0)
    for a, r in zip(mlp.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, r.grad, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("activation", ["ReLU", "Tanh", nn.ReLU, lambda: torch.nn.LeakyReLU(0.1)])
def test_learns(activation: str | type[torch.nn.Module]) -> None:
    torch.manual_seed(0)
    mlp = MLP([2, 16, 2], activation=activation)
    x = torch.randn(128, 2)
    target = (x[:, 0] * x[:, 1] > 0).long()
    loss_function, optimizer = nn.CrossEntropyLoss(), torch.optim.Adam(mlp.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = loss_function(mlp(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.25 * losses[0]


@pytest.mark.parametrize(("init", "hidden", "last"), [("he", 2 / 400, 1 / 300), ("xavier", 2 / 700, 2 / 500)])
def test_initial_variances(init: str, hidden: float, last: float) -> None:
    torch.manual_seed(0)
    mlp = MLP([400, 300, 200], init=init)  # type: ignore[arg-type]
    maps = [layer for layer in mlp.layers if isinstance(layer, nn.Linear)]
    assert maps[0].weight.var().item() == pytest.approx(hidden, rel=0.03)
    assert maps[1].weight.var().item() == pytest.approx(last, rel=0.03)
    assert not any(layer.bias.any() for layer in maps)


def test_one_seed_gives_one_network() -> None:
    nets = []
    for _ in range(2):
        torch.manual_seed(3)
        nets.append(MLP([5, 4, 3]))
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "sizes",
    [([4],), ([],), ([4, 0, 2],), ([4, -1],), ("64",), (64,), (64, 10), ([64, "10"],), ([64, 1.5],), (None,)],
)
def test_bad_sizes(sizes: tuple[Any, ...]) -> None:
    with pytest.raises(
        ValueError, match="a list of at least two sizes, all positive whole numbers; got"
    ) as error:
        MLP(*sizes)
    assert f"got {', '.join(map(repr, sizes))}. Give" in str(error.value)


def test_sizes_may_be_any_whole_numbers() -> None:
    assert MLP(np.array([4, 3])).sizes == MLP(iter((4, 3))).sizes == (4, 3)  # type: ignore[arg-type]


def test_bad_options() -> None:
    with pytest.raises(ValueError, match="'constant' or 'zeros'; got 'best'"):
        MLP([4, 2], init="best")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"must name a module of nnfoundations\.nn; got 'Relu'"):
        MLP([4, 2], activation="Relu")
    with pytest.raises(ValueError, match=r"must name a module of nnfoundations\.nn; got 3"):
        MLP([4, 2], activation=3)  # type: ignore[arg-type]


def test_copies() -> None:
    mlp = MLP([4, 3, 2])
    x = torch.randn(5, 4)
    assert torch.equal(copy.deepcopy(mlp)(x), mlp(x))
    assert torch.equal(pickle.loads(pickle.dumps(mlp))(x), mlp(x))


@pytest.mark.parametrize(
    ("activation", "kind"),
    [
        ("Tanh", nn.Tanh),
        ('{"class_path": "torch.nn.LeakyReLU", "init_args": {"negative_slope": 0.3}}', torch.nn.LeakyReLU),
    ],
)
def test_command_line_builds_it(activation: str, kind: type[torch.nn.Module]) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(torch.nn.Module, "net")
    given = ["--net=nnfoundations.models.MLP", "--net.sizes=[4,3,2]", f"--net.activation={activation}"]
    built = parser.instantiate_classes(parser.parse_args(given)).net
    assert isinstance(built, MLP)
    assert built.sizes == (4, 3, 2)
    assert type(built.layers[2]) is kind


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (SmallCNN(), (1, 28, 28)),
        (SmallCNN((3, 17, 12), 7, channels=[4, 6, 8], hidden=5), (3, 17, 12)),
        (ResidualCNN(channels=[4, 8, 6]), (3, 32, 32)),
        (ResidualCNN((1, 9, 8), 7, channels=[4, 6]), (1, 9, 8)),
    ],
)
def test_convolutional_nets(net: torch.nn.Module, shape: tuple[int, ...]) -> None:
    """Value and gradient equal those of the same network of torch's layers."""
    torch.manual_seed(0)
    net = net.double()
    theirs = convert.to_torch(copy.deepcopy(net))
    for part in (net, theirs):
        part.eval()  # no dropout, and the initial running statistics
    x = torch.randn(4, *shape, dtype=torch.float64)
    target = torch.tensor([0, 1, 2, 3])
    logits = net(x)
    assert logits.shape[0] == 4
    loss, reference = nn.CrossEntropyLoss()(logits, target), torch.nn.CrossEntropyLoss()(theirs(x), target)
    torch.testing.assert_close(loss, reference, rtol=1e-13, atol=0)
    loss.backward()
    reference.backward()
    for a, r in zip(net.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, r.grad, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("kind", [SmallCNN, ResidualCNN])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_first_loss_of_convolutional_nets_is_random_guessing(kind: type[torch.nn.Module], seed: int) -> None:
    """The first loss is that of random guessing, log 10, and every layer gets a gradient."""
    data = DigitsDataModule(batch_size=128)
    data.setup()
    x, target = next(iter(data.train_dataloader()))
    torch.manual_seed(seed)
    net = kind((1, 8, 8))
    loss = nn.CrossEntropyLoss()(net(x), target)
    assert loss.item() == pytest.approx(math.log(10), rel=0.05)
    loss.backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())


def test_residual_net_trains_with_the_rate_of_its_config() -> None:
    data = DigitsDataModule(batch_size=128)
    data.setup()
    torch.manual_seed(0)
    net = ResidualCNN((1, 8, 8), channels=[16, 32, 64, 128])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.0005, nesterov=True)
    losses = []
    for _ in range(2):
        for x, target in data.train_dataloader():
            optimizer.zero_grad()
            loss = nn.CrossEntropyLoss()(net(x), target)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert max(losses) < 2 * math.log(10)
    assert losses[-1] < 1


@pytest.mark.parametrize("shape", [(1, 3, 28), (28, 28)])
def test_images_too_small(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"halves images 2 times and needs a shape .* at least 4; got"):
        SmallCNN(shape)
