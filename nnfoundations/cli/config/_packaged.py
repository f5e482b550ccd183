"""Find configs by name: `digits` is packaged, `LAB/RUN` belongs to a lab, NAME.yaml is a path."""

import json
from difflib import get_close_matches
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from nnfoundations.cli.config._settings import CommandError

__all__ = ["config_path", "packaged_configs", "resolve_configs", "run_name"]

_SUFFIXES = (".yaml", ".yml")


def packaged_configs() -> dict[str, Path]:
    """Every packaged config by its name, sorted."""
    found = {path.stem: path for path in _yaml_files(Path(str(files("nnfoundations") / "configs")))}
    for lab in sorted(path for path in _labs_folder().iterdir() if (path / "configs").is_dir()):
        found |= {f"{lab.name}/{path.stem}": path for path in _yaml_files(lab / "configs")}
    return dict(sorted(found.items()))


def _labs_folder() -> Path:
    """The folder of the labs, found without importing them."""
    spec = find_spec("nnfoundations.labs")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _yaml_files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix in _SUFFIXES]


def config_path(name: str) -> str:
    """The file that a value of `--config` means.

    Args:
        name: `digits`, `LAB/RUN`, or a path that ends in .yaml. A dash in a name is an underscore.

    Returns:
        The path of the file.

    Raises:
        CommandError: no packaged config has this name.
    """
    if name.endswith(_SUFFIXES):
        return name
    configs = packaged_configs()
    if (known := name.replace("-", "_")) in configs:
        return str(configs[known])
    near = get_close_matches(name.lower(), configs, n=1)
    fix = f"Did you mean `{near[0]}`?" if near else f"Packaged: {', '.join(configs)}."
    raise CommandError(
        f"there is no packaged config `{name}`.\n{fix} For a file of your own, give a path ending in .yaml."
    )


def resolve_configs(args: list[str]) -> tuple[list[str], list[str]]:
    """The arguments with config names replaced by paths, and the values of `--config` as given."""
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


def run_name(configs: list[str], model: str = "") -> str:
    """The name of a run without `--name`: `digits`, `activations/relu`, `mnist+mine`, or the model's class.

    The `config.yaml` of an earlier run has the name of that run.

    Args:
        configs: the values of `--config`.
        model: the class that `--model` names, if there is no config.
    """
    return "+".join(map(_name, configs)) or model.rpartition(".")[2] or "run"


def _name(config: str) -> str:
    if not config.endswith(_SUFFIXES):
        return config
    record = Path(config).with_name("run.json")
    if Path(config).name == "config.yaml" and record.is_file():
        return str(json.loads(record.read_text(encoding="utf-8"))["name"])
    return Path(config).stem
