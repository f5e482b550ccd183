"""`nnfoundations completion`: tab completion for bash, which starts no Python.

It completes commands, config names and options. The completion of jsonargparse (argcomplete) would import
torch at every press of the key, which takes seconds.
"""

import warnings
from string import Template

from nnfoundations.cli.commands._table import COMMANDS, TRAINING
from nnfoundations.cli.config._packaged import packaged_configs
from nnfoundations.cli.config._settings import CommandError

__all__ = ["completion_command", "script"]

_SCRIPT = Template("""\
# Tab completion for nnfoundations: save this as a file and source it in ~/.bashrc.
_nnfoundations() {
    local word=$${COMP_WORDS[COMP_CWORD]} before=$${COMP_WORDS[COMP_CWORD-1]}
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($$(compgen -W "$commands" -- "$$word"))
        return
    fi
    case $$before in
        --config|-c)
            COMPREPLY=($$(compgen -W "$configs" -- "$$word") $$(compgen -f -X '!*.y*ml' -- "$$word"))
            return ;;
        --ckpt_path)
            COMPREPLY=($$(compgen -W "last best" -- "$$word") $$(compgen -f -X '!*.ckpt' -- "$$word"))
            return ;;
        completion) COMPREPLY=($$(compgen -W "bash" -- "$$word")); return ;;
    esac
    case $${COMP_WORDS[1]} in
        $training) COMPREPLY=($$(compgen -W "$options" -- "$$word")) ;;
    esac
}
complete -o filenames -o default -F _nnfoundations nnfoundations
""")


_USE = "Save the output of `nnfoundations completion bash` in a file and source the file in ~/.bashrc."


def completion_command(command: str, args: list[str]) -> int:
    """Print the completion script.

    Args:
        command: `completion`.
        args: its arguments, the name of the shell.

    Returns:
        The exit code, 0.

    Raises:
        CommandError: the shell is not bash.
    """
    if args in (["--help"], ["-h"]):
        print(f"nnfoundations completion bash: {COMMANDS[command].summary}\n{_USE}")
        return 0
    if args != ["bash"]:
        given = f"got `{' '.join(args)}`" if args else "no shell is given"
        raise CommandError(f"`completion` supports only bash; {given}.\n{_USE}")
    print(script(_options()), end="")
    return 0


def script(options: list[str]) -> str:
    """The completion script for these options."""
    return _SCRIPT.substitute(
        commands=" ".join(COMMANDS),
        configs=" ".join(packaged_configs()),
        training="|".join((*TRAINING, "check")),
        options=" ".join(options),
    )


def _options() -> list[str]:
    from nnfoundations.cli.run._environment import import_lightning

    import_lightning()
    from nnfoundations.cli.run._dry_cli import option_names

    with warnings.catch_warnings():
        return sorted({*option_names("fit"), "--quiet", "--verbose"})
