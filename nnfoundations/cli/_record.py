"""What a run folder says about itself: the whole config, versions, revision, device."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

import nnfoundations
from nnfoundations.callbacks._tensorboard import tensorboard_writers
from nnfoundations.cli._device import device_name
from nnfoundations.cli._environment import revision, versions


class RunRecord(SaveConfigCallback):
    """Write `config.yaml` and `run.json` into the run folder, and both as text into TensorBoard.

    Args:
        name: what the run is called: that of its packaged config.
    """

    def __init__(self, *args: Any, name: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.name = name

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        text = self.parser.dump(self.config, skip_none=False)
        (folder / "config.yaml").write_text(text, encoding="utf-8")
        record = {
            "name": self.name,
            "command": " ".join(["nnfoundations", *sys.argv[1:]]),
            "started": datetime.now().astimezone().isoformat(timespec="seconds"),
            "device": device_name(trainer),
            "revision": {
                "nnfoundations": revision(Path(nnfoundations.__file__).parent),
                "working directory": revision(Path.cwd()),
            },
            "versions": versions(),
        }
        (folder / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        for writer in tensorboard_writers(trainer):
            writer.add_text("config", f"```yaml\n{text}\n```")
            writer.add_text("run", f"```json\n{json.dumps(record, indent=2)}\n```")
