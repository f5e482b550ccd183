"""fit, validate, test and predict: Lightning's command line with run folders and a closing table."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from traceback import walk_tb
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.model_helpers import is_overridden

# Short class names on the command line reach what has been imported.
import nnfoundations.datamodules
import nnfoundations.lightning_modules
import nnfoundations.models  # noqa: F401  # imported for its names
from nnfoundations.callbacks import (
    ClassificationFigures,
    Diagnostics,
    ParameterHistograms,
    PredictionTable,
    TensorBoardOverview,
)
from nnfoundations.cli._checkpoints import check_folder, check_place, given_checkpoint, overridden
from nnfoundations.cli._folder import new_run_folder
from nnfoundations.cli._interrupt import InterruptCheckpoint, command_that_goes_on, say_what_is_kept
from nnfoundations.cli._mistakes import check_keys, check_nulls, explain
from nnfoundations.cli._monitor import MonitorCheck, missing_metric
from nnfoundations.cli._optimizers import check_optimizers
from nnfoundations.cli._parser import FoundationsParser, ParsingFailed, help_texts
from nnfoundations.cli._progress import progress_bar
from nnfoundations.cli._record import RunRecord
from nnfoundations.cli._resume import RandomState, RunCheckpoint
from nnfoundations.cli._settings import CommandError, Setting
from nnfoundations.cli._signals import Interrupted, handled
from nnfoundations.cli._summary import announce, print_summary
from nnfoundations.cli._voice import Voice


class FoundationsCLI(LightningCLI):
    """Parse the arguments, run the command, say what came out.

    What is not in Lightning's: a run folder ``ROOT/NAME/TIMESTAMP`` (ROOT is ``--trainer.default_root_dir``,
    else ``runs``) that holds all that a run writes; the standing callbacks as argument groups of their own,
    so that a callback list in a config cannot remove them; the test at the end of ``fit``.
    """

    folder: Path | None = None

    def __init__(self, command: str, args: list[str], settings: Setting, name: str, voice: Voice) -> None:
        self.command, self.args, self.settings = command, args, settings
        self.name, self.voice = name, voice
        voice.hush()
        super().__init__(
            LightningModule,
            None,  # any datamodule, or none: a module may bring loaders of its own
            subclass_mode_model=True,
            save_config_callback=RunRecord,
            save_config_kwargs={"save_to_log_dir": False, "name": name},
            seed_everything_default=0,
            trainer_defaults={"devices": 1},
            parser_class=FoundationsParser,
            parser_kwargs={command: help_texts(command)},
            auto_configure_optimizers=False,
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # static there: all four parsers
        return {self.command: LightningCLI.subcommands()[self.command]}

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        return super().init_parser(**{**kwargs, "prog": "nnfoundations"})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(RunCheckpoint, "checkpoint")
        parser.set_defaults({"checkpoint.save_last": True})
        parser.add_lightning_class_args(StandingDiagnostics, "diagnostics")
        parser.add_lightning_class_args(ParameterHistograms, "histograms")
        parser.add_lightning_class_args(ClassificationFigures, "figures")
        parser.add_lightning_class_args(TensorBoardOverview, "overview")
        parser.add_lightning_class_args(PredictionTable, "predictions")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        # Lightning's own warns where a program with arguments of its own passes some.
        try:
            self.config = parser.parse_args([self.command, *self.args])
        except ParsingFailed as failure:
            if self.voice is Voice.VERBOSE:
                print(failure, file=sys.stderr)
            raise explain(self._subcommand_parsers[self.command], self.settings, str(failure)) from None
        check_keys(self._subcommand_parsers[self.command], self.settings)  # an empty group is no error to it
        check_nulls(self._subcommand_parsers[self.command], self.settings)
        if self.command == "fit":
            check_optimizers(self.config.fit.model, self.settings)
        self._resolve_checkpoint()

    def _resolve_checkpoint(self) -> None:
        config = self.config[self.command]
        if not (word := config.ckpt_path):
            return
        runs = Path(config.trainer.default_root_dir or "runs") / self.name
        config.ckpt_path = given_checkpoint(word, runs, config.checkpoint.dirpath)
        if config.ckpt_path != word:
            # Under --quiet a script reads the run's folder, and nothing else, from standard output.
            stream = sys.stderr if self.voice is Voice.QUIET else sys.stdout
            print(f"Checkpoint {word}: {config.ckpt_path}", file=stream)

    def _parse_ckpt_path(self) -> None:
        """Lightning takes what the checkpoint's model was built with; say what it takes the place of."""
        given = self.config[self.command].as_dict().get("model") or {}
        super()._parse_ckpt_path()
        taken = self.config[self.command].as_dict().get("model") or {}
        for line in overridden(given, taken, self.settings):
            print(line, file=sys.stderr)

    def _set_seed(self) -> None:
        try:
            super()._set_seed()
        except ValueError as error:
            seed = self.config[self.command].seed_everything
            raise CommandError(f"`seed_everything` cannot be `{seed}`.\n{error}.") from None

    def before_fit(self) -> None:
        """What Lightning finds only when it is in the middle of an epoch."""
        given = self._get(self.config_init, "trainer")
        for name in ("check_val_every_n_epoch", "val_check_interval", "accumulate_grad_batches"):
            if isinstance(value := given[name], int | float) and value <= 0:
                raise CommandError(f"`trainer.{name}` cannot be `{value}`.\nIt takes a number above 0.")
        cores = os.cpu_count() or 1
        if isinstance(self.trainer.accelerator, CPUAccelerator) and self.trainer.num_devices > cores:
            raise CommandError(
                f"`trainer.devices` cannot be `{given.devices}`: each is a process, and this machine has "
                f"{cores} CPU cores.\nGive 1: one process uses all of them."
            )

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except (ValueError, TypeError, MisconfigurationException) as error:
            self._leave_no_empty_folder()
            if self.voice is Voice.VERBOSE:
                raise
            raise _mistake(error) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        given = self._get(self.config_init, "trainer")
        self.root = Path(given.default_root_dir or "runs")
        if given.fast_dev_run:  # it leaves no run behind
            return super().instantiate_trainer(**kwargs)
        if self.subcommand == "fit":
            check_place(self._get(self.config_init, "checkpoint"))
        self.folder = folder = new_run_folder(self.root / self.name)
        if given.logger in (None, True):
            kwargs["logger"] = TensorBoardLogger(
                folder.parent, name="", version=folder.name, default_hp_metric=False
            )
        return super().instantiate_trainer(default_root_dir=str(folder), **kwargs)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        (checkpoint,) = (callback for callback in callbacks if isinstance(callback, ModelCheckpoint))
        if config["fast_dev_run"] or config["enable_checkpointing"] is False:
            callbacks.remove(checkpoint)  # Lightning 2.6.6 saves the last one even in a fast_dev_run
        elif checkpoint.dirpath is None:  # else a logger of the user's own would take it elsewhere
            checkpoint.dirpath = str(Path(config["default_root_dir"]) / "checkpoints")
        (diagnostics,) = (callback for callback in callbacks if isinstance(callback, StandingDiagnostics))
        of_ones_own = any(isinstance(callback, Diagnostics) for callback in config["callbacks"] or [])
        if self.subcommand != "fit" or of_ones_own or not diagnostics.enabled:
            callbacks.remove(diagnostics)
        own_bar = any(isinstance(callback, ProgressBar) for callback in config["callbacks"] or [])
        if self.voice is Voice.QUIET:
            config["enable_progress_bar"] = False
        elif config["enable_progress_bar"] is not False and not own_bar:
            callbacks.append(progress_bar())
        if config["enable_model_summary"] is None and self.voice is not Voice.VERBOSE:
            config["enable_model_summary"] = False  # a table of 80 columns, most of them the metrics'
        self.interrupt = InterruptCheckpoint(self._that_goes_on(self.command, "last"))
        callbacks += [MonitorCheck(), RandomState(), self.interrupt]
        trainer = super()._instantiate_trainer(config, callbacks)
        if self.voice is not Voice.QUIET:
            announce(trainer, self.model)
        return trainer

    def _that_goes_on(self, command: str, checkpoint: str) -> str:
        return command_that_goes_on(command, self.args, self.voice, checkpoint)

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            with handled(self.interrupt.receive):
                super()._run_subcommand(subcommand)
        except BaseException as error:
            if isinstance(error, Interrupted) and not error.told:
                say_what_is_kept(error, self.trainer, self._that_goes_on("test", "best"))
            refused = subcommand == "fit" and not self.interrupt.began and _raised_by_lightning(error)
            untouched = not self.interrupt.began and isinstance(error, CommandError)
            if self.folder is not None and (refused or untouched):
                rmtree(self.folder, ignore_errors=True)  # nothing was trained: it holds the config, no more
            self._leave_no_empty_folder()
            mistake = _mistake(error) if refused else missing_metric(self.trainer, error)
            if mistake is not None and self.voice is not Voice.VERBOSE:
                raise mistake from error
            raise

    def _leave_no_empty_folder(self) -> None:
        """A run that failed before it wrote anything leaves no folder."""
        if self.folder is not None:
            with suppress(OSError):
                self.folder.rmdir()

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        arguments = super()._prepare_subcommand_kwargs(subcommand)
        if "verbose" in arguments:  # Lightning's table of what the closing lines say anyway
            arguments["verbose"] = self.voice is Voice.VERBOSE
        return arguments

    def before_validate(self) -> None:
        if self._get(self.config, "ckpt_path") is None:
            print("Warning: no --ckpt_path is given: these are weights before training.", file=sys.stderr)

    before_test = before_validate

    def before_predict(self) -> None:
        if (path := self._get(self.config_init, "predictions").path) is not None:
            check_folder(Path(path).parent, "predictions.path", path)
            if Path(path).is_dir():
                raise CommandError(f"`predictions.path` cannot be `{path}`: a folder.\nGive a file in it.")
        self.before_validate()

    def after_fit(self) -> None:
        if not self.interrupt.began and self._get(self.config, "ckpt_path"):
            print(
                f"Warning: nothing was trained: the checkpoint has done {self.trainer.current_epoch} of "
                f"{self.trainer.max_epochs} epochs.\nTo go on raise --trainer.max_epochs.",
                file=sys.stderr,
            )
        source = self.datamodule or self.model
        if is_overridden("test_step", self.model) and is_overridden("test_dataloader", source):
            checkpoint = self.trainer.checkpoint_callback
            best = isinstance(checkpoint, ModelCheckpoint) and checkpoint.best_model_path
            self.trainer.test(
                self.model,
                datamodule=self.datamodule,
                ckpt_path="best" if best else None,
                verbose=False,
            )
        print_summary(self.trainer, self.root, self.name, self.voice)

    def after_validate(self) -> None:
        print_summary(self.trainer, self.root, self.name, self.voice)

    def after_test(self) -> None:
        print_summary(self.trainer, self.root, self.name, self.voice)

    def after_predict(self) -> None:
        print_summary(self.trainer, self.root, self.name, self.voice)


def _mistake(error: BaseException) -> CommandError:
    """In two lines what a library refused."""
    cause = error  # the first of a chain: the parser says above it what else it tried
    while cause.__cause__ is not None:
        cause = cause.__cause__
    first, *rest = [line.strip() for line in str(cause).splitlines() if line.strip()] or [repr(cause)]
    cure = rest[0] if rest else "--verbose shows where it was raised; --help lists the options."
    return CommandError(f"{first}\n{cure}")


def _raised_by_lightning(error: BaseException) -> bool:
    """A value that it finds fault with itself, not a user's code that it calls."""
    if not isinstance(error, ValueError | MisconfigurationException) or error.__traceback__ is None:
        return False
    *_, (frame, _) = walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__", "")).startswith("lightning.")


class StandingDiagnostics(Diagnostics):
    """Those of every `fit`, with a flag to turn them off.

    Args:
        enabled: watch the run; ``false`` leaves it alone.
    """

    def __init__(self, *, enabled: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.enabled = enabled
