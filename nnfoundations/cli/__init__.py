"""The command `nnfoundations`.

`main` is the command as a function: arguments in, exit code out. `config_path` finds a config by name. The
others are for programs that run many commands, such as the labs.
"""

from nnfoundations.cli._main import main
from nnfoundations.cli.config._packaged import config_path
from nnfoundations.cli.run._captured import end_with_the_parent, first_cause, write_whole

__all__ = ["config_path", "end_with_the_parent", "first_cause", "main", "write_whole"]
