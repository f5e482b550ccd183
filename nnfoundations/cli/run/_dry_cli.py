"""The command line without a run: builds what is configured, lists the options, or writes the config."""

from contextlib import suppress
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser

from nnfoundations.cli.config._settings import Setting
from nnfoundations.cli.run._lightning_cli import FoundationsCLI
from nnfoundations.cli.run._verbosity import Verbosity

__all__ = ["Configured", "option_names", "whole_config"]


class Configured(FoundationsCLI):
    """Model, data and the options of a trainer, built from the arguments; nothing runs."""

    @property
    def trainer_options(self) -> dict[str, Any]:
        """All of `--trainer.*`, given or default."""
        return dict(self._get(self.config_init, "trainer"))

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        return Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")

    def _run_subcommand(self, subcommand: str) -> None:
        """Nothing runs."""


def option_names(command: str) -> list[str]:
    """Every option of a command with its dashes, sorted.

    Args:
        command: `fit`, `validate`, `test` or `predict`.
    """
    names: list[str] = []

    class OptionLister(FoundationsCLI):
        def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
            actions = self._subcommand_parsers[self.command]._actions
            names.extend(
                name for action in actions for name in action.option_strings if name.startswith("--")
            )
            raise _Listed

    with suppress(_Listed):
        OptionLister(command, [], Setting(""), "", Verbosity.NORMAL)
    return sorted(names)


class _Listed(Exception):  # noqa: N818  # leaves Lightning's constructor, which would go on to run
    pass


def whole_config(args: list[str], settings: Setting) -> str:
    """The config with which `fit` would run, as YAML that `fit --config` takes.

    Args:
        args: the arguments of `fit`, configs as paths.
        settings: the same as a tree, for messages.

    Raises:
        CommandError: `fit` would refuse the arguments.
    """
    texts: list[str] = []

    class Dumper(FoundationsCLI):
        def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
            super().parse_arguments(parser, args)
            # With its nulls, as in the config.yaml of a run: without them, groups of options would be empty.
            command_parser = self._subcommand_parsers[self.command]
            texts.append(command_parser.dump(self.config[self.command], skip_none=False))
            raise _Listed

    with suppress(_Listed):
        Dumper("fit", args, settings, "", Verbosity.QUIET)
    return texts[0]
