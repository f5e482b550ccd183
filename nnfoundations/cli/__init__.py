"""The command `nnfoundations`.

`main` is the command as a function: arguments in, exit code out.
"""

from nnfoundations.cli._main import main

__all__ = ["main"]
