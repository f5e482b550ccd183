"""Cross-entropy where it is hard: extreme logits, shifts, ignored rows, the old arguments."""

import math
from typing import Any

import pytest
import torch
from registry import assert_matches

from nnfoundations import nn
from nnfoundations.nn import functional as F


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4])
def test_large_logits_keep_their_loss(dtype: torch.dtype, offset: float) -> None:
    logits = (torch.tensor([[0.0, 8.0, -8.0], [16.0, 16.0, 0.0]]) + offset).to(dtype).requires_grad_()
    target = torch.tensor([0, 1])
    found = F.cross_entropy(logits, target, reduction="none")
    raised = logits.detach().double().requires_grad_()
    expected = torch.nn.functional.cross_entropy(raised, target, reduction="none")
    assert_matches(found, expected, "loss", "forward")
    (found,) = torch.autograd.grad(found.sum(), logits)
    (expected,) = torch.autograd.grad(expected.sum(), raised)
    assert_matches(found, expected, "loss", "gradient")


def test_a_certain_mistake_is_finite() -> None:
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = F.cross_entropy(logits, torch.tensor([1]))
    loss.backward()
    assert loss.item() == 2e4
    assert logits.grad is not None
    assert logits.grad.tolist() == [[1.0, -1.0]]


def test_a_shift_changes_nothing() -> None:
    logits, target = torch.randn(7, 5, dtype=torch.float64), torch.randint(5, (7,))
    torch.testing.assert_close(F.cross_entropy(logits + 3.0, target), F.cross_entropy(logits, target))


def test_no_knowledge_costs_log_of_the_classes() -> None:
    loss = F.cross_entropy(torch.zeros(4, 10), torch.arange(4))
    assert loss.item() == pytest.approx(math.log(10), rel=1e-6)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_ignored_rows_may_hold_anything(reduction: str, label_smoothing: float) -> None:
    logits, target = torch.randn(4, 3), torch.tensor([0, -100, 2, -100])
    logits[1] = float("nan")
    options: dict[str, Any] = {"reduction": reduction, "label_smoothing": label_smoothing}
    found = F.cross_entropy(logits, target, **options)
    kept = F.cross_entropy(logits[::2], target[::2], **options)
    torch.testing.assert_close(found[::2] if reduction == "none" else found, kept)


def test_all_ignored_is_nan_in_the_mean_and_zero_in_the_sum() -> None:
    logits, target = torch.randn(4, 3), torch.full((4,), -100)
    assert F.cross_entropy(logits, target).isnan()
    assert F.cross_entropy(logits, target, reduction="sum") == 0


@pytest.mark.filterwarnings("ignore:size_average and reduce args:UserWarning")
def test_the_old_arguments() -> None:
    logits, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    olds: list[dict[str, Any]] = [{"reduce": False}, {"size_average": False}, {"size_average": True}]
    for old in olds:
        expected = torch.nn.functional.cross_entropy(logits, target, **old)
        torch.testing.assert_close(F.cross_entropy(logits, target, **old), expected)
        torch.testing.assert_close(nn.CrossEntropyLoss(**old)(logits, target), expected)


def test_bytes_as_labels_and_probabilities_of_another_dtype() -> None:
    logits = torch.randn(4, 3)
    target = torch.tensor([0, 1, 2, 0], dtype=torch.uint8)
    torch.testing.assert_close(
        F.cross_entropy(logits, target), torch.nn.functional.cross_entropy(logits, target)
    )
    soft = torch.rand(4, 3, dtype=torch.float64)
    found = F.cross_entropy(logits, soft)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(logits.double(), soft))


def test_class_weights_of_probabilities_have_a_gradient() -> None:
    logits, soft = torch.randn(4, 3, dtype=torch.float64), torch.rand(4, 3, dtype=torch.float64)
    weight = torch.rand(3, dtype=torch.float64, requires_grad=True)
    found, expected = (
        torch.autograd.grad(f.cross_entropy(logits, soft, weight, label_smoothing=0.1), weight)[0]
        for f in (F, torch.nn.functional)
    )
    torch.testing.assert_close(found, expected)
    assert torch.autograd.gradcheck(
        lambda w: F.cross_entropy(logits, soft, w, label_smoothing=0.1), (weight,), check_forward_ad=True
    )
