"""MLP's norm, dropout and initial weights: which layers it builds, and that they train."""

import copy
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import Trainer

from nnfoundations import Classifier, Diagnostics, convert, nn
from nnfoundations.cli import main
from nnfoundations.datamodules import DigitsDataModule
from nnfoundations.models import MLP

NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm, "rms": nn.RMSNorm, "group": nn.GroupNorm}


def kinds(net: MLP) -> list[type[torch.nn.Module]]:
    return [type(layer) for layer in net.layers]


def weights(net: MLP) -> list[torch.Tensor]:
    return [layer.weight.detach() for layer in net.layers if isinstance(layer, nn.Linear)]


@pytest.mark.parametrize("norm", NORMS)
def test_order_of_layers(norm: Any) -> None:
    net = MLP([64, 32, 16, 10], norm=norm, dropout=0.5)
    hidden = [nn.Linear, NORMS[norm], nn.ReLU, nn.Dropout]
    assert kinds(net) == [nn.Flatten, *hidden, *hidden, nn.Linear]
    before = MLP([64, 32, 16, 10], norm=norm, dropout=0.5, dropout_before_norm=True)
    hidden = [nn.Linear, nn.Dropout, NORMS[norm], nn.ReLU]
    assert kinds(before) == [nn.Flatten, *hidden, *hidden, nn.Linear]


def test_a_list_of_dropouts_begins_with_the_input() -> None:
    net = MLP([64, 32, 16, 10], dropout=[0.2, 0, 0.5])
    assert kinds(net)[:4] == [nn.Flatten, nn.Dropout, nn.Linear, nn.ReLU]
    assert [layer.p for layer in net.layers if isinstance(layer, nn.Dropout)] == [0.2, 0.5]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("training", [True, False])
def test_values_are_those_of_torchs_layers(norm: Any, training: bool) -> None:
    torch.manual_seed(0)
    net = MLP([12, 32, 16, 4], norm=norm, dropout=[0.1, 0.2, 0.3]).double().train(training)
    theirs = convert.to_torch(copy.deepcopy(net))
    x = torch.randn(6, 3, 4, dtype=torch.float64)
    outputs = []
    for part in (net, theirs):
        torch.manual_seed(1)  # of the masks
        outputs.append(part(x))
    torch.testing.assert_close(*outputs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "options", [{"norm": "batch"}, {"norm": "rms", "dropout": 0.5}, {"activation": "Tanh"}]
)
def test_one_seed_gives_the_same_weights_whatever_stands_between_them(options: dict[str, Any]) -> None:
    nets = []
    for given in ({}, options):
        torch.manual_seed(3)
        nets.append(MLP([5, 16, 16, 3], **given))
    for ours, theirs in zip(*map(weights, nets), strict=True):
        assert torch.equal(ours, theirs)


def test_initial_weights() -> None:
    torch.manual_seed(0)
    (normal,) = weights(MLP([400, 300], init="normal", init_scale=0.01))
    assert normal.std().item() == pytest.approx(0.01, rel=0.02)
    assert normal.mean().item() == pytest.approx(0, abs=1e-4)
    (constant,) = weights(MLP([4, 3], init="constant", init_scale=0.5))
    assert constant.unique().tolist() == [0.5]
    (zeros,) = weights(MLP([4, 3], init="zeros"))
    assert not zeros.any()
    he, xavier = (weights(MLP([400, 300, 2], init=name, init_scale=3.0))[0] for name in ("he", "xavier"))
    assert he.var().item() == pytest.approx(9 * 2 / 400, rel=0.03)
    assert xavier.var().item() == pytest.approx(9 * 2 / 700, rel=0.03)


def test_initial_weights_by_layer() -> None:
    first, second = weights(MLP([40, 30, 2], init=["zeros", "constant"], init_scale=[1, 0.25]))
    assert not first.any()
    assert second.unique().tolist() == [0.25]


@pytest.mark.parametrize(
    ("options", "lowest", "highest"),
    [
        ({"init": "he"}, 0.3, 3),
        ({"init": "xavier"}, 1e-5, 1e-2),
        ({"init": "he", "init_scale": 0.5}, 1e-9, 1e-5),
        ({"init": "he", "init_scale": 2.0}, 1e5, 1e8),
        ({"init": "zeros"}, 0, 0),
        ({"init": "normal", "init_scale": 0.01}, 0, 1e-18),
    ],
)
def test_signal_after_twenty_layers(options: dict[str, Any], lowest: float, highest: float) -> None:
    """Only the weights of He keep the signal of ReLU through many layers."""
    torch.manual_seed(0)
    net = MLP([256] * 21 + [10], **options)
    signal = net.layers[:-1](torch.randn(64, 256)).square().mean().sqrt().item()
    assert lowest <= signal <= highest


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "Batch"}, r"must be one of none, batch, layer, rms, group; got 'Batch'"),
        ({"norm": "group"}, r"groups of 16 features; got a hidden layer of 24"),
        ({"dropout": 1.0}, r"at least 0 and less than 1; got 1\.0"),
        ({"dropout": "half"}, r"at least 0 and less than 1; got 'half'"),
        ({"dropout": [0.5]}, r"dropout needs a value for each of its 2 linear layers; got \[0\.5\]"),
        ({"init": ["he", "he", "he"]}, r"init needs a value for each of its 2 linear layers"),
        ({"init": ["he", "best"]}, r"'constant' or 'zeros'; got 'best'"),
        ({"init_scale": [1.0]}, r"init_scale needs a value for each of its 2"),
        ({"dropout": 0.5, "dropout_before_norm": True}, r"dropout_before_norm needs a norm"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MLP([4, 24, 2], **options)


def test_command_line_builds_it() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(torch.nn.Module, "net")
    options = ["sizes=[4,16,2]", "norm=group", "dropout=[0.1,0.5]", "init=[he,zeros]", "init_scale=0.5"]
    given = ["--net=nnfoundations.models.MLP", *(f"--net.{option}" for option in options)]
    built = parser.instantiate_classes(parser.parse_args(given)).net
    assert kinds(built) == [nn.Flatten, nn.Dropout, nn.Linear, nn.GroupNorm, nn.ReLU, nn.Dropout, nn.Linear]
    assert not weights(built)[1].any()


def test_a_wrong_norm_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", "digits", "--model.net.norm", "bach"]) == 2
    assert capsys.readouterr().err == (
        "nnfoundations: `model.net.norm` cannot be `bach`.\n"
        "It takes `none` or `batch` or `layer` or `rms` or `group`. Did you mean `batch`?\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("norm", "before"), [("batch", False), ("batch", True), ("layer", False), ("rms", False), ("group", True)]
)
def test_trains_without_a_finding(norm: Any, before: bool, tmp_path: Any) -> None:
    torch.manual_seed(0)
    net = MLP([64, 64, 32, 10], norm=norm, dropout=[0.1, 0.3, 0.3], dropout_before_norm=before)
    diagnostics = Diagnostics()
    trainer = Trainer(
        max_epochs=8, accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=tmp_path,
        callbacks=[diagnostics], enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=10,
    )  # fmt: skip
    trainer.fit(Classifier(net), datamodule=DigitsDataModule(batch_size=32))
    assert diagnostics.findings == []
    assert trainer.callback_metrics["val/accuracy"] > 0.9
