"""One run of a lab: an arm with a seed, trained by `nnfoundations fit` in this process."""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, field
from io import StringIO
from pathlib import Path
from shutil import rmtree
from typing import Any

from nnfoundations.cli import first_cause, write_whole
from nnfoundations.labs._runner.lab import Arm, Measured
from nnfoundations.labs._runner.scalars import logged_by_epoch
from nnfoundations.labs._runner.threads import one_thread

__all__ = ["SIGNALS", "Row", "Run", "Stopped", "carry_out", "carry_out_test"]

FINISHED, FAILED = "finished", "failed"
NO_TEST = ("--test", "false")  # test data are read when arms are chosen
SIGNALS = (130, 143)  # the exit codes of `fit` after Ctrl-C and SIGTERM


class Stopped(Exception):  # noqa: N818  # a signal, not an error
    """A signal ended a run; what is finished is kept. `code` is the exit code of `fit`."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Row:
    """A run that has ended: a row of the results.

    Args:
        arm: the name of the arm.
        seed: its seed.
        state: `finished` or `failed`.
        cause: the first cause of a failure.
        command: runs it alone.
        values: the numbers that the lab has measured.
        curves: the curves that the lab has measured.
        texts: the texts that the lab has read.
        seconds: wall-clock time.
        cpu_seconds: CPU time of the process.
        record: versions, revision and device, as `fit` has recorded them.
    """

    arm: str
    seed: int
    state: str
    cause: str
    command: str
    values: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    seconds: float = math.nan
    cpu_seconds: float = math.nan
    record: dict[str, Any] = field(default_factory=dict)

    def numbers(self, names: Sequence[str]) -> list[float]:
        """The values of these names; NaN for what was not measured."""
        return [self.values.get(name, math.nan) for name in names]


@dataclass(frozen=True)
class Run:
    """An arm with a seed, and the folder of its attempts.

    A run has ended when `row.json` is in its folder. The file is renamed into place, so it is never half
    written; without it the run starts again.

    Args:
        arm: what is trained; its config is complete.
        seed: fixes initial values, order, masks and augmentation.
        root: the folder of all runs of the lab.
        options: options of `fit` that the preset adds.
        measure: reads the numbers from the folder that `fit` has written.
        logger: a second logger; TensorBoard's files are what is measured.
    """

    arm: Arm
    seed: int
    root: Path
    options: tuple[str, ...]
    measure: Callable[[Path], Measured]
    logger: str | None = None

    @property
    def name(self) -> str:
        """The run's name under the root, for example `raw/seed_3`."""
        return f"{self.arm.name}/seed_{self.seed}"

    def arguments(self, *further: str) -> list[str]:
        """The arguments of `fit` and of `test`, without the place and the name of the folder."""
        start = ("--config", self.arm.config, "--seed_everything", str(self.seed))
        return [*start, *further, *self.arm.options, *self.options]

    @property
    def command(self) -> str:
        """The command that runs it alone."""
        return " ".join(["nnfoundations fit", *self.arguments(*NO_TEST)])

    @property
    def fingerprint(self) -> str:
        """Changes with the command and with the content of the config."""
        from nnfoundations.cli import config_path

        text = self.command + Path(config_path(self.arm.config)).read_text(encoding="utf-8")
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def ended(self) -> Row | None:
        """Return the row of a finished run of the present config. A failed run is repeated."""
        try:
            saved = json.loads((self.root / self.name / "row.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        row = Row(**saved["row"])
        return row if saved["fingerprint"] == self.fingerprint and row.state == FINISHED else None

    def tested(self) -> Row | None:
        """Return the row of its test. A run that is repeated is not tested yet, and so is a failed test."""
        try:
            return Row(**json.loads((self.root / self.name / "test.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None


@one_thread()
def carry_out(run: Run) -> Row:
    """Train, measure and record one run.

    An earlier attempt that a signal has ended is removed first. The run uses one thread.

    Args:
        run: which one.

    Returns:
        Its row, which is also saved.

    Raises:
        Stopped: a signal ended the run; nothing is recorded.
    """
    folder = run.root / run.name
    if folder.exists():
        rmtree(folder)
    wall, cpu = time.perf_counter(), time.process_time()
    cause, text = _command(run, "fit", run.arguments(*NO_TEST))
    attempt = next(iter(sorted(path.parent for path in folder.glob("*/run.json"))), None)
    measured = Measured({})
    if not cause and attempt is not None:
        measured = run.measure(attempt)
    row = Row(
        arm=run.arm.name,
        seed=run.seed,
        state=FAILED if cause else FINISHED,
        cause=cause,
        command=run.command,
        values=measured.values,
        curves=measured.curves,
        texts=measured.texts,
        seconds=round(time.perf_counter() - wall, 3),
        cpu_seconds=round(time.process_time() - cpu, 3),
        record=_record(attempt),
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "output.txt").write_text(text, encoding="utf-8")
    write_whole(
        folder / "row.json", json.dumps({"fingerprint": run.fingerprint, "row": asdict(row)}, indent=1)
    )
    return row


@one_thread()
def carry_out_test(run: Run) -> Row:
    """Test the best checkpoint of a finished run.

    Args:
        run: which one.

    Returns:
        Its row, which is also saved unless the test failed: the metrics, without `test/`.

    Raises:
        Stopped: a signal ended the test; nothing is recorded.
    """
    arguments = run.arguments("--ckpt_path", "best")
    cause, text = _command(run, "test", arguments)
    logged = {} if cause else logged_by_epoch(Path(text.splitlines()[0]))
    row = Row(
        arm=run.arm.name,
        seed=run.seed,
        state=FAILED if cause else FINISHED,
        cause=cause,
        command=" ".join(["nnfoundations test", *arguments, "--name", run.name]),
        values={
            name.removeprefix("test/"): points[-1][1]
            for name, points in logged.items()
            if name.startswith("test/")
        },
    )
    if not cause:
        write_whole(run.root / run.name / "test.json", json.dumps(asdict(row), indent=1))
    return row


def _command(run: Run, command: str, arguments: Sequence[str]) -> tuple[str, str]:
    """Run `fit` or `test` in the folder of a run; return the first cause of a failure, and all text."""
    from nnfoundations.cli import main

    printed, problems = StringIO(), StringIO()
    with redirect_stdout(printed), redirect_stderr(problems):
        code = main([
            *(command, "--quiet", *arguments),
            *("--trainer.default_root_dir", str(run.root), "--name", run.name),
            *(("--logger", f"[tensorboard,{run.logger}]") if run.logger else ()),
        ])  # fmt: skip
    if code in SIGNALS:
        raise Stopped(code)
    cause = "" if code == 0 else first_cause(problems.getvalue())
    return cause, printed.getvalue() + problems.getvalue()


def _record(attempt: Path | None) -> dict[str, Any]:
    if attempt is None:
        return {}
    record: dict[str, Any] = json.loads((attempt / "run.json").read_text(encoding="utf-8"))
    return {name: record[name] for name in ("device", "revision", "versions")} | {"cores": os.cpu_count()}
