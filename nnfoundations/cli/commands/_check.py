"""`nnfoundations check`: check the model of a config for faults; prints a table or JSON."""

import json
import warnings
from dataclasses import asdict
from difflib import get_close_matches
from shutil import get_terminal_size
from textwrap import fill
from typing import TYPE_CHECKING

from nnfoundations.cli.config._arguments import read_settings
from nnfoundations.cli.config._packaged import resolve_configs
from nnfoundations.cli.config._settings import CommandError, Setting
from nnfoundations.cli.run._environment import import_lightning
from nnfoundations.cli.run._verbosity import Verbosity
from nnfoundations.cli.run._working_folder import working_folder_importable

if TYPE_CHECKING:
    from nnfoundations.check import Verdict

__all__ = ["USED", "check_command"]

_HELP = """\
nnfoundations check --config NAME [--json] [--key value ...]

Trains copies of the model, at most 1,500 steps in all, and checks it for faults.
Exit code: 0 if no check fails, 1 if one fails.

  --json    print the results as JSON

Model and data are given as for `fit`, by config or by class:
  nnfoundations check --model mypackage.MyModule --data mypackage.MyData
Options of the trainer that it uses: --trainer.accelerator, --trainer.precision,
--trainer.gradient_clip_val, --trainer.gradient_clip_algorithm."""

USED = ("accelerator", "precision", "gradient_clip_val", "gradient_clip_algorithm")
"""The options of the trainer that matter to the checks; the checks decide themselves how long to train."""


def check_command(command: str, args: list[str]) -> int:
    """Check the model that `fit` would train with these arguments.

    Args:
        command: `check`.
        args: its arguments.

    Returns:
        The exit code: 0 no check failed, 1 a check failed.

    Raises:
        CommandError: the command is wrong; nothing has run.
    """
    if "--help" in args or "-h" in args:
        print(_HELP)
        return 0
    as_json = "--json" in args
    verbosity, args = Verbosity.from_arguments([arg for arg in args if arg != "--json"])
    args, _ = resolve_configs(args)
    settings = read_settings(args)
    _refuse_unused_options(settings)
    verbosity.silence_parser()
    import_lightning()

    from nnfoundations.check import State, check
    from nnfoundations.cli.run._dry_cli import Configured

    verdicts: list[Verdict] = []
    with warnings.catch_warnings(), working_folder_importable():
        built = Configured("fit", args, settings, "check", verbosity)
        trainer_options = {name: built.trainer_options[name] for name in USED}
        for verdict in check(built.model, built.datamodule, trainer_options):
            verdicts.append(verdict)
            if not as_json:
                _print_verdict(verdict)
    failed = [verdict.check for verdict in verdicts if verdict.state is State.FAIL]
    skipped = [verdict.check for verdict in verdicts if verdict.state is State.SKIPPED]
    if as_json:
        report = {"sound": not failed, "checks": [asdict(verdict) for verdict in verdicts]}
        print(json.dumps(report, indent=2))
    elif failed:
        print(f"\n{len(failed)} of {len(verdicts)} checks failed: {', '.join(failed)}.")
    else:
        print("\nNo check failed." + (f" Skipped: {', '.join(skipped)}." if skipped else ""))
    return int(bool(failed))


def _refuse_unused_options(settings: Setting) -> None:
    """An option of the command line must have an effect; a config may hold options only `fit` uses."""
    trainer = settings.children.get("trainer", Setting("")).children
    unused = {f"trainer.{name}": option for name, option in trainer.items() if name not in USED}
    unused |= {name: settings.children[name] for name in ("ckpt_path",) if name in settings.children}
    used = [f"trainer.{name}" for name in USED]
    for name, option in unused.items():
        if not option.on_command_line:
            continue
        if near := get_close_matches(name, used, n=1, cutoff=0.85):
            raise CommandError(f"unknown option {option.place}.\nDid you mean `--{near[0]}`?")
        raise CommandError(
            f"{option.place} has no effect on `check`, which trains new copies for a fixed time.\n"
            f"It uses {', '.join(f'--{name}' for name in used)}."
        )


def _print_verdict(verdict: "Verdict") -> None:
    width = max(40, min(get_terminal_size().columns, 100))
    lead = f"{verdict.state:<8}{verdict.check:<23}"
    print(fill(lead + verdict.measured, width, subsequent_indent=" " * 8), flush=True)
    if verdict.remedy:
        print(
            fill(f"-> {verdict.remedy}", width, initial_indent=" " * 8, subsequent_indent=" " * 11),
            flush=True,
        )
