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


def runs_on(capability: tuple[int, int], architectures: list[str]) -> bool:
    """Does a build for these architectures run on a device of this compute capability?

    Machine code runs within its major version from its minor version on; PTX on everything later. (A GB10
    is 12.1: code for 12.0 runs there, though torch warns.)

    >>> runs_on((12, 1), ["sm_90", "sm_120"]), runs_on((6, 1), ["sm_75", "sm_90"])
    (True, False)
    """
    for name in architectures:
        kind, _, digits = name.partition("_")
        digits = digits.rstrip("af")  # sm_90a, sm_120f: for that version's own features
        built = int(digits[:-1]), int(digits[-1])
        if built <= capability and (kind == "compute" or built[0] == capability[0]):
            return True
    return False


def listed_nvidia_gpu() -> str | None:
    """The name of the first NVIDIA GPU that the driver lists; None where there is no driver or no GPU."""
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
    """What to tell the owner of an NVIDIA GPU that this torch cannot use; None where all is well."""
    import torch

    built = f"torch {torch.__version__}"
    if torch.cuda.is_available():
        name, capability = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
        if runs_on(capability, torch.cuda.get_arch_list()):
            return None
        why = f"{built} has no code for its compute capability {capability[0]}.{capability[1]}"
        cure = "Install a torch built for it: 'Installing torch' in the README; or --trainer.accelerator cpu."
    elif (listed := listed_nvidia_gpu()) is None:
        return None
    elif torch.version.cuda is None:
        name, why = listed, f"{built} is built without CUDA"
        cure = "Install a CUDA build: 'Installing torch' in the README (on DGX Spark the default has none)."
    else:
        name, why = listed, f"{built}, built for CUDA {torch.version.cuda}, cannot reach it"
        cure = "Update the driver, or install a torch built for the CUDA version that `nvidia-smi` prints."
    return f"This machine has an NVIDIA GPU ({name}), but {why}.\n{cure}"
