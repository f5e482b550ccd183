"""What a person reads when a run is over."""

import os
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table

_NEXT = {"digits": "mnist"}


@rank_zero_only
def print_summary(trainer: Trainer, root: Path, name: str) -> None:
    """The metrics that were just measured, where the run lies, and the commands to go on with."""
    console = Console()
    folder = Path(trainer.default_root_dir)
    if trainer.callback_metrics:
        table = Table("metric", "value", title=name)
        for metric, value in sorted(trainer.callback_metrics.items()):
            table.add_row(metric, f"{float(value):.4f}")
        console.print(table)
    if getattr(trainer, "fast_dev_run", False):  # it leaves no run behind
        return
    prefix = "uv run " if "UV" in os.environ else ""  # uv sets it for what it runs
    lines = [f"Run          {folder}"]
    if (folder / "predictions.csv").exists():
        lines.append(f"Predictions  {folder / 'predictions.csv'}")
    found = (folder / "findings.jsonl").exists()
    if found:
        lines.append(f"Findings     {folder / 'findings.jsonl'}")
    lines.append(f"TensorBoard  {prefix}tensorboard --logdir {root}")
    if trainer.state.fn == "test" and name in _NEXT and not found:  # else this run is to be mended first
        lines.append(f"Next         {prefix}nnfoundations fit --config {_NEXT[name]}")
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
