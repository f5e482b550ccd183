"""Lightning's command line for fit, validate, test and predict, with run folders and a summary."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.model_helpers import is_overridden

# A short class name on the command line finds only classes that are imported.
import nnfoundations.datamodules  # noqa: F401
import nnfoundations.lightning_modules  # noqa: F401
import nnfoundations.models  # noqa: F401
from nnfoundations.callbacks import (
    ClassificationFigures,
    ParameterHistograms,
    PredictionTable,
    TensorBoardOverview,
    TrainingCurves,
)
from nnfoundations.cli.config._arguments import options
from nnfoundations.cli.config._class_names import ambiguous_names_mean_torch
from nnfoundations.cli.config._explain_mistakes import check_keys, check_nulls, explain
from nnfoundations.cli.config._logger_names import LoggerName, check_loggers
from nnfoundations.cli.config._parser import FoundationsParser, ParsingFailed, help_texts
from nnfoundations.cli.config._schedule_length import SCHEDULE, schedule_lengths
from nnfoundations.cli.config._settings import CommandError, Setting
from nnfoundations.cli.config._try_optimizers import check_optimizers
from nnfoundations.cli.run._checkpoint_paths import check_folder, check_place, given_checkpoint, overridden
from nnfoundations.cli.run._default_diagnostics import DefaultDiagnostics, choose_diagnostics
from nnfoundations.cli.run._early_stopping import add_early_stopping, check_early_stopping, early_stopping
from nnfoundations.cli.run._environment import command_prefix
from nnfoundations.cli.run._final_test import final_test, saved_checkpoint
from nnfoundations.cli.run._finite_weights import FiniteWeights
from nnfoundations.cli.run._interrupt import (
    InterruptCheckpoint,
    command_as_typed,
    command_to_continue,
    report_saved_checkpoint,
    without_checkpoint,
)
from nnfoundations.cli.run._library_errors import in_two_lines, raised_by_lightning
from nnfoundations.cli.run._monitored_metrics import MonitorCheck, missing_metric
from nnfoundations.cli.run._progress_bar import progress_bar
from nnfoundations.cli.run._resume import RandomState, RunCheckpoint, beyond_the_end, nothing_trained
from nnfoundations.cli.run._run_folder import check_name, new_run_folder, no_name
from nnfoundations.cli.run._run_loggers import end_loggers, run_loggers
from nnfoundations.cli.run._run_record import RunRecord
from nnfoundations.cli.run._schedule_check import ScheduleCheck
from nnfoundations.cli.run._signals import Interrupted, handled
from nnfoundations.cli.run._summary import announce, print_files, print_summary
from nnfoundations.cli.run._verbosity import Verbosity

__all__ = ["FoundationsCLI"]

_TEST = "Whether `fit` tests its best checkpoint at the end. false reads no test data; `test` tests later."
_LOGGER = "Where metrics, findings and figures go; a list names several. Default: tensorboard."
_NAME = "The run's name, a folder under the root. Default: the config's name, else the model's class."


class FoundationsCLI(LightningCLI):
    """Parse the arguments, run the command and print a summary.

    It adds to Lightning: a folder for each run, ``ROOT/NAME/TIMESTAMP`` (ROOT is
    ``--trainer.default_root_dir`` or ``runs``), which holds all that the run writes; the default callbacks as
    groups of options, so that a list of callbacks in a config does not remove them; the test after ``fit``.

    Args:
        command: `fit`, `validate`, `test` or `predict`.
        args: its arguments, configs as paths.
        settings: the same as a tree, for messages.
        name: of the run, without `--name`.
        verbosity: how much to print.
        further: callbacks of the program that runs the command.
    """

    folder: Path | None = None

    def __init__(
        self,
        command: str,
        args: list[str],
        settings: Setting,
        name: str,
        verbosity: Verbosity,
        further: Sequence[Callback] = (),
    ) -> None:
        self.command, self.args, self.settings = command, args, settings
        self.name, self.verbosity, self.further = name, verbosity, further
        verbosity.filter_messages(trains=command == "fit")
        super().__init__(
            LightningModule,
            None,  # any data module, or none: a module may have its own loaders
            subclass_mode_model=True,
            save_config_callback=RunRecord,
            save_config_kwargs={"save_to_log_dir": False},
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
        parser.add_argument("--name", type=str | None, default=None, help=_NAME)
        parser.add_argument("--test", type=bool, default=True, help=_TEST)
        parser.add_argument("--logger", type=LoggerName | list[LoggerName] | None, default=None, help=_LOGGER)
        add_early_stopping(parser)
        parser.add_lightning_class_args(RunCheckpoint, "checkpoint")
        parser.set_defaults({"checkpoint.save_last": True})
        parser.add_lightning_class_args(DefaultDiagnostics, "diagnostics")
        parser.add_lightning_class_args(ParameterHistograms, "histograms")
        parser.add_lightning_class_args(ClassificationFigures, "figures")
        parser.add_lightning_class_args(TensorBoardOverview, "overview")
        parser.add_lightning_class_args(PredictionTable, "predictions")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        # Lightning's method warns if the process has other arguments, as in a notebook.
        command_parser = self._subcommand_parsers[self.command]
        self.schedule = schedule_lengths(self.args, self.settings)
        lengths = [f"--{SCHEDULE}.{name}={length}" for name, length in self.schedule.items()]
        try:
            with ambiguous_names_mean_torch(self.settings):
                self.config = parser.parse_args([self.command, *self.args, *lengths])
        except ParsingFailed as failure:
            if self.verbosity is Verbosity.VERBOSE:
                print(failure, file=sys.stderr)
            raise explain(command_parser, self.settings, str(failure)) from None
        # The parser accepts an unknown group if it is empty, and null everywhere.
        check_keys(command_parser, self.settings)
        check_nulls(command_parser, self.settings)
        if self.command == "fit":
            check_optimizers(self.config.fit.model, self.settings)
        self._name_run()
        self._resolve_checkpoint()

    def _name_run(self) -> None:
        if (name := self.config[self.command].name) is not None:
            check_name(name)
            self.name = name
        elif typed := [value for key, value in options(self.args) if key == "name"]:
            raise no_name(typed[-1] or "")
        self.save_config_kwargs |= {"name": self.name, "command": command_as_typed(self.command, self.args)}

    def _resolve_checkpoint(self) -> None:
        config = self.config[self.command]
        if not (word := config.ckpt_path):
            return
        runs = Path(config.trainer.default_root_dir or "runs") / self.name
        fit = command_prefix() + command_as_typed("fit", without_checkpoint(self.args))
        config.ckpt_path = given_checkpoint(word, runs, config.checkpoint.dirpath, fit)
        if config.ckpt_path != word:
            # With --quiet, standard output holds only the folder of the run: a script reads it.
            stream = sys.stderr if self.verbosity is Verbosity.QUIET else sys.stdout
            print(f"Checkpoint {word}: {config.ckpt_path}", file=stream)

    def _parse_ckpt_path(self) -> None:
        """Lightning uses the options that the checkpoint was saved with; report those it overrides."""
        given = self.config[self.command].as_dict().get("model") or {}
        super()._parse_ckpt_path()
        for name, length in self.schedule.items():  # a packaged schedule is as long as this run
            if (key := f"{self.command}.model.init_args.lr_scheduler.init_args.{name}") in self.config:
                self.config[key] = length
        taken = self.config[self.command].as_dict().get("model") or {}
        for line in overridden(given, taken, self.settings):
            if self.command == "fit" or not line.startswith(
                ("Warning: model.optimizer", "Warning: model.lr_")
            ):
                print(line, file=sys.stderr)  # only `fit` uses an optimizer and its schedule

    def _set_seed(self) -> None:
        try:
            super()._set_seed()
        except ValueError as error:
            seed = self.config[self.command].seed_everything
            raise CommandError(f"`seed_everything` cannot be `{seed}`.\n{error}.") from None

    def before_fit(self) -> None:
        """Refuse values that Lightning refuses only in the middle of an epoch."""
        given = self._get(self.config_init, "trainer")
        for name in ("check_val_every_n_epoch", "val_check_interval", "accumulate_grad_batches"):
            if isinstance(value := given[name], int | float) and value <= 0:
                raise CommandError(f"`trainer.{name}` cannot be `{value}`.\nIt takes a number above 0.")
        cores = os.cpu_count() or 1
        if isinstance(self.trainer.accelerator, CPUAccelerator) and self.trainer.num_devices > cores:
            raise CommandError(
                f"`trainer.devices` cannot be `{given.devices}`: each is a process, and this machine has "
                f"{cores} CPU cores.\nGive 1: one process uses all cores."
            )

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except (ValueError, TypeError, MisconfigurationException) as error:
            self._remove_empty_folder()
            if self.verbosity is Verbosity.VERBOSE:
                raise
            raise in_two_lines(error) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        given = self._get(self.config_init, "trainer")
        self.root = Path(given.default_root_dir or "runs")
        if given.fast_dev_run:  # it writes nothing
            return super().instantiate_trainer(**kwargs)
        if self.subcommand == "fit":
            checkpoint, stopping = (
                self._get(self.config_init, key) for key in ("checkpoint", "early_stopping")
            )
            check_place(checkpoint)
            check_early_stopping(stopping, checkpoint, given)
        named = self._loggers_by_name(given.logger)
        self.folder = folder = new_run_folder(self.root / self.name)
        if given.logger in (None, True) and self.subcommand == "predict":  # it logs nothing
            kwargs["logger"] = False
        elif given.logger in (None, True):
            try:
                kwargs["logger"] = run_loggers(named or ["tensorboard"], folder, self.name)
            except CommandError:
                rmtree(folder, ignore_errors=True)  # nothing was trained: it holds the logger's start at most
                raise
        return super().instantiate_trainer(default_root_dir=str(folder), **kwargs)

    def _loggers_by_name(self, own: Any) -> list[str]:
        """The values of `--logger`; a logger of the user beside them is a mistake."""
        named = self._get(self.config_init, "logger")
        if named and own not in (None, True):
            raise CommandError("`logger` and `trainer.logger` are both given.\nLeave one of them out.")
        names: list[str] = [named] if isinstance(named, str) else named or []
        check_loggers(names)
        return names

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        (checkpoint,) = (callback for callback in callbacks if isinstance(callback, ModelCheckpoint))
        if config["fast_dev_run"] or config["enable_checkpointing"] is False:
            callbacks.remove(checkpoint)  # Lightning 2.6.6 saves the last one even in a fast_dev_run
        elif checkpoint.dirpath is None:  # else the user's logger would choose the folder
            checkpoint.dirpath = str(Path(config["default_root_dir"]) / "checkpoints")
        choose_diagnostics(callbacks, config["callbacks"] or [], fits=self.subcommand == "fit")
        own_bar = any(isinstance(callback, ProgressBar) for callback in config["callbacks"] or [])
        if self.verbosity is Verbosity.QUIET:
            config["enable_progress_bar"] = False
        elif config["enable_progress_bar"] is not False and not own_bar:
            callbacks.append(progress_bar())
        if config["enable_model_summary"] is None and self.verbosity is not Verbosity.VERBOSE:
            config["enable_model_summary"] = False  # its table is mostly about the metrics
        if self.subcommand == "fit" and not config["fast_dev_run"]:
            callbacks += early_stopping(self._get(self.config_init, "early_stopping"), checkpoint)
        self.interrupt = InterruptCheckpoint()
        # The curves come last, after Diagnostics, whose last findings they mark.
        curves = TrainingCurves(str(Path(config["default_root_dir"] or ".") / "curves.png"))
        callbacks += [MonitorCheck(), RandomState(), FiniteWeights(), ScheduleCheck(), self.interrupt, curves]
        callbacks += self.further
        trainer = super()._instantiate_trainer(config, callbacks)
        if self.verbosity is not Verbosity.QUIET:
            announce(trainer, self.model)
        return trainer

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            with handled(self.interrupt.receive):
                super()._run_subcommand(subcommand)
            end_loggers(self.trainer, failed=False)
        except BaseException as error:
            self._end_loggers()
            if self.interrupt.started or isinstance(error, Interrupted):
                self._report_end(error)
            refused = subcommand == "fit" and not self.interrupt.started and raised_by_lightning(error)
            untouched = not self.interrupt.started and isinstance(error, CommandError)
            if self.folder is not None and (refused or untouched):
                rmtree(self.folder, ignore_errors=True)  # nothing was trained: it holds only the config
            self._remove_empty_folder()
            mistake = beyond_the_end(self.trainer, error)
            mistake = mistake or (in_two_lines(error) if refused else missing_metric(self.trainer, error))
            if mistake is not None and self.verbosity is not Verbosity.VERBOSE:
                raise mistake from error
            raise

    def _end_loggers(self) -> None:
        """After an error, which must not be hidden by another one of a logger."""
        with suppress(Exception):
            end_loggers(self.trainer, failed=True)

    def _report_end(self, error: BaseException) -> None:
        """Name the files of a run that an error or a signal ended; last, the command that continues it."""
        following = ("fit", "last") if self.interrupt.file is not None else None
        if isinstance(error, Interrupted) and not error.reported:
            following = ("test", "best") if report_saved_checkpoint(error, self.trainer) else None
        if self.interrupt.started:
            print_files(self.trainer, self.root, self.verbosity)
        if following is not None:
            command = command_to_continue(following[0], self.args, self.verbosity, following[1])
            print(f"Continue with: {command}", file=sys.stderr, flush=True)

    def _remove_empty_folder(self) -> None:
        """Remove the folder of a run that failed before it wrote anything."""
        if self.folder is not None:
            with suppress(OSError):
                self.folder.rmdir()

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        arguments = super()._prepare_subcommand_kwargs(subcommand)
        if "verbose" in arguments:  # Lightning's table repeats our summary
            arguments["verbose"] = self.verbosity is Verbosity.VERBOSE
        return arguments

    def before_validate(self) -> None:
        if self._get(self.config, "ckpt_path") is None:
            print("Warning: no --ckpt_path is given, so the weights are untrained.", file=sys.stderr)

    before_test = before_validate

    def before_predict(self) -> None:
        if (path := self._get(self.config_init, "predictions").path) is not None:
            check_folder(Path(path).parent, "predictions.path", path)
            if Path(path).is_dir():
                raise CommandError(
                    f"`predictions.path` cannot be `{path}`: it is a folder.\nGive a file in it."
                )
        self.before_validate()

    def after_fit(self) -> None:
        if not self.interrupt.started and self._get(self.config, "ckpt_path"):
            print(f"Warning: {nothing_trained(self.trainer)}", file=sys.stderr)
        source, following = self.datamodule or self.model, None
        if is_overridden("test_step", self.model) and is_overridden("test_dataloader", source):
            if self._get(self.config, "test"):
                final_test(self.trainer, self.model, self.datamodule)
            elif (path := saved_checkpoint(self.trainer)) is not None:
                following = command_to_continue("test", self.args, self.verbosity, path)
        print_summary(self.trainer, self.root, self.name, self.verbosity, following)

    def after_validate(self) -> None:
        print_summary(self.trainer, self.root, self.name, self.verbosity)

    def after_test(self) -> None:
        print_summary(self.trainer, self.root, self.name, self.verbosity)

    def after_predict(self) -> None:
        print_summary(self.trainer, self.root, self.name, self.verbosity)
