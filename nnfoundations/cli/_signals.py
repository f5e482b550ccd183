"""The two signals that end a command, as an exception."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal ended the command. Not an Exception: no `except Exception` of a user's may swallow it.

    Args: signum: which one. told: has been printed what became of the run.
    """

    def __init__(self, signum: int, *, told: bool = False) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum
        self.told = told


def interrupt(signum: int, frame: FrameType | None) -> None:
    """The plain handler: end at once."""
    raise Interrupted(signum)


@contextmanager
def handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Both signals go to this handler; in a thread other than the main one Python allows nobody to."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.signal(signum, handler) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, previous in before.items():
            signal.signal(signum, previous)
