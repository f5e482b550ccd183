"""How far a result may stand from float64: k eps, with one k for a class of formulas.

The reference r is float64 on the same rounded inputs. A result a passes where |a - r| <= k eps (|r| + s),
with eps of a's dtype and s the largest |r|. Half precision is computed in float32 and rounded once, so that
its k is 1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["HALF", "K", "Tolerance", "assert_matches"]

HALF = (torch.bfloat16, torch.float16)
_FLOOR = {torch.float16: 6e-8}  # its smallest subnormal


@dataclass(frozen=True)
class Tolerance:
    """The k of one class: of outputs, of gradients of inputs, of gradients of parameters."""

    forward: int
    gradient: int
    parameter: int | None = None  # None: as gradient


K = {
    "elementwise": Tolerance(4, 16),  # a few roundings
    "sum": Tolerance(4, 4),  # pairwise: log2 n
    "softmax": Tolerance(16, 16),  # exp of a rounded difference
    "linear": Tolerance(16, 16),  # error and result grow as sqrt K
    "normalization": Tolerance(8, 16, 32),  # two subtracted means; parameters: a sum over rows
    "loss": Tolerance(8, 16),  # log-sum-exp, then a mean
}


def assert_matches(found: Tensor, reference: Tensor, kind: str, part: str, *, looser: int = 1) -> None:
    """Hold a result against a float64 reference computed from the same rounded inputs.

    Args: kind: a class of `K`. part: "forward", "gradient" or "parameter". looser: a factor on k.
    """
    if found.shape != reference.shape:
        raise AssertionError(f"{part}: shape {tuple(found.shape)} in place of {tuple(reference.shape)}")
    dtype, k = found.dtype, 1 if found.dtype in HALF else _k(kind, part)
    bound = looser * k * torch.finfo(dtype).eps
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
        msg=lambda text: f"{part} in {dtype}, k = {looser * k}: {text}",
    )


def _k(kind: str, part: str) -> int:
    tolerance = K[kind]
    if part == "forward":
        return tolerance.forward
    return tolerance.parameter or tolerance.gradient if part == "parameter" else tolerance.gradient
