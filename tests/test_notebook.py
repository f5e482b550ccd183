"""In a real notebook kernel: Ctrl-C ends the run and not the kernel, and no bar warns about widgets."""

import time
from importlib.util import find_spec

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
    """What a message prints below the cell."""
    return "".join(str(message["content"].get(key, "")) for key in ("text", "data"))


TRAIN = """
import lightning.pytorch as lightning, torch
from torch.utils.data import DataLoader, TensorDataset
from nnfoundations.callbacks import Diagnostics

class Net(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(8, 3)

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 300.0)

data = DataLoader(TensorDataset(torch.randn(320, 8), torch.randint(3, (320,))), 32)
trainer = lightning.Trainer(
    max_epochs=2, callbacks=[Diagnostics()], accelerator="cpu", logger=False, enable_checkpointing=False
)
trainer.fit(Net(), data)
"""

CLI = """
from nnfoundations.cli import main
main(["fit", "--config", "digits", "--trainer.max_epochs", "1", "--trainer.default_root_dir", {folder!r}])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "cell", [pytest.param(TRAIN, marks=pytest.mark.weekly), CLI], ids=["trainer", "command"]
)
@pytest.mark.skipif(find_spec("ipywidgets") is not None, reason="there is no warning with ipywidgets")
def test_no_warning_about_widgets(cell, tmp_path):
    """rich and tqdm warn in a kernel without ipywidgets; Lightning's own tqdm bar does not."""
    manager, client = start_new_kernel()  # of its own: a warning of an import comes once
    shown = []
    try:
        reply = client.execute_interactive(
            cell.format(folder=str(tmp_path)) if cell is CLI else cell,
            timeout=300,
            output_hook=lambda message: shown.append(output(message)),
        )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    text = "".join(shown)
    assert reply["content"]["status"] == "ok", text
    assert "ipywidgets" not in text
    assert "Diagnostics: " in text
    if cell is TRAIN:
        assert "Epoch 1: 100%" in text, "the bar is drawn"


@pytest.mark.slow
def test_the_kernel_survives_an_interrupt(kernel, tmp_path):
    manager, client = kernel
    client.execute(FIT.format(folder=str(tmp_path)))
    shown, end = "", time.monotonic() + 120
    while not list(tmp_path.rglob("*.ckpt")):
        assert time.monotonic() < end, shown
        time.sleep(0.2)
    manager.interrupt_kernel()
    while "Continue with: " not in shown:
        shown += output(client.get_iopub_msg(timeout=60))
    assert "SIGINT: saving a checkpoint after this batch" in shown
    assert list(tmp_path.rglob("interrupted.ckpt"))
    reply = client.execute_interactive(
        "assert main(['configs']) == 0", timeout=60, output_hook=lambda _: None
    )
    assert reply["content"]["status"] == "ok"


@pytest.mark.slow
def test_fit_shows_its_curves(kernel, tmp_path):
    """From the command as a function and from a Trainer of one's own; the value is still the exit code."""
    _, client = kernel
    shown = []

    def run(code):
        shown.clear()
        reply = client.execute_interactive(
            code, timeout=120, output_hook=lambda message: shown.append(message["content"])
        )
        assert reply["content"]["status"] == "ok", shown
        return [content["data"] for content in shown if "image/png" in content.get("data", {})]

    (picture,) = run(
        "from nnfoundations.cli import main\n"
        "code = main(['fit', '--config', 'digits', '--trainer.max_epochs', '1', "
        f"'--trainer.default_root_dir', {str(tmp_path)!r}])\n"
        "assert code == 0"
    )
    assert len(picture["image/png"]) > 10_000
    assert list(tmp_path.rglob("curves.png"))
    (picture,) = run(
        "from lightning.pytorch import Trainer\n"
        "from lightning.pytorch.demos.boring_classes import BoringModel\n"
        "from nnfoundations.callbacks import TrainingCurves\n"
        f"Trainer(max_epochs=1, limit_train_batches=4, logger=False, callbacks=[TrainingCurves()], "
        f"enable_checkpointing=False, default_root_dir={str(tmp_path / 'own')!r}).fit(BoringModel())"
    )
    assert (tmp_path / "own" / "curves.png").exists()
