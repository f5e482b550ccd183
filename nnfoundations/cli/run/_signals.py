"""SIGINT (Ctrl-C) and SIGTERM, the signals that end a command, as an exception."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["SIGNALS", "Interrupted", "handled", "interrupt"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal ended the command. Not an Exception, so that no `except Exception` of a user hides it.

    Args:
        signum: the signal.
        reported: whether a message has already said what was saved.
    """

    def __init__(self, signum: int, *, reported: bool = False) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum
        self.reported = reported


def interrupt(signum: int, frame: FrameType | None) -> None:
    """The simple handler: end at once."""
    raise Interrupted(signum)


@contextmanager
def handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Send both signals to this handler; does nothing outside the main thread, where Python allows none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.signal(signum, handler) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, previous in before.items():
            signal.signal(signum, previous)
