"""How far an experiment is, and the time that is left: one line that is redrawn, or lines in a pipe."""

import sys
import time
from shutil import get_terminal_size

__all__ = ["Progress", "duration"]


class Progress:
    """Prints to standard error after each run.

    Args:
        title: begins each line.
        total: runs to do.
        every: least seconds between two lines in a pipe.
    """

    def __init__(self, title: str, total: int, every: float = 2.0) -> None:
        self.title, self.total, self.every = title, total, every
        self.done, self.start, self.shown = 0, time.monotonic(), -every
        self.redraws = sys.stderr.isatty()

    def show(self, last: str) -> None:
        """Count one run.

        Args:
            last: which run has ended, and how.
        """
        self.done += 1
        now = time.monotonic() - self.start
        left = now / self.done * (self.total - self.done)
        line = f"{self.title}: {self.done} of {self.total} runs, {last}, {duration(left)} left"
        if self.redraws:
            width = get_terminal_size().columns - 1
            print(f"\r{line[:width]:<{width}}", end="", file=sys.stderr, flush=True)
        elif self.done == self.total or now - self.shown >= self.every:
            self.shown = now
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the line that is redrawn."""
        if self.redraws and self.done:
            print(file=sys.stderr)


def duration(seconds: float) -> str:
    """Say seconds in words.

    Args:
        seconds: not negative.

    Returns:
        The words, for example `45 s` or `3 min 20 s`.

    Example:
        >>> duration(45), duration(200), duration(7320)
        ('45 s', '3 min 20 s', '2 h 2 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
