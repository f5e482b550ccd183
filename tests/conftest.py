"""Sets up every test run: threads, workers, progress, real data, and no network."""

import os
import random
import socket
import sys

# Before torch is imported. A thread that waits by spinning slows a step down 40 times when another process
# needs its core, so threads sleep; beside other workers a process gets one thread.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Lightning 2.6.6 calls functions that jsonargparse 4.53 deprecates.
os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")

import pytest
from hypothesis import settings
from progress import FileProgress, tier_lines

settings.register_profile("fast", derandomize=True, deadline=None, max_examples=12)
settings.register_profile("weekly", deadline=None, max_examples=200, print_blob=True)
settings.load_profile("fast")  # --hypothesis-profile=weekly draws more, and others each time

pytest.register_assert_rewrite("registry", "reported", "watched")  # a failed assert there shows its values

MOST_WORKERS = 16
"""Each worker imports torch and Lightning (2 s, 0.6 GB); more than this many do not finish earlier."""


# -- workers and progress ------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads these options
def pytest_cmdline_main(config):
    """Run a whole folder on all cores. Single files, --pdb and -s stay in one process; -n still decides."""
    if hasattr(config, "workerinput"):
        return  # a worker starts no workers
    option = config.option
    interactive = option.usepdb or option.capture == "no" or option.collectonly
    files = [arg for arg in config.args if not os.path.isdir(arg)]
    if getattr(option, "numprocesses", 0) is None and not interactive and not files:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        option.numprocesses = min(cores, MOST_WORKERS)
    if getattr(option, "numprocesses", 0) and option.dist == "no":
        option.dist = "worksteal"  # files stay together, so what they share is made once, and no core waits


def pytest_configure(config):
    if (
        not hasattr(config, "workerinput")
        and config.getoption("numprocesses", 0)
        and config.option.verbose == 0
    ):
        config.pluginmanager.register(FileProgress(config))


def pytest_report_header(config):
    return tier_lines(config)


# -- what a test may use -------------------------------------------------------------------------------------


def seed():
    """Start from the same random numbers, whatever ran before in this worker."""
    import torch  # not at the top, so that the header is printed at once

    random.seed(0)
    torch.manual_seed(0)
    os.environ.pop("PL_GLOBAL_SEED", None)  # of an earlier `seed_everything`; data modules read it


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call():
    seed()


def pytest_runtest_setup(item):
    """Seed the test's fixtures; skip a test marked `data("MNIST")` if that data set is missing."""
    seed()
    for name in (name for mark in item.iter_markers("data") for name in mark.args):
        from nnfoundations import datamodules

        data = getattr(datamodules, f"{name}DataModule")()
        if not all(file.find(data.path) for file in data.present()):
            pytest.skip(f"no {name} in {data.path}; set NNFOUNDATIONS_DATA to a folder that holds it")


THIS_MACHINE = (None, "", "127.0.0.1", "::1", "localhost", "0.0.0.0", "::", socket.gethostname())


@pytest.fixture(scope="session", autouse=True)
def no_network():
    """Tests reach servers of their own on this machine, and nothing else."""
    connect, look_up, reached = socket.socket.connect, socket.getaddrinfo, []

    def check(host):
        if host not in THIS_MACHINE:
            reached.append(host)
            raise OSError(f"a test tried to reach {host}")

    def local_connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            check(address[0])
        return connect(self, address)

    def local_look_up(host, *args, **kwargs):
        check(host.decode() if isinstance(host, bytes) else host)
        return look_up(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", local_connect)
        patch.setattr(socket, "getaddrinfo", local_look_up)
        yield
    assert not reached, f"tests tried to reach {sorted(set(reached))}; they use no network"


@pytest.fixture(scope="session", autouse=True)
def no_second_copies():
    """The top folders, imported by their own names, would be second copies of every class."""
    yield
    copies = {"callbacks", "datamodules", "labs", "lightning_modules"} & set(sys.modules)
    assert not copies, f"imported without `nnfoundations.`: {sorted(copies)}"
