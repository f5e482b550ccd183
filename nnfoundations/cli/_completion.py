"""Tab completion for bash: commands, config names, flags, without starting Python.

jsonargparse's own (argcomplete) imports torch at every press of the key: seconds.
"""

import warnings
from string import Template

from nnfoundations.cli._commands import COMMANDS, TRAINING
from nnfoundations.cli._configs import packaged_configs
from nnfoundations.cli._settings import CommandError

_SCRIPT = Template("""\
# Tab completion for nnfoundations; in ~/.bashrc: eval "$$(nnfoundations completion bash)"
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
        $training) COMPREPLY=($$(compgen -W "$flags" -- "$$word")) ;;
    esac
}
complete -o filenames -o default -F _nnfoundations nnfoundations
""")


_USE = 'Put `eval "$(nnfoundations completion bash)"` into ~/.bashrc.'


def completion_command(command: str, args: list[str]) -> int:
    """Print the script for a shell.

    Raises:
        CommandError: a shell other than bash.
    """
    if args in (["--help"], ["-h"]):
        print(f"nnfoundations completion bash: {COMMANDS[command].summary}\n{_USE}")
        return 0
    if args != ["bash"]:
        given = f"got `{' '.join(args)}`" if args else "none is given"
        raise CommandError(f"`completion` knows one shell, bash; {given}.\n{_USE}")
    print(script(_flags()), end="")
    return 0


def script(flags: list[str]) -> str:
    """The completion script for these flags."""
    return _SCRIPT.substitute(
        commands=" ".join(COMMANDS),
        configs=" ".join(packaged_configs()),
        training="|".join((*TRAINING, "check")),
        flags=" ".join(flags),
    )


def _flags() -> list[str]:
    from nnfoundations.cli._environment import import_lightning

    import_lightning()
    from nnfoundations.cli._without_run import Flags

    with warnings.catch_warnings():
        return sorted({*Flags("fit").flags, "--quiet", "--verbose"})
