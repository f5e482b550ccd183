"""The command line without a run: for `check`, what is configured; for completion, which flags there are."""

from contextlib import suppress
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser

from nnfoundations.cli._command import FoundationsCLI
from nnfoundations.cli._settings import Setting
from nnfoundations.cli._voice import Voice


class Configured(FoundationsCLI):
    """Model, data and the options of a trainer, built; no run."""

    @property
    def trainer_options(self) -> dict[str, Any]:
        """All of `--trainer.*`, as given or by default."""
        return dict(self._get(self.config_init, "trainer"))

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        return Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")

    def _run_subcommand(self, subcommand: str) -> None:
        """Nothing is run."""


class Flags(FoundationsCLI):
    """Every flag of a command; nothing is parsed."""

    def __init__(self, command: str) -> None:
        self.flags: list[str] = []
        with suppress(_Known):
            super().__init__(command, [], Setting(""), "", Voice.NORMAL)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        actions = self._subcommand_parsers[self.command]._actions
        self.flags = sorted(
            flag for action in actions for flag in action.option_strings if flag.startswith("--")
        )
        raise _Known


class _Known(Exception):  # noqa: N818  # the flags are; the rest of the constructor is for runs
    pass
