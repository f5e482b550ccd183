"""The name of the device of a run."""

import platform

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import CUDAAccelerator

__all__ = ["device_name"]


def device_name(trainer: Trainer) -> str:
    """The device that trains, for example `CPU (x86_64, 8 threads)` or `GPU 0 (NVIDIA H100)`."""
    device = trainer.strategy.root_device
    if isinstance(trainer.accelerator, CUDAAccelerator):
        return f"GPU {device.index or 0} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        return f"CPU ({platform.machine()}, {torch.get_num_threads()} threads)"
    return device.type.upper()
