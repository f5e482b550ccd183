"""All our modules with inputs for the laws, one case per line. This file contains no test.

A case is compared with the module of torch.nn with the same name.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nnfoundations import nn
from nnfoundations.testing import HALF, LayerCase
from nnfoundations.testing import assert_matches as assert_matches
from nnfoundations.testing import run_backward as run_backward

DTYPES = (torch.float64, torch.float32, *HALF)

Law = Callable[[LayerCase], None]
Draw = Callable[[torch.Generator, torch.dtype], Tensor]


def normal(*shape: int, scale: float = 2.0) -> Draw:
    """Normal numbers that require a gradient."""
    return lambda generator, dtype: (
        (torch.randn(shape, generator=generator, dtype=torch.float64) * scale).to(dtype).requires_grad_()
    )


def labels(*shape: int, classes: int, ignored: int | None = None) -> Draw:
    """Class indices; the first one is `ignored` if that is given."""

    def draw(generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        drawn = torch.randint(classes, shape, generator=generator)
        if ignored is not None:
            drawn.view(-1)[0] = ignored
        return drawn

    return draw


def probabilities(*shape: int) -> Draw:
    """Distributions along axis 1 that require a gradient."""

    def draw(generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        drawn = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1
        return (drawn / drawn.sum(1, keepdim=True)).to(dtype).requires_grad_()

    return draw


def outcomes(*shape: int) -> Draw:
    """Numbers from 0.05 to 0.95 that require a gradient."""
    return lambda generator, dtype: (
        (torch.rand(shape, generator=generator, dtype=torch.float64) * 0.9 + 0.05).to(dtype).requires_grad_()
    )


@dataclass(frozen=True)
class Case(LayerCase):
    """One of our modules, built with `arguments`; each of `draws` makes one input."""

    ours: type[torch.nn.Module]
    arguments: dict[str, Any]
    draws: tuple[Draw, ...]
    kind: str  # row of nnfoundations.testing.TOLERANCES
    extra_saved: int = field(default=0)  # numbers saved beyond torch: one per row of the input
    training: bool = True
    tolerance_factor: int = 1  # multiplies the tolerance; give the reason in a comment
    reference: type[torch.nn.Module] | None = None  # if torch has no module of that name
    skip: tuple[str, ...] = ()  # laws that do not hold; give the reason in a comment

    @property
    def theirs(self) -> type[torch.nn.Module]:  # type: ignore[override]
        found: type[torch.nn.Module] = self.reference or getattr(torch.nn, self.ours.__name__)
        return found

    def inputs(self, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, ...]:
        """Make the inputs; the same seed gives the same numbers, rounded to the dtype."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(draw(generator, dtype) for draw in self.draws)

    def __str__(self) -> str:
        given = ",".join(f"{k}={'tensor' if isinstance(v, Tensor) else v}" for k, v in self.arguments.items())
        return f"{self.ours.__name__}({given})" + ("" if self.training else ".eval()")


def _cross_entropy(*draws: Draw, extra_saved: int, **arguments: Any) -> Case:
    return Case(nn.CrossEntropyLoss, arguments, draws, "loss", extra_saved)


class SwiGLU(torch.nn.Module):
    """The same module, written with torch's functions."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        if input.shape[self.dim] % 2 or input.is_complex():
            raise ValueError("ours accepts less than torch's functions")
        a, b = input.chunk(2, self.dim)
        return torch.nn.functional.silu(a) * b

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


def _activation(
    ours: type[torch.nn.Module],
    *draws: Draw,
    kind: str = "elementwise",
    skip: tuple[str, ...] = (),
    **arguments: Any,
) -> Case:
    return Case(ours, arguments, draws or (normal(2, 8),), kind, skip=skip)


def _softmax(ours: type[torch.nn.Module], *draws: Draw, **arguments: Any) -> Case:
    return _activation(ours, *draws, kind="softmax", **arguments)


_INSTANCE = "is_instance_of_torch_layer"
_W = torch.tensor([0.5, 2.0, 1.0, 0.25])
_NORM = "normalization"
_EMPTY = ("accepts_an_empty_batch",)  # torch raises when it copies the weights
_META = ("builds_on_the_meta_device",)  # torch reads the value of the batch counter
_AUTOCAST = ("autocast_dtypes_match_torch",)  # torch rounds intermediate values to half although y is float32
CASES = (
    Case(nn.Linear, {"in_features": 5, "out_features": 3}, (normal(6, 5),), "linear", 6),
    Case(nn.Linear, {"in_features": 5, "out_features": 3, "bias": False}, (normal(6, 5),), "linear", 6),
    Case(nn.Linear, {"in_features": 4, "out_features": 3}, (normal(2, 3, 4),), "linear", 6),
    Case(nn.Linear, {"in_features": 4, "out_features": 1}, (normal(4),), "linear", 1),
    Case(nn.ReLU, {}, (normal(4, 5),), "elementwise"),
    Case(nn.ReLU, {}, (normal(),), "elementwise"),
    _cross_entropy(normal(5, 4), labels(5, classes=4), extra_saved=5),
    _cross_entropy(normal(5, 4), labels(5, classes=4, ignored=-100), extra_saved=5, reduction="sum"),
    _cross_entropy(
        normal(5, 4), labels(5, classes=4, ignored=9), extra_saved=5, reduction="none", ignore_index=9
    ),
    _cross_entropy(normal(5, 4), labels(5, classes=4, ignored=2), extra_saved=5, ignore_index=2, weight=_W),
    _cross_entropy(normal(5, 4), labels(5, classes=4, ignored=-100), extra_saved=5, label_smoothing=0.1),
    _cross_entropy(normal(5, 4), labels(5, classes=4), extra_saved=5, label_smoothing=0.3, weight=_W),
    _cross_entropy(
        normal(5, 4), labels(5, classes=4), extra_saved=5, label_smoothing=1.0, weight=_W, reduction="none"
    ),
    _cross_entropy(normal(2, 4, 3), labels(2, 3, classes=4), extra_saved=6, weight=_W),
    _cross_entropy(normal(2, 4, 2, 2), labels(2, 2, 2, classes=4), extra_saved=8, reduction="none"),
    _cross_entropy(normal(4), labels(classes=4), extra_saved=1),
    _cross_entropy(normal(5, 4), probabilities(5, 4), extra_saved=5),
    _cross_entropy(
        normal(5, 4), probabilities(5, 4), extra_saved=5, label_smoothing=0.2, weight=_W, reduction="sum"
    ),
    _cross_entropy(normal(2, 4, 3), probabilities(2, 4, 3), extra_saved=6, weight=_W, reduction="none"),
    # losses
    Case(nn.NLLLoss, {}, (normal(5, 4), labels(5, classes=4)), "loss", 5),
    Case(nn.NLLLoss, {"weight": _W}, (normal(2, 4, 3), labels(2, 3, classes=4, ignored=-100)), "loss", 6),
    Case(nn.NLLLoss, {"reduction": "none"}, (normal(4), labels(classes=4)), "loss", 1),
    Case(nn.MSELoss, {}, (normal(4, 5), normal(4, 5)), "loss"),
    Case(nn.MSELoss, {"reduction": "none"}, (normal(3), normal(3)), "loss"),
    Case(nn.L1Loss, {}, (normal(4, 5), normal(4, 5)), "loss"),
    Case(nn.L1Loss, {"reduction": "none"}, (normal(3), normal(3)), "loss"),
    Case(nn.HuberLoss, {"delta": 1.5}, (normal(4, 5), normal(4, 5)), "loss"),
    Case(nn.HuberLoss, {"reduction": "none"}, (normal(3), normal(3)), "loss"),
    Case(nn.SmoothL1Loss, {"beta": 0.5}, (normal(4, 5), normal(4, 5)), "loss"),
    Case(nn.SmoothL1Loss, {"beta": 0.0, "reduction": "sum"}, (normal(3), normal(3)), "loss"),
    *[
        # Both reject numbers outside 0 to 1, as most values of that law are.
        Case(
            nn.BCELoss,
            arguments,
            (outcomes(5, 4), outcomes(5, 4)),
            "loss",
            skip=("extreme_values_match_torch",),
        )
        for arguments in ({}, {"weight": _W, "reduction": "none"})
    ],
    Case(nn.BCEWithLogitsLoss, {}, (normal(5, 4), outcomes(5, 4)), "loss"),
    Case(
        nn.BCEWithLogitsLoss,
        {"weight": _W, "pos_weight": 2 * _W, "reduction": "none"},
        (normal(5, 4), outcomes(5, 4)),
        "loss",
    ),
    Case(nn.KLDivLoss, {"reduction": "batchmean"}, (normal(5, 4), probabilities(5, 4)), "loss"),
    Case(nn.KLDivLoss, {"reduction": "none", "log_target": True}, (normal(5, 4), normal(5, 4)), "loss"),
    # activations
    _activation(nn.Sigmoid),
    _activation(nn.Sigmoid, normal(scale=0.5)),
    _activation(nn.Tanh),
    _activation(nn.Tanhshrink),
    _activation(nn.Softsign),
    _activation(nn.LogSigmoid, normal(2, 8, scale=6)),
    _activation(nn.Softplus, normal(2, 8, scale=6)),
    _activation(nn.Softplus, beta=2.0, threshold=3.0),
    _activation(nn.LeakyReLU),
    _activation(nn.LeakyReLU, negative_slope=-0.5),
    _activation(nn.ELU, alpha=1.5),
    _activation(nn.CELU, alpha=0.5),
    _activation(nn.SELU),
    _activation(nn.PReLU),
    _activation(nn.PReLU, normal(2, 3, 2, 2), num_parameters=3),
    # Torch has no float16 kernel on the CPU. It draws one number per negative element, and this count depends
    # on the data, so the draws are equal in plain eager mode only.
    _activation(
        nn.RReLU,
        skip=(
            "autocast_dtypes_match_torch",
            "func_transforms_match_torch",
            "compiles_into_one_graph",
            "exports_with_torch_export",
        ),
    ),
    Case(nn.RReLU, {}, (normal(2, 8),), "elementwise", training=False),
    _activation(nn.ReLU6, normal(2, 8, scale=6)),
    _activation(nn.Hardtanh, min_val=-0.5, max_val=2.0),
    _activation(nn.Hardsigmoid),
    _activation(nn.Hardswish),
    _activation(nn.Hardshrink),
    _activation(nn.Softshrink),
    _activation(nn.Threshold, threshold=0.1, value=20.0),
    _activation(nn.SiLU),
    _activation(nn.GELU),
    _activation(nn.GELU, approximate="tanh"),
    _activation(nn.Mish),
    _activation(nn.GLU, normal(3, 8)),
    _activation(nn.GLU, normal(2, 4, 3), dim=1),
    # Torch has no such class.
    Case(nn.SwiGLU, {}, (normal(3, 8),), "elementwise", reference=SwiGLU, skip=(_INSTANCE,)),
    Case(nn.SwiGLU, {"dim": 1}, (normal(2, 4, 3),), "elementwise", reference=SwiGLU, skip=(_INSTANCE,)),
    _softmax(nn.Softmax, normal(5, 4), dim=-1),
    _softmax(nn.Softmax, normal(2, 4, 3), dim=1),
    _softmax(nn.Softmin, normal(5, 4), dim=1),
    _softmax(nn.LogSoftmax, normal(5, 4, scale=4), dim=1),
    _softmax(nn.Softmax2d, normal(2, 3, 2, 2)),
    # normalization
    Case(nn.LayerNorm, {"normalized_shape": 4}, (normal(3, 4),), _NORM, 3),
    Case(nn.LayerNorm, {"normalized_shape": (2, 3), "bias": False}, (normal(2, 2, 2, 3),), _NORM, 4),
    Case(nn.LayerNorm, {"normalized_shape": 5, "elementwise_affine": False}, (normal(5),), _NORM, 1),
    Case(nn.RMSNorm, {"normalized_shape": 4}, (normal(2, 2, 4),), _NORM, 4),
    Case(nn.RMSNorm, {"normalized_shape": (2, 3), "eps": 0.1}, (normal(2, 2, 3),), _NORM, 2),
    Case(nn.GroupNorm, {"num_groups": 2, "num_channels": 4}, (normal(2, 4, 2, 2),), _NORM, 4),
    Case(nn.GroupNorm, {"num_groups": 2, "num_channels": 6, "affine": False}, (normal(3, 6),), _NORM, 6),
    Case(nn.BatchNorm1d, {"num_features": 3}, (normal(5, 3),), _NORM),
    Case(nn.BatchNorm1d, {"num_features": 3}, (normal(5, 3),), _NORM, training=False),
    Case(nn.BatchNorm1d, {"num_features": 2, "track_running_stats": False}, (normal(3, 2, 2),), _NORM),
    Case(
        nn.BatchNorm1d,
        {"num_features": 2, "affine": False, "momentum": None},
        (normal(5, 2),),
        _NORM,
        skip=_META,
    ),
    Case(nn.BatchNorm2d, {"num_features": 2}, (normal(3, 2, 2, 2),), _NORM),
    Case(nn.BatchNorm2d, {"num_features": 2, "affine": False}, (normal(2, 2, 2, 2),), _NORM, training=False),
    Case(nn.BatchNorm3d, {"num_features": 2}, (normal(2, 2, 1, 2, 2),), _NORM),
    Case(nn.InstanceNorm1d, {"num_features": 2}, (normal(2, 4),), _NORM, 2),
    Case(nn.InstanceNorm1d, {"num_features": 2, "track_running_stats": True}, (normal(2, 2, 4),), _NORM, 4),
    Case(
        nn.InstanceNorm2d,
        {"num_features": 2, "affine": True},
        (normal(2, 2, 2, 2),),
        _NORM,
        4,
        skip=_EMPTY,
    ),
    Case(nn.InstanceNorm3d, {"num_features": 2}, (normal(2, 2, 1, 2, 2),), _NORM, 4),
    Case(
        nn.InstanceNorm2d,
        {"num_features": 2, "affine": True, "track_running_stats": True},
        (normal(2, 2, 2, 2),),
        _NORM,
        training=False,
        skip=_EMPTY,
    ),
    # bilinear
    Case(
        nn.Bilinear,
        {"in1_features": 3, "in2_features": 2, "out_features": 4},
        (normal(5, 3), normal(5, 2)),
        "linear",
        skip=_AUTOCAST,
    ),
    Case(
        nn.Bilinear,
        {"in1_features": 3, "in2_features": 2, "out_features": 2, "bias": False},
        (normal(2, 2, 3), normal(2, 2, 2)),
        "linear",
        skip=_AUTOCAST,
    ),
    # dropout
    _activation(nn.Dropout, p=0.3),
    _activation(nn.Dropout, p=1.0),
    # Returns the input itself, as torch does.
    Case(
        nn.Dropout,
        {},
        (normal(4, 8),),
        "elementwise",
        training=False,
        skip=("no_grad_builds_no_graph",),
    ),
    _activation(nn.Dropout1d, normal(2, 3, 4)),
    _activation(nn.Dropout2d, normal(2, 3, 2, 2)),
    _activation(nn.Dropout3d, normal(3, 2, 2, 1)),
    _activation(nn.AlphaDropout, p=0.3),
    _activation(nn.FeatureAlphaDropout, normal(2, 3, 4)),
)


def each_law(laws: Iterable[Law], *, per_file: Iterable[Law] = (), per_class: Iterable[Law] = ()) -> Any:
    """Parametrize a test over (case, law).

    Laws in `per_file` and `per_class` take seconds. The fast tier checks those in `per_file` for one class
    per file of `nn`, and the slow tier for all other cases. Those in `per_class` take longer: the slow tier
    checks them for one class per file, and the weekly tier for the first case of each other class.
    """
    import pytest  # not at the top, so that benchmarks can read the cases without pytest

    classes = list({case.ours: case for case in reversed(CASES)}.values())
    first_in_file = list({case.ours.__module__: case for case in classes}.values())
    chosen: list[tuple[Law, Sequence[Case], Sequence[Case], Any]]
    chosen = [(law, CASES, CASES, ()) for law in laws if law not in per_file and law not in per_class]
    chosen += [(law, CASES, first_in_file, pytest.mark.slow) for law in per_file]
    chosen += [(law, first_in_file, (), pytest.mark.slow) for law in per_class]
    others = [case for case in classes if case not in first_in_file]
    chosen += [(law, others, (), pytest.mark.weekly) for law in per_class]
    return pytest.mark.parametrize(
        ("case", "law"),
        [
            pytest.param(case, law, id=f"{case}-{law.__name__}", marks=() if case in fast else mark)
            for law, cases, fast, mark in chosen
            for case in cases
            if law.__name__ not in case.skip
        ],
    )
