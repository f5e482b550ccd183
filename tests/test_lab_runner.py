"""The runner of the labs, from the outside: a lab of its own in `own_labs/tiny`, on the digits."""

import csv
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ttest_rel
from threadpoolctl import threadpool_info, threadpool_limits

import nnfoundations.labs
from nnfoundations.cli import main
from nnfoundations.labs import ArmNotRun, Page, Results, find_labs, write_figures, write_verdicts
from nnfoundations.labs._runner.threads import one_thread

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
    assert reasons == {"wide": "1 seeds; a verdict needs 5", "middle": "no runs of middle"}

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
    assert against_narrow.splitlines()[-1] == row
    by_default = page.differences("accuracy").data
    assert by_default.startswith(against_narrow), "an arm of the reader is compared with the baseline"
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
