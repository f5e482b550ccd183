"""One trial: a run of `fit` for each seed, told to the study as finished, pruned or failed."""

import json
import math
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer

from nnfoundations.callbacks import Diagnostics, log_folder
from nnfoundations.cli.commands._train import FAILED, train
from nnfoundations.cli.config._settings import CommandError
from nnfoundations.cli.run._captured import first_cause, write_whole
from nnfoundations.cli.run._finite_weights import non_finite_weight
from nnfoundations.cli.run._signals import Interrupted
from nnfoundations.cli.sweep._liveness import alive, stop_trial
from nnfoundations.cli.sweep._plan import Plan
from nnfoundations.diagnostics import Severity

if TYPE_CHECKING:
    from optuna import Study, Trial

__all__ = ["CAUSE", "ERROR", "RUNS", "carry_out"]

RUNS, CAUSE, ERROR = "runs", "cause", "error"
"""Attributes of a trial: its runs, the first finding or why it failed, and the error that `fit` printed."""


class TrialFailed(Exception):  # noqa: N818  # a result
    """A run of the trial failed. `cause` is the first cause, `error` what `fit` said."""

    def __init__(self, cause: str, error: str) -> None:
        super().__init__(cause)
        self.cause, self.error = cause, error


class EpochReport(Callback):
    """Records the metric of every epoch, and stops a run that the pruner gives up.

    Args:
        metric: its name.
        trial: to which the epochs are reported; None reports nothing.
    """

    def __init__(self, metric: str, trial: "Trial | None") -> None:
        self.metric, self.trial = metric, trial
        self.values: list[float] = []
        self.pruned = False
        self.folder: Path | None = None
        self.findings: Path | None = None
        self.not_finite: str | None = None  # a weight at the end
        self._diagnostics: list[Diagnostics] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.folder = Path(trainer.default_root_dir)
        self.findings = (log_folder(trainer) or self.folder) / "findings.jsonl"
        callbacks: list[object] = trainer.callbacks  # type: ignore[attr-defined]  # set by its connector
        self._diagnostics = [callback for callback in callbacks if isinstance(callback, Diagnostics)]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.metric not in trainer.callback_metrics:  # validation is not in every epoch
            return
        self.values.append(float(trainer.callback_metrics[self.metric]))
        if self.trial is None or not math.isfinite(self.values[-1]):
            return
        self.trial.report(self.values[-1], trainer.current_epoch + 1)
        if self.trial.should_prune():
            self.pruned = trainer.should_stop = True
            trainer.fit_loop.min_epochs, trainer.fit_loop.epoch_loop.min_steps = 0, None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.not_finite = non_finite_weight(pl_module)

    @property
    def stops_for_findings(self) -> bool:
        """Whether a finding of severity error ends the run."""
        return any(diagnostics.action in ("stop", "raise") for diagnostics in self._diagnostics)


def carry_out(plan: Plan, study: "Study", trial: "Trial") -> None:
    """Run a trial and tell its study how it ended.

    Args:
        plan: the sweep.
        study: of the trial.
        trial: with its values.

    Raises:
        Interrupted: a signal ended it; its values are queued again.
    """
    from optuna.trial import TrialState

    values: list[float] = []
    try:
        with alive(trial):
            for seed in range(plan.seeds):
                value, pruned = _run(plan, trial, seed)
                values.append(value)
                if pruned or _prunes_by_seed(plan, trial, value, seed):
                    study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
                    return
        study.tell(trial, sum(values) / len(values), skip_if_finished=True)
    except TrialFailed as failure:
        trial.set_user_attr(CAUSE, failure.cause)
        trial.set_user_attr(ERROR, failure.error)
        study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
    except Interrupted as stop:
        stop_trial(study, trial.number, trial.params, f"interrupted by {stop}")
        raise


def _prunes_by_seed(plan: Plan, trial: "Trial", value: float, seed: int) -> bool:
    if plan.pruner != "wilcoxon":
        return False
    trial.report(value, seed)
    return seed < plan.seeds - 1 and trial.should_prune()


def _run(plan: Plan, trial: "Trial", seed: int) -> tuple[float, bool]:
    """One run: its value, and whether it was pruned.

    The value is the best of all epochs, that of the checkpoint which is kept.
    """
    # Epochs of one seed are compared: with another seed, the same epoch is not the same.
    report = EpochReport(plan.metric, trial if plan.pruner == "median" and seed == 0 else None)
    start = time.monotonic()
    code, text = _fit(plan.run_arguments(trial.params, trial.number, seed), report)
    value = plan.better(filter(math.isfinite, report.values), default=math.nan)
    runs = trial.user_attrs.get(RUNS, [])
    trial.set_user_attr(RUNS, [*runs, {
        "seed": seed,
        "value": value if math.isfinite(value) else None,  # JSON has no NaN
        "epochs": len(report.values),
        "seconds": round(time.monotonic() - start, 1),
        "folder": str(report.folder or ""),
    }])  # fmt: skip
    if report.folder is not None:
        write_whole(report.folder / "output.txt", text)
    fault = _first_fault(report)
    if error := first_cause(text) if code else _failure(plan, report, fault):
        raise TrialFailed(fault or error, error)
    if fault:
        trial.set_user_attr(CAUSE, fault)
    return value, report.pruned


def _failure(plan: Plan, report: EpochReport, fault: str) -> str:
    """Why a run failed although `fit` ended well; empty if it did not."""
    if fault and report.stops_for_findings:
        return f"stopped because of {fault}"
    if not report.values or not math.isfinite(report.values[-1]):
        return f"{plan.metric} is not finite"
    # With such weights an accuracy is finite: that of always the same class.
    return f"the weights are not finite: {report.not_finite}" if report.not_finite else ""


def _fit(arguments: list[str], report: EpochReport) -> tuple[int, str]:
    """Run `fit` in this process; return its exit code and all that it printed."""
    text = StringIO()
    with redirect_stdout(text), redirect_stderr(text):
        try:
            code = train("fit", arguments, [report])
        except CommandError as error:
            print(f"nnfoundations: {error}", file=sys.stderr)
            code = FAILED
    return code, text.getvalue()


def _first_fault(report: EpochReport) -> str:
    """The root cause among the findings of severity error; empty without one."""
    if report.findings is None or not report.findings.is_file():
        return ""
    lines = [json.loads(line) for line in report.findings.read_text(encoding="utf-8").splitlines()]
    faults: list[dict[str, Any]] = [
        line for line in lines if line["change"] == "end" and line["severity"] == Severity.ERROR
    ]
    return str(faults[0]["fault"]) if faults else ""
