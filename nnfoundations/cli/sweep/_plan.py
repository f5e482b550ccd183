"""What a sweep does: the config, its search space, the metric, and the arguments of each run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnfoundations.cli.config._arguments import read_settings
from nnfoundations.cli.config._settings import CommandError, Setting
from nnfoundations.cli.sweep._space import Space, option_words

__all__ = ["SET_BY_THE_SWEEP", "Plan", "check_options", "examples"]

SET_BY_THE_SWEEP = {
    "seed_everything": "Give --seeds N: seeds 0 to N - 1.",
    "test": "The sweep reads no test data; `fit --config best.yaml` tests.",
    "ckpt_path": "Leave it out: each run starts from its own random weights.",
    "trainer.default_root_dir": "Give --out, the folder of the results.",
    "trainer.fast_dev_run": "Leave it out; --trials 1 is a short sweep.",
}
"""Options of `fit` that a sweep sets itself, each with what to do instead."""


@dataclass(frozen=True)
class Plan:
    """A sweep. Workers get it as a pickle.

    Args:
        name: of the study and of the default folder.
        arguments: those of `fit` in every run, configs as paths.
        space: what varies.
        metric: what is compared.
        mode: `min` or `max`.
        seeds: runs of each trial.
        trials: how many, with those that are done; None means as many as the time allows.
        deadline: no trial begins after it, in seconds since the epoch.
        sampler: its name.
        pruner: its name.
        storage: a file or an URL.
        out: the folder of the results.
        loggers: of the runs.
        quiet: whether no line is printed after a trial.
    """

    name: str
    arguments: tuple[str, ...]
    space: Space
    metric: str
    mode: str
    seeds: int
    trials: int | None
    deadline: float
    sampler: str
    pruner: str
    storage: str
    out: Path
    loggers: tuple[str, ...]
    quiet: bool

    @property
    def better(self) -> Any:
        """The function that chooses the better of several values."""
        return max if self.mode == "max" else min

    def options(self, values: Mapping[str, Any]) -> list[str]:
        """The options of `fit` for these values of the space.

        Args:
            values: by option.
        """
        return [
            *self.arguments,
            *option_words(values),
            *("--checkpoint.monitor", self.metric, "--checkpoint.mode", self.mode),
        ]

    def run_arguments(self, values: Mapping[str, Any], number: int, seed: int) -> list[str]:
        """The arguments of `fit` for one run.

        Args:
            values: those of the trial.
            number: of the trial.
            seed: of the run.
        """
        return [
            *self.options(values),
            *("--seed_everything", str(seed), "--test", "false", "--quiet"),
            *("--trainer.default_root_dir", str(self.out / "runs")),
            *("--name", f"trial_{number}/seed_{seed}"),
        ]

    def identity(self) -> dict[str, Any]:
        """What two sweeps must share to add to one study, in words of JSON."""
        space = {
            key: list(dimension.choices)
            or [dimension.low, dimension.high, dimension.step, "log" * dimension.log]
            for key, dimension in self.space.items()
        }
        settings = read_settings(list(self.arguments)).plain()
        settings.pop("logger", None)  # it changes no result
        return {"space": space, "config": settings, "monitor": self.metric, "mode": self.mode,
                "seeds": self.seeds}  # fmt: skip


def examples(space: Space) -> Iterator[dict[str, Any]]:
    """Points of a space that hold each choice, and both ends of each range.

    Args:
        space: the dimensions.

    Yields:
        Values by option. All but one are the first of their dimension.
    """
    first = {key: dimension.examples[0] for key, dimension in space.items()}
    yield first
    for key, dimension in space.items():
        yield from ({**first, key: value} for value in dimension.examples[1:])


def check_options(settings: Setting, space: Space) -> None:
    """Refuse options that the sweep sets itself, and processes within a run.

    Args:
        settings: the arguments of `fit`.
        space: what varies.

    Raises:
        CommandError: such an option is given, or varies.
    """
    for key, fix in SET_BY_THE_SWEEP.items():
        found = settings.find(key)
        if key in space or (found is not None and found.on_command_line):
            place = f"{space[key].place}: " if key in space else ""
            raise CommandError(f"{place}`{key}` is set by the sweep.\n{fix}")
    for key in ("trainer.devices", "trainer.num_nodes"):
        found = settings.find(key)
        if key in space or (found is not None and found.plain() not in (1, "1", "auto", None)):
            # Lightning would start this whole command once more for each further process.
            raise CommandError(
                f"`{key}` is 1 in a sweep: each run is one process.\n"
                "Give --jobs, the number of trials at a time."
            )
