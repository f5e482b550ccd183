"""Stores the measurements of a run: numbers with their steps, and facts about the model. No tensors.

Rules read nothing else, so newer rules can judge an old run from its file.

The file is longer than usual because a third of it is reading and writing in three forms: file, checkpoint
and pickle, which must agree.
"""

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from nnfoundations.diagnostics._error import describe
from nnfoundations.diagnostics._loss_facts import LossFacts, LossTerm, TargetFacts, loss_facts_from
from nnfoundations.diagnostics._training_facts import GroupFacts, ScheduleFacts, facts_from
from nnfoundations.errors import HistoryError

__all__ = [
    "Array",
    "Event",
    "GroupFacts",
    "History",
    "LayerFacts",
    "LossFacts",
    "LossTerm",
    "ParameterFacts",
    "ScheduleFacts",
    "Series",
    "TargetFacts",
]

Array = NDArray[np.float64]

SAME = 8
"""Number of events of one kind that are kept."""


@dataclass(frozen=True)
class ParameterFacts:
    """Facts about a parameter. Tied weights are one parameter, named ``a.weight = b.weight``.

    Args:
        module: name of the module that owns it.
        module_class: class of that module.
        kind: ``matrix`` (two or more axes), ``vector`` or ``embedding``.
        shape: its shape.
        trainable: whether it requires a gradient.
        optimizer: position of the optimizer that updates it; None if no optimizer does.
        group: position of its parameter group among those of all optimizers; None if unknown.
    """

    module: str
    module_class: str
    kind: str
    shape: tuple[int, ...]
    trainable: bool
    optimizer: int | None
    group: int | None = None

    @property
    def fan_in(self) -> int:
        """The number of inputs of each unit."""
        return int(np.prod(self.shape[1:])) if len(self.shape) > 1 else 1


@dataclass(frozen=True)
class LayerFacts:
    """Facts about a layer whose activations are measured.

    Args:
        module_class: class of the module.
        role: ``weighted``, ``activation``, ``normalization``, ``recurrent``, ``embedding`` or ``other``.
        owner: layer with weights that the values come from. That of a ReLU is the Linear before it.
        units: number of channels or features.
    """

    module_class: str
    role: str
    owner: str
    units: int


@dataclass(frozen=True)
class Event:
    """A fact that needs no statistics, such as a parameter that no optimizer updates.

    Args:
        kind: name of the fact.
        step: optimizer step at which it was seen.
        where: names of layers or parameters.
        detail: further values by name. ``event["name"]`` reads one.
    """

    kind: str
    step: int
    where: tuple[str, ...] = ()
    detail: Mapping[str, Any] | None = None

    def __getitem__(self, name: str) -> Any:
        return (self.detail or {})[name]


class Series:
    """Rows of numbers with fixed column names, each row with its step.

    A full series is thinned out. The first rows, which show a bad start, and the last quarter stay. Of the
    rows between, every second, fourth, ... is kept. So the rows always span the whole run.

    Args:
        columns: names of the columns.
        capacity: largest number of rows.
        keep: number of first rows that always stay.
    """

    def __init__(self, columns: Sequence[str], capacity: int, keep: int = 32) -> None:
        self.columns, self.capacity, self.keep = tuple(columns), capacity, keep
        self._steps = np.empty(capacity, dtype=np.int64)
        self._rows = np.empty((capacity, len(self.columns)))
        self._numbers = np.empty(capacity, dtype=np.int64)
        self._n = self._seen = 0

    def __len__(self) -> int:
        return self._n

    @property
    def steps(self) -> NDArray[np.int64]:
        """The step of each row, shape ``(rows,)``."""
        return self._steps[: self._n]

    @property
    def rows(self) -> Array:
        """The numbers, shape ``(rows, columns)``."""
        return self._rows[: self._n]

    def append(self, step: int, row: Sequence[float] | Array) -> None:
        """Append a row.

        Args:
            step: optimizer step of the row.
            row: one number per column.
        """
        if self._n == self.capacity:
            self._thin_out()
        self._steps[self._n], self._rows[self._n], self._numbers[self._n] = step, row, self._seen
        self._n, self._seen = self._n + 1, self._seen + 1

    def extend(self, steps: NDArray[np.int64], rows: Array) -> None:
        """Append several rows.

        Args:
            steps: optimizer step of each row.
            rows: the numbers, shape ``(rows, columns)``.
        """
        while len(steps):
            if self._n == self.capacity:
                self._thin_out()
            n = min(len(steps), self.capacity - self._n)
            new = slice(self._n, self._n + n)
            self._steps[new], self._rows[new] = steps[:n], rows[:n]
            self._numbers[new] = np.arange(self._seen, self._seen + n)
            self._n, self._seen = self._n + n, self._seen + n
            steps, rows = steps[n:], rows[n:]

    def restore(
        self,
        steps: Sequence[int] | NDArray[np.int64],
        rows: Sequence[Sequence[float]] | Array,
        numbers: Sequence[int] | NDArray[np.int64],
        seen: int,
    ) -> None:
        """Replace the rows by those of a checkpoint or a file.

        Args:
            steps: the step of each row.
            rows: the numbers, shape ``(rows, columns)``.
            numbers: the position of each row among all rows ever appended.
            seen: number of rows ever appended.
        """
        self._n, self._seen = len(steps), seen
        if self._n:
            self._steps[: self._n], self._rows[: self._n], self._numbers[: self._n] = steps, rows, numbers

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The position of each row among all rows ever appended. It decides which rows are dropped."""
        return self._numbers[: self._n]

    @property
    def seen(self) -> int:
        """The number of rows ever appended."""
        return self._seen

    def _thin_out(self) -> None:
        between = np.arange(self.keep, self.capacity - self.capacity // 4)
        stride = 2
        while (thinned := between[self._numbers[between] % stride == 0]).size > self.capacity // 4:
            stride *= 2
        kept = np.r_[0 : self.keep, thinned, between[-1] + 1 : self.capacity]
        self._n = len(kept)
        for array in (self._steps, self._rows, self._numbers):
            array[: self._n] = array[kept]

    def column(self, name: str) -> Array:
        """Return the numbers of one column.

        Args:
            name: name of the column.

        Returns:
            The numbers, shape ``(rows,)``.
        """
        return self.rows[:, self.columns.index(name)]

    def between(self, first: float, last: float = float("inf")) -> "Series":
        """Return the rows of a range of steps.

        Args:
            first: first step of the range.
            last: last step of the range, inclusive.

        Returns:
            A series that shares memory with this one.
        """
        low = int(np.searchsorted(self.steps, first, "left"))
        high = int(np.searchsorted(self.steps, last, "right"))
        return self._part(slice(low, high))

    def last(self, n: int) -> "Series":
        """Return the last rows.

        Args:
            n: largest number of rows.

        Returns:
            A series that shares memory with this one.
        """
        return self._part(slice(max(0, self._n - n), self._n))

    def _part(self, rows: slice) -> "Series":
        part = Series((), 0)
        part.columns, part.capacity = self.columns, self.capacity
        part._steps, part._rows = self.steps[rows], self.rows[rows]
        part._n = len(part._steps)
        return part


class History:
    """All measurements of a run: a series per quantity, and facts about the model.

    ``history["loss"]`` returns the series of a quantity. It is empty if nothing was measured.

    Args:
        capacity: number of rows kept of each quantity. The loss, with one number per step, keeps four times
            as many.

    Example:
        >>> from nnfoundations.diagnostics import History
        >>> history = History()
        >>> history.record("loss", step=0, columns=["loss"], row=[2.3])
        >>> history["loss"].steps.tolist(), history["loss"].rows.tolist()
        ([0], [[2.3]])
    """

    def __init__(self, capacity: int = 512) -> None:
        self.capacity = capacity
        self.series: dict[str, Series] = {}
        self.parameters: dict[str, ParameterFacts] = {}
        self.layers: dict[str, LayerFacts] = {}
        self.loss = LossFacts("unknown")
        self.groups: list[GroupFacts] = []
        """The parameter groups of all optimizers, in the order of the columns of ``lr``."""
        self.schedules: list[ScheduleFacts] = []
        """The learning-rate schedules, as far as they are known."""
        self.events: list[Event] = []
        self.settings: dict[str, float] = {}
        """Numbers of the run that rules need, such as the steps per epoch and in total."""
        self.unavailable: dict[str, str] = {}
        """The quantities that cannot be measured in this run, each with the reason."""
        self.unseen: dict[str, str] = {}
        """The layers whose activations cannot be measured, each with the reason."""

    def note(self, event: Event) -> None:
        """Keep an event. Of one kind the first eight are kept, because rules need the first two.

        Args:
            event: the event.
        """
        if len(self.events_of(event.kind)) < SAME:
            self.events.append(event)

    def record(self, quantity: str, step: int, columns: Sequence[str], row: Sequence[float] | Array) -> None:
        """Append a row to the series of a quantity. Other columns than before begin a new series.

        Args:
            quantity: name of the quantity.
            step: optimizer step of the row.
            columns: names of the columns, such as layers or parameters.
            row: one number per column.
        """
        self._series_of(quantity, columns).append(step, row)

    def extend(self, quantity: str, steps: NDArray[np.int64], columns: Sequence[str], rows: Array) -> None:
        """Append several rows to the series of a quantity.

        Args:
            quantity: name of the quantity.
            steps: optimizer step of each row.
            columns: names of the columns.
            rows: the numbers, shape ``(rows, columns)``.
        """
        self._series_of(quantity, columns).extend(steps, rows)

    def _series_of(self, quantity: str, columns: Sequence[str]) -> Series:
        series = self.series.get(quantity)
        if series is None or series.columns != tuple(columns):
            series = self._begin(quantity, columns)
        return series

    def _begin(self, quantity: str, columns: Sequence[str]) -> Series:
        capacity = self.capacity * 4 if quantity == "loss" else self.capacity
        series = self.series[quantity] = Series(columns, capacity)
        return series

    def widen(self, quantity: str, columns: Sequence[str]) -> None:
        """Add columns to a series, or reorder them. Missing numbers are NaN.

        Args:
            quantity: name of the quantity.
            columns: names of all columns, in their new order.
        """
        before = self.series[quantity]
        rows = np.full((len(before), len(columns)), np.nan)
        for i, name in enumerate(columns):
            if name in before.columns:
                rows[:, i] = before.column(name)
        self._begin(quantity, columns).restore(
            before.steps.tolist(), rows, before.numbers.tolist(), before.seen
        )

    def __getitem__(self, quantity: str) -> Series:
        return self.series.get(quantity) or Series(("nothing",), 0)

    def events_of(self, kind: str) -> list[Event]:
        """Return the events of one kind.

        Args:
            kind: name of the kind.

        Returns:
            The events in the order in which they were seen.
        """
        return [event for event in self.events if event.kind == kind]

    def until(self, step: int) -> "History":
        """Return this history as it was after a step.

        Args:
            step: the optimizer step.

        Returns:
            A history that shares memory with this one.
        """
        then = History(self.capacity)
        then.parameters, then.layers, then.loss = self.parameters, self.layers, self.loss
        then.groups, then.schedules = self.groups, self.schedules
        then.settings, then.unavailable, then.unseen = self.settings, self.unavailable, self.unseen
        then.series = {name: series.between(0, step) for name, series in self.series.items()}
        then.events = [event for event in self.events if event.step <= step]
        return then

    def state_dict(self) -> dict[str, Any]:
        """Return everything for a checkpoint.

        Returns:
            Plain Python objects, which strict checkpoint readers accept.
        """
        return {
            **self._facts(),
            "series": {
                name: {
                    "columns": list(s.columns),
                    "steps": s.steps.tolist(),
                    "rows": s.rows.tolist(),
                    "numbers": s.numbers.tolist(),
                    "seen": s.seen,
                }
                for name, s in self.series.items()
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore everything from a checkpoint.

        Args:
            state: what `state_dict` returned.
        """
        self._load_facts(state)
        self.series = {}
        for name, saved in state["series"].items():
            rows = {key: value for key, value in saved.items() if key != "columns"}
            self._begin(name, saved["columns"]).restore(**rows)

    def _facts(self) -> dict[str, Any]:
        return {
            "parameters": {name: _plain(facts) for name, facts in self.parameters.items()},
            "layers": {name: _plain(facts) for name, facts in self.layers.items()},
            "loss": _plain(self.loss),
            "groups": [_plain(group) for group in self.groups],
            "schedules": [_plain(schedule) for schedule in self.schedules],
            "events": [_plain(event) for event in self.events],
            "settings": dict(self.settings),
            "unavailable": dict(self.unavailable),
            "unseen": dict(self.unseen),
        }

    def _load_facts(self, facts: dict[str, Any]) -> None:
        self.parameters = {
            name: ParameterFacts(**{**saved, "shape": tuple(saved["shape"])})
            for name, saved in facts["parameters"].items()
        }
        self.layers = {name: LayerFacts(**saved) for name, saved in facts["layers"].items()}
        self.loss = loss_facts_from(facts["loss"])
        # Missing in files of earlier versions.
        self.groups = facts_from(GroupFacts, facts.get("groups", ()))
        self.schedules = facts_from(ScheduleFacts, facts.get("schedules", ()))
        self.events = [Event(**{**saved, "where": tuple(saved["where"])}) for saved in facts["events"]]
        self.settings, self.unavailable = dict(facts["settings"]), dict(facts["unavailable"])
        self.unseen = dict(facts.get("unseen", {}))  # missing in files of earlier versions

    def save(self, path: Path | str) -> None:
        """Write a ``.npz`` file with arrays ``QUANTITY/steps``, ``/rows``, ``/numbers`` and JSON ``facts``.

        The file appears complete or not at all.

        Args:
            path: path of the file.
        """
        path = Path(path)
        part = path.with_name(f".{path.name}.part")
        try:
            with part.open("wb") as stream:
                self._write(stream)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    def _write(self, stream: IO[bytes]) -> None:
        facts = self._facts() | {
            "columns": {name: list(s.columns) for name, s in self.series.items()},
            "seen": {name: s.seen for name, s in self.series.items()},
        }
        arrays: dict[str, Any] = {"facts": np.array(json.dumps(facts))}
        for name, series in self.series.items():
            arrays[f"{name}/steps"], arrays[f"{name}/rows"] = series.steps, series.rows
            arrays[f"{name}/numbers"] = series.numbers
        np.savez_compressed(stream, **arrays)

    @classmethod
    def load(cls, path: Path | str) -> "History":
        """Read what `save` wrote.

        Args:
            path: path of the file.

        Returns:
            The history.

        Raises:
            OSError: there is no such file.
            HistoryError: the file is not a history, or it is damaged.
        """
        history = cls()
        with Path(path).open("rb") as stream:
            try:
                history._read(stream)
            except _DAMAGED as error:
                raise HistoryError(
                    f"A history is a file that History.save wrote, such as history.npz of a run; got {path} "
                    f"({describe(error)})."
                ) from error
        return history

    def _read(self, stream: IO[bytes]) -> None:
        with np.load(stream, allow_pickle=False) as arrays:
            facts = json.loads(str(arrays["facts"]))
            self._load_facts(facts)
            for name, columns in facts["columns"].items():
                steps, rows, numbers = (arrays[f"{name}/{part}"] for part in ("steps", "rows", "numbers"))
                if not len(steps) == len(rows) == len(numbers):
                    raise ValueError(f"{name} has {len(steps)} steps and {len(rows)} rows")
                self._begin(name, columns).restore(steps, rows, numbers, facts["seen"][name])

    def __getstate__(self) -> dict[str, Any]:
        """Return the contents of the file: much smaller than the series, which have room for more rows."""
        stream = BytesIO()
        self._write(stream)
        return {"capacity": self.capacity, "file": stream.getvalue()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["capacity"])  # type: ignore[misc]  # the way to an empty history
        self._read(BytesIO(state["file"]))


_DAMAGED = (AttributeError, EOFError, KeyError, OSError, TypeError, ValueError, BadZipFile, zlib.error)
"""What reading raises for a file that is something else, was cut off, or was changed."""


def _plain(facts: Any) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(facts).items()}
