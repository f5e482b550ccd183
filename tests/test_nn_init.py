"""Initial values against torch's, bit for bit."""

from typing import Any

import pytest
import torch

from nnfoundations import nn

SHAPES = [(3, 5), (4, 3, 2, 2)]
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


@pytest.mark.parametrize("name", ["xavier_uniform_", "kaiming_normal_"])
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
