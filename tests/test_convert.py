"""Converted models: same outputs and training as before, and converted back."""

import copy
import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nnfoundations import convert, nn
from nnfoundations.errors import OptionError
from nnfoundations.testing import HALF


def resnet() -> torch.nn.Module:
    torchvision = pytest.importorskip("torchvision")
    net: torch.nn.Module = torchvision.models.resnet18(num_classes=5)
    return net


def vit() -> torch.nn.Module:
    transformer = pytest.importorskip("torchvision").models.vision_transformer
    net: torch.nn.Module = transformer.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, dropout=0.1
    )
    torch.nn.init.normal_(net.heads[0].weight)  # type: ignore[index, arg-type]  # initial zeros would hide the other layers
    return net


def encoder() -> torch.nn.Module:
    layer = torch.nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, activation="gelu", batch_first=True)
    return torch.nn.TransformerEncoder(layer, 2, norm=torch.nn.LayerNorm(16))


def everything() -> torch.nn.Module:
    """Shared and nested layers."""
    shared = torch.nn.Linear(6, 6)
    return torch.nn.Sequential(
        shared,
        torch.nn.ReLU(inplace=True),
        torch.nn.Sequential(shared, torch.nn.LayerNorm(6)),
        torch.nn.GELU(),
    )


MODELS = {
    "resnet": (resnet, (4, 3, 64, 64)),
    "vit": (vit, (2, 3, 32, 32)),
    "encoder": (encoder, (2, 5, 16)),
    "everything": (everything, (3, 6)),
}
each_model = pytest.mark.parametrize("name", MODELS)


def built(name: str) -> tuple[torch.nn.Module, torch.nn.Module, Tensor]:
    """(torch's, converted, input) in float64, where formulas that differ do so by far more than 1e-9."""
    make, shape = MODELS[name]
    torch.manual_seed(0)
    theirs = make().double()
    return theirs, convert.to_foundations(copy.deepcopy(theirs)), torch.randn(shape, dtype=torch.float64)


def types_of(model: torch.nn.Module) -> list[type]:
    return [type(module) for module in model.modules()]


def results(model: torch.nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    torch.manual_seed(1)
    x = x.clone().requires_grad_()
    y = model(x)
    return y, *torch.autograd.grad(y.square().sum(), [x, *model.parameters()])


@each_model
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_same_outputs_and_gradients(name: str, training: bool) -> None:
    theirs, ours, x = built(name)
    assert any(kind.__module__.startswith("nnfoundations") for kind in types_of(ours))
    for a, r in zip(results(ours.train(training), x), results(theirs.train(training), x), strict=True):
        torch.testing.assert_close(a, r, rtol=1e-9, atol=1e-9)
    for (key, a), r in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(a, r, rtol=1e-12, atol=1e-12, msg=key)


@each_model
def test_it_trains_along_torchs_curve(name: str) -> None:
    theirs, ours, x = built(name)
    curves = []
    for model in (theirs, ours):
        torch.manual_seed(2)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
        losses = []
        for _ in range(4):
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        curves.append(losses)
    assert curves[1] == pytest.approx(curves[0], rel=1e-6)
    assert curves[1][-1] < curves[1][0]


@each_model
def test_back_to_torchs_own_classes(name: str) -> None:
    theirs, ours, x = built(name)
    state, parameters = ours.state_dict(), list(ours.parameters())
    back = convert.to_torch(ours)
    assert back is ours
    assert types_of(back) == types_of(theirs)
    assert list(state) == list(back.state_dict())
    assert all(a is b for a, b in zip(parameters, back.parameters(), strict=True))
    for a, r in zip(results(back, x), results(theirs, x), strict=True):
        assert torch.equal(a, r)


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "padded"])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_the_fused_encoder_reads_our_layers(masked: bool) -> None:
    """In evaluation without gradients, torch passes the weights of the layers to one fused operator."""
    theirs, ours, x = built("encoder")
    theirs, ours = theirs.float().eval(), ours.float().eval()
    mask = torch.tensor([[False] * 5, [False, False, False, True, True]]) if masked else None
    with torch.no_grad(), torch.profiler.profile() as profile:
        found = ours(x.float(), src_key_padding_mask=mask)
    assert any("_transformer_encoder_layer_fwd" in event.key for event in profile.key_averages())
    with torch.no_grad():
        expected = theirs(x.float(), src_key_padding_mask=mask)
    torch.testing.assert_close(found, expected)
    ours.requires_grad_()
    slow = ours(x.float(), src_key_padding_mask=mask)
    padding = torch.zeros(2, 5, dtype=torch.bool) if mask is None else mask
    torch.testing.assert_close(slow[~padding], expected[~padding])


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_autocast(dtype: torch.dtype) -> None:
    theirs, ours, x = built("encoder")
    theirs, ours = theirs.float(), ours.float()
    found = []
    for model in (theirs, ours):
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype=dtype):
            found.append(model(x.float()))
    assert found[0].dtype == found[1].dtype
    torch.testing.assert_close(found[1], found[0], rtol=0.05, atol=0.05)


def quantized() -> torch.nn.Module:
    from torch.ao.nn.qat import Linear
    from torch.ao.quantization import get_default_qat_qconfig

    layer: torch.nn.Module = Linear(3, 3, qconfig=get_default_qat_qconfig("fbgemm"))
    return layer


class Own(torch.nn.Linear):
    pass


@pytest.mark.parametrize(
    "make",
    [
        lambda: Own(3, 3),
        lambda: torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(3, 3)),
        lambda: torch.nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)),
        lambda: torch.nn.MultiheadAttention(4, 2).out_proj,
        pytest.param(quantized, marks=pytest.mark.filterwarnings("ignore")),
    ],
    ids=["subclass", "parametrized", "parametrized ours", "of attention", "quantized"],
)
def test_other_types_are_not_converted(make: Callable[[], Any]) -> None:
    layer = make()
    kind = type(layer)
    assert type(convert.to_foundations(layer)) is kind
    assert type(convert.to_torch(layer)) is kind


@pytest.mark.parametrize(
    ("model", "came"), [(nn.Linear, "the class Linear"), (None, "NoneType"), (len, "builtin_function")]
)
def test_what_is_not_a_model_is_refused_in_one_sentence(model: Any, came: str) -> None:
    for function in (convert.to_foundations, convert.to_torch):
        with pytest.raises(OptionError, match=f"{function.__name__} needs a model.*got {came}"):
            function(model)


def test_hooks_and_shared_layers_stay() -> None:
    model = everything()
    model[1].inplace = False  # type: ignore[index]  # torch does not allow in-place operations after a backward hook
    calls: list[str] = []
    model[0].register_forward_hook(lambda *_: calls.append("forward"))  # type: ignore[index]
    model[0].register_full_backward_hook(lambda *_: calls.append("backward"))  # type: ignore[index]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    convert.to_foundations(model)
    assert model[0] is model[2][0]  # type: ignore[index]
    model(torch.randn(3, 6, requires_grad=True)).sum().backward()
    before = model[0].weight.clone()  # type: ignore[index]
    optimizer.step()
    assert calls == ["forward", "forward", "backward", "backward"]
    assert not torch.equal(before, model[0].weight)  # type: ignore[index]


def test_one_log_line_lists_changed_and_other_layers(caplog: pytest.LogCaptureFixture) -> None:
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 3), torch.nn.Conv1d(3, 3, 1), torch.nn.Linear(3, 3), Own(3, 3)
    )
    with caplog.at_level(logging.INFO, "nnfoundations"):
        convert.to_torch(convert.to_foundations(model))
        convert.to_torch(torch.nn.Sequential())
    assert caplog.messages == [
        "to_foundations: changed 2 Linear; left 1 Conv1d, 1 Own",
        "to_torch: changed 2 Linear; left 1 Conv1d, 1 Own",
        "to_torch: changed nothing; left nothing",
    ]


def test_every_class_is_converted() -> None:
    from registry import CASES

    for kind in {case.ours: case for case in CASES}.values():
        if kind.reference is None:
            ours, theirs = kind.build_initial()
            assert type(convert.to_torch(ours)) is type(theirs)
            assert type(convert.to_foundations(theirs)) is kind.ours


def test_dir_lists_public_names_only() -> None:
    assert dir(convert) == ["to_foundations", "to_torch"]
