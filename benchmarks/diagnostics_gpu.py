"""What diagnostics promise on a GPU, as rows for gpu.py: faults named, float16, NaN, and no waiting.

Not run alone: `python benchmarks/gpu.py FOLDER` runs it with the rest.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from faults import FAULTS, usual
from zoo import run

from nnfoundations.callbacks import Diagnostics

SETTLED = 60
"""From this step on nothing may wait for the device: the wiring is looked at in the first steps only."""


class NoWaiting(Callback):
    """Any wait for the device is an error from step `SETTLED` to the end."""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == SETTLED:
            torch.cuda.set_sync_debug_mode("error")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        torch.cuda.set_sync_debug_mode("default")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        torch.cuda.set_sync_debug_mode("default")


def rows(device: str, small: bool) -> list[dict[str, Any]]:
    """A row a run: what was asked, what was found, whether that is right."""
    accelerator = "gpu" if device == "cuda" else "cpu"
    found = []
    for fault in FAULTS[:2] if small else FAULTS:
        net = fault.nets[0]
        case = fault.broken(net)
        diagnostics = run(case.build(), case.steps, case.data, accelerator=accelerator, **case.options)
        named = [finding.fault for finding in diagnostics.findings]
        # On a device that is not waited for, a NaN is told by step and quantity, not by its module.
        accepted = (*fault.causes, "non-finite") if accelerator == "gpu" else fault.causes
        right = named[:1] != [] and named[0] in accepted
        found.append({"run": f"{fault.id} {net}", "named": " ".join(named), "passes": right})
    for label, options in (("healthy", {}), ("healthy float16", {"precision": "16-mixed"})):
        if small and options:
            continue
        case = usual("M", steps=200)
        diagnostics = run(case.build(), case.steps, case.data, accelerator=accelerator, **options)
        quiet = not diagnostics.findings and diagnostics.failure is None
        named = [finding.fault for finding in diagnostics.findings]
        found.append({"run": label, "named": " ".join(named), "passes": quiet})
    located = next(fault for fault in FAULTS if fault.id == "F30b").broken("M")
    diagnostics = Diagnostics(verbose=False, locate_nonfinite=True)
    run(located.build(), located.steps, located.data, diagnostics=diagnostics, accelerator=accelerator)
    where = diagnostics.findings[0].where if diagnostics.findings else ()
    found.append({"run": "NaN located", "named": " ".join(where), "passes": where == ("net.2",)})
    if accelerator == "gpu":
        found.append(without_waiting())
    return found


def without_waiting() -> dict[str, Any]:
    """Training and diagnostics with every wait for the device an error."""
    case = usual("M", steps=400)
    module = case.build()
    module.log = lambda *args, **kwargs: None  # type: ignore[method-assign, assignment]  # its own affair
    diagnostics = Diagnostics(verbose=False)
    try:
        run(
            module, case.steps, case.data, diagnostics=diagnostics, accelerator="gpu",
            callbacks=[NoWaiting()], limit_val_batches=0,
        )  # fmt: skip
    except RuntimeError as error:
        return {"run": "no waiting", "named": str(error).splitlines()[0], "passes": False}
    return {
        "run": "no waiting",
        "named": str(diagnostics.failure or ""),
        "passes": diagnostics.failure is None,
    }
