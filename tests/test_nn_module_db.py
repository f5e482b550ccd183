"""Our modules on the samples with which PyTorch tests its modules, independent of the registry."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nnfoundations import nn


@pytest.mark.slow
def test_pytorchs_samples_and_error_inputs() -> None:
    pytest.importorskip("expecttest")
    script = Path(__file__).with_name("module_db.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert not found["failures"], "\n".join(found["failures"])
    assert found["errors"] > 0
    assert sum(found["samples"].values()) > 400
    assert {"Linear", "ReLU", "CrossEntropyLoss"} <= found["samples"].keys() <= set(vars(nn))
