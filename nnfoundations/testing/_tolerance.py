"""How far a result may be from float64: k eps, with one k per class of formulas.

The reference r is computed in float64 from the same rounded inputs. A result a passes if
|a - r| <= k eps (|r| + s), where eps is that of a's dtype and s is the largest |r|. Half precision is
computed in float32 and rounded once, so its k is 1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["HALF", "TOLERANCES", "Tolerance", "assert_matches"]

HALF = (torch.bfloat16, torch.float16)
_FLOOR = {torch.float16: 6e-8}  # the smallest subnormal number


@dataclass(frozen=True)
class Tolerance:
    """The k of one class of formulas.

    Args:
        forward: k of outputs.
        gradient: k of gradients of inputs.
        parameter: k of gradients of parameters; None means the same as `gradient`.
    """

    forward: int
    gradient: int
    parameter: int | None = None


TOLERANCES = {
    "elementwise": Tolerance(4, 16),  # a few rounding errors
    "sum": Tolerance(4, 4),  # pairwise summation: grows as log2 n
    "softmax": Tolerance(16, 16),  # exp of a rounded difference
    "linear": Tolerance(16, 16),  # error and result grow as the square root of the features
    "normalization": Tolerance(8, 16, 32),  # two means are subtracted; parameters: a sum over rows
    "loss": Tolerance(8, 16),  # log-sum-exp, then a mean
}


def assert_matches(
    found: Tensor, reference: Tensor, kind: str, part: str, *, tolerance_factor: int = 1
) -> None:
    """Raise AssertionError unless a result is close to a float64 reference for the same rounded inputs.

    Args:
        found: the result.
        reference: the reference in float64.
        kind: a row of `TOLERANCES`.
        part: "forward", "gradient" or "parameter".
        tolerance_factor: multiplies k.

    Raises:
        AssertionError: shapes differ, or a value is too far away.
    """
    if found.shape != reference.shape:
        raise AssertionError(f"{part}: shape {tuple(found.shape)} instead of {tuple(reference.shape)}")
    dtype, k = found.dtype, 1 if found.dtype in HALF else _k(kind, part)
    bound = tolerance_factor * k * torch.finfo(dtype).eps
    found, reference = found.detach().double(), reference.detach().double()
    finite = reference[reference.isfinite()].abs()
    scale = finite.max().item() if finite.numel() else 0.0
    torch.testing.assert_close(
        found,
        reference,
        rtol=bound,
        atol=bound * scale + _FLOOR.get(dtype, 0.0),
        equal_nan=True,
        check_device=False,
        msg=lambda text: f"{part} in {dtype}, k = {tolerance_factor * k}: {text}",
    )


def _k(kind: str, part: str) -> int:
    tolerance = TOLERANCES[kind]
    if part == "forward":
        return tolerance.forward
    return tolerance.parameter or tolerance.gradient if part == "parameter" else tolerance.gradient
