"""Keeps a second run of a training step from writing files, printing and talking to other processes."""

import builtins
import contextlib
import io
import logging
import os
import socket
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch.serialization

__all__ = ["SideEffectError", "sealed"]

_EFFECTS: tuple[tuple[Any, str, str], ...] = (
    (builtins, "open", "writes a file"),
    (io, "open", "writes a file"),
    (os, "open", "writes a file"),
    (os, "remove", "removes a file"),
    (os, "unlink", "removes a file"),
    (os, "rename", "renames a file"),
    (os, "replace", "renames a file"),
    (os, "mkdir", "makes a folder"),
    (os, "rmdir", "removes a folder"),
    (os, "write", "writes to a file"),
    (os, "system", "starts a program"),
    (subprocess, "Popen", "starts a program"),
    (socket.socket, "connect", "opens a connection"),
    (socket.socket, "send", "sends data"),
    (socket.socket, "sendall", "sends data"),
    (torch.serialization, "save", "saves a file"),
    (torch, "save", "saves a file"),
)
"""Functions that a second run must not call, each with what it does. Files may be opened to read."""


class SideEffectError(BaseException):
    """A step was about to do what cannot be undone. Not an `Exception`, so that a step does not catch it."""


@contextlib.contextmanager
def sealed() -> Iterator[list[str]]:
    """Stop this thread within the block before it writes a file, starts a program or sends data.

    What it prints, logs or warns about is dropped.

    Yields:
        A list that receives what was stopped.
    """
    stopped: list[str] = []
    thread = threading.get_ident()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_silent())
        for owner, name, what in _EFFECTS:
            original = getattr(owner, name)
            inherited = name not in vars(owner)
            stack.callback(*((delattr, owner, name) if inherited else (setattr, owner, name, original)))
            setattr(owner, name, _stopping(original, what, thread, stopped))
        yield stopped


def _stopping(original: Callable[..., Any], what: str, thread: int, stopped: list[str]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != thread or (original in _OPENS and not _writes(*args, **kwargs)):
            return original(*args, **kwargs)
        stopped.append(what)
        raise SideEffectError(what)

    return call


_OPENS = (builtins.open, os.open)


def _writes(file: Any, mode: str | int = "r", *args: Any, **kwargs: Any) -> bool:
    if isinstance(mode, int):
        return bool(mode & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return bool(set(mode) & set("wax+"))


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    level = logging.root.manager.disable
    nowhere = io.StringIO()
    with (
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(level)
