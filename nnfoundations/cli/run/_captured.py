"""What runs within a larger command share: the cause of a failure, whole files, and workers that end."""

import os
import threading
from multiprocessing import parent_process
from pathlib import Path

__all__ = ["end_with_the_parent", "first_cause", "write_whole"]


def first_cause(problems: str) -> str:
    """Find the error that explains itself in what a command printed, else the last line of a traceback.

    Args:
        problems: the text of standard error.

    Returns:
        One line.
    """
    lines = [line.strip() for line in problems.splitlines() if line.strip()]
    ours = [line.removeprefix("nnfoundations: ") for line in lines if line.startswith("nnfoundations: ")]
    return next(iter(ours), lines[-1] if lines else "no message")


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is never seen half written.

    Args:
        path: the file.
        text: its content.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8", newline="")
    part.replace(path)


def end_with_the_parent() -> None:
    """End this worker when its parent ends: a killed parent cannot stop its workers."""
    parent = parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
