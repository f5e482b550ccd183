"""The runner of the labs, from the outside: a lab of its own in `own_labs/tiny`, on the digits."""

import csv
import json
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ttest_rel
from threadpoolctl import threadpool_info, threadpool_limits

import nnfoundations.labs
from nnfoundations.cli import main
from nnfoundations.datamodules import DigitsDataModule
from nnfoundations.labs import (
    ArmNotRun,
    Choice,
    Experiment,
    Page,
    Results,
    find_labs,
    run_tests,
    write_figures,
    write_verdicts,
)
from nnfoundations.labs._runner.choice import choose
from nnfoundations.labs._runner.threads import one_thread
from nnfoundations.labs._runner.tuning import carry_out_trial
from nnfoundations.models import MLP

pytestmark = pytest.mark.filterwarnings("ignore:The number of training batches")
OWN = Path(__file__).parent / "own_labs"


@pytest.fixture(scope="module", autouse=True)
def tiny():
    """The lab, found as if it lay in `labs/`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nnfoundations.labs, "__path__", [*nnfoundations.labs.__path__, str(OWN)])
        yield find_labs()["tiny"]


@pytest.fixture(scope="module")
def smoke(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("tiny")
    assert main(["lab", "tiny", "--preset", "smoke", "--out", str(out)]) == 0
    return out


def test_a_run_has_one_thread(request):
    def threads():
        return {pool["num_threads"] for pool in threadpool_info()} | {torch.get_num_threads()}

    request.addfinalizer(partial(torch.set_num_threads, torch.get_num_threads()))
    with threadpool_limits(2):  # also where the environment says one
        torch.set_num_threads(2)
        with one_thread():
            assert threads() == {1}
        assert threads() == {2}


# -- presets that run some of the arms -----------------------------------------------------------------------


def test_the_list_says_how_many_arms_a_preset_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["lab"]) == 0
    out = capsys.readouterr().out
    assert "smoke  2 runs (2 of 3 arms), 2 s" in out
    assert "full   15 runs, 15 s" in out


def test_an_arm_that_the_preset_does_not_run_is_refused(capsys, tmp_path):
    assert main(["lab", "tiny", "--only", "middle", "--out", str(tmp_path / "out")]) == 2
    assert "the preset `quick` does not run `middle`.\nGive --preset full." in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_preset_runs_its_arms_and_leaves_out_what_needs_others(tiny, smoke):
    results = Results(smoke)
    assert results.arms == ["narrow", "wide"]
    with pytest.raises(ArmNotRun, match="middle"):
        results.values("middle", "accuracy")
    reasons = {one["id"]: one["reason"] for one in json.loads((smoke / "claims.json").read_text())["claims"]}
    assert reasons["wide"] == "1 seeds; a verdict needs 5"
    assert reasons["middle"] == "no runs of middle"

    assert {file.stem for file in (smoke / "figures").iterdir()} == {"accuracy"}
    page = Page("tiny", str(smoke))
    assert page.figure("accuracy", "alt").data
    for left_out in (page.figure("middle", "alt"), page.animation("movie", "alt"),
                     page.differences("accuracy", [("wide", "middle")])):  # fmt: skip
        assert "arms that the preset `smoke` does not run. The preset `full` runs them." in left_out.data

    (smoke / "figures" / "middle.svg").touch()  # of an earlier preset
    write_figures(tiny, smoke)
    assert not (smoke / "figures" / "middle.svg").exists()


def tables(folder, preset, **arms):
    """The files of an experiment with these accuracies."""
    rows = [(arm, seed, "finished", y) for arm, values in arms.items() for seed, y in enumerate(values)]
    for name, header, lines in (
        ("results.csv", ("arm", "seed", "state", "accuracy"), rows),
        ("curves.csv", ("arm", "seed", "curve", "x", "y"), []),
        ("timings.csv", ("arm", "seed", "seconds", "cpu_seconds"), []),
    ):
        with (folder / name).open("w", newline="") as stream:
            csv.writer(stream).writerows([header, *lines])
    (folder / "machine.json").write_text(json.dumps({"preset": preset, "machines": []}))


def test_without_the_extra_labs_it_names_the_command_that_installs_it(tiny, tmp_path, monkeypatch, capsys):
    for package in ("jupytext", "nbclient", "nbconvert", "nbformat", "ipykernel"):
        monkeypatch.setitem(sys.modules, package, None)  # importing it fails, as if it were not installed
    tables(tmp_path, "quick", narrow=[1] * 5, wide=[2] * 5)
    assert main(["lab", "tiny", "--report-only", "--student", "--out", str(tmp_path)]) == 0
    assert 'they need more packages. pip install "nnfoundations[labs]"' in capsys.readouterr().out
    assert (tmp_path / "claims.json").exists()
    assert (tmp_path / "figures/accuracy.png").exists()
    assert not list(tmp_path.glob("*.ipynb"))


def test_differences_are_paired_and_tested_together(tiny, tmp_path):
    narrow, wide, mine = [1, 2, 3, 4, 6], [2.1, 3.3, 3.9, 5.2, 7], [1.2, 2.5, 2.8, 4.3, 6.6]
    tables(tmp_path, "quick", narrow=narrow, wide=wide, mine=mine)
    write_verdicts(tiny, tmp_path)
    page = Page("tiny", str(tmp_path))
    against_narrow = page.differences("accuracy", [("wide", "narrow"), ("mine", "narrow")]).data
    low, high = ttest_rel(mine, narrow).confidence_interval()
    p = ttest_rel(mine, narrow).pvalue  # the larger one of two: Holm leaves it
    mean = np.mean(np.subtract(mine, narrow))
    row = f"| mine, minus 2 units | {mean:.3g} | [{low:.3g}, {high:.3g}] | {p:.3f} |"
    table, _, note = against_narrow.partition("\n\n")
    assert table.splitlines()[-1] == row
    assert "corrected for their number" in note
    by_default = page.differences("accuracy").data
    assert by_default.startswith(table), "an arm of the reader is compared with the baseline"
    assert "the preset `quick` does not run both arms: 32 units, minus 8 units.*" in by_default

    slightly = [1.2, 2.3, 3.1, 4.4, 6.05]
    tables(tmp_path, "quick", narrow=narrow, wide=slightly, mine=mine)
    once = ttest_rel(slightly, narrow).pvalue
    for pairs, p in ([("wide", "narrow")], once), ([("wide", "narrow"), ("mine", "narrow")], 2 * once):
        assert f"| {p:.3f} |" in Page("tiny", str(tmp_path)).differences("accuracy", pairs).data


@pytest.mark.slow
def test_what_a_run_has_logged_by_epoch(smoke):
    results = Results(smoke)
    epochs, accuracy = results.curve("wide", 0, "accuracy")
    assert epochs.tolist() == [1, 2]
    assert accuracy[-1] == results.values("wide", "accuracy")[0]


@pytest.mark.slow
def test_a_trial_has_one_rate_and_is_run_once(tiny, tmp_path):
    option = "--model.init_args.optimizer.init_args.lr"
    one_epoch = ("--trainer.max_epochs", "1")
    arm = replace(tiny.arms[0], options=(option, "0.5", *tiny.arms[0].options, *one_epoch))
    config = arm.config or f"tiny/{arm.name}"
    row = carry_out_trial(arm, config, option, 0.01, tmp_path, tiny.measure)
    assert (row.arm, row.state) == (f"{arm.name}_0.01", "finished"), row.cause
    assert row.command.count(option) == 1
    assert row.command.endswith(f"{option} 0.01")
    other = replace(arm, options=(option, "0.9", *arm.options[2:]))
    again = carry_out_trial(other, config, option, 0.01, tmp_path, tiny.measure)
    assert again.seconds == row.seconds, "it is taken, not repeated"


# -- choosing and testing ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tested(tiny, tmp_path_factory):
    """The quick preset: ten runs, and five tests of the arm that was chosen."""
    out = tmp_path_factory.mktemp("tested")
    assert main(["lab", "tiny", "--out", str(out)]) == 0
    return out


@pytest.fixture
def copy(tested, tmp_path):
    return Path(shutil.copytree(tested, tmp_path / "out"))


def choice(out):
    return json.loads((out / "choice.json").read_text())


def folders(out):
    """The run folders that `fit` and `test` have written."""
    return sorted(str(path.parent.relative_to(out)) for path in out.glob("runs/*/*/*/run.json"))


def state(out):
    return folders(out), [(out / name).read_bytes() for name in ("results.csv", "test.csv", "choice.json")]


def accuracy_by_hand(checkpoint):
    """Of the test part of the digits."""
    saved = torch.load(checkpoint, weights_only=True)
    net = MLP([64, 32, 10])
    weights = {key: w for key, w in saved["state_dict"].items() if key.startswith("net.")}
    net.load_state_dict({key.removeprefix("net."): w for key, w in weights.items()})
    data = DigitsDataModule(split_seed=saved["datamodule_hyper_parameters"]["split_seed"], batch_size=2000)
    data.setup()
    x, y = next(iter(data.test_dataloader()))
    return (net.eval()(x).argmax(1) == y).float().mean().item()


@pytest.mark.slow
def test_the_chosen_arm_alone_is_tested_from_its_checkpoints(tested):
    results = Results(tested)
    means = {arm: results.values(arm, "accuracy").mean() for arm in ("narrow", "wide")}
    assert means["wide"] > means["narrow"]
    (chosen,) = choice(tested)["choices"]
    assert chosen == {
        **{"column": "accuracy", "best": "largest", "means": pytest.approx(means), "seeds": 5},
        "chosen": "wide",
    }
    assert choice(tested)["readings"] == [
        {"reason": "after all runs", "arms": ["wide"], "runs": 5, "tested": 5}
    ]
    assert {(row["arm"], row["state"]) for row in results.tests} == {("wide", "finished")}
    for seed, accuracy in results.by_seed("wide", "test/accuracy").items():
        (checkpoint,) = tested.glob(f"runs/wide/seed_{seed}/*/checkpoints/best.ckpt")
        assert accuracy == pytest.approx(accuracy_by_hand(checkpoint), abs=1e-6)
    assert len(folders(tested)) == 10 + 5, "nothing else has read test data"


@pytest.mark.slow
def test_page_and_claims_know_what_was_tested(tested, tiny):
    claims = {one["id"]: one for one in json.loads((tested / "claims.json").read_text())["claims"]}
    accuracy = Results(tested).values("wide", "test/accuracy")
    assert claims["test"]["measured"]["estimate"] == pytest.approx(accuracy.mean())
    assert claims["test"]["verdict"] != "not shown"
    assert claims["not-chosen"]["reason"] == "not tested: narrow"
    text = Page("tiny", str(tested)).tested().data
    assert f"| 32 units | accuracy | {accuracy.mean():.3g} ± {accuracy.std(ddof=1):.3g} | " in text
    assert "Chosen by the largest mean of validation accuracy: **32 units**. Means: 2 units 0." in text
    assert "Test data were read after all runs, for 5 runs." in text


@pytest.mark.slow
def test_test_data_are_not_read_again(copy):
    before = state(copy)
    assert main(["lab", "tiny", "--out", str(copy)]) == 0
    assert state(copy) == before


@pytest.mark.slow
def test_a_stopped_test_continues_and_each_can_be_repeated_alone(copy, monkeypatch):
    """As kill -9 leaves it: two tests not run, and the log one behind."""
    before, record = state(copy), choice(copy)
    for seed in (1, 4):
        (copy / f"runs/wide/seed_{seed}/test.json").unlink()
    record["readings"][0]["tested"] = 2
    (copy / "choice.json").write_text(json.dumps(record))
    assert main(["lab", "tiny", "--out", str(copy)]) == 0
    assert state(copy)[1] == before[1]
    assert len(folders(copy)) == len(before[0]) + 2

    monkeypatch.chdir(copy)
    program, *args = Results(copy).tests[3]["command"].split()
    assert (program, main(args)) == ("nnfoundations", 0)
    assert len([one for one in folders(copy) if one.startswith("runs/wide/seed_3/")]) == 3


@pytest.mark.slow
def test_a_changed_run_or_choice_is_tested_and_recorded(copy, tiny):
    shutil.rmtree(copy / "runs/wide/seed_2")
    assert main(["lab", "tiny", "--out", str(copy)]) == 0
    run = {"reason": "again, because the runs had changed", "arms": ["wide"], "runs": 1, "tested": 1}
    assert choice(copy)["readings"][1:] == [run]

    other = replace(tiny, choices=(Choice("accuracy", "smallest", ("wide", "narrow")),))
    run_tests(Experiment(other, "quick", copy))
    arm = {"reason": "again, because the choice had changed", "arms": ["narrow"], "runs": 5, "tested": 5}
    assert choice(copy)["readings"][1:] == [run, arm]
    assert {row["arm"] for row in Results(copy).tests} == {"narrow"}


def test_nothing_is_chosen_below_five_seeds_or_from_failed_runs(tiny, tmp_path):
    tables(tmp_path, "quick", narrow=[1, 2, 3, 4], wide=[2, 3, 4, 5])
    assert choose(tiny, Results(tmp_path)) == []
    nan = float("nan")
    tables(tmp_path, "quick", narrow=[1, 2, 3, 4, 5], wide=[2, 3, 4, 5, nan])
    (chosen,) = choose(tiny, Results(tmp_path))
    assert (chosen["chosen"], chosen["means"]) == ("narrow", {"narrow": 3, "wide": None})
    tables(tmp_path, "quick", narrow=[nan] * 5, wide=[nan] * 5)
    assert choose(tiny, Results(tmp_path))[0]["chosen"] is None
    tables(tmp_path, "quick", wide=[1] * 5, narrow=[1] * 5)
    assert choose(tiny, Results(tmp_path))[0]["chosen"] == "narrow", "the first one of the rule"


@pytest.mark.slow
def test_test_data_stay_unread_below_five_seeds(smoke):
    assert not (smoke / "choice.json").exists()
    assert len(folders(smoke)) == 2
    assert "a choice needs all runs and 5 seeds" in Page("tiny", str(smoke)).tested().data
