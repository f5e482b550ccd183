"""`nnfoundations check`: the verdicts on a config's model, as a table or as JSON."""

import json
import warnings
from dataclasses import asdict
from difflib import get_close_matches
from shutil import get_terminal_size
from textwrap import fill

from nnfoundations.cli._configs import resolve_configs
from nnfoundations.cli._environment import import_lightning
from nnfoundations.cli._settings import CommandError, Setting, read_settings
from nnfoundations.cli._voice import Voice

_HELP = """\
nnfoundations check --config NAME [--json] [--key value ...]

Trains copies of the model for some hundred steps and judges it: exit code 0 where it is sound,
1 where a check fails. --json prints the verdicts as JSON.
Model and data are given as for `fit`, by config or by class path; of the trainer its device,
its precision and how it clips:
  nnfoundations check --model package.module.MyModule --data package.module.MyData"""


TAKEN = ("accelerator", "precision", "gradient_clip_val", "gradient_clip_algorithm")
"""What of `--trainer.*` bears on whether a model is sound; how long to train is the checks' own affair."""


def _refuse_what_only_a_run_takes(settings: Setting) -> None:
    """Of a config it is left out; who types a flag expects that it counts."""
    trainer = settings.children.get("trainer", Setting("")).children
    others = {f"trainer.{name}": option for name, option in trainer.items() if name not in TAKEN}
    others |= {name: settings.children[name] for name in ("ckpt_path",) if name in settings.children}
    for name, option in others.items():
        if not option.place.startswith("`--"):
            continue
        known = [f"trainer.{taken}" for taken in TAKEN]
        if near := get_close_matches(name, known, n=1, cutoff=0.85):
            raise CommandError(f"{option.place} is not known.\nDid you mean `--{near[0]}`?")
        raise CommandError(
            f"{option.place} means nothing to `check`: it trains by itself, from the beginning.\n"
            f"It takes {', '.join(f'--{taken}' for taken in known)}."
        )


def check_command(command: str, args: list[str]) -> int:
    """Judge the model that `fit` would train with these arguments; 0 sound, 1 a check fails."""
    if "--help" in args or "-h" in args:
        print(_HELP)
        return 0
    as_json = "--json" in args
    voice, args = Voice.of([arg for arg in args if arg != "--json"])
    args, _ = resolve_configs(args)
    settings = read_settings(args)
    _refuse_what_only_a_run_takes(settings)
    voice.prepare()
    import_lightning()

    from nnfoundations.check import State, Verdict, check
    from nnfoundations.cli._without_run import Configured

    def show(verdict: Verdict) -> None:
        wide = max(40, min(get_terminal_size().columns, 100))
        lead = f"{verdict.state:<8}{verdict.check:<23}"
        print(fill(lead + verdict.measured, wide, subsequent_indent=" " * 8))
        if verdict.remedy:
            print(
                fill(f"-> {verdict.remedy}", wide, initial_indent=" " * 8, subsequent_indent=" " * 11),
                flush=True,
            )

    verdicts: list[Verdict] = []
    with warnings.catch_warnings():
        built = Configured("fit", args, settings, "check", voice)
        options = {name: built.trainer_options[name] for name in TAKEN}
        for verdict in check(built.model, built.datamodule, options):
            verdicts.append(verdict)
            if not as_json:
                show(verdict)
    failed = [verdict.check for verdict in verdicts if verdict.state is State.FAIL]
    skipped = [verdict.check for verdict in verdicts if verdict.state is State.SKIPPED]
    if as_json:
        print(
            json.dumps({"sound": not failed, "checks": [asdict(verdict) for verdict in verdicts]}, indent=2)
        )
    else:
        print(
            f"\n{len(failed)} of {len(verdicts)} checks fail: {', '.join(failed)}."
            if failed
            else "\nNothing failed." + (f" Not measured: {', '.join(skipped)}." if skipped else "")
        )
    return int(bool(failed))
