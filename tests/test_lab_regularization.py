"""The lab of regularization: its images, its measurements, its flat region, and what its checks refuse."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import seed_everything

from nnfoundations.cli import main
from nnfoundations.labs import Results
from nnfoundations.labs.regularization import checks
from nnfoundations.labs.regularization.data import SmallMNISTDataModule
from nnfoundations.labs.regularization.digits import few_digits, softmax_gradient
from nnfoundations.labs.regularization.lab import measure
from nnfoundations.labs.regularization.sweeps import fit_of, flat_region


def drawn(seed, **options):
    seed_everything(seed)
    data = SmallMNISTDataModule(**options)
    data.setup("fit")
    return data


@pytest.mark.data("MNIST")
def test_a_seed_draws_its_own_images_and_options_change_none_of_them():
    x, y = drawn(1).clean_train_part()
    assert x.shape == (1000, 1, 28, 28)
    assert torch.bincount(y, minlength=10).min() > 80, "stratified"
    same, _ = drawn(1, augment=("affine",)).clean_train_part()
    assert torch.equal(same, x), "the clean part is not augmented"
    assert not torch.equal(drawn(2).clean_train_part()[0], x)
    noisy = drawn(1, label_noise=0.9)
    random_x, random_y = noisy.clean_train_part()
    assert torch.equal(random_x, x)
    assert (random_y == y).float().mean() == pytest.approx(0.1, abs=0.001)
    ((_, val_y),) = noisy.val_dataloader()
    ((_, true_y),) = drawn(1).val_dataloader()
    assert torch.equal(val_y, true_y), "validation labels stay true"
    assert len(val_y) == 2000


@pytest.mark.slow
@pytest.mark.data("MNIST")
def test_a_stopped_run_is_measured_at_the_weights_that_it_keeps(tmp_path):
    command = [
        "fit",
        "--config",
        "regularization/none",
        "--test",
        "false",
        "--quiet",
        "--seed_everything",
        "3",
    ]
    command += ["--trainer.default_root_dir", str(tmp_path)]
    command += ["--model.init_args.l2", "0.01", "--checkpoint.monitor", "val/loss"]
    assert main([*command, "--early_stopping.patience", "1"]) == 0
    (folder,) = (path.parent for path in tmp_path.rglob("run.json"))
    measured = measure(folder)
    values, losses = measured.values, dict(measured.curves["loss"])
    assert values["epoch"] == min(losses, key=losses.__getitem__) < max(losses)
    assert values["loss"] == pytest.approx(losses[values["epoch"]], rel=1e-4)
    assert values["gap"] == pytest.approx(values["fit_accuracy"] - 100 + values["error"])
    weights = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    norm = torch.cat([w.flatten() for w in weights.values() if w.ndim > 1]).norm().item()
    assert values["norm"] == pytest.approx(norm, rel=1e-5)
    # it is logged before the step that ends the epoch, so the weights are not quite the same
    assert values["penalty"] == pytest.approx(0.01 / 2 * norm**2, rel=0.05)


def written(folder, accuracies, losses):
    with (folder / "results.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("arm", "seed", "state", "accuracy", "loss", "fit_loss"))
        for arm, values in accuracies.items():
            writer.writerows((arm, i, "finished", value, *losses[arm]) for i, value in enumerate(values))
    (folder / "timings.csv").write_text("arm,seed,seconds,cpu_seconds\n")
    (folder / "curves.csv").write_text("arm,seed,curve,x,y\n")
    (folder / "machine.json").write_text(json.dumps({"preset": "full"}))
    return Results(folder)


def test_the_flat_region_has_what_is_not_shown_to_be_worse(tmp_path):
    accuracies = {"weak": [80, 81, 82, 83, 84], "good": [90, 91, 92, 93, 94], "near": [91, 90, 93, 92, 93]}
    results = written(tmp_path, accuracies, {"weak": (2, 0.1), "good": (1, 0.5), "near": (1.5, 0.9)})
    assert flat_region(results, ["weak", "good", "near"]) == ("good", ["good", "near"])
    fits = {arm: fit_of(results, arm, list(accuracies)) for arm in accuracies}
    assert fits == {"weak": "over-fit", "good": "best", "near": "under-fit"}

    few = {arm: values[:4] for arm, values in accuracies.items()}
    results = written(tmp_path, few, dict.fromkeys(few, (1, 1)))
    assert flat_region(results, list(few)) == ("good", []), "nothing is ranked below five seeds"


def test_the_gradient_of_the_small_problem_is_that_of_torch():
    x, y, _, _ = few_digits()
    w = torch.randn(10, 64, dtype=torch.float64, requires_grad=True)
    torch.nn.functional.cross_entropy(torch.from_numpy(x) @ w.T, torch.from_numpy(y)).backward()
    np.testing.assert_allclose(softmax_gradient(w.detach().numpy(), x, y), w.grad.numpy(), atol=1e-12)


def scaled_rows(weight, c):
    return weight * c / np.linalg.norm(weight, axis=1, keepdims=True)


def late_stop(losses, patience):
    best = int(np.argmin(losses))
    return min(best + patience, len(losses) - 1), best


def dropout(scale, evaluates=True):
    def wrong(x, p, training, generator):
        if evaluates and not training:
            return x, np.ones_like(x)
        factors = (generator.random(x.shape) >= p) * scale(p)
        return x * factors, factors

    return wrong


def per_column(x, p, train, generator):
    factors = np.ones_like(x) * ((generator.random(x.shape[1]) >= p) / (1 - p) if train else 1)
    return x * factors, factors


def in_place(x, p, train, generator):
    factors = (generator.random(x.shape) >= p) / (1 - p) if train else np.ones_like(x)
    x *= factors
    return x, factors


def other_generator(x, p, train, generator):
    return per_value(x, p, train, np.random.default_rng())


def per_value(x, p, train, generator):
    factors = (generator.random(x.shape) >= p) / (1 - p) if train else np.ones_like(x)
    return x * factors, factors


def limited(w, c):
    norms = np.linalg.norm(w, axis=1, keepdims=True)
    return w * np.minimum(1, c / np.maximum(norms, 1e-12))


def against_the_one_before(losses, patience):
    best, worse = 0, 0
    for epoch in range(1, len(losses)):
        worse = 0 if losses[epoch] < losses[epoch - 1] else worse + 1
        best = epoch if losses[epoch] < losses[best] else best
        if worse == patience:
            return epoch, best
    return len(losses) - 1, best


def test_right_answers_pass():
    checks.check_penalty_gradient(lambda w, l1, l2: l1 * np.sign(w) + l2 * w)
    checks.check_dropout(per_value)
    checks.check_max_norm(limited)


@pytest.mark.parametrize(
    ("check", "wrong", "message"),
    [
        (checks.check_penalty_gradient, lambda w, l1, l2: l1 * np.sign(w) + 2 * l2 * w, "half of l2 / 2"),
        (checks.check_penalty_gradient, lambda w, l1, l2: l1 * np.abs(w) + l2 * w, "numerical gradient"),
        (checks.check_penalty_gradient, lambda w, l1, l2: (l1 * np.sign(w) + l2 * w).sum(), "has the shape"),
        (checks.check_penalty_gradient, lambda w, l1, l2: None, "end the function with `return`"),
        (checks.check_dropout, dropout(lambda p: 1.0), "divided by 1 - p"),
        (checks.check_dropout, lambda x, p, train, generator: x, "is two values"),
        (checks.check_dropout, per_column, "not for each column"),
        (checks.check_dropout, in_place, "leave x as it is"),
        (checks.check_dropout, other_generator, "from the given generator"),
        (checks.check_dropout, dropout(lambda p: 1 / (1 - p), evaluates=False), "in evaluation"),
        (checks.check_max_norm, lambda w, c: w * min(1, c / np.linalg.norm(w)), "A row enters one unit"),
        (checks.check_max_norm, lambda w, c: np.clip(w, -c, c), "becomes"),
        (checks.check_stopping, lambda losses, patience: (len(losses) - 1, 0), "stop at 4"),
        (checks.check_max_norm, lambda w, c: limited(w, 1.0), "c = 2"),
        (checks.check_stopping, late_stop, "not better"),
        (checks.check_stopping, against_the_one_before, "the smallest loss so far"),
        (checks.check_stopping, lambda losses, patience: 3, "two values; got int"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_check_says_what_is_wrong(check, wrong, message):
    with pytest.raises(AssertionError, match=message):
        check(wrong)


def test_rows_of_zeros_must_stay():
    with pytest.raises(AssertionError), np.errstate(invalid="ignore"):
        checks.check_max_norm(scaled_rows)


def test_committed_runs_reach_the_goal_of_the_config():
    results = Results(Path(__file__).parent.parent / "docs" / "labs" / "regularization")
    assert results.values("none", "fit_accuracy").min() == 100
    assert results.values("none", "accuracy").min() >= 89
