"""The command `nnfoundations`.

`main` is the command as a function: arguments in, exit code out. `config_path` finds a config by name.
"""

from nnfoundations.cli._main import main
from nnfoundations.cli.config._packaged import config_path

__all__ = ["config_path", "main"]
