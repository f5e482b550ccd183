"""`nnfoundations doctor`: check whether `fit` will run on this machine; each problem with its fix."""

import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from typing import Literal

from nnfoundations.cli.commands._table import prints_help
from nnfoundations.cli.run._environment import (
    TorchvisionMismatchError,
    command_prefix,
    gpu_warning,
    import_lightning,
)

__all__ = ["Line", "doctor_command", "examine"]

_MALICIOUS = ("2.6.2", "2.6.3")  # GHSA-w37p-236h-pfx3


@dataclass(frozen=True)
class Line:
    """One result.

    Args:
        state: `FAIL` if `fit` will not run.
        what: what was examined.
        found: what was found.
        fix: what to do about it.
    """

    state: Literal["ok", "note", "FAIL"]
    what: str
    found: str
    fix: str = ""


def doctor_command(command: str, args: list[str]) -> int:
    """Print what was found.

    Args:
        command: `doctor`.
        args: its arguments; it takes none.

    Returns:
        The exit code: 0 if `fit` will run, else 1.

    Raises:
        CommandError: there are arguments.
    """
    if prints_help(command, args):
        return 0
    failed = False
    for line in examine():
        failed |= line.state == "FAIL"
        print(_folded(f"{line.state:<4}  {line.what}: {line.found}"), flush=True)
        for sentence in line.fix.splitlines():
            print(_folded(f"      -> {sentence}"))
    print(
        "\n`fit` will not run here. Fix the items marked FAIL."
        if failed
        else f"\n`fit` will run here. Try: {command_prefix()}nnfoundations fit --config digits"
    )
    return int(failed)


def _folded(text: str) -> str:
    """Wrap for this terminal; paths and commands stay whole."""
    width = max(40, min(get_terminal_size().columns, 100))
    return fill(text, width, subsequent_indent=" " * 9, break_long_words=False, break_on_hyphens=False)


def examine() -> Iterator[Line]:
    """All results, those that others depend on first."""
    for part in (
        *(_python, _lightning_release, _torch, _lightning, _both_lightnings, _packages),
        *(_gpu, _data, _disk, _compiler),
    ):
        try:
            yield from part()
        except Exception as error:  # whatever fails is a result
            yield Line("FAIL", part.__name__.strip("_"), f"{type(error).__name__}: {error}".splitlines()[0],
                       "Reinstall it: see 'Which torch' in docs/install.md.")  # fmt: skip


def _python() -> Iterator[Line]:
    yield Line("ok", "Python", f"{sys.version.split()[0]} at {sys.executable}")


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _lightning_release() -> Iterator[Line]:
    """Examine the release before importing it: two releases carried malware that runs on import."""
    for package in ("lightning", "pytorch-lightning"):
        if _installed(package) in _MALICIOUS:
            yield Line(
                "FAIL", package, f"{_installed(package)}, a release that carried malware",
                f"pip install -U '{package}>=2.6.4', then change all passwords and tokens on this machine.",
            )  # fmt: skip


def _bad_release() -> bool:
    return any(_installed(package) in _MALICIOUS for package in ("lightning", "pytorch-lightning"))


def _torch() -> Iterator[Line]:
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    yield Line("ok", "torch", f"{torch.__version__} ({build}), CPU threads: {torch.get_num_threads()}")


def _lightning() -> Iterator[Line]:
    if _bad_release():
        return
    try:
        import_lightning()
    except TorchvisionMismatchError as error:
        found, _, fix = str(error).partition("\n")
        yield Line("FAIL", "torchvision", found, fix)
        return
    yield Line("ok", "lightning", f"{_installed('lightning')} can be imported")
    if (vision := _installed("torchvision")) is None:
        yield Line(
            "note",
            "torchvision",
            "not installed; `fit` runs without it",
            "If you need it, install it together with torch.",
        )
    else:
        yield Line("ok", "torchvision", f"{vision} matches torch")


def _both_lightnings() -> Iterator[Line]:
    both = find_spec("lightning") is not None and find_spec("pytorch_lightning") is not None
    if both and _installed("lightning") != _installed("pytorch-lightning"):
        yield Line(
            "note", "Lightning packages",
            f"lightning {_installed('lightning')} and pytorch-lightning {_installed('pytorch-lightning')}",
            "Import from `lightning` only: its Trainer refuses modules of `pytorch_lightning`.",
        )  # fmt: skip
    elif both:
        yield Line(
            "ok", "Lightning packages", "lightning and pytorch-lightning; nnfoundations imports `lightning`"
        )


def _packages() -> Iterator[Line]:
    """What else `fit` imports: the command line's parser, the logger, the data in scikit-learn."""
    for package in () if _bad_release() else ("jsonargparse", "torch.utils.tensorboard", "sklearn.datasets"):
        try:
            import_module(package)
        except Exception as error:
            yield Line(
                "FAIL",
                package,
                f"cannot be imported: {error}".splitlines()[0],
                "Run `pip install -e .` in the clone again.",
            )


def _gpu() -> Iterator[Line]:
    import torch

    if warning := gpu_warning():
        found, _, fix = warning.partition("\n")
        yield Line("note", "GPU", f"{found} `fit` runs on the CPU.", fix)
        return
    if not torch.cuda.is_available():
        has_mps = torch.backends.mps.is_available()
        yield Line("ok", "GPU", "MPS" if has_mps else "none; `fit` runs on the CPU")
        return
    with warnings.catch_warnings():
        # A GB10 is 12.1: torch warns that it supports only up to 12.0, but that code runs there.
        warnings.filterwarnings("ignore", message=".*cuda capability", category=UserWarning)
        name, capability = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
        a = torch.randn(256, 256, device="cuda")
        error = float(((a @ a).cpu().double() - a.cpu().double() @ a.cpu().double()).abs().max())
    if not error < 1:
        yield Line(
            "FAIL",
            "GPU",
            f"{name}: a matrix product is wrong by {error:.3g}",
            "Install another torch build or driver.",
        )
        return
    yield Line(
        "ok", "GPU", f"{name}, capability {capability[0]}.{capability[1]}; a matrix product is correct"
    )
    if capability == (12, 1):
        yield Line(
            "note", "GB10", "torch's warning about capability 12.1 is harmless: code for 12.0 runs here. "
            "nvidia-smi reports no memory, because the GPU shares it with the CPU.",
            "torch.cuda.mem_get_info reports it.",
        )  # fmt: skip
    yield _memory(torch.cuda.mem_get_info)


def _memory(read: Callable[[], tuple[int, int]]) -> Line:
    try:
        free, total = read()
    except RuntimeError:  # with shared memory the driver may refuse
        return Line(
            "note", "GPU memory", "not reported by the driver", "See /proc/meminfo: it may be shared memory."
        )
    return Line("ok", "GPU memory", f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free")


def _data() -> Iterator[Line]:
    if _bad_release():
        return
    from nnfoundations import datamodules

    yield Line("ok", "data: digits", "included in scikit-learn, no download")
    root = os.environ.get("NNFOUNDATIONS_DATA")
    for kind in (datamodules.MNISTDataModule, datamodules.FashionMNISTDataModule):
        data = kind(root)
        missing = sum(file.find(data.path) is None for file in data.files)
        if not missing:
            yield Line("ok", f"data: {data.name}", str(data.path))
        else:
            found = f"{missing} of {len(data.files)} files missing in {data.path}"
            fix = "`fit` downloads them. If you have them, set NNFOUNDATIONS_DATA to the folder of your data."
            yield Line("note", f"data: {data.name}", found, fix)


def _disk() -> Iterator[Line]:
    here = Path.cwd()
    runs = here / "runs"
    there = runs if runs.exists() else here
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = "is not writable" if there.is_dir() else "is not a folder"
        fix = "Change to another folder, or give --trainer.default_root_dir."
        yield Line("FAIL", "runs", f"{there} {why}", fix)
        return
    free = shutil.disk_usage(here).free / 2**30
    state: Literal["ok", "note"] = "ok" if free > 1 else "note"
    fix = "" if free > 1 else "Free at least 1 GiB of disk space."
    yield Line(state, "runs", f"saved in {runs}; {free:.0f} GiB free", fix)


def _compiler() -> Iterator[Line]:
    found = next(filter(None, map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))), None)
    if found:
        yield Line("ok", "compiler", found)
    else:
        yield Line("note", "compiler", "none; only torch.compile needs one",
                   "Install g++, or the command line tools of Xcode.")  # fmt: skip
