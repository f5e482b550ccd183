"""The lab about speed: steps of every kind, the clock, memory, tables of rows, checks of the notebook."""

import csv
import json
import math
import runpy
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from nnfoundations.errors import DtypeError, OptionError
from nnfoundations.labs import Results
from nnfoundations.labs._runner.lab import lab_folder
from nnfoundations.labs.gpu import checks
from nnfoundations.labs.gpu.clock import WARM_UP, cores, threads, warm_up
from nnfoundations.labs.gpu.figures import FIGURES
from nnfoundations.labs.gpu.kinds import KINDS, sizes_of
from nnfoundations.labs.gpu.lab import BATCHES, LAB, TRAINED, scaled_rate
from nnfoundations.labs.gpu.measure import faster_from, smallest_good_batch
from nnfoundations.labs.gpu.memory import _Allocations, accumulate, accumulation_error, peak_bytes
from nnfoundations.labs.gpu.remedies import REMEDIES, Remedy
from nnfoundations.labs.gpu.steps import Images, build_step, perceptron, unavailable
from nnfoundations.labs.gpu.tables import (
    best_batches,
    largest_batch,
    machine_text,
    memory_advice,
    not_measured,
    speed_table,
    target_table,
    width_text,
)
from nnfoundations.labs.gpu.times import StepTimes

ON_CPU = [name for name, kind in KINDS.items() if kind.device == "cpu" and not kind.compiled]
ON_CUDA = [name for name, kind in KINDS.items() if kind.device == "cuda" and not kind.compiled]


def images(count=1024):
    generator = torch.Generator().manual_seed(0)
    return Images(torch.randn(count, 784, generator=generator), torch.arange(count) % 10)


def after(name, steps=5, batch=64):
    """The output of a kind after some steps, in float32 on the CPU."""
    step = build_step(KINDS[name], sizes_of(32), batch, images(), seed=0)
    for i in range(steps):
        step(i)
    return step


def weights(step):
    if hasattr(step.net, "gradients"):
        return [torch.from_numpy(array).double() for array in step.net.parameters.values()]
    return [parameter.detach().double().cpu() for parameter in step.net.parameters()]


@pytest.mark.parametrize("name", ON_CPU)
def test_every_kind_makes_the_same_steps(name):
    found, expected = after(name), after("numpy_float64")
    tolerance = 2e-2 if KINDS[name].autocast else 1e-5
    for a, r in zip(weights(found), weights(expected), strict=True):
        torch.testing.assert_close(a, r, rtol=tolerance, atol=tolerance)
    assert found.dtypes() == {KINDS[name].dtype}
    assert found.predict(images().x).shape == (1024,)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ON_CUDA)
def test_every_kind_on_cuda_makes_the_same_steps(name):
    tolerance = 2e-2 if KINDS[name].autocast else 1e-4
    for a, r in zip(weights(after(name)), weights(after("numpy_float64")), strict=True):
        torch.testing.assert_close(a, r, rtol=tolerance, atol=tolerance)


@pytest.mark.weekly
@pytest.mark.parametrize(
    "name", ["torch_compiled", *(["cuda_compiled"] if torch.cuda.is_available() else [])]
)
def test_the_compiled_step_is_the_same(name):
    for a, r in zip(weights(after(name)), weights(after("numpy_float64")), strict=True):
        torch.testing.assert_close(a, r, rtol=1e-4, atol=1e-4)


def test_a_step_of_another_dtype_is_refused():
    with pytest.raises(DtypeError, match="weights of float64; got float32"):
        build_step(replace(KINDS["torch"], dtype="float64"), [784, 8, 10], 4, images(8), seed=0)


def test_an_unknown_kind_is_refused():
    with pytest.raises(OptionError, match="got tpu"):
        StepTimes(["numpy", "tpu"])


def test_without_a_gpu_cuda_is_not_available(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert {name for name, kind in KINDS.items() if unavailable(kind)} == {
        name for name, kind in KINDS.items() if kind.device == "cuda"
    }


def test_warm_up_is_discarded_and_small_steps_are_repeated():
    made = []
    count = warm_up(made.append, "cpu", 0.001)
    assert len(made) == WARM_UP + 3
    assert count > 3


def test_a_kind_has_the_threads_that_it_says():
    before = torch.get_num_threads()
    for name, count in (("torch", 1), ("torch_all", cores())):
        with threads(KINDS[name]):
            assert torch.get_num_threads() == count
    assert torch.get_num_threads() == before


# -- memory --------------------------------------------------------------------------------------------------


def test_the_peak_is_that_of_what_is_alive():
    x = torch.zeros(1000)
    with _Allocations([x]) as allocations:
        y = x + 1
        del y
        z = (x + 1).view(10, 100)
        z += 1
    assert allocations.peak == 8000, "x and one more at a time; a view and an update in place need nothing"
    assert allocations.live == 8000


@pytest.mark.parametrize("name", [name for name in REMEDIES if name != "plain"])
def test_each_remedy_lowers_the_peak(name):
    x, y = images()
    sizes = [784, *[64] * 16, 10]
    plain, found = (peak_bytes(perceptron(sizes, 0), x, y, REMEDIES[one]) for one in ("plain", name))
    assert found < 0.95 * plain


@pytest.mark.parametrize("remedy", [Remedy("", parts=16), Remedy("", parts=7), Remedy("", checkpoints=True)])
def test_a_remedy_has_the_gradient_of_the_whole_batch(remedy):
    x, y = images(100)
    gradients = []
    for one in (Remedy(""), remedy):
        net = perceptron([784, 16, 8, 10], 0).double()
        accumulate(net, x.double(), y, one)
        gradients.append([parameter.grad for parameter in net.parameters()])
    for a, r in zip(*gradients, strict=True):
        torch.testing.assert_close(a, r, rtol=3.6e-15, atol=3.6e-15)


def test_the_accumulated_gradient_is_within_the_tolerance_of_a_product():
    assert 0 < accumulation_error(images(), 0, "cpu") <= 16


# -- answers from numbers ------------------------------------------------------------------------------------


def test_the_best_batch_is_the_smallest_near_the_best_throughput():
    assert smallest_good_batch({16: 1.0, 64: 1.0, 256: 4.1, 1024: 15.9}) == 64
    assert smallest_good_batch({16: 1.0, 64: 1.0, 256: 1.0}) == 256


@pytest.mark.parametrize(
    ("times", "others", "width"),
    [
        ({32: 5, 128: 5, 256: 5}, {32: 1, 128: 6, 256: 9}, 128),
        ({32: 5, 128: 5, 256: 5}, {32: 6, 128: 4, 256: 9}, 256),
        ({32: 5, 128: 5}, {32: 1, 128: 2}, math.inf),
        ({}, {32: 1}, math.nan),
    ],
)
def test_the_width_is_that_from_which_on_it_is_faster(times, others, width):
    assert faster_from(times, others) == pytest.approx(width, nan_ok=True)


def test_the_largest_batch_fits_into_70_percent():
    assert largest_batch(1000, 10, 1) == 512
    assert largest_batch(10, 10, 1) == 0


def test_rates_grow_with_the_root():
    options = {arm.name: dict(zip(arm.options[::2], arm.options[1::2], strict=True)) for arm in TRAINED}
    rate = "--model.init_args.lr_scheduler.init_args.max_lr"
    for size in BATCHES:
        assert float(options[f"net_{size}"][rate]) == pytest.approx(scaled_rate(size))
    assert scaled_rate(256) == 2 * scaled_rate(64)
    assert options["accumulate_1024"][rate] == options["net_1024"][rate]
    assert {float(options[f"fixed_{size}"][rate]) for size in BATCHES[1:]} == {scaled_rate(64)}


@pytest.fixture(params=["cpu", "cuda"])
def rows(request, tmp_path):
    """Invented rows of all arms, with and without a GPU: what tables do with them is tested, no time."""
    kinds = [name for name, kind in KINDS.items() if request.param == "cuda" or kind.device == "cpu"]
    columns = {f"us_{name}": 1000.0 + i for i, name in enumerate(kinds)}
    columns |= {f"accuracy_{name}": 95.0 for name in kinds} | {"machine_cores": 2.0}
    if request.param == "cuda":
        columns |= {"machine_capability": 12.1, "machine_driver": 580.95, "machine_tf32": 0.0,
                    "machine_unified": 1.0, "machine_total_gib": 120.0}  # fmt: skip
    columns |= {f"mib_plain_{size}": 10.0 + size / 100 for size in (64, 256, 1024)}
    columns |= {f"mib_{name}_1024": 15.0 for name in REMEDIES if name != "plain"}
    columns |= {"accuracy": 98.0, "steps_98": 2000.0, "epochs_98": 3.0}
    with (tmp_path / "results.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("arm", "seed", "state", *columns))
        for arm in LAB.arms:
            writer.writerows((arm.name, seed, "finished", *columns.values()) for seed in range(5))
    with (tmp_path / "curves.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("arm", "seed", "curve", "x", "y"))
        for arm, sizes in (("steps", range(5)), ("batches", (64, 256, 1024, 4096)), ("widths", (128, 256))):
            for seed in range(5):
                writer.writerows(
                    (arm, seed, f"us_{name}", size, 1000.0 + i + seed + size * (KINDS[name].device == "cpu"))
                    for i, name in enumerate(kinds)
                    for size in sizes
                )
    (tmp_path / "timings.csv").write_text("arm,seed,seconds,cpu_seconds\n")
    (tmp_path / "machine.json").write_text(
        json.dumps({"preset": "full", "machines": [{"device": "GPU 0 (NVIDIA GB10)"}]})
    )
    return request.param, Results(tmp_path)


def test_tables_and_figures_show_what_was_measured(rows):
    device, results = rows
    speed, missing = speed_table(results).data, not_measured(results).data
    assert speed.count("95 |") == len([kind for kind in KINDS.values() if device in ("cuda", kind.device)])
    if device == "cpu":
        assert "CUDA" not in speed
        assert all(kind.label in missing for kind in KINDS.values() if kind.device == "cuda")
        assert "no CUDA device" in missing
        assert "**not measured**" in width_text(results).data
        assert "CUDA" not in machine_text(results).data
    else:
        assert missing == "Every kind was measured."
        assert (
            "CUDA is faster than the fastest kind on the CPU from width **128** on"
            in width_text(results).data
        )
        assert (
            "capability 12.1, driver 580.95, TF32 off, 120 GiB of memory, shared"
            in machine_text(results).data
        )
    assert "4,096 (the largest tried)" in best_batches(results).data
    assert "5 of 5" in target_table(results).data
    assert "batches of 65,536 fit" in memory_advice(results).data
    for draw in FIGURES.values():
        assert draw(results).axes


def test_a_preset_without_sizes_says_so(rows):
    _, results = rows
    results.arms = ["steps", "net_64"]
    for table in (best_batches, target_table, width_text, memory_advice):
        assert "`full`" in table(results).data


# -- the checks of the notebook ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """The solutions of the notebook."""
    source = (lab_folder("gpu") / "notebook.py").read_text(encoding="utf-8")
    cells = [
        cell.partition("\n")[2] for cell in source.split("# %%") if cell.startswith(' tags=["solution"]')
    ]
    file = tmp_path_factory.mktemp("answers") / "solutions.py"
    file.write_text("import math\n" + "\n".join(cells), encoding="utf-8")
    return runpy.run_path(str(file))


def test_the_solutions_pass(answers):
    for name in ("time_steps", "accumulate", "best_batch", "largest_batch"):
        getattr(checks, f"check_{name}")(answers[name])


def timed(step, synchronize, clock, count, *, discarded=10, before=True, after=True, divides=True):
    for _ in range(discarded):
        step()
    if before:
        synchronize()
    start = clock()
    for _ in range(count):
        step()
    if after:
        synchronize()
    return (clock() - start) / (count if divides else 1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"before": False, "after": False}, "only been given the steps"),
        ({"after": False}, "before the second reading"),
        ({"discarded": 0}, "discard at least 10 steps"),
        ({"before": False}, "before the first reading"),
    ],
)
def test_a_wrong_measurement_is_named(wrong, message):
    with pytest.raises(AssertionError, match=message):
        checks.check_time_steps(lambda *given: timed(*given, **wrong))


def summed(gradient, x, y, most, *, share):
    parts = [slice(i, i + most) for i in range(0, len(x), most)]
    return sum(gradient(x[part], y[part]) * share for part in parts)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda gradient, x, y, most: gradient(x, y), "a part has at most 4 rows"),
        (lambda *given: summed(*given, share=1), "the sum of the means"),
        (lambda *given: summed(*given, share=1 / 3), "share of the rows"),
        (lambda gradient, x, y, most: gradient(x[:4], y[:4]), "may be lost"),
    ],
)
def test_a_wrong_accumulation_is_named(answer, message):
    with pytest.raises(AssertionError, match=message):
        checks.check_accumulate(answer)


def test_wrong_sizes_are_named():
    for answer, message in (
        (lambda times: min(times, key=times.get), "compare images per second"),
        (lambda times: max(times, key=lambda batch: batch / times[batch]), "a smaller batch"),
        (lambda times: 64, "images per unit of time; got 64"),
    ):
        with pytest.raises(AssertionError, match=message):
            checks.check_best_batch(answer)
    for found, message in ((690, "a power of two"), (1024, "use 70 %"), (256, "so 512; got 256")):
        with pytest.raises(AssertionError, match=message):
            checks.check_largest_batch(lambda *given, found=found: found)


# -- the committed results -----------------------------------------------------------------------------------


def test_committed_runs_reach_the_goals_of_the_configs():
    results = Results(Path(__file__).parent.parent / "docs" / "labs" / "gpu")
    for arm in ("net_64", "numpy"):
        assert results.values(arm, "accuracy").min() >= 97.8
    assert (results.values("memory", "least_saving") > 0).all()
    assert np.isfinite(results.values("steps", "us_torch")).all()
    for arm in ("batches", "widths"):
        assert len(results.curve(arm, 0, "us_torch")[0])
    assert import_module("nnfoundations.labs.gpu.lab").LAB is LAB
