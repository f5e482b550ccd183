"""Laws for every lab: its claims are valid, its smoke preset leaves results, its notebook repeats."""

import csv
import json
import os
import re
import runpy
import shutil
import signal
import time
from importlib import import_module
from pathlib import Path

import cli_process
import pytest

from nnfoundations.cli import main
from nnfoundations.labs import Experiment, Page, Results, find_labs, write_figures, write_notebook
from nnfoundations.labs._runner.choice import choose, chosen_arms
from nnfoundations.labs._runner.claims import Claims
from nnfoundations.labs._runner.lab import lab_folder
from nnfoundations.labs._runner.notebook import build

LABS = find_labs()
# What a run says to its user: an arm may have no validation part, not converge, or lack a GPU.
pytestmark = [
    pytest.mark.filterwarnings("ignore:You defined a `validation_step`"),
    pytest.mark.filterwarnings("ignore:Perceptron. still"),
    pytest.mark.filterwarnings("ignore:not measured"),
]
ROOT = Path(__file__).parent.parent
each_lab = pytest.mark.parametrize("lab", LABS.values(), ids=LABS)
each_lab_with_its_data = pytest.mark.parametrize(
    "lab", [pytest.param(lab, marks=pytest.mark.data(*lab.data)) for lab in LABS.values()], ids=LABS
)
# The runner does the same for all labs, so one of them shows it at each change.
each_lab_weekly = pytest.mark.parametrize(
    "lab",
    [
        pytest.param(lab, marks=[pytest.mark.data(*lab.data), *[pytest.mark.weekly] * (name != "perceptron")])
        for name, lab in LABS.items()
    ],
    ids=LABS,
)
READ_TWICE = {"numpy_mlp"}
HEADINGS = ["Question", "Prediction", "Set-up", "Main figure", "Results", "Verdict", "What failed", "Cost",
            "Command", "Tasks"]  # fmt: skip


def tags(cell):
    return cell.metadata.get("tags", [])


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The folder of each lab's smoke preset, run once, and the exit code."""
    done = {}

    def run(lab):
        if lab.name not in done:
            out = tmp_path_factory.mktemp(lab.name)
            done[lab.name] = out, main(["lab", lab.name, "--preset", "smoke", "--out", str(out)])
        return done[lab.name]

    return run


# -- what costs nothing --------------------------------------------------------------------------------------


@each_lab
def test_claims_are_valid(lab):
    claims = Claims.read(lab_folder(lab.name) / "claims.yaml")
    assert {arm for claim in claims.claims.values() for arm in claim.arms} <= {arm.name for arm in lab.arms}
    assert len(claims.options) >= 3
    assert all(claim.source for claim in claims.claims.values())


@each_lab
def test_every_arm_has_a_config_and_every_preset_is_there(lab):
    configs = {path.stem for path in (lab_folder(lab.name) / "configs").glob("*.yaml")}
    assert configs == {(arm.config or f"{lab.name}/{arm.name}").partition("/")[2] for arm in lab.arms}
    assert list(lab.presets) == ["smoke", "quick", "full"]
    assert all(set(preset.arms) <= {arm.name for arm in lab.arms} for preset in lab.presets.values())
    assert not lab.presets["full"].arms, "it runs all"
    assert lab.presets["quick"].seeds >= 5
    assert lab.presets["quick"].seconds <= 120, "60 s on two cores"


@each_lab
def test_every_page_has_the_same_parts(lab):
    source = (lab_folder(lab.name) / "notebook.py").read_text(encoding="utf-8")
    assert [line[5:] for line in source.splitlines() if line.startswith("# ## ")] == HEADINGS
    shown = re.findall(r"^page\.(\w+)\(", source, re.M)
    parts = ["question", "prediction", "keep", "our_prediction", "setup", "figure"]
    assert shown[: len(parts)] == parts, "nothing is shown before a prediction is kept"
    assert {"table", "differences", "verdicts", "answers", "failed", "cost", "command"} <= set(shown)
    assert ("tested" in shown) == bool(lab.choices)
    assert f'page.figure("{lab.main_figure}"' in source


@each_lab
def test_the_edition_of_students_has_tasks_and_checks_but_no_solution(lab):
    full, student = build(lab), build(lab, student=True)
    solutions = [cell for cell in full.cells if "solution" in tags(cell)]
    tasks = [cell for cell in student.cells if "task" in tags(cell)]
    assert len(tasks) >= 3
    assert len(solutions) >= len(tasks)
    assert not any(cell.source in {one.source for one in solutions} for cell in student.cells)
    assert all("NotImplementedError" in cell.source for cell in tasks)
    checks = {cell.source for cell in full.cells if cell.source.startswith("checks.check_")}
    assert checks == {cell.source for cell in student.cells if cell.source.startswith("checks.check_")}
    assert len(checks) == len(tasks)


def test_the_list_says_question_time_and_what_is_done(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    row = Path("runs/labs/perceptron/full/runs/raw/seed_0/row.json")
    row.parent.mkdir(parents=True)
    row.touch()
    assert main(["lab"]) == 0
    out = capsys.readouterr().out
    for name, lab in LABS.items():
        assert f"{name}\n" in out
        assert lab.question.split()[0] in out
        assert f"  data   {', '.join(lab.data)}" in out or not lab.data
    assert re.search(r"full +120 runs, \d+ min \d+ s of CPU time, 1 done", out)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["perceptro"], "Did you mean `perceptron`?"),
        (["perceptron", "--prset", "quick"], "Did you mean `--preset`?"),
        (["perceptron", "--only", "rew"], "Did you mean `raw`?"),
        (["perceptron", "--seeds", "0"], "at least 1; got 0"),
        (["perceptron", "--report-only"], "Run the lab first"),
        (["perceptron", "--arm", "mine.yaml"], "`mine.yaml` does not exist"),
    ],
)
def test_a_mistake_is_two_lines_and_runs_nothing(args, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["lab", *args]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 2
    assert not list(tmp_path.iterdir())


# -- the smoke preset ----------------------------------------------------------------------------------------


@pytest.mark.slow
@each_lab_with_its_data
def test_smoke_leaves_results(lab, smoke):
    out, code = smoke(lab)
    assert code == 0
    results = Results(out)
    assert results.arms == [arm.name for arm in lab.arms_of("smoke")]
    assert (out / "figures" / f"{lab.main_figure}.png").exists()
    assert not results.failures
    assert {one["verdict"] for one in json.loads((out / "claims.json").read_text())["claims"]} == {
        "not shown"
    }
    assert set(lab.table) <= set(results.rows[0])


@pytest.mark.slow
@each_lab_weekly
def test_the_command_of_each_row_runs_alone(lab, smoke, tmp_path, monkeypatch):
    out, _ = smoke(lab)
    monkeypatch.chdir(tmp_path)
    for row in Results(out).rows:
        program, *args = row["command"].split()
        assert program == "nnfoundations"
        assert main([*args, "--quiet"]) == 0


@pytest.mark.slow
@each_lab_weekly
def test_notebook_and_figures_are_the_same_each_time(lab, smoke, tmp_path):
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        shutil.copytree(smoke(lab)[0], folder, ignore=shutil.ignore_patterns("runs", "figures"))
        write_figures(lab, folder)
        write_notebook(lab, folder, student=True)
        made.append({p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    assert made[0] == made[1]
    report = made[0][Path("report.html")].decode()
    assert "<script" not in report
    assert not re.search(r'(src|href)="(?!data:|#)', report), "it needs no other file"
    assert str(tmp_path) not in report


@pytest.mark.slow
@each_lab_with_its_data
def test_a_student_chooses_before_anything_is_shown(lab, smoke, tmp_path):
    shutil.copytree(smoke(lab)[0], tmp_path / "out", ignore=shutil.ignore_patterns("runs"))
    page = Page(lab.name, str(tmp_path / "out"))
    with pytest.raises(ValueError, match="choose one of a, b"):
        page.keep("")
    page.keep("a")
    assert "**a**" in page.keep("b").data, "the first choice counts"
    assert "a (yours)" in page.answers().data


@pytest.mark.weekly
@each_lab_with_its_data
def test_quick_ranks_and_takes_a_minute_on_two_cores(lab, tmp_path):
    assert main(["lab", lab.name, "--preset", "quick", "--jobs", "2", "--out", str(tmp_path)]) == 0
    results = Results(tmp_path)
    assert results.arms == [arm.name for arm in lab.arms_of("quick")]
    assert not results.failures
    assert (tmp_path / "report.html").exists()
    claims = json.loads((tmp_path / "claims.json").read_text())["claims"]
    assert any(one["verdict"] != "not shown" for one in claims)
    seconds = sum(float(row["cpu_seconds"]) for row in results.timings)
    assert seconds < 2 * lab.presets["quick"].seconds, "a busy machine may take longer, but not twice"


# -- the committed results -----------------------------------------------------------------------------------


@each_lab
def test_committed_verdicts_follow_from_the_committed_results(lab, tmp_path):
    from nnfoundations.labs import write_verdicts

    folder = ROOT / "docs" / "labs" / lab.name
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "claims.json").unlink()
    write_verdicts(lab, tmp_path)
    assert (tmp_path / "claims.json").read_bytes() == (folder / "claims.json").read_bytes()
    machine = json.loads((folder / "machine.json").read_text())
    assert machine["preset"] == "full"
    assert machine["runs"] == machine["planned"] == len(lab.arms_of("full")) * lab.presets["full"].seeds
    assert all("+changes" not in one["revision"]["nnfoundations"] for one in machine["machines"])


@each_lab
def test_the_committed_choice_follows_from_the_committed_results(lab):
    results = Results(ROOT / "docs" / "labs" / lab.name)
    assert {arm for choice in lab.choices for arm in choice.among} <= set(results.arms)
    assert results.choices == choose(lab, results)
    runs = [(arm, str(seed)) for arm in chosen_arms(results.choices) for seed in results.finished(arm)]
    assert sorted((row["arm"], row["seed"]) for row in results.tests) == sorted(runs)
    # Once, unless runs were repeated after the choice; then the page says why.
    assert len(results.readings) == (0 if not runs else 2 if lab.name in READ_TWICE else 1)


@each_lab
@pytest.mark.parametrize("preset", ["smoke", "quick"])
def test_the_main_figure_needs_only_arms_of_the_preset(lab, preset, tmp_path):
    folder, arms = ROOT / "docs" / "labs" / lab.name, [arm.name for arm in lab.arms_of(preset)]
    for name in ("results.csv", "curves.csv"):
        header, *lines = (folder / name).read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.partition(",")[0] in arms]
        (tmp_path / name).write_text("\n".join([header, *kept]), encoding="utf-8")
    for name in ("timings.csv", "machine.json"):
        shutil.copy(folder / name, tmp_path)
    figures = import_module(f"nnfoundations.labs.{lab.name}.figures").FIGURES
    assert figures[lab.main_figure](Results(tmp_path)).axes


def test_the_documentation_has_every_lab_with_its_committed_verdicts():
    page = (ROOT / "docs" / "labs.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.M)[: len(LABS)] == list(LABS)
    generate = runpy.run_path(str(ROOT / "docs" / "generate_claims.py"))
    written = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    assert written == generate["page"](), "run python docs/generate_claims.py"


# -- runs that are stopped, several at a time, or fail -------------------------------------------------------

SMOKE = ["lab", "perceptron", "--preset", "smoke"]


def rows(folder):
    with (folder / "results.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_it_goes_on_after_kill_9(smoke, tmp_path):
    args = [*SMOKE, "--out", "out"]
    process = cli_process.start(args, tmp_path)
    first = tmp_path / "out/runs/raw/seed_0/row.json"
    cli_process.wait_for(first, "fingerprint")
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    before = first.stat().st_mtime_ns
    assert len(rows(tmp_path / "out")) < 6
    code, _, _ = cli_process.run(args, tmp_path)
    assert code == 0
    assert first.stat().st_mtime_ns == before, "a finished run is not run again"
    whole, _ = smoke(LABS["perceptron"])
    assert (tmp_path / "out/results.csv").read_bytes() == (whole / "results.csv").read_bytes()


@pytest.mark.slow
def test_ctrl_c_keeps_finished_runs(tmp_path):
    process = cli_process.start([*SMOKE, "--out", "out"], tmp_path)
    cli_process.wait_for(tmp_path / "out/runs/raw/seed_0/row.json", "fingerprint")
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 130
    assert "the same command continues" in (tmp_path / "stderr").read_text()
    assert rows(tmp_path / "out")[0]["state"] == "finished"


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.weekly
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds child processes in /proc")
def test_two_jobs_equal_one_also_after_kill_9(smoke, tmp_path):
    args = [*SMOKE, "--out", str(tmp_path), "--jobs", "2"]
    process = cli_process.start(args, tmp_path)
    cli_process.wait_for(tmp_path / "results.csv", "finished")
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    workers = [int(pid) for children in tasks for pid in children.read_text().split()]
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert len(workers) >= 2
    end = time.monotonic() + 30
    while any(map(is_running, workers)):
        assert time.monotonic() < end, "the workers go on without their parent"
        time.sleep(0.05)

    assert 0 < len(rows(tmp_path)) < 6
    assert main(args) == 0
    whole, _ = smoke(LABS["perceptron"])
    for name in ("results.csv", "curves.csv", "claims.json"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.slow
def test_a_failed_run_is_a_row_and_an_arm_of_ones_own_is_compared(tmp_path, capsys):
    mine = tmp_path / "mine.yaml"
    config = (lab_folder("perceptron") / "configs" / "raw.yaml").read_text()
    mine.write_text(config.replace("lr: 1.0", "lr: 0.5"))
    only = ["--only", "mine", "--only", "standard", "--arm", str(mine)]
    assert main([*SMOKE, "--out", str(tmp_path / "out"), *only]) == 1
    assert "failed: mine seed 0: Perceptron needs SGD with lr=1" in capsys.readouterr().err
    by_arm = {row["arm"]: row for row in rows(tmp_path / "out")}
    assert by_arm["mine"]["state"] == "failed"
    assert by_arm["mine"]["updates"] == "nan"
    assert by_arm["standard"]["state"] == "finished"

    mine.write_text(config)  # corrected: it runs again, the other one does not
    assert main([*SMOKE, "--out", str(tmp_path / "out"), *only]) == 0
    assert {row["state"] for row in rows(tmp_path / "out")} == {"finished"}


def test_an_arm_of_ones_own_needs_a_name_of_its_own(tmp_path):
    with pytest.raises(ValueError, match="already named `raw`"):
        Experiment(LABS["perceptron"], "smoke", tmp_path, mine=[tmp_path / "raw.yaml"])
