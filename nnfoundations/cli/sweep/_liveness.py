"""Which running trials still have a process: a killed one leaves its trial running for ever."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

__all__ = ["alive", "fail_stale_trials", "stop_trial", "stopped_trials"]

_STOPPED, _WORKER, _SEEN = "stopped_", "worker", "seen"
_BEAT, _LOST = 60.0, 300.0
"""Seconds between two signs of life, and without one until a process on another machine counts as dead."""


@contextmanager
def alive(trial: "Trial") -> Iterator[None]:
    """Note which process runs a trial, and show once a minute that it is alive.

    Args:
        trial: that runs within.
    """
    over = threading.Event()

    def beat() -> None:
        while not over.wait(_BEAT):
            with suppress(Exception):  # a storage that is busy or gone: the trial itself will say so
                trial.set_user_attr(_SEEN, time.time())

    trial.set_user_attr(_WORKER, [socket.gethostname(), os.getpid()])
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def fail_stale_trials(study: "Study") -> list[int]:
    """Fail the running trials whose process is dead, and queue their values again.

    Args:
        study: with trials of any process.

    Returns:
        Their numbers.
    """
    from optuna.trial import TrialState

    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [
        trial.number
        for trial in running
        if _dead(trial) and stop_trial(study, trial.number, trial.params, "its process was killed")
    ]


def stop_trial(study: "Study", number: int, values: dict[str, Any], why: str) -> bool:
    """Fail a trial that did not end, and queue its values again.

    Args:
        study: of the trial.
        number: of the trial, which runs no longer.
        values: its values.
        why: the cause in its row.

    Returns:
        Whether it was still open: another worker may have seen it too.
    """
    from optuna.trial import TrialState

    # Only the process of a trial can set attributes of it, so this is one of the study.
    study.set_user_attr(f"{_STOPPED}{number}", why)
    try:
        study.tell(number, state=TrialState.FAIL)
    except ValueError:  # it has ended
        return False
    if values:
        study.enqueue_trial(values)
    return True


def stopped_trials(study: "Study") -> dict[int, str]:
    """The trials that were killed or interrupted, each with the reason."""
    return {
        int(key.removeprefix(_STOPPED)): why
        for key, why in study.user_attrs.items()
        if key.startswith(_STOPPED)
    }


def _dead(trial: "FrozenTrial") -> bool:
    started = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
    silent = time.time() - max(started, trial.user_attrs.get(_SEEN, 0.0)) > _LOST
    host, process = trial.user_attrs.get(_WORKER, (None, None))
    return silent or (host == socket.gethostname() and not _runs(process))


def _runs(process: int) -> bool:
    if process == os.getpid():  # of an earlier life of a container; this process is between two trials
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to someone else
        return True
    return True
