"""Record in the run folder how the run was made: config, versions, revision, device."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger

import nnfoundations
from nnfoundations.cli.run._device import device_name
from nnfoundations.cli.run._environment import revision, versions

__all__ = ["RunRecord"]


class RunRecord(SaveConfigCallback):
    """Write `config.yaml` and `run.json` into the run folder and as text into TensorBoard.

    Args:
        args: those of Lightning's `SaveConfigCallback`.
        name: the name of the run.
        command: the command that started it, as a person types it.
        kwargs: those of Lightning's `SaveConfigCallback`.
    """

    def __init__(self, *args: Any, name: str, command: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.name, self.command = name, command

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        text = self.parser.dump(self.config, skip_none=False)
        (folder / "config.yaml").write_text(text, encoding="utf-8")
        record = {
            "name": self.name,
            "command": self.command,
            "started": datetime.now().astimezone().isoformat(timespec="seconds"),
            "device": device_name(trainer),
            "revision": {
                "nnfoundations": revision(Path(nnfoundations.__file__).parent),
                "working directory": revision(Path.cwd()),
            },
            "versions": versions(),
        }
        (folder / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text("config", f"```yaml\n{text}\n```")
                logger.experiment.add_text("run", f"```json\n{json.dumps(record, indent=2)}\n```")
