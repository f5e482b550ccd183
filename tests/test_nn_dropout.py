"""Dropout beyond the laws of the registry: torch's masks bit for bit, random state, special cases."""

from typing import Any

import pytest
import torch

from nnfoundations import nn
from nnfoundations.nn import functional as F

SHAPES = {
    "dropout": [(40, 30), (7,), (), (2, 3, 4, 5)],
    "dropout1d": [(4, 3, 5), (3, 5)],
    "dropout2d": [(4, 3, 5, 2), (4, 3, 5), (4, 3)],
    "dropout3d": [(2, 3, 5, 2, 2), (3, 5, 2, 2), (4, 3)],
    "alpha_dropout": [(40, 30)],
    "feature_alpha_dropout": [(4, 3, 5)],
}
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex64)


def _assert_same(found: list[tuple[Any, ...]], exact: bool) -> None:
    (y, grad, state, same), (y_theirs, grad_theirs, state_theirs, same_theirs) = found
    assert same == same_theirs
    assert torch.equal(state, state_theirs)
    if exact:
        assert torch.equal(y, y_theirs)
        assert torch.equal(grad, grad_theirs)
    else:  # torch rounds three times in half precision
        eps = torch.finfo(y.dtype).eps
        torch.testing.assert_close(y, y_theirs, rtol=8 * eps, atol=8 * eps)
        torch.testing.assert_close(grad, grad_theirs, rtol=8 * eps, atol=8 * eps)


@pytest.mark.filterwarnings("ignore:dropout.d")
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("name", SHAPES)
def test_masks_and_random_state_are_torchs(name: str, p: float) -> None:
    exact = "alpha" not in name
    for shape in SHAPES[name]:
        for dtype in DTYPES:
            for training in (True, False):
                found = []
                for source in (F, torch.nn.functional):
                    torch.manual_seed(0)
                    x = torch.randn(shape).to(dtype).mT if len(shape) > 1 else torch.randn(shape).to(dtype)
                    x.requires_grad_()
                    y = getattr(source, name)(x, p, training)
                    (grad,) = torch.autograd.grad(y, x, torch.ones_like(y))
                    found.append((y, grad, torch.get_rng_state(), y is x))
                _assert_same(found, exact)


@pytest.mark.parametrize("randomness", ["same", "different"])
@pytest.mark.parametrize(
    "name", ["dropout", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"]
)
def test_vmap_draws_torchs_masks(name: str, randomness: str) -> None:
    """Also if x is not batched: then only the mask differs between samples."""
    x, shifts = torch.randn(4, 3, 5, 2), torch.zeros(3, 1, 1, 1, 1)
    for call in (
        lambda f: torch.vmap(lambda a: f(x + a, 0.5, True), randomness=randomness)(shifts),
        lambda f: torch.vmap(lambda a: f(x, 0.5, True) + a, randomness=randomness)(shifts),
    ):
        found = []
        for source in (F, torch.nn.functional):
            torch.manual_seed(0)
            found.append(call(getattr(source, name)))
        torch.testing.assert_close(*found)


def test_inplace_writes_over_unbatched_input_too() -> None:
    for name, shape in (("dropout", (6,)), ("dropout1d", (3, 5)), ("dropout3d", (3, 2, 2, 2))):
        found = []
        for source in (F, torch.nn.functional):
            torch.manual_seed(0)
            x = torch.ones(shape)
            y = getattr(source, name)(x, 0.5, True, True)
            assert y is x
            found.append(x)
        torch.testing.assert_close(*found, rtol=0, atol=0)


def test_infinities_and_empty_input() -> None:
    for p in (0.5, 1.0):
        found = []
        for source in (F, torch.nn.functional):
            torch.manual_seed(0)
            found.append(source.dropout(torch.full((64,), float("inf")), p))
        torch.testing.assert_close(*found, equal_nan=True)
    empty = torch.empty(0, 3)
    assert F.dropout(empty) is empty


@pytest.mark.parametrize("randomness", ["different", "same", "error"])
def test_vmap_randomness_is_torchs(randomness: str) -> None:
    results = []
    for source in (F, torch.nn.functional):
        torch.manual_seed(0)
        try:
            results.append(torch.func.vmap(source.dropout, randomness=randomness)(torch.ones(4, 50)))
        except RuntimeError:
            results.append(None)
    if results[1] is None:
        assert results[0] is None
    else:
        torch.testing.assert_close(*results, rtol=0, atol=0)


def test_warnings_and_errors() -> None:
    for name, shape in (("dropout2d", (2, 3, 4)), ("dropout2d", (2, 3)), ("dropout3d", (2, 3))):
        for source in (F, torch.nn.functional):
            with pytest.warns(UserWarning, match=f"^{name}"):
                getattr(source, name)(torch.ones(shape))
    with pytest.raises(ValueError, match=r"probability p from 0 to 1; got 2.0"):
        F.dropout(torch.ones(3), 2.0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        nn.Dropout(2.0)
    with pytest.raises(RuntimeError, match=r"\(N, C, L\) or \(C, L\); got \(3,\)"):
        nn.Dropout1d()(torch.ones(3))
    with pytest.raises(RuntimeError, match=r"\(N, C, \.\.\.\); got \(3,\)"):
        nn.FeatureAlphaDropout()(torch.ones(3))
    with pytest.raises(RuntimeError, match=r"floating-point numbers; got torch\.int64"):
        nn.Dropout()(torch.ones(3, dtype=torch.long))
