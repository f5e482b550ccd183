"""The lab of the network by hand: its ladder, its rates, its museum, and what it tells who writes layers."""

import csv
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nnfoundations.labs._runner.tuning import TRIAL_SEED
from nnfoundations.labs.numpy_mlp import checks
from nnfoundations.labs.numpy_mlp.catch import CHECKS, caught
from nnfoundations.labs.numpy_mlp.lab import LAB, LADDER
from nnfoundations.labs.numpy_mlp.museum import EXHIBITS, build
from nnfoundations.labs.numpy_mlp.tuning import GRIDS, TUNING, best_rates

CONFIGS = Path(checks.__file__).parent / "configs"


def config(arm: str) -> dict[str, Any]:
    return yaml.safe_load((CONFIGS / f"{arm}.yaml").read_text(encoding="utf-8"))


# -- ladder and rates ----------------------------------------------------------------------------------------


def features(arm: str) -> set[str]:
    """What a rung consists of, whatever its rate."""
    given = config(arm)
    model, optimizer = given["model"]["init_args"], given["model"]["init_args"]["optimizer"]
    found = {f"epochs {given['trainer']['max_epochs']}", *given["data"]["init_args"].get("augment", ())}
    found |= {f"norm {model['net']['init_args'].get('norm')}", optimizer["class_path"].rpartition(".")[2]}
    found |= {name for name in ("momentum", "weight_decay") if name in optimizer["init_args"]}
    found |= {"schedule"} if "lr_scheduler" in model else set()
    return found | {one["class_path"] for one in given["trainer"].get("callbacks", ())}


def test_each_rung_changes_one_thing():
    changes = [features(arm) ^ features(below) for below, arm in pairwise(LADDER)]
    assert changes == [
        {"momentum"},
        {"schedule"},
        {"weight_decay"},
        {"SGD", "AdamW", "momentum"},  # AdamW has a momentum of its own
        {"affine"},
        {"elastic"},
        {"norm None", "norm batch"},
        {"EMAWeightAveraging"},
    ]


def rate_of(arm: str) -> float:
    (options,) = (one.options for one in LAB.arms if one.name == arm)
    if options:
        return float(options[-1])
    model = config(arm)["model"]["init_args"]
    cycle = model.get("lr_scheduler", {}).get("init_args", {})
    return cycle.get("max_lr") or model["optimizer"]["init_args"]["lr"]


def test_every_arm_has_the_rate_that_tuning_chose():
    assert {arm: rate_of(arm) for arm in GRIDS} == best_rates()


def test_no_chosen_rate_is_at_the_end_of_its_grid_and_no_run_has_the_seed_of_tuning():
    for arm, rate in best_rates().items():
        assert min(GRIDS[arm].rates) < rate < max(GRIDS[arm].rates), arm
    with TUNING.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {(row["arm"], float(row["rate"])) for row in rows} == {
        (arm, rate) for arm, grid in GRIDS.items() for rate in grid.rates
    }
    assert {int(row["seed"]) for row in rows} == {TRIAL_SEED}
    assert max(preset.seeds for preset in LAB.presets.values()) <= TRIAL_SEED


# -- the museum ----------------------------------------------------------------------------------------------

CAUGHT_BY = {
    "divided_twice": {"one batch", "gradient"},
    "never_divided": {"one batch", "gradient"},
    "update_first": {"gradient"},
    "no_mask": {"gradient"},
    "softmax_layer": {"one batch"},
    "jacobian_twice": {"gradient"},
    "overflow": {"large logits"},
    "not_zeroed": {"one batch", "step"},
    "shuffled": set(),
    "other_slope": set(),
    "half_gelu": {"gradient"},
    "mask_before": {"gradient"},
    "constant_statistics": {"gradient"},
    "gains_forgotten": {"step"},
    "biased_variance": {"evaluation"},
    "dropout_always": {"one batch", "evaluation"},
    "unscaled": {"evaluation"},
    "clip_layers": {"step"},
    "clip_elements": {"step"},
    "decay_summed": {"step"},
    "decay_half": {"step"},
    "decay_all": {"step"},
    "huber_twice": {"one batch", "gradient"},
}


@pytest.mark.slow
@pytest.mark.data("MNIST")
@pytest.mark.parametrize("name", EXHIBITS)
def test_which_check_catches_which_fault(name):
    from nnfoundations.datamodules import MNISTDataModule

    data = MNISTDataModule(flatten=True)
    data.setup("fit")
    x, y = next(iter(data.val_dataloader()))
    alarms = caught(name, x.numpy(), y.numpy(), seed=1)
    found = {check for check, alarm in zip(CHECKS, alarms, strict=False) if alarm}
    assert found == CAUGHT_BY.get(name, set())


def test_every_fault_has_a_sound_partner_with_the_same_initial_weights():
    assert set(CAUGHT_BY) == {name for name, entry in EXHIBITS.items() if entry.sound}
    for name, entry in EXHIBITS.items():
        if entry.sound:
            assert not EXHIBITS[entry.sound].sound
            ours, sound = build(name, 3).parameters.values(), build(entry.sound, 3).parameters.values()
            for one, other in zip(ours, sound, strict=True):
                np.testing.assert_array_equal(one, other)


def test_an_unknown_exhibit_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="one of sound, divided_twice"):
        build("no_maks", 0)


# -- the checks of the page ----------------------------------------------------------------------------------


def linear(x, w, b):
    return x @ w.T + b


@pytest.mark.parametrize(
    ("backward", "message"),
    [
        (lambda g, x, w: (g @ w, g.T @ x / len(x), g.sum(0)), "weight is 4 times too small"),
        (lambda g, x, w: (g @ w, g.T @ x, g), "bias has the shape"),
        (lambda g, x, w: (-(g @ w), g.T @ x, g.sum(0)), "x has the wrong sign"),
        (lambda g, x, w: (g @ np.multiply(w, 2, out=w), g.T @ x, g.sum(0)), "backward changes the weight"),
    ],
)
def test_a_wrong_linear_layer_is_told_what_is_wrong(backward, message):
    with pytest.raises(AssertionError, match=message):
        checks.check_linear(linear, backward)


def test_a_wrong_relu_loss_or_step_is_told_what_is_wrong():
    with pytest.raises(AssertionError, match="the mask is missing"):
        checks.check_relu(lambda x: np.maximum(x, 0), lambda grad, x: grad)

    def unshifted(logits, y):
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        return -np.log(p[range(len(y)), y]).mean(), (p - np.eye(p.shape[1])[y]) / len(y)

    with pytest.raises(AssertionError, match="logits of 1e4 overflow"):
        checks.check_loss(unshifted)
    with pytest.raises(AssertionError, match="4 times too large"):
        checks.check_loss(lambda logits, y: (unshifted(logits, y)[0], 4 * unshifted(logits, y)[1]))
    with pytest.raises(AssertionError, match="goes uphill"):
        checks.check_sgd(lambda p, g, rate: [np.add(a, rate * b, out=a) for a, b in zip(p, g, strict=True)])
    with pytest.raises(AssertionError, match="did not change"):
        checks.check_sgd(lambda p, g, rate: [a - rate * b for a, b in zip(p, g, strict=True)])


def shifted(logits, y, shift):
    """The loss with logits that are shifted first."""
    z = logits - shift(logits)
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    return -log_p[range(len(y)), y].mean(), (np.exp(log_p) - np.eye(z.shape[1])[y]) / len(y)


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_changes_in_place_and_shifts_of_the_whole_batch_are_seen():
    def shrunk(grad, x):
        grad *= 0.3 * (x > 0)
        return grad

    def masked(grad, x):
        grad[x <= 0] = 0
        return grad

    with pytest.raises(AssertionError, match="differs from the differences"):
        checks.check_relu(lambda x: np.maximum(x, 0), shrunk)
    checks.check_relu(lambda x: np.maximum(x, 0, out=x), masked)
    with pytest.raises(AssertionError, match="overflow"):
        checks.check_loss(lambda logits, y: shifted(logits, y, lambda z: z.max()))
    checks.check_loss(lambda logits, y: shifted(logits, y, lambda z: z.max(1, keepdims=True)))
    with pytest.raises(AssertionError, match=r"unit j is x \. w\[j\]"):
        checks.check_linear(lambda x, w, b: x @ w.T + b[-1], lambda g, x, w: (g @ w, g.T @ x, g.sum(0)))
