"""Find the checkpoint that `--ckpt_path` means, and the options of a command that it overrides."""

import os
import re
import sys
import zipfile
from collections.abc import Iterator
from difflib import get_close_matches
from errno import EACCES
from math import isfinite
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from nnfoundations.cli.config._settings import CommandError, Setting
from nnfoundations.cli.run._finite_weights import first_non_finite

__all__ = ["Options", "check_folder", "check_place", "find_checkpoint", "given_checkpoint", "overridden"]

Options = dict[str, Any]


def given_checkpoint(word: str, runs: Path, elsewhere: str | None, fit: str) -> str:
    """The path of the checkpoint that `--ckpt_path` means.

    Args:
        word: a path, `last`, `best`, or one of Lightning's own words.
        runs: holds a folder for each run.
        elsewhere: `--checkpoint.dirpath`, if it is set.
        fit: the command that starts a run of this config.

    Raises:
        CommandError: the file does not exist, is not complete, or holds more than plain data.
    """
    if word in ("last", "best"):
        return str(find_checkpoint(word, runs, Path(elsewhere) if elsewhere else None, fit))
    if "://" in word or word in ("hpc", "registry"):  # Lightning handles these
        return word
    fix = "`last` and `best` mean the newest and the best checkpoint of this config."
    if not Path(word).exists():
        near = get_close_matches(word.lower(), ("last", "best"), n=1)
        raise CommandError(
            f"--ckpt_path: file `{word}` does not exist.\n{f'Did you mean `{near[0]}`?' if near else fix}"
        )
    # A folder with `.metadata` is a checkpoint that torch has saved as several files.
    if Path(word).is_dir() and not (Path(word) / ".metadata").exists():
        raise CommandError(f"--ckpt_path: `{word}` is a folder; give a .ckpt file.\n{fix}")
    if Path(word).is_file() and not zipfile.is_zipfile(word):
        raise CommandError(
            f"--ckpt_path: `{word}` is not a complete checkpoint file.\n"
            "Give another .ckpt file, or `last`, which skips incomplete files."
        )
    if Path(word).is_file():
        _load_plain(Path(word))
    return word


def find_checkpoint(word: str, runs: Path, elsewhere: Path | None, fit: str) -> Path:
    """The newest checkpoint of all runs (`last`), or the best one of the newest run (`best`).

    Incomplete files, left by a full disk or a power cut, are skipped. `best` also skips a checkpoint whose
    weights or monitored metric are not finite, and says so.

    Args:
        word: `last` or `best`.
        runs: holds a folder for each run.
        elsewhere: `--checkpoint.dirpath`, if it is set.
        fit: the command that starts a run of this config.

    Raises:
        CommandError: there is no such checkpoint.
    """
    files: list[Path] = [*runs.glob("*/checkpoints/*.ckpt"), *(elsewhere.glob("*.ckpt") if elsewhere else ())]
    # If two files have the same time, `last` is the newer one.
    files.sort(key=lambda path: (path.stat().st_mtime_ns, path.stem.startswith("last")), reverse=True)
    files = [path for path in files if zipfile.is_zipfile(path)]
    looked = f"`{runs}/*/checkpoints`" + (f" and `{elsewhere}`" if elsewhere else "")
    if not files:
        raise CommandError(
            f"--ckpt_path {word}: there is no checkpoint in {looked}.\n"
            f"Train first: `{fit}`; or give the path of a .ckpt file."
        )
    if word == "last":
        return files[0]
    for path in files:
        if (best := _best_known_to(path)) is not None:
            if best.parent != files[0].parent:
                print(
                    f"Warning: the newest run, {files[0].parent.parent}, has no best "
                    "checkpoint (not finite, or ended early): an earlier run is used.",
                    file=sys.stderr,
                )
            return best
    raise CommandError(
        f"--ckpt_path best: no checkpoint in {looked} has finite weights and a finite metric.\n"
        f"Train again with a lower learning rate: `{fit}`."
    )


def _best_known_to(path: Path) -> Path | None:
    """The best checkpoint according to the state in this one; their folder may have moved."""
    for key, state in _load_plain(path).get("callbacks", {}).items():
        if "Checkpoint" not in key or not state.get("best_model_path"):
            continue
        score = state.get("best_model_score")
        best = path.parent / Path(state["best_model_path"]).name
        if (score is not None and not isfinite(score)) or not zipfile.is_zipfile(best):
            continue
        # A checkpoint of plain Lightning, or of version 0.1, may hold weights that are not finite.
        state = _load_plain(best).get("state_dict", {})
        weights = {name for name in state if name.endswith((".weight", ".bias"))}
        if first_non_finite(state.items(), weights) is None:
            return best
    return None


def _load_plain(path: Path) -> Options:
    """The content of a checkpoint, which must be plain data."""
    try:
        content: Options = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UnpicklingError as error:
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"`{refused[1]}`" if refused else "an object"
        raise CommandError(
            f"--ckpt_path: `{path}` contains {what}, which is not plain data, so it is not loaded.\n"
            "Leave such arguments out with `self.save_hyperparameters(ignore=[...])`, then train again."
        ) from None
    return content


def check_place(checkpoint: ModelCheckpoint) -> None:
    """Check the folder and the file name of checkpoints before training, not after its first epoch.

    Args:
        checkpoint: the callback that will save them.

    Raises:
        CommandError: the folder cannot be created, or the name is not a valid format.
    """
    try:
        checkpoint.format_checkpoint_name({})
    except (ValueError, KeyError, IndexError) as error:
        raise CommandError(
            f"`checkpoint.filename` cannot be `{checkpoint.filename}`: {error}.\n"
            "Write a metric in braces: `{epoch}`, `{val/loss:.2f}`."
        ) from None
    folder = str(checkpoint.dirpath or "")
    if folder and "://" not in folder:
        check_folder(Path(folder), "checkpoint.dirpath", folder)


def check_folder(folder: Path, key: str, given: str) -> None:
    """Create the folder that an option names.

    Args:
        folder: to create.
        key: the option.
        given: its value.

    Raises:
        CommandError: the folder cannot be created or is not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(EACCES, os.strerror(EACCES))
    except OSError as error:
        raise CommandError(
            f"`{key}` cannot be `{given}`: {error.strerror}.\n"
            "Leave this option out to use the folder of the run."
        ) from None


def overridden(given: Options, taken: Options, settings: Setting) -> Iterator[str]:
    """A warning for each given option of the model that the checkpoint overrides.

    Args:
        given: the options of the command.
        taken: those that the checkpoint's model was built with.
        settings: what was given, with places.
    """
    flat = _flat(taken)
    for key, value in _flat(given).items():
        named = settings.find(f"model.{key.removesuffix('.class_path')}")
        given_here = named and (named.class_path == value or not key.endswith(".class_path"))
        if given_here and flat.get(key, value) != value:
            yield (
                f"Warning: model.{key}={value} is not used: the checkpoint was saved with "
                f"{flat[key]}, which takes precedence. Train without --ckpt_path to use it."
            )


def _flat(values: Options, prefix: str = "") -> Options:
    """Nested options by dotted key, in the short form without `init_args` and `dict_kwargs`."""
    found: Options = {}
    for key, value in values.items():
        name = prefix if key in ("init_args", "dict_kwargs") else f"{prefix}{key}"
        if isinstance(value, dict):
            found |= _flat(value, name if not name or name.endswith(".") else f"{name}.")
        else:
            found[name] = value
    return found
