"""What the command says of a machine it cannot use as it should. Each in a process of its own."""

import os
import subprocess
import sys

import pytest
import torch

FIT = [sys.executable, "-m", "nnfoundations", "fit", "--config", "digits", "--trainer.fast_dev_run", "true"]


def command(tmp_path, **environment):
    return subprocess.run(
        FIT, cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )


def test_names_the_device(tmp_path):
    done = command(tmp_path, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    assert "Device: CPU" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="this torch can use the GPU here")
def test_warns_of_a_gpu_that_torch_cannot_use(tmp_path):
    """The driver's tool lists a GPU: a stand-in for it, as no machine has a driver but no such GPU."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA GB10 (UUID: GPU-0)'\n")
    tool.chmod(0o755)
    done = command(tmp_path, PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    warning = done.stderr[done.stderr.index("Warning: ") :].splitlines()[:2]
    assert "NVIDIA GB10" in warning[0]
    assert f"torch {torch.__version__}" in warning[0]
    assert "driver" in warning[1] or "README" in warning[1]


def test_torchvision_of_another_torch_is_two_lines(tmp_path):
    """What such a torchvision does on import: its operators are not there."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    done = command(tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert "torchvision" in lines[0]
    assert "README" in lines[1]
