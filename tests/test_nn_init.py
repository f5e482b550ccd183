"""Initial values equal torch's, bit for bit."""

from typing import Any

import pytest
import torch

from nnfoundations import nn

SHAPES = [(3, 5), (5, 3), (4, 4), (4, 3, 2, 2), (20, 2, 3)]
FILLS: list[tuple[str, dict[str, Any]]] = [
    ("xavier_uniform_", {}),
    ("xavier_uniform_", {"gain": 5 / 3}),
    ("xavier_normal_", {}),
    ("xavier_normal_", {"gain": 0.7}),
    *[
        (name, options)
        for name in ("kaiming_uniform_", "kaiming_normal_")
        for options in (
            {},
            {"a": 5**0.5},
            {"nonlinearity": "relu"},
            {"mode": "fan_out", "nonlinearity": "relu"},
            {"nonlinearity": "tanh"},
        )
    ],
    ("orthogonal_", {}),
    ("orthogonal_", {"gain": 0.7}),
    ("uniform_", {"a": -0.1}),
    ("normal_", {"std": 0.02}),
    ("trunc_normal_", {"std": 0.02}),
    ("zeros_", {}),
    ("ones_", {}),
    ("constant_", {"val": 0.3}),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "options"), FILLS)
def test_same_numbers_and_random_state(name: str, options: dict[str, Any], shape: tuple[int, ...]) -> None:
    filled, states = [], []
    for init in (nn.init, torch.nn.init):
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.empty(shape))
        assert getattr(init, name)(weight, **options) is weight
        filled.append(weight)
        states.append(torch.get_rng_state())
    assert torch.equal(*filled)
    assert torch.equal(*states)


@pytest.mark.parametrize("name", ["xavier_uniform_", "kaiming_normal_", "orthogonal_"])
def test_a_generator_leaves_the_global_one_alone(name: str) -> None:
    before = torch.get_rng_state()
    filled = [
        getattr(init, name)(torch.empty(3, 4), generator=torch.Generator().manual_seed(1))
        for init in (nn.init, torch.nn.init)
    ]
    assert torch.equal(*filled)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
@pytest.mark.parametrize("param", [None, 0.2])
def test_gains_are_torchs(name: Any, param: float | None) -> None:
    assert nn.init.calculate_gain(name, param) == torch.nn.init.calculate_gain(name, param)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: nn.init.calculate_gain("mish"), "got 'mish'"),  # type: ignore[arg-type]
        (lambda: nn.init.calculate_gain("leaky_relu", True), "number for negative_slope; got True"),
        (lambda: nn.init.orthogonal_(torch.empty(3)), r"orthogonal matrix needs.*got \(3,\)"),
        (lambda: nn.init.xavier_normal_(torch.empty(3)), r"got \(3,\)"),
        (lambda: nn.init.kaiming_normal_(torch.empty(3, 3), mode="fan"), "got 'fan'"),  # type: ignore[arg-type]
    ],
)
def test_errors(call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call()


def test_an_empty_weight_is_left_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="zero-element"):
        nn.init.kaiming_normal_(torch.empty(0, 3))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_fewer_of_rows_and_columns_are_orthonormal(shape: tuple[int, ...]) -> None:
    weight = nn.init.orthogonal_(torch.empty(shape, dtype=torch.float64), gain=3.0).flatten(1) / 3
    product = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
    torch.testing.assert_close(product, torch.eye(min(weight.shape)).double())


def test_nothing_to_make_orthogonal() -> None:
    assert nn.init.orthogonal_(torch.empty(0, 3)).shape == (0, 3)
    assert nn.init.orthogonal_(torch.empty(3, 3, device="meta")).is_meta


def test_strided_and_fixed_fills() -> None:
    results = []
    for init in (nn.init, torch.nn.init):
        torch.manual_seed(0)
        weight = torch.empty(4, 6).t()
        results.append(init.orthogonal_(weight))
        results.append(init.eye_(torch.empty(3, 4)))
        results.append(init.dirac_(torch.empty(3, 2, 3)))
    for a, r in zip(results[:3], results[3:], strict=True):
        assert torch.equal(a, r)
