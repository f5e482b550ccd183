"""Every module of ours, a line each, with its inputs.

A case is held against the module of torch.nn that has its name. Nothing here is a test.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nnfoundations import nn
from nnfoundations.testing import HALF, Subject
from nnfoundations.testing import assert_matches as assert_matches
from nnfoundations.testing import backpropagated as backpropagated

DTYPES = (torch.float64, torch.float32, *HALF)

Law = Callable[[Subject], None]
Draw = Callable[[torch.Generator, torch.dtype], Tensor]


def normal(*shape: int, scale: float = 2.0) -> Draw:
    """Numbers for which a gradient is asked."""
    return lambda generator, dtype: (
        (torch.randn(shape, generator=generator, dtype=torch.float64) * scale).to(dtype).requires_grad_()
    )


def labels(*shape: int, classes: int, ignored: int | None = None) -> Draw:
    """Class indices, the first of them `ignored` if that is given."""

    def draw(generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        drawn = torch.randint(classes, shape, generator=generator)
        if ignored is not None:
            drawn.view(-1)[0] = ignored
        return drawn

    return draw


def probabilities(*shape: int) -> Draw:
    """Distributions along axis 1, for which a gradient is asked too."""

    def draw(generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        drawn = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1
        return (drawn / drawn.sum(1, keepdim=True)).to(dtype).requires_grad_()

    return draw


def outcomes(*shape: int) -> Draw:
    """Numbers from 0.05 to 0.95, for which a gradient is asked."""
    return lambda generator, dtype: (
        (torch.rand(shape, generator=generator, dtype=torch.float64) * 0.9 + 0.05).to(dtype).requires_grad_()
    )


@dataclass(frozen=True)
class Case(Subject):
    """A module of ours, built with `arguments` and called with what `draws` draw."""

    ours: type[torch.nn.Module]
    arguments: dict[str, Any]
    draws: tuple[Draw, ...]
    kind: str  # its line of the tolerance table, nnfoundations.testing.K
    rows: int = field(default=0)  # of the input; what may be saved beyond torch is one number a row
    training: bool = True
    looser: int = 1  # a factor on the table's k, with its reason beside it
    reference: type[torch.nn.Module] | None = None  # where torch has no module of that name
    leave_out: tuple[str, ...] = ()  # laws that it does not promise, with the reason beside it

    @property
    def theirs(self) -> type[torch.nn.Module]:  # type: ignore[override]
        found: type[torch.nn.Module] = self.reference or getattr(torch.nn, self.ours.__name__)
        return found

    def inputs(self, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, ...]:
        """The same numbers at each call with one seed, rounded to the dtype."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(draw(generator, dtype) for draw in self.draws)

    def __str__(self) -> str:
        given = ",".join(f"{k}={'tensor' if isinstance(v, Tensor) else v}" for k, v in self.arguments.items())
        return f"{self.ours.__name__}({given})" + ("" if self.training else ".eval()")


def _cross_entropy(*draws: Draw, rows: int, **arguments: Any) -> Case:
    return Case(nn.CrossEntropyLoss, arguments, draws, "loss", rows)


class SwiGLU(torch.nn.Module):
    """What torch has in the place of ours: the parts."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        if input.shape[self.dim] % 2 or input.is_complex():
            raise ValueError("torch's parts take more than ours")
        a, b = input.chunk(2, self.dim)
        return torch.nn.functional.silu(a) * b

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


def _activation(
    ours: type[torch.nn.Module],
    *draws: Draw,
    kind: str = "elementwise",
    leave_out: tuple[str, ...] = (),
    **arguments: Any,
) -> Case:
    return Case(ours, arguments, draws or (normal(2, 8),), kind, leave_out=leave_out)


def _softmax(ours: type[torch.nn.Module], *draws: Draw, **arguments: Any) -> Case:
    return _activation(ours, *draws, kind="softmax", **arguments)


_INSTANCE = "it_is_an_instance_of_torchs"
_W = torch.tensor([0.5, 2.0, 1.0, 0.25])
_NORM = "normalization"
_EMPTY = ("an_empty_batch_is_taken",)  # torch raises in its own copying of the weights
_META = ("it_moves_from_meta_to_memory",)  # torch asks the count for its number
_AUTOCAST = ("autocast_gives_torchs_dtypes",)  # torch's inner product is rounded to half though y is float32
CASES = (
    Case(nn.Linear, {"in_features": 5, "out_features": 3}, (normal(6, 5),), "linear", 6),
    Case(nn.Linear, {"in_features": 5, "out_features": 3, "bias": False}, (normal(6, 5),), "linear", 6),
    Case(nn.Linear, {"in_features": 4, "out_features": 3}, (normal(2, 3, 4),), "linear", 6),
    Case(nn.Linear, {"in_features": 4, "out_features": 1}, (normal(4),), "linear", 1),
    Case(nn.ReLU, {}, (normal(4, 5),), "elementwise"),
    Case(nn.ReLU, {}, (normal(),), "elementwise"),
    _cross_entropy(normal(5, 4), labels(5, classes=4), rows=5),
    _cross_entropy(normal(5, 4), labels(5, classes=4, ignored=-100), rows=5, reduction="sum"),
    _cross_entropy(normal(5, 4), labels(5, classes=4, ignored=9), rows=5, reduction="none", ignore_index=9),
    _cross_entropy(normal(5, 4), labels(5, classes=4, ignored=2), rows=5, ignore_index=2, weight=_W),
    _cross_entropy(normal(5, 4), labels(5, classes=4, ignored=-100), rows=5, label_smoothing=0.1),
    _cross_entropy(normal(5, 4), labels(5, classes=4), rows=5, label_smoothing=0.3, weight=_W),
    _cross_entropy(
        normal(5, 4), labels(5, classes=4), rows=5, label_smoothing=1.0, weight=_W, reduction="none"
    ),
    _cross_entropy(normal(2, 4, 3), labels(2, 3, classes=4), rows=6, weight=_W),
    _cross_entropy(normal(2, 4, 2, 2), labels(2, 2, 2, classes=4), rows=8, reduction="none"),
    _cross_entropy(normal(4), labels(classes=4), rows=1),
    _cross_entropy(normal(5, 4), probabilities(5, 4), rows=5),
    _cross_entropy(
        normal(5, 4), probabilities(5, 4), rows=5, label_smoothing=0.2, weight=_W, reduction="sum"
    ),
    _cross_entropy(normal(2, 4, 3), probabilities(2, 4, 3), rows=6, weight=_W, reduction="none"),
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
        # Both refuse what is no probability, and most of that law's values are none.
        Case(
            nn.BCELoss,
            arguments,
            (outcomes(5, 4), outcomes(5, 4)),
            "loss",
            leave_out=("extreme_values_give_what_torch_gives",),
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
    # Torch has no float16 for it on the CPU; and only in plain eager are its draws, one for each negative
    # number, ours too: their count is data.
    _activation(
        nn.RReLU,
        leave_out=(
            "autocast_gives_torchs_dtypes",
            "func_transforms_agree_with_torch",
            "it_compiles_into_one_graph",
            "it_exports",
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
    # Torch has none that it could be an instance of.
    Case(nn.SwiGLU, {}, (normal(3, 8),), "elementwise", reference=SwiGLU, leave_out=(_INSTANCE,)),
    Case(nn.SwiGLU, {"dim": 1}, (normal(2, 4, 3),), "elementwise", reference=SwiGLU, leave_out=(_INSTANCE,)),
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
        leave_out=_META,
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
        leave_out=_EMPTY,
    ),
    Case(nn.InstanceNorm3d, {"num_features": 2}, (normal(2, 2, 1, 2, 2),), _NORM, 4),
    Case(
        nn.InstanceNorm2d,
        {"num_features": 2, "affine": True, "track_running_stats": True},
        (normal(2, 2, 2, 2),),
        _NORM,
        training=False,
        leave_out=_EMPTY,
    ),
    # bilinear
    Case(
        nn.Bilinear,
        {"in1_features": 3, "in2_features": 2, "out_features": 4},
        (normal(5, 3), normal(5, 2)),
        "linear",
        leave_out=_AUTOCAST,
    ),
    Case(
        nn.Bilinear,
        {"in1_features": 3, "in2_features": 2, "out_features": 2, "bias": False},
        (normal(2, 2, 3), normal(2, 2, 2)),
        "linear",
        leave_out=_AUTOCAST,
    ),
    # dropout
    _activation(nn.Dropout, p=0.3),
    _activation(nn.Dropout, p=1.0),
    # Out comes the input itself, as with torch.
    Case(
        nn.Dropout,
        {},
        (normal(4, 8),),
        "elementwise",
        training=False,
        leave_out=("no_gradient_leaves_no_graph",),
    ),
    _activation(nn.Dropout1d, normal(2, 3, 4)),
    _activation(nn.Dropout2d, normal(2, 3, 2, 2)),
    _activation(nn.Dropout3d, normal(3, 2, 2, 1)),
    _activation(nn.AlphaDropout, p=0.3),
    _activation(nn.FeatureAlphaDropout, normal(2, 3, 4)),
)


def held(laws: Iterable[Law], *, a_class: Iterable[Law] = (), a_family: Iterable[Law] = ()) -> Any:
    """Parametrize a test over (case, law).

    What takes seconds is asked in the fast run of each class's first case, or of the first in each file of
    `nn`; of the others (all cases of a law in `a_class`, all classes of one in `a_family`) in the slow one.
    """
    import pytest  # here, so that benchmarks read the cases without it

    classes = list({case.ours: case for case in reversed(CASES)}.values())
    families = list({case.ours.__module__: case for case in classes}.values())
    held: list[tuple[Law, Sequence[Case], Sequence[Case]]]
    held = [(law, CASES, CASES) for law in laws if law not in a_class and law not in a_family]
    held += [(law, CASES, classes) for law in a_class] + [(law, classes, families) for law in a_family]
    return pytest.mark.parametrize(
        ("case", "law"),
        [
            pytest.param(
                case, law, id=f"{case}-{law.__name__}", marks=() if case in fast else pytest.mark.slow
            )
            for law, cases, fast in held
            for case in cases
            if law.__name__ not in case.leave_out
        ],
    )
