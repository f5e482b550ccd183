"""What this machine is: does Lightning import, which device trains, which versions run."""

import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("nnfoundations", "torch", "torchvision", "lightning", "torchmetrics", "numpy")


class TorchvisionMismatchError(ImportError):
    """The installed torchvision was built for another torch."""


def import_lightning() -> None:
    """Import Lightning, which fails as a whole where torchvision does not match torch.

    torchmetrics imports torchvision whenever it is installed, and Lightning imports torchmetrics.

    Raises:
        TorchvisionMismatchError: with the cure.
    """
    try:
        import lightning.pytorch  # noqa: F401  # imported for its failure
    except (ImportError, RuntimeError) as error:
        if "torchvision" not in str(error):
            raise
        raise TorchvisionMismatchError(
            f"torchvision {_version('torchvision')} does not match torch {_version('torch')}, and Lightning "
            "cannot be imported beside it.\nInstall both in one command from one index ('Installing torch', "
            "README), or `pip uninstall torchvision`."
        ) from error


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"


def versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {package: _version(package) for package in _PACKAGES}


def revision(folder: Path) -> str | None:
    """The git commit of a folder, with `+changes` where files differ from it; None where there is none."""
    git = ["git", "-C", str(folder)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        if head.returncode:
            return None
        status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return head.stdout.strip() + ("+changes" if status.stdout.strip() else "")


def unused_nvidia_gpu() -> str | None:
    """The name of an NVIDIA GPU that the driver lists and this torch cannot use; None where all is well."""
    import torch

    if torch.cuda.is_available() or not (command := shutil.which("nvidia-smi")):
        return None
    try:
        listed = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    gpus = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    # "GPU 0: NVIDIA H100 80GB HBM3 (UUID: ...)"
    return gpus[0].split(": ", 1)[-1].split(" (UUID")[0] if listed.returncode == 0 and gpus else None


def gpu_warning() -> str | None:
    """What to tell the owner of a GPU that lies idle, with the cure; None where there is nothing to tell."""
    import torch

    name = unused_nvidia_gpu()
    if name is None:
        return None
    if torch.version.cuda is None:
        why = f"torch {torch.__version__} is built without CUDA"
        cure = "Install a CUDA build: 'Installing torch' in the README (on DGX Spark the default has none)."
    else:
        why = f"torch {torch.__version__}, built for CUDA {torch.version.cuda}, cannot reach it"
        cure = "Update the driver, or install a torch built for the CUDA version that `nvidia-smi` prints."
    return f"This machine has an NVIDIA GPU ({name}), but {why}.\n{cure}"
