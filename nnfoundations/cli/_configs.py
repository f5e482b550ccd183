"""Configs by name: `digits` is packaged with us, `LAB/RUN` with a lab, and what ends in .yaml is a path."""

import json
from difflib import get_close_matches
from importlib.resources import files
from itertools import takewhile
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill

from nnfoundations.cli._commands import takes_nothing
from nnfoundations.cli._settings import CommandError

_SUFFIXES = (".yaml", ".yml")


class ConfigNameError(CommandError):
    """No packaged config has this name."""


def packaged_configs() -> dict[str, Path]:
    """Every packaged config by its name, sorted."""
    found = {path.stem: path for path in _yaml_files(Path(str(files("nnfoundations") / "configs")))}
    labs = Path(str(files("nnfoundations.labs")))
    for lab in sorted(path for path in labs.iterdir() if (path / "configs").is_dir()):
        found |= {f"{lab.name}/{path.stem}": path for path in _yaml_files(lab / "configs")}
    return dict(sorted(found.items()))


def _yaml_files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix in _SUFFIXES]


def config_path(name: str) -> str:
    """The file that a value of `--config` means.

    Raises:
        ConfigNameError: no packaged config has this name; the text names the nearest one.
    """
    if name.endswith(_SUFFIXES):
        return name
    configs = packaged_configs()
    if name in configs:
        return str(configs[name])
    near = get_close_matches(name.lower(), configs, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(configs)}."
    raise ConfigNameError(
        f"no packaged config is named `{name}`; {hint}\nA file of your own is a path ending in .yaml."
    )


def resolve_configs(args: list[str]) -> tuple[list[str], list[str]]:
    """The arguments with packaged names replaced by paths, and the values of `--config` as given."""
    resolved, given = [], []
    takes_value = False
    for arg in args:
        if takes_value:
            given.append(arg)
            arg = config_path(arg)
        elif arg.startswith(("--config=", "-c=")):
            flag, _, name = arg.partition("=")
            given.append(name)
            arg = f"{flag}={config_path(name)}"
        takes_value = arg in ("--config", "-c") and not takes_value
        resolved.append(arg)
    return resolved, given


def run_name(configs: list[str]) -> str:
    """What a run of these configs is called: `digits`, `activations/relu`, `mnist+mine`; none: `run`.

    The `config.yaml` of an earlier run stands for that run's name.
    """
    return "+".join(map(_name, configs)) or "run"


def _name(config: str) -> str:
    if not config.endswith(_SUFFIXES):
        return config
    record = Path(config).with_name("run.json")
    if Path(config).name == "config.yaml" and record.is_file():
        return str(json.loads(record.read_text(encoding="utf-8"))["name"])
    return Path(config).stem


def claim(path: Path) -> str:
    """The first sentence of a config's head: what it reaches."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = " ".join(line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), lines))
    return head.removeprefix("Goal: ").partition(". ")[0].rstrip(".")


def configs_command(command: str, args: list[str]) -> int:
    """Print the packaged configs, each with its claim."""
    if takes_nothing(command, args):
        return 0
    width = max(30, min(get_terminal_size().columns, 100))
    for name, path in packaged_configs().items():
        print(name)
        print(fill(claim(path), width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False))
    print("\nRun one:      nnfoundations fit --config NAME")
    print("Its content:  nnfoundations fit --config NAME --print_config")
    return 0
