"""The lab of normalization: networks, gradients, tuning, answers, and the checks of its notebook."""

import csv
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from nnfoundations import nn
from nnfoundations.labs import Results
from nnfoundations.labs._runner.lab import lab_folder
from nnfoundations.labs._runner.statistics import Interval
from nnfoundations.labs._runner.tuning import RATE
from nnfoundations.labs.normalization import checks
from nnfoundations.labs.normalization.data import FewDigitsDataModule
from nnfoundations.labs.normalization.gradients import check_gradients, normalize
from nnfoundations.labs.normalization.lab import BATCHES, LAB, NORMS, RATES, TUNED_ARMS, batch_arm
from nnfoundations.labs.normalization.measure import modes, statistics
from nnfoundations.labs.normalization.network import NormalizedMLP
from nnfoundations.labs.normalization.tables import advice, smallest_batch, usable_rates
from nnfoundations.labs.normalization.tuning import GRID, TUNING

WITH_NORM = ["batch", "layer", "rms", "group"]


def images(count=64):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 1, 28, 28, generator=generator), torch.arange(count) % 10


@pytest.mark.data("MNIST")
def test_every_batch_size_divides_the_images():
    data = FewDigitsDataModule(batch_size=512)
    data.setup("fit")
    assert {len(x) for x, _ in data.train_dataloader()} == {512}
    assert [len(x) for x, _ in data.val_dataloader()] == [5000]
    assert all(5120 % size == 0 for size in BATCHES)


def test_every_batch_size_has_as_many_steps():
    options = {arm.name: dict(zip(arm.options[::2], arm.options[1::2], strict=True)) for arm in LAB.arms}
    for size in set(BATCHES) - {64}:
        given = options[batch_arm("batch", size)]
        steps, epochs = int(given["--trainer.limit_train_batches"]), int(given["--trainer.max_epochs"])
        assert steps * epochs == 320
        assert steps * size <= 5120


@pytest.mark.parametrize("norm", WITH_NORM)
def test_the_wrong_mask_changes_the_gradient_alone(norm):
    x, y = images()
    nets = []
    for mask in ("after", "before"):
        torch.manual_seed(0)
        nets.append(NormalizedMLP(2, norm, mask))
    assert torch.equal(nets[0](x), nets[1](x))
    grads = [torch.autograd.grad(nn.CrossEntropyLoss()(net(x), y), net.layers[1].weight)[0] for net in nets]
    assert torch.allclose(*grads) == (norm == "rms"), "RMSNorm keeps signs"


@pytest.mark.parametrize("norm", WITH_NORM)
def test_normalize_is_the_norm_of_the_library(norm):
    torch.manual_seed(0)
    net = NormalizedMLP(1, norm)
    x = 3 * torch.randn(8, 64) + 1
    eps = net.layers[2].eps or torch.finfo(x.dtype).eps
    torch.testing.assert_close(normalize(x, norm, eps=eps), net.layers[2](x).detach())


@pytest.mark.parametrize("norm", WITH_NORM)
def test_our_gradients_are_right_and_the_wrong_ones_are_not(norm):
    torch.manual_seed(0)
    found = check_gradients(NormalizedMLP(1, norm), norm, *images())
    assert found["gradient_error"] < 1e-5
    assert 0.9 < found["cosine_variance"] < 0.9999
    assert ("cosine_mean" in found) == (norm != "rms")
    assert (found["cosine_mask"] > 1 - 1e-9) == (norm == "rms")


@pytest.mark.parametrize("norm", WITH_NORM)
def test_the_first_norm_makes_features_or_samples_equal(norm):
    torch.manual_seed(0)
    net = NormalizedMLP(2, norm)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    found = {name: np.array(points) for name, points in statistics(net, images()[0]).items()}
    what = "feature" if norm == "batch" else "sample"
    mean, spread = found[f"{what}_after"].T
    assert np.allclose(mean**2 + spread**2, 1, atol=1e-3)
    assert np.allclose(mean, 0, atol=1e-5) == (norm != "rms")
    assert found["feature_before"].shape == (64, 2)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_only_batch_norm_has_two_modes():
    x, y = images(50)
    for norm in NORMS:
        torch.manual_seed(0)
        net = NormalizedMLP(2, norm)
        _, disagreement = modes(net, x, y, 4)
        assert (disagreement > 0) == (norm == "batch")
        assert modes(net, x, y, 4)[1] == disagreement, "the running statistics stay"


def test_every_tuned_arm_has_its_own_rate():
    chosen = TUNING.rates()
    assert set(chosen) == {arm.name for arm in TUNED_ARMS}
    for arm in TUNED_ARMS:
        assert arm.options[-2:] == (RATE, str(chosen[arm.name]))
        tried = TUNING.trials()[arm.name]
        assert set(GRID) <= set(tried), "the same grid for all"
        assert min(tried) < chosen[arm.name] < max(tried), "not at an end of what was tried"


def written(folder, accuracies):
    with (folder / "results.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("arm", "seed", "state", "accuracy"))
        for arm, values in accuracies.items():
            writer.writerows((arm, i, "finished", value) for i, value in enumerate(values))
    (folder / "timings.csv").write_text("arm,seed,seconds,cpu_seconds\n")
    (folder / "curves.csv").write_text("arm,seed,curve,x,y\n")
    (folder / "machine.json").write_text("{}")
    return Results(folder)


def test_usable_rates_are_those_around_the_best(tmp_path):
    means = (92.0, 80.0, 91.5, 93.0, 91.0, 10.0)
    results = written(
        tmp_path, {f"rate_{rate}_layer": [mean] for rate, mean in zip(RATES, means, strict=True)}
    )
    assert usable_rates(results, "layer") == (0.03, 0.3), "0.003 lies beyond one that is not usable"


@pytest.mark.parametrize(
    ("behind", "smallest"),
    [((40, 20, 1, 0, 0, 0), 8), ((40, 0, 20, 0, 0, 0), 16), ((0, 0, 0, 0, 0, 9), math.inf)],
)
def test_the_smallest_batch_is_that_from_which_on_it_works(behind, smallest, tmp_path):
    noise = np.array([0.1, -0.1, 0.2, -0.2, 0.0])
    accuracies = {}
    for size, points in zip(BATCHES, behind, strict=True):
        accuracies[batch_arm("none", size)] = 90 + 0 * noise
        accuracies[batch_arm("batch", size)] = 90 - points + noise
    assert smallest_batch(written(tmp_path, accuracies), "batch") == smallest


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (Interval(1.0, 0.6, 1.4, 5), "More accurate here"),
        (Interval(-1.0, -1.4, -0.6, 5), "Less accurate here"),
        (Interval(0.0, -0.4, 0.4, 5), "As accurate as no norm"),
        (Interval(-0.4, -0.7, -0.1, 5), "Less accurate; whether"),
        (Interval(0.4, 0.1, 0.7, 5), "More accurate; whether"),
        (Interval(0.4, -0.1, 0.9, 5), "is not excluded"),
    ],
)
def test_advice_follows_from_the_numbers(gain, words):
    large, small, none = Interval(9.0, 8.0, 10.0, 5), Interval(1.0, 0.5, 1.5, 5), Interval(0.0, -1.0, 1.0, 5)
    text = advice(gain, 10.0, large, 8.0)
    assert words in text
    assert "10 times the factor" in text
    assert "gains 9 points" in text
    assert "batches from 8 on" in text
    text = advice(gain, 1.0, small, 1.0)
    assert "tune" not in text
    assert "whether 2 points is open" in text
    assert "batches from 1 on" in text
    assert "were not tried" in advice(gain, 1.0, small, math.nan)
    text = advice(gain, 1.0, none, math.inf)
    assert "No gain in deep networks" in text
    assert "no batch size" in text


# -- the checks of the notebook ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """The solutions of the notebook."""
    source = (lab_folder("normalization") / "notebook.py").read_text(encoding="utf-8")
    cells = [
        cell.partition("\n")[2] for cell in source.split("# %%") if cell.startswith(' tags=["solution"]')
    ]
    file = tmp_path_factory.mktemp("answers") / "solutions.py"
    file.write_text("import numpy as np\n" + "\n".join(cells), encoding="utf-8")
    return runpy.run_path(str(file))


def test_the_solutions_pass(answers):
    checks.check_batch_norm(answers["batch_norm"])
    checks.check_backward(answers["batch_norm_backward"])
    checks.check_layer_norm(answers["layer_norm"], answers["layer_norm_backward"])
    checks.check_rms_norm(answers["rms_norm"], answers["rms_norm_backward"])
    checks.check_block(answers["block_backward"])


def forward(
    x, w, b, m, v, training, *, axis=0, ddof=0, running_ddof=1, momentum=0.1, affine=True, frozen=True
):
    """BatchNorm, right or wrong."""
    mean, var = m, v
    if training or not frozen:
        mean, var = x.mean(axis, keepdims=True), x.var(axis, keepdims=True, ddof=ddof)
    if training:
        m = (1 - momentum) * m + momentum * x.mean(0)
        v = (1 - momentum) * v + momentum * x.var(0, ddof=running_ddof)
    n = (x - mean) / np.sqrt(var + 1e-5)
    return (n * w + b if affine else n), m, v


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"running_ddof": 0}, "biased variance of the batch"),
        ({"axis": 1}, "yours are those of a sample"),
        ({"ddof": 1}, "divides by N and not by N - 1"),
        ({"momentum": 0.9}, "weight 0.1, not 0.9"),
        ({"affine": False}, "weight and bias are missing"),
        ({"frozen": False}, "normalizes by the running statistics"),
    ],
)
def test_a_wrong_batch_norm_is_named(wrong, message):
    checks.check_batch_norm(forward)
    with pytest.raises(AssertionError, match=message):
        checks.check_batch_norm(lambda *given: forward(*given, **wrong))


def backward(grad, x, w, *, axis=0, mean=1, variance=1, gain=True, batch=np.sum):
    """The backward pass of a norm, right or wrong."""
    scale = np.sqrt(x.var(axis, keepdims=True) + 1e-5)
    n, g = (x - x.mean(axis, keepdims=True)) / scale, grad * w if gain else grad
    terms = mean * g.mean(axis, keepdims=True) + variance * n * (g * n).mean(axis, keepdims=True)
    return (g - terms) / scale, batch(grad * n, 0), batch(grad, 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mean": 0}, "the mean depends on x too"),
        ({"variance": 0}, "the variance depends on x too"),
        ({"mean": 0, "variance": 0}, "both terms are missing"),
        ({"gain": False}, "that of y times weight"),
        ({"batch": np.mean}, "is a sum over the batch"),
    ],
)
def test_a_wrong_backward_is_named(wrong, message):
    with pytest.raises(AssertionError, match=message):
        checks.check_backward(lambda *given: backward(*given, **wrong))


def layer_norm(x, w, b, axis=1):
    return (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + 1e-5) * w + b


def test_a_wrong_layer_norm_is_named():
    with pytest.raises(AssertionError, match="yours are those of a feature"):
        checks.check_layer_norm(lambda *given: layer_norm(*given, axis=0), backward)
    for wrong, message in (
        ({"axis": 0}, "yours are those of a feature"),
        ({"axis": 1, "mean": 0}, "the mean depends on x too"),
        ({"axis": 1, "variance": 0}, "the variance depends on x too"),
    ):
        with pytest.raises(AssertionError, match=message):
            checks.check_layer_norm(layer_norm, lambda *given, wrong=wrong: backward(*given, **wrong))


def test_a_wrong_rms_norm_is_named(answers):
    right, gradients = answers["rms_norm"], answers["rms_norm_backward"]
    for wrong, message in (
        (lambda x, w: layer_norm(x, w, 0), "does not subtract the mean"),
        (lambda x, w: right(x.T, w[:1]).T * w / w[0], "yours are those of a feature"),
    ):
        with pytest.raises(AssertionError, match=message):
            checks.check_rms_norm(wrong, gradients)
    with pytest.raises(AssertionError, match="the mean square depends on x too"):
        checks.check_rms_norm(right, lambda g, x, w: (without_term(g, x, w), 0))
    with pytest.raises(AssertionError, match="end the function with `return`"):
        checks.check_rms_norm(right, lambda g, x, w: None)


def without_term(g, x, w):
    return g * w / np.sqrt((x**2).mean(1, keepdims=True) + 1e-5)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (lambda x, n, y: x > 0, "from before the norm"),
        (lambda x, n, y: n > 0, "that of the normalized x"),
        (lambda x, n, y: 1, "mask is missing"),
    ],
)
def test_a_wrong_mask_is_named(mask, message):
    def block(grad, x, w, b):
        n, y = layer_norm(x, 1, 0, axis=0), layer_norm(x, w, b, axis=0)
        return backward(grad * mask(x, n, y), x, w)[0]

    with pytest.raises(AssertionError, match=message):
        checks.check_block(block)


def test_the_mask_of_relu_comes_first():
    def block(grad, x, w, b):
        return backward(grad, x, w)[0] * (layer_norm(x, w, b, axis=0) > 0)

    with pytest.raises(AssertionError, match="its mask comes first"):
        checks.check_block(block)


def test_committed_runs_reach_the_goal_of_the_config():
    results = Results(Path(__file__).parent.parent / "docs" / "labs" / "normalization")
    for norm in NORMS:
        assert results.values(f"net_{norm}", "accuracy").min() >= 90
