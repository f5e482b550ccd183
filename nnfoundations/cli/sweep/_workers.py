"""Workers of a sweep: each asks the study for a trial, runs it, and asks again."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from nnfoundations.cli.run._captured import end_with_the_parent
from nnfoundations.cli.run._signals import SIGNALS, Interrupted, handled, interrupt
from nnfoundations.cli.sweep._liveness import fail_stale_trials, stopped_trials
from nnfoundations.cli.sweep._plan import Plan
from nnfoundations.cli.sweep._study import open_study, quiet_optuna

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from optuna import Study, Trial

__all__ = ["ended_by_the_system", "run_workers", "taken", "work"]


def work(plan: Plan, study: "Study") -> None:
    """Run trials until there are enough, or the time is over.

    Args:
        plan: the sweep.
        study: its study.

    Raises:
        Interrupted: a signal ended a trial.
    """
    from optuna.exceptions import UpdateFinishedTrialError

    from nnfoundations.cli.sweep._results import is_best, trial_line, write_best, write_results
    from nnfoundations.cli.sweep._trial import carry_out

    while (trial := _next(plan, study)) is not None:
        try:
            carry_out(plan, study, trial)
        except UpdateFinishedTrialError:  # this process was asleep, and another one has given it up
            print(f"trial {trial.number}: given up by another worker", file=sys.stderr, flush=True)
            continue
        write_results(plan, study)
        if is_best(study, trial.number):
            write_best(plan, study)
        if not plan.quiet:
            print(trial_line(study, trial.number), file=sys.stderr, flush=True)


def _next(plan: Plan, study: "Study") -> "Trial | None":
    """The next trial; None if there are enough."""
    from filelock import FileLock

    with FileLock(plan.out / ".ask.lock"):  # two workers would both begin the last trial
        fail_stale_trials(study)
        enough = plan.trials is not None and taken(study) >= plan.trials
        if enough or time.time() >= plan.deadline:
            return None
        space = {key: dimension.distribution() for key, dimension in plan.space.items()}
        return study.ask(space)


def taken(study: "Study") -> int:
    """The trials that count: they have ended or run now, and were not stopped."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    stopped = stopped_trials(study)
    return sum(trial.state != TrialState.WAITING and trial.number not in stopped for trial in trials)


def run_workers(plan: Plan, jobs: int) -> list[int]:
    """Run workers in processes of their own, which share the study.

    Args:
        plan: the sweep; its study exists.
        jobs: how many.

    Returns:
        The exit codes; a negative one names the signal that killed the process.

    Raises:
        Interrupted: a signal came; all workers have ended.
    """
    context = get_context("spawn")
    workers = [context.Process(target=_worker, args=(plan,)) for _ in range(jobs)]
    with _fair_threads(jobs), _signals_wait():
        for worker in workers:
            worker.start()
    try:
        _join(workers)
    except Interrupted:
        _end(workers)
        raise
    return [worker.exitcode or 0 for worker in workers]


def _worker(plan: Plan) -> None:
    """Work in a process that a Ctrl-C of the terminal reaches only through its parent."""
    end_with_the_parent()
    if hasattr(os, "setsid"):
        os.setsid()
    try:
        with handled(interrupt):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            quiet_optuna()
            work(plan, open_study(plan))
    except Interrupted as stop:
        sys.exit(stop.exit_code)


def _join(workers: "list[SpawnProcess]") -> None:
    """Wait for each as soon as it ends: a dead child that nobody waited for seems to be alive."""
    running: dict[Any, SpawnProcess] = {worker.sentinel: worker for worker in workers}
    while running:
        for sentinel in wait(list(running)):
            running.pop(sentinel).join()


def _end(workers: "list[SpawnProcess]") -> None:
    """Pass a signal on, and wait until the trials are told; a second signal kills the workers."""
    try:
        for worker in workers:
            worker.terminate()
        _join(workers)
    except Interrupted:
        for worker in workers:
            worker.kill()
        _join(workers)


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Let signals wait in the processes that start within, until they have handlers."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _fair_threads(jobs: int) -> Iterator[None]:
    """Divide the cores among the workers that start within, unless the user has set the threads."""
    name = "OMP_NUM_THREADS"
    if name in os.environ:
        yield
        return
    os.environ[name] = str(max(1, (os.cpu_count() or 1) // jobs))
    try:
        yield
    finally:
        del os.environ[name]


def ended_by_the_system(codes: list[int]) -> bool:
    """Whether a worker was killed, as the system does if memory is short.

    Args:
        codes: the exit codes of the workers.
    """
    return any(code == -signal.SIGKILL for code in codes)
