"""Facts about this machine: whether Lightning can be imported, which GPU torch can use, versions."""

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = [
    "TorchvisionMismatchError",
    "command_prefix",
    "gpu_warning",
    "import_lightning",
    "listed_nvidia_gpu",
    "revision",
    "runs_on",
    "versions",
]

_PACKAGES = ("nnfoundations", "torch", "torchvision", "lightning", "torchmetrics", "numpy")


class TorchvisionMismatchError(ImportError):
    """The installed torchvision was built for another torch."""


def import_lightning() -> None:
    """Import Lightning, which cannot be imported if torchvision does not match torch.

    The reason: torchmetrics imports torchvision if it is installed, and Lightning imports torchmetrics.

    Raises:
        TorchvisionMismatchError: they do not match; the text has the fix.
    """
    try:
        import lightning.pytorch  # noqa: F401  # imported for its failure
    except (ImportError, RuntimeError) as error:
        if "torchvision" not in str(error):
            raise
        raise TorchvisionMismatchError(
            f"torchvision {_version('torchvision')} does not match torch {_version('torch')}, so Lightning "
            "cannot be imported.\nInstall both with one command from one index (see "
            "docs/install.md), or run `pip uninstall torchvision`."
        ) from error


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that a run depends on."""
    return {"python": platform.python_version()} | {package: _version(package) for package in _PACKAGES}


def revision(folder: Path) -> str | None:
    """The git commit of a folder, with `+changes` if files differ from it; None outside a repository."""
    git = ["git", "-C", str(folder)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        if head.returncode:
            return None
        status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return head.stdout.strip() + ("+changes" if status.stdout.strip() else "")


def runs_on(capability: tuple[int, int], architectures: list[str]) -> bool:
    """Whether a build for these architectures runs on a device of this compute capability.

    Machine code runs on its own major version, from its minor version on; PTX runs on everything later.
    (A GB10 is 12.1: code for 12.0 runs there, although torch warns.)

    >>> runs_on((12, 1), ["sm_90", "sm_120"]), runs_on((6, 1), ["sm_75", "sm_90"])
    (True, False)
    """
    for name in architectures:
        kind, _, digits = name.partition("_")
        digits = digits.rstrip("af")  # sm_90a, sm_120f: with features of that version only
        built = int(digits[:-1]), int(digits[-1])
        if built <= capability and (kind == "compute" or built[0] == capability[0]):
            return True
    return False


def listed_nvidia_gpu() -> str | None:
    """The name of the first NVIDIA GPU that the driver lists; None without a driver or a GPU."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    try:
        listed = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    gpus = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    # "GPU 0: NVIDIA H100 80GB HBM3 (UUID: ...)"
    return gpus[0].split(": ", 1)[-1].split(" (UUID")[0] if listed.returncode == 0 and gpus else None


def gpu_warning() -> str | None:
    """The warning for an NVIDIA GPU that this torch cannot use; None if there is no such GPU."""
    import torch

    built = f"torch {torch.__version__}"
    if torch.cuda.is_available():
        name, capability = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
        if runs_on(capability, torch.cuda.get_arch_list()):
            return None
        why = f"{built} has no code for its compute capability {capability[0]}.{capability[1]}"
        fix = "Install a torch build for it (docs/install.md), or use --trainer.accelerator cpu."
    elif (listed := listed_nvidia_gpu()) is None:
        return None
    elif torch.version.cuda is None:
        name, why = listed, f"{built} is built without CUDA"
        fix = "Install a CUDA build: see docs/install.md (the default for DGX Spark has none)."
    else:
        name, why = listed, f"{built}, built for CUDA {torch.version.cuda}, cannot reach it"
        fix = "Update the driver, or install a torch build for the CUDA version that `nvidia-smi` prints."
    return f"This machine has an NVIDIA GPU ({name}), but {why}.\n{fix}"


def command_prefix() -> str:
    """Return what a printed command needs in front to run here: `uv run `, a folder, or nothing.

    Returns:
        Text that ends in a space or in a path separator, or an empty text if the programs are on the PATH.
    """
    if "UV" in os.environ:  # set by uv for the commands that it runs
        return "uv run "
    program = Path(sys.argv[0])
    called_by_path = program.stem == "nnfoundations" and shutil.which("nnfoundations") is None
    return f"{program.parent}{os.sep}" if called_by_path else ""
