"""`nnfoundations doctor`: will a fit run on this machine? Each line with its cure."""

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

from nnfoundations.cli._commands import takes_nothing
from nnfoundations.cli._environment import TorchvisionMismatchError, gpu_warning, import_lightning

_MALICIOUS = ("2.6.2", "2.6.3")  # GHSA-w37p-236h-pfx3


@dataclass(frozen=True)
class Line:
    """Args: state: `FAIL` where no fit will run. found: what is here. cure: what to do about it."""

    state: Literal["ok", "note", "FAIL"]
    what: str
    found: str
    cure: str = ""


def doctor_command(command: str, args: list[str]) -> int:
    """Print what was found; 0 where a fit will run, else 1."""
    if takes_nothing(command, args):
        return 0
    failed = False
    for line in examine():
        failed |= line.state == "FAIL"
        print(_folded(f"{line.state:<4}  {line.what}: {line.found}"), flush=True)
        for sentence in line.cure.splitlines():
            print(_folded(f"      -> {sentence}"))
    print("\nA fit will not run: mend what says FAIL." if failed else "\nA fit will run here.")
    return int(failed)


def _folded(text: str) -> str:
    """For this terminal; paths and commands stay whole."""
    wide = max(40, min(get_terminal_size().columns, 100))
    return fill(text, wide, subsequent_indent=" " * 9, break_long_words=False, break_on_hyphens=False)


def examine() -> Iterator[Line]:
    """All lines, those that others rest on first."""
    for part in (
        *(_python, _lightning_release, _torch, _lightning, _roots, _packages),
        *(_gpu, _data, _disk, _compiler),
    ):
        try:
            yield from part()
        except Exception as error:  # a doctor says what fails, whatever it is
            yield Line("FAIL", part.__name__.strip("_"), f"{type(error).__name__}: {error}".splitlines()[0],
                       "Reinstall it: 'Installing torch' in the README.")  # fmt: skip


def _python() -> Iterator[Line]:
    yield Line("ok", "Python", f"{sys.version.split()[0]} at {sys.executable}")


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _lightning_release() -> Iterator[Line]:
    """Before anything of it is imported: two releases carried malware that runs on import."""
    for package in ("lightning", "pytorch-lightning"):
        if _installed(package) in _MALICIOUS:
            yield Line(
                "FAIL", package, f"{_installed(package)}, a release that carried malware",
                f"pip install -U '{package}>=2.6.4', and change every password and token this machine held.",
            )  # fmt: skip


def _bad_release() -> bool:
    return any(_installed(package) in _MALICIOUS for package in ("lightning", "pytorch-lightning"))


def _torch() -> Iterator[Line]:
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    yield Line("ok", "torch", f"{torch.__version__} ({build}), {torch.get_num_threads()} CPU threads")


def _lightning() -> Iterator[Line]:
    if _bad_release():
        return
    try:
        import_lightning()
    except TorchvisionMismatchError as error:
        found, _, cure = str(error).partition("\n")
        yield Line("FAIL", "torchvision", found, cure)
        return
    yield Line("ok", "lightning", f"{_installed('lightning')} imports")
    if (vision := _installed("torchvision")) is None:
        yield Line(
            "note",
            "torchvision",
            "not installed; `fit` runs without it",
            "pip install torchvision, with torch.",
        )
    else:
        yield Line("ok", "torchvision", f"{vision} matches torch")


def _roots() -> Iterator[Line]:
    both = find_spec("lightning") is not None and find_spec("pytorch_lightning") is not None
    if both and _installed("lightning") != _installed("pytorch-lightning"):
        yield Line(
            "note", "Lightning roots",
            f"lightning {_installed('lightning')} beside pytorch-lightning {_installed('pytorch-lightning')}",
            "Import from one root only: a module of the other one is refused by this one's Trainer.",
        )  # fmt: skip
    elif both:
        yield Line(
            "ok", "Lightning roots", "both are installed (one brings the other); our code imports `lightning`"
        )


def _packages() -> Iterator[Line]:
    """What else a fit imports: the command line's parser, the logger, the data that come with a package."""
    for package in () if _bad_release() else ("jsonargparse", "torch.utils.tensorboard", "sklearn.datasets"):
        try:
            import_module(package)
        except Exception as error:
            yield Line(
                "FAIL", package, f"does not import: {error}".splitlines()[0], "pip install nnfoundations."
            )


def _gpu() -> Iterator[Line]:
    import torch

    if warning := gpu_warning():
        found, _, cure = warning.partition("\n")
        yield Line("note", "GPU", f"{found} A fit runs on the CPU.", cure)
        return
    if not torch.cuda.is_available():
        has_mps = torch.backends.mps.is_available()
        yield Line("ok", "GPU", "MPS" if has_mps else "none; a fit runs on the CPU")
        return
    with warnings.catch_warnings():
        # A GB10 is 12.1: torch warns that it is built up to 12.0, whose code runs there.
        warnings.filterwarnings("ignore", message=".*cuda capability", category=UserWarning)
        name, capability = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
        a = torch.randn(256, 256, device="cuda")
        error = float(((a @ a).cpu().double() - a.cpu().double() @ a.cpu().double()).abs().max())
    if not error < 1:
        yield Line(
            "FAIL",
            "GPU",
            f"{name}: a matrix product is off by {error:.3g}",
            "Try another torch build or driver.",
        )
        return
    yield Line("ok", "GPU", f"{name}, capability {capability[0]}.{capability[1]}; a matrix product is right")
    if capability == (12, 1):
        yield Line(
            "note", "GB10", "torch's warning about capability 12.1 is harmless: code for 12.0 runs here. "
            "nvidia-smi cannot report memory: it is shared with the CPU.",
            "Read memory with torch.cuda.mem_get_info.",
        )  # fmt: skip
    yield _memory(torch.cuda.mem_get_info)


def _memory(read: Callable[[], tuple[int, int]]) -> Line:
    try:
        free, total = read()
    except RuntimeError:  # where memory is shared the driver may refuse
        return Line(
            "note", "GPU memory", "the driver does not say", "Watch /proc/meminfo: it may be shared memory."
        )
    return Line("ok", "GPU memory", f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free")


def _data() -> Iterator[Line]:
    if _bad_release():
        return
    import nnfoundations.datamodules as room

    yield Line("ok", "data: digits", "comes with scikit-learn, needs no files")
    root = os.environ.get("NNFOUNDATIONS_DATA")
    for name in ("MNISTDataModule", "FashionMNISTDataModule"):
        module = getattr(room, name)(root)
        missing = sum(file.find(module.path) is None for file in module.files)
        if not missing:
            yield Line("ok", f"data: {name}", str(module.path))
        else:
            found = f"{missing} of {len(module.files)} files missing in {module.path}"
            cure = "A fit downloads it; or set NNFOUNDATIONS_DATA to its folder."
            yield Line("note", f"data: {name}", found, cure)


def _disk() -> Iterator[Line]:
    here = Path.cwd()
    runs = here / "runs"
    there = runs if runs.exists() else here
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = "cannot be written to" if there.is_dir() else "is no folder"
        cure = "Go to another folder, or give --trainer.default_root_dir."
        yield Line("FAIL", "runs", f"{there} {why}", cure)
        return
    free = shutil.disk_usage(here).free / 2**30
    state: Literal["ok", "note"] = "ok" if free > 1 else "note"
    yield Line(
        state, "runs", f"go to {here / 'runs'}; {free:.0f} GiB free", "" if free > 1 else "Make room: 1 GiB."
    )


def _compiler() -> Iterator[Line]:
    found = next(filter(None, map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))), None)
    if found:
        yield Line("ok", "compiler", found)
    else:
        yield Line("note", "compiler", "none; only torch.compile needs one",
                   "apt install g++, or Xcode's command line tools.")  # fmt: skip
