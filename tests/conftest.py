"""What every test stands under."""

import os
import sys

# Before torch loads: threads that spin beside another worker cost 40 times the step.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Lightning 2.6.6 calls what jsonargparse 4.53 deprecates; no line of ours.
os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")

import pytest


@pytest.fixture(scope="session", autouse=True)
def no_bare_names():
    """The rooms under their folder names would be second copies of every class."""
    yield
    bare = {"callbacks", "datamodules", "labs", "lightning_modules"} & set(sys.modules)
    assert not bare, f"imported by a bare name: {sorted(bare)}"


@pytest.fixture(scope="session", autouse=True)
def two_workers_share_two_cores():
    if "PYTEST_XDIST_WORKER" in os.environ:
        import torch

        torch.set_num_threads(1)
