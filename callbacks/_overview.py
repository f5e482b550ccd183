"""What makes a run readable in TensorBoard at a glance: paired curves, hyperparameters, the model as text."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.model_summary.model_summary import ModelSummary
from torch.utils.tensorboard.summary import hparams as hparams_summaries

from nnfoundations.callbacks._tensorboard import tensorboard_writers


class TensorBoardOverview(Callback):
    """Once in a run, write what scalars alone do not show.

    - A chart for each metric logged as both ``train/NAME`` and ``val/NAME``, or ``train_NAME`` and
      ``val_NAME`` (tab Custom Scalars).
    - The hyperparameters of module and data, with every ``val/`` metric and its ``test/`` twin as columns
      to sort runs by (tab HParams). The columns fill from the scalars as they come.
    - The model summary (tab Text).

    Charts and columns are written when the first epoch is over, since only then the names are known.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._written = False
        for writer in tensorboard_writers(trainer):
            writer.add_text("model", f"```\n{ModelSummary(pl_module, max_depth=-1)}\n```")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.callback_metrics and not self._written:
            self._write(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._written:
            self._write(trainer, pl_module)

    def _write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._written = True
        names = set(trainer.callback_metrics)
        # "val/loss" as well as "val_loss": both spellings are common.
        validated = sorted(name for name in names if name.startswith(("val/", "val_")))
        curves = {
            name[4:]: ["Multiline", [f"train{name[3:]}$", f"{name}$"]]
            for name in validated
            if f"train{name[3:]}" in names
        }
        columns = dict.fromkeys((*validated, *(f"test{name[3:]}" for name in validated)), 0.0)
        parameters = flatten({**pl_module.hparams_initial, **data_hparams(trainer)})
        for writer in tensorboard_writers(trainer):
            if curves:
                writer.add_custom_scalars({"train and validation": curves})
            # Not through logger.log_hyperparams, which writes a point at step 0 for every metric as well.
            for summary in hparams_summaries(parameters, columns):
                writer._get_file_writer().add_summary(summary)


def data_hparams(trainer: Trainer) -> dict[str, Any]:
    datamodule = getattr(trainer, "datamodule", None)
    return {} if datamodule is None else dict(datamodule.hparams_initial)


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Nested dictionaries as one, keys joined by dots.

    A class of a config reads as ``optimizer: SGD, optimizer.lr: 0.1``. What is None, and keys of Lightning's
    own (``_class_path``), are left out.

    >>> flatten({"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "fused": None}}})
    {'optimizer': 'SGD', 'optimizer.lr': 0.1}
    """
    flat: dict[str, bool | int | float | str] = {}
    for key, value in tree.items():
        name = f"{prefix}.{key}" if prefix else key
        if value is None or key.startswith("_"):
            continue
        if isinstance(value, dict) and "class_path" in value:
            flat[name] = value["class_path"].rpartition(".")[-1]
            flat |= flatten(value.get("init_args", {}), name)
        elif isinstance(value, dict):
            flat |= flatten(value, name)
        else:
            flat[name] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat
