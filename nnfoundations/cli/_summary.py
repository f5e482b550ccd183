"""What a person reads when a run begins, and when it is over."""

import os
import sys
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from nnfoundations.callbacks import PredictionTable
from nnfoundations.cli._device import device_name
from nnfoundations.cli._environment import gpu_warning
from nnfoundations.cli._voice import Voice

_NEXT = {"digits": "mnist"}


@rank_zero_only
def announce(trainer: Trainer, model: LightningModule) -> None:
    print(f"Device: {device_name(trainer)}")
    print(f"Model:  {type(model).__name__}, {sum(p.numel() for p in model.parameters()):,} parameters")
    if warning := gpu_warning():
        print(f"Warning: {warning}", file=sys.stderr)


@rank_zero_only
def print_summary(trainer: Trainer, root: Path, name: str, voice: Voice) -> None:
    """The metrics that were just measured, where the run lies, and the commands to go on with."""
    folder = Path(trainer.default_root_dir)
    dry = getattr(trainer, "fast_dev_run", False)  # it leaves no run behind
    if voice is Voice.QUIET:
        if not dry:
            print(folder)
        return
    metrics = {metric: f"{float(value):.4f}" for metric, value in sorted(trainer.callback_metrics.items())}
    if metrics:
        wide = max(map(len, metrics))
        print(
            "\n".join([f"\n{name}", *(f"  {metric:<{wide}}  {value}" for metric, value in metrics.items())])
        )
    if dry:
        return
    prefix = "uv run " if "UV" in os.environ else ""  # uv sets it for what it runs
    lines = [f"Run          {folder}"]
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set by its connector
        if isinstance(callback, PredictionTable) and callback.file is not None:
            lines.append(f"Predictions  {callback.file}")
    found = (folder / "findings.jsonl").exists()
    if found:
        lines.append(f"Findings     {folder / 'findings.jsonl'}")
    lines.append(f"TensorBoard  {prefix}tensorboard --logdir {root}")
    if trainer.state.fn == "test" and name in _NEXT and not found:  # else this run is to be mended first
        lines.append(f"Next         {prefix}nnfoundations fit --config {_NEXT[name]}")
    print("\n".join(lines), flush=True)
