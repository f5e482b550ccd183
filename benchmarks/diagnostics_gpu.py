"""Checks diagnostics on a GPU for gpu.py: faults are found, float16, NaN, and no wait for the device.

Do not run it alone: `python benchmarks/gpu.py FOLDER` runs it with the rest.
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
"""First step from which nothing may wait for the device. The first steps check the wiring and may wait."""


class NoWaiting(Callback):
    """Turns any wait for the device into an error, from step `SETTLED` to the end."""

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
    """Return one row per run: its name, the findings, and whether they are right."""
    accelerator = "gpu" if device == "cuda" else "cpu"
    found = []
    for fault in FAULTS[:2] if small else FAULTS:
        net = fault.nets[0]
        case = fault.broken(net)
        diagnostics = run(case.build(), case.steps, case.data, accelerator=accelerator, **case.options)
        named = [finding.fault for finding in diagnostics.findings]
        # Without a wait for the device, a NaN is located by step and quantity, not by module.
        accepted = (*fault.causes, "non-finite") if accelerator == "gpu" else fault.causes
        right = named[:1] != [] and named[0] in accepted
        found.append({"run": f"{fault.id} {net}", "named": " ".join(named), "passes": right})
    for label, options in (("healthy", {}), ("healthy float16", {"precision": "16-mixed"})):
        if small and options:
            continue
        case = usual("mlp", steps=200)
        diagnostics = run(case.build(), case.steps, case.data, accelerator=accelerator, **options)
        quiet = not diagnostics.findings and diagnostics.failure is None
        named = [finding.fault for finding in diagnostics.findings]
        found.append({"run": label, "named": " ".join(named), "passes": quiet})
    located = next(fault for fault in FAULTS if fault.id == "non-finite/overflow").broken("mlp")
    diagnostics = Diagnostics(verbose=False, locate_nonfinite=True)
    run(located.build(), located.steps, located.data, diagnostics=diagnostics, accelerator=accelerator)
    where = diagnostics.findings[0].where if diagnostics.findings else ()
    found.append({"run": "NaN located", "named": " ".join(where), "passes": where == ("net.2",)})
    if accelerator == "gpu":
        found.append(without_waiting())
    return found


def without_waiting() -> dict[str, Any]:
    """Train with diagnostics while every wait for the device is an error."""
    case = usual("mlp", steps=400)
    module = case.build()
    module.log = lambda *args, **kwargs: None  # type: ignore[method-assign, assignment]  # logging itself may wait
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
