"""Which checkpoint is meant by `--ckpt_path`, and what of a command it overrides."""

import os
import zipfile
from collections.abc import Iterator
from difflib import get_close_matches
from errno import EACCES
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from nnfoundations.cli._settings import CommandError, Setting

Options = dict[str, Any]


def given_checkpoint(word: str, runs: Path, elsewhere: str | None) -> str:
    """What `--ckpt_path` means: a path, or what `last` and `best` stand for.

    Args: runs, elsewhere: as in `find_checkpoint`.

    Raises:
        CommandError: there is no such file, or it is cut short.
    """
    if word in ("last", "best"):
        return str(find_checkpoint(word, runs, Path(elsewhere) if elsewhere else None))
    if "://" in word or word in ("hpc", "registry"):  # Lightning's own
        return word
    cure = "`last` and `best` stand for the newest and the best one of this config's runs."
    if not Path(word).exists():
        near = get_close_matches(word.lower(), ("last", "best"), n=1)
        said = f"Did you mean `{near[0]}`?" if near else cure
        raise CommandError(f"--ckpt_path: there is no file `{word}`.\n{said}")
    if Path(word).is_dir() and not (Path(word) / ".metadata").exists():  # else torch's own, in many files
        raise CommandError(f"--ckpt_path: `{word}` is a folder; give a .ckpt file.\n{cure}")
    if Path(word).is_file() and not zipfile.is_zipfile(word):
        raise CommandError(
            f"--ckpt_path: `{word}` is no whole checkpoint.\n"
            "`last` passes over those that were cut short; or give the path of a .ckpt file."
        )
    return word


def find_checkpoint(word: str, runs: Path, elsewhere: Path | None = None) -> Path:
    """The newest checkpoint of any run in a folder of runs (`last`), or the newest run's best one (`best`).

    One that was cut short, by a full disk or a power cut, is passed over.

    Args:
        word: `last` or `best`.
        runs: holds a folder a run.
        elsewhere: `--checkpoint.dirpath`, where that is set.

    Raises:
        CommandError: there is none.
    """
    files: list[Path] = [*runs.glob("*/checkpoints/*.ckpt"), *(elsewhere.glob("*.ckpt") if elsewhere else ())]
    # Of two written within one tick of the clock `last` is the later one.
    files.sort(key=lambda path: (path.stat().st_mtime_ns, path.stem.startswith("last")), reverse=True)
    for path in files:
        if not zipfile.is_zipfile(path):
            continue
        if word == "last":
            return path
        if (best := _best_known_to(path)) is not None:
            return best
    looked = f"`{runs}/*/checkpoints`" + (f" and `{elsewhere}`" if elsewhere else "")
    raise CommandError(
        f"--ckpt_path {word}: there is no checkpoint in {looked}.\n"
        "Train first, without --ckpt_path; or give the path of a .ckpt file."
    )


def _best_known_to(path: Path) -> Path | None:
    """The best checkpoint by the record that every one of them keeps; its folder may have moved."""
    callbacks = torch.load(path, map_location="cpu", weights_only=True).get("callbacks", {})
    for key, state in callbacks.items():
        if "best_model_path" in state and state["best_model_path"] and "Checkpoint" in key:
            best = path.parent / Path(state["best_model_path"]).name
            if zipfile.is_zipfile(best):
                return best
    return None


def check_place(checkpoint: ModelCheckpoint) -> None:
    """Where checkpoints are to go, and under which name: not to be found wrong after the first epoch.

    Raises:
        CommandError: no folder can be made there, or the name is no format.
    """
    try:
        checkpoint.format_checkpoint_name({})
    except (ValueError, KeyError, IndexError) as error:
        raise CommandError(
            f"`checkpoint.filename` cannot be `{checkpoint.filename}`: {error}.\n"
            "A metric stands in braces: `{epoch}`, `{val/loss:.2f}`."
        ) from None
    folder = str(checkpoint.dirpath or "")
    if folder and "://" not in folder:
        check_folder(Path(folder), "checkpoint.dirpath", folder)


def check_folder(folder: Path, key: str, given: str) -> None:
    """Make a folder for what an option names. Raises: CommandError: nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(EACCES, os.strerror(EACCES))
    except OSError as error:
        raise CommandError(
            f"`{key}` cannot be `{given}`: {error.strerror}.\n"
            "Leave it out: it then goes into the run's folder."
        ) from None


def overridden(given: Options, taken: Options, settings: Setting) -> Iterator[str]:
    """A warning for each option of the model that was given, and that the checkpoint's takes the place of."""
    flat = _flat(taken)
    for key, value in _flat(given).items():
        named = settings.find(f"model.{key.removesuffix('.class_path')}")
        given_here = named and (named.class_path == value or not key.endswith(".class_path"))
        if given_here and flat.get(key, value) != value:
            yield (
                f"Warning: model.{key}={value} is not used: the checkpoint was made with "
                f"{flat[key]}, and its value counts."
            )


def _flat(values: Options, prefix: str = "") -> Options:
    """Nested options by dotted key, without the words `init_args` and `dict_kwargs` between them."""
    found: Options = {}
    for key, value in values.items():
        name = prefix if key in ("init_args", "dict_kwargs") else f"{prefix}{key}"
        if isinstance(value, dict):
            found |= _flat(value, name if not name or name.endswith(".") else f"{name}.")
        else:
            found[name] = value
    return found
