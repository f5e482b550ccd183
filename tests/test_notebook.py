"""In a real kernel: Ctrl-C ends the run, not the kernel, and findings are shown where output belongs."""

import time

import pytest
from jupyter_client.manager import start_new_kernel

FIT = """
from nnfoundations.cli import main
main(["fit", "--config", "digits", "--trainer.max_epochs", "1000", "--trainer.default_root_dir", {folder!r}])
"""


@pytest.fixture(scope="module")
def kernel():
    manager, client = start_new_kernel()
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def output(message):
    """What a message puts below the cell."""
    return "".join(str(message["content"].get(key, "")) for key in ("text", "data"))


@pytest.mark.slow
def test_the_kernel_survives_an_interrupt(kernel, tmp_path):
    manager, client = kernel
    client.execute(FIT.format(folder=str(tmp_path)))
    shown, end = "", time.monotonic() + 120
    while not list(tmp_path.rglob("*.ckpt")):
        assert time.monotonic() < end, shown
        time.sleep(0.2)
    manager.interrupt_kernel()
    while "130" not in shown:  # the value of the cell: main's exit code
        shown += output(client.get_iopub_msg(timeout=60))
    assert "SIGINT: saving after this batch" in shown
    assert "Go on with" in shown
    assert list(tmp_path.rglob("interrupted.ckpt"))
    reply = client.execute_interactive(
        "assert main(['configs']) == 0", timeout=60, output_hook=lambda _: None
    )
    assert reply["content"]["status"] == "ok"
