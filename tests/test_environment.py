"""What the command says about a machine that it cannot fully use. Each test starts a process."""

import os
import subprocess
import sys

import pytest
import torch

from nnfoundations.cli import main

FIT = ["fit", "--config", "digits", "--trainer.fast_dev_run", "true"]


def command(tmp_path, **environment):
    return subprocess.run(
        [sys.executable, "-m", "nnfoundations", *FIT],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_names_the_device(tmp_path):
    done = command(tmp_path, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    assert "Device: CPU" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="this torch can use the GPU here")
def test_warns_of_a_gpu_that_torch_cannot_use(tmp_path, monkeypatch, capsys):
    """A script in place of nvidia-smi lists a GPU that this torch cannot use."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA GB10 (UUID: GPU-0)'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert main([*FIT, "--trainer.default_root_dir", str(tmp_path)]) == 0
    err = capsys.readouterr().err
    warning = err[err.index("Warning: ") :].splitlines()[:2]
    assert "NVIDIA GB10" in warning[0]
    assert f"torch {torch.__version__}" in warning[0]
    assert "driver" in warning[1] or "docs/install.md" in warning[1]


@pytest.mark.slow
def test_torchvision_of_another_torch_is_two_lines(tmp_path):
    """Such a torchvision fails on import, because its operators are missing."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    done = command(tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert "torchvision" in lines[0]
    assert "docs/install.md" in lines[1]
