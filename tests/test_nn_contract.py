"""Our modules as replacements of torch's: construction, state, copies, names, errors."""

import abc
import inspect
from collections.abc import Callable

import pytest
import torch
import torch.nn.utils.prune
from registry import CASES, Case, Law, each_law

from nnfoundations import nn
from nnfoundations.nn import functional as F
from nnfoundations.testing import CONTRACT_LAWS

ACTIVATIONS = {
    "AlphaDropout",
    "CELU",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "ELU",
    "FeatureAlphaDropout",
    "GELU",
    "GLU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "PReLU",
    "RReLU",
    "ReLU6",
    "SELU",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
}
ACTIVATION_FUNCTIONS = {
    "alpha_dropout",
    "celu",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "elu",
    "feature_alpha_dropout",
    "gelu",
    "glu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "log_softmax",
    "logsigmoid",
    "mish",
    "prelu",
    "relu6",
    "rrelu",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
}
LOSSES = {
    "MSELoss",
    "L1Loss",
    "HuberLoss",
    "SmoothL1Loss",
    "NLLLoss",
    "BCELoss",
    "BCEWithLogitsLoss",
    "KLDivLoss",
}
LOSS_FUNCTIONS = {
    *("mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss", "nll_loss"),
    *("binary_cross_entropy", "binary_cross_entropy_with_logits", "kl_div"),
}

NORMALIZATIONS = {
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Bilinear",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "RMSNorm",
}
NORM_FUNCTIONS = {"batch_norm", "bilinear", "group_norm", "instance_norm", "layer_norm", "rms_norm"}


@each_law(CONTRACT_LAWS)
def test_law(case: Case, law: Law) -> None:
    law(case)


@pytest.mark.parametrize(
    "name", ["relu", "cross_entropy", *sorted(LOSS_FUNCTIONS | NORM_FUNCTIONS - {"bilinear"})]
)
def test_function_signatures_are_torchs(name: str) -> None:
    ours, theirs = (inspect.signature(getattr(m, name)).parameters for m in (F, torch.nn.functional))
    assert [(p.name, p.default) for p in ours.values()] == [(p.name, p.default) for p in theirs.values()]


def test_parametrized_pruned_and_tied_weights() -> None:
    layer = torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    pruned = torch.nn.utils.prune.l1_unstructured(nn.Linear(4, 4), "weight", amount=0.5)
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    x = torch.randn(2, 4)
    for module in (layer, pruned, tied):
        module(x).sum().backward()
        assert all(p.grad is not None for p in module.parameters())


@pytest.mark.parametrize("shape", [(1,), ()])
def test_one_bias_for_all_outputs(shape: tuple[int, ...]) -> None:
    x, weight, bias = torch.randn(5, 3), torch.randn(4, 3), torch.randn(shape, requires_grad=True)
    results = []
    for source in (F, torch.nn.functional):
        y = source.linear(x, weight, bias)
        results.append((y, *torch.autograd.grad(y.square().sum(), bias)))
    torch.testing.assert_close(*results)


def test_inplace_writes_over_its_input() -> None:
    for relu in (nn.ReLU(inplace=True), torch.nn.ReLU(inplace=True)):
        leaf = torch.tensor([-1.0, 2.0], requires_grad=True)
        x = leaf * 1
        version = x._version
        y = relu(x)
        assert y is x
        assert x._version > version
        assert x.tolist() == [0.0, 2.0]
        y.sum().backward()
        assert leaf.grad is not None
        assert leaf.grad.tolist() == [0.0, 1.0]
        with pytest.raises(RuntimeError, match="in-place"):
            relu(leaf)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(nn, torch.nn), (nn.functional, torch.nn.functional), (nn.init, torch.nn.init)],
    ids=["nn", "functional", "init"],
)
def test_every_public_name_is_handed_on(ours: object, theirs: object) -> None:
    replaced = {name for name in getattr(theirs, "__all__", dir(theirs)) if not name.startswith("_")}
    assert all(hasattr(ours, name) for name in replaced)
    own = {name for name in replaced if getattr(ours, name) is not getattr(theirs, name)}
    expected = {
        "nn": {*("Linear", "ReLU", "CrossEntropyLoss", "functional", "init"), *LOSSES, *ACTIVATIONS}
        | NORMALIZATIONS,
        "functional": {"linear", "relu", "cross_entropy", *LOSS_FUNCTIONS, *ACTIVATION_FUNCTIONS}
        | NORM_FUNCTIONS,
        "init": {
            "calculate_gain",
            "kaiming_normal_",
            "kaiming_uniform_",
            "orthogonal_",
            "xavier_normal_",
            "xavier_uniform_",
        },
    }
    assert own == expected[str(ours.__name__).rpartition(".")[2]]  # type: ignore[attr-defined]


def test_dir_lists_public_names_only() -> None:
    assert not [name for module in (nn, F, nn.init) for name in dir(module) if name.startswith("_")]
    assert {"Linear", "Conv2d", "SwiGLU", "OperationSpec", "functional", "init"} <= set(dir(nn))
    assert {"relu", "swiglu", "conv2d", "gelu", "pad"} <= set(dir(F))
    assert {"Any", "torch", "np", "math", "warnings", "Tensor", "has_torch_function"}.isdisjoint(dir(F))
    assert set(dir(nn.init)) == set(torch.nn.init.__all__)


@pytest.mark.parametrize("name", ["_calculate_fan_in_and_fan_out", "_no_grad_trunc_normal_"])
def test_private_names_that_models_read_are_there(name: str) -> None:
    assert getattr(nn.init, name) is getattr(torch.nn.init, name)
    assert F._in_projection_packed is torch.nn.functional._in_projection_packed
    with pytest.raises(AttributeError, match="_nothing"):
        _ = F._nothing


class Linear(nn.Linear):
    """A subclass of a user, with the same name."""


class Abstract(nn.Linear, abc.ABC):
    """An abstract subclass."""


def test_torchs_layers_count_as_ours() -> None:
    encoder = nn.TransformerEncoderLayer(8, 2, 16)  # torch builds it from its own layers
    found = [type(m) for m in encoder.modules() if isinstance(m, nn.Linear | nn.LayerNorm)]
    assert found == [
        type(m) for m in encoder.modules() if isinstance(m, torch.nn.Linear | torch.nn.LayerNorm)
    ]
    for case in {case.ours: case for case in CASES if case.reference is None}.values():
        assert issubclass(case.theirs, case.ours)
        assert not issubclass(torch.nn.Module, case.ours)
    ours, theirs = nn.Linear(2, 2), torch.nn.Linear(2, 2)
    wrapped = torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    for kind in (Linear, Abstract, type(wrapped)):
        assert isinstance(kind(2, 2) if kind is not type(wrapped) else wrapped, nn.Linear)
        assert not isinstance(ours, kind)
        assert not isinstance(theirs, kind)


X, LABELS = torch.zeros(5, 3), torch.zeros(5, dtype=torch.long)
BAD_INPUT: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: nn.Linear(4, 2)(X), RuntimeError, r"end in 4 features; got \(5, 3\).*build Linear\(3, \.\.\.\)"),
    (lambda: nn.Linear(4, 2)(torch.tensor(1.0)), RuntimeError, r"end in 4 features; got \(\)"),
    (lambda: nn.Linear(3, 2)(X.double()), RuntimeError, "of one dtype; got torch.float64, torch.float32"),
    (lambda: nn.Linear(3, 2)(X.long()), RuntimeError, "of one dtype; got torch.int64"),
    (
        lambda: F.linear(X, torch.zeros(4, 3), torch.zeros(3)),
        RuntimeError,
        r"shape \(4,\); got \(3,\)",
    ),
    (lambda: F.linear(X, torch.zeros(2, 4, 3)), RuntimeError, r"weight of shape .* got \(2, 4, 3\)"),
    (lambda: nn.ReLU()(X > 0), RuntimeError, "real numbers; got torch.bool"),
    (lambda: F.cross_entropy(X, LABELS[:4]), ValueError, r"labels of shape \(5,\).*got \(4,\)"),
    (lambda: F.cross_entropy(X, torch.zeros(5, 4)), RuntimeError, r"labels of shape \(5,\).*got \(5, 4\)"),
    (lambda: F.cross_entropy(X, LABELS.int()), RuntimeError, "labels of torch.int64 .*got torch.int32"),
    (lambda: F.cross_entropy(X, X.long()), RuntimeError, "floating-point targets.*got torch.int64"),
    (lambda: F.cross_entropy(X, LABELS + 7), IndexError, "labels from 0 to 2, or the ignore_index -100"),
    (lambda: F.cross_entropy(X, LABELS - 1), IndexError, "labels from 0 to 2"),
    (lambda: F.cross_entropy(X, LABELS - 1, torch.ones(3)), IndexError, "labels from 0 to 2"),
    (lambda: F.cross_entropy(X, LABELS + 7, torch.ones(3)), IndexError, "labels from 0 to 2"),
    (lambda: F.cross_entropy(X, LABELS, torch.ones(4)), RuntimeError, r"shape \(3,\); got \(4,\)"),
    (
        lambda: F.cross_entropy(X, LABELS, torch.ones(3).double()),
        RuntimeError,
        "of the scores' dtype",
    ),
    (lambda: F.cross_entropy(X, LABELS, torch.ones(3).requires_grad_()), RuntimeError, "Detach the weight"),
    (lambda: F.cross_entropy(X, LABELS, reduction="man"), ValueError, "'none', 'mean', 'sum'; got 'man'"),
    (lambda: F.cross_entropy(X, LABELS, label_smoothing=1.5), RuntimeError, "from 0 to 1; got 1.5"),
    (lambda: F.cross_entropy(X, X, ignore_index=1), RuntimeError, "ignore_index with labels only; got 1"),
    (lambda: F.cross_entropy(X.long(), LABELS), RuntimeError, "floating-point scores; got torch.int64"),
    (lambda: F.cross_entropy(X[:, :0], LABELS), IndexError, r"at least one class; got shape \(5, 0\)"),
    (lambda: F.nll_loss(X, LABELS + 7), IndexError, "NLLLoss needs labels from 0 to 2"),
    (lambda: F.nll_loss(X, LABELS[:4]), ValueError, r"NLLLoss needs labels of shape \(5,\) for.*got \(4,\)"),
    (lambda: F.nll_loss(X.sum(), LABELS), ValueError, r"got \(\)"),
    (lambda: F.mse_loss(X, X[:, :1], reduction="man"), ValueError, "MSELoss needs a reduction.*got 'man'"),
    (lambda: F.mse_loss(X + 0j, X), RuntimeError, "MSELoss needs a floating-point.*got torch.complex64"),
    (
        lambda: F.mse_loss(X, X, weight=X[0]),
        ValueError,
        r"weight of the prediction's shape \(5, 3\); got \(3,\)",
    ),
    (lambda: F.l1_loss(X, X > 0), RuntimeError, "L1Loss needs numbers; got torch.float32 and torch.bool"),
    (lambda: F.l1_loss(LABELS, LABELS), RuntimeError, "for a mean; got torch.int64"),
    (lambda: F.huber_loss(X, X, delta=0.0), RuntimeError, "delta above 0; got 0.0"),
    (lambda: F.smooth_l1_loss(X, X, beta=-1.0), RuntimeError, "beta of at least 0; got -1.0"),
    (lambda: F.binary_cross_entropy(X, X[0]), ValueError, r"targets of the prediction's shape.*got \(3,\)"),
    (lambda: F.binary_cross_entropy(X, X.double()), RuntimeError, "got torch.float32 and torch.float64"),
    (
        lambda: F.binary_cross_entropy(X + 2, X),
        RuntimeError,
        "probabilities from 0 to 1; got values from 2 to 2",
    ),
    (lambda: F.binary_cross_entropy(X, X - 1), RuntimeError, "targets from 0 to 1; got values from -1 to -1"),
    (lambda: F.binary_cross_entropy(X, X, X[0, :2]), RuntimeError, r"weight that broadcasts.*got \(2,\)"),
    (lambda: F.binary_cross_entropy(X, X, X[0].requires_grad_()), RuntimeError, "Detach the weight"),
    (
        lambda: F.binary_cross_entropy_with_logits(X, X.long()),
        RuntimeError,
        "got torch.float32 and torch.int64",
    ),
    (lambda: F.kl_div(X, X.long(), reduction="sum"), RuntimeError, "got torch.float32 and torch.int64"),
]


@pytest.mark.parametrize(("call", "kind", "text"), BAD_INPUT, ids=[text[:40] for *_, text in BAD_INPUT])
def test_errors_state_rule_found_value_and_fix(
    call: Callable[[], object], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text) as caught:
        call()
    assert str(caught.value).endswith(".")
