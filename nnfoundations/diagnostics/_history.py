"""What was measured: numbers with their steps, and what is known of the model. No tensors.

Rules read nothing else, so that a run can be judged again from its file by rules that are newer.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ParameterFacts:
    """A parameter by name. `kind`: matrix (two or more axes), vector, or embedding.

    `module` is the module that owns it, `optimizer` the position of the optimizer that steps it (None: no one
    does). A parameter under two names (tied weights) is one, named ``a.weight = b.weight``.
    """

    module: str
    module_class: str
    kind: str
    shape: tuple[int, ...]
    trainable: bool
    optimizer: int | None

    @property
    def fan_in(self) -> int:
        return int(np.prod(self.shape[1:])) if len(self.shape) > 1 else 1


@dataclass(frozen=True)
class LayerFacts:
    """A place where activations are seen, in the order in which the forward pass comes by.

    `owner` is the layer with weights that the values come from: that of a ReLU is the Linear before it.
    `role`: weighted, activation, normalization, recurrent or other. `units`: its channels or features.
    """

    module_class: str
    role: str
    owner: str
    units: int


@dataclass(frozen=True)
class LossFacts:
    """The loss as its autograd graph shows it. `baseline` is its value for a network that knows nothing.

    For cross-entropy over C classes that is ln C; for a squared error the variance of the targets. NaN where
    the loss is not recognised. `softmax_before`: probabilities, not logits, go into a cross-entropy.
    """

    kind: str
    classes: int = 0
    baseline: float = float("nan")
    softmax_before: bool = False


@dataclass(frozen=True)
class Event:
    """A fact that was seen once and needs no statistics, such as a parameter that no optimizer has."""

    kind: str
    step: int
    where: tuple[str, ...] = ()
    detail: Mapping[str, Any] | None = None

    def __getitem__(self, name: str) -> Any:
        return (self.detail or {})[name]


class Series:
    """Rows of numbers over columns of fixed names, each row with its step.

    Full, it thins out: the first rows, where bad starts show, and the last quarter stay, of those between
    every second, fourth, ... is kept, so that the rows span the whole run however long it is.
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
        return self._steps[: self._n]

    @property
    def rows(self) -> Array:
        return self._rows[: self._n]

    def append(self, step: int, row: Sequence[float] | Array) -> None:
        if self._n == self.capacity:
            self._thin_out()
        self._steps[self._n], self._rows[self._n], self._numbers[self._n] = step, row, self._seen
        self._n, self._seen = self._n + 1, self._seen + 1

    def restore(
        self,
        steps: Sequence[int] | NDArray[np.int64],
        rows: Sequence[Sequence[float]] | Array,
        numbers: Sequence[int] | NDArray[np.int64],
        seen: int,
    ) -> None:
        """Take over the rows of a state or a file, each with its place among all rows ever appended."""
        self._n, self._seen = len(steps), seen
        if self._n:
            self._steps[: self._n], self._rows[: self._n], self._numbers[: self._n] = steps, rows, numbers

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The place of each row among all rows ever appended, by which it thins out."""
        return self._numbers[: self._n]

    @property
    def seen(self) -> int:
        """Rows ever appended."""
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
        return self.rows[:, self.columns.index(name)]

    def between(self, first: float, last: float = float("inf")) -> "Series":
        """The rows whose steps lie in ``[first, last]``."""
        low = int(np.searchsorted(self.steps, first, "left"))
        high = int(np.searchsorted(self.steps, last, "right"))
        return self._part(slice(low, high))

    def last(self, n: int) -> "Series":
        return self._part(slice(max(0, self._n - n), self._n))

    def _part(self, rows: slice) -> "Series":
        part = Series((), 0)
        part.columns, part.capacity = self.columns, self.capacity
        part._steps, part._rows = self.steps[rows], self.rows[rows]
        part._n = len(part._steps)
        return part


class History:
    """All series of a run by the quantity they hold, and the facts beside them.

    Args: capacity: rows kept of each quantity; the loss, one number a step, keeps four times as many.
    """

    def __init__(self, capacity: int = 512) -> None:
        self.capacity = capacity
        self.series: dict[str, Series] = {}
        self.parameters: dict[str, ParameterFacts] = {}
        self.layers: dict[str, LayerFacts] = {}
        self.loss = LossFacts("unknown")
        self.events: list[Event] = []
        self.settings: dict[str, float] = {}
        """Numbers of the run that rules need: steps an epoch, total steps, batch size."""
        self.unavailable: dict[str, str] = {}
        """Quantities that cannot be measured here, each with the reason."""

    def record(self, quantity: str, step: int, columns: Sequence[str], row: Sequence[float] | Array) -> None:
        """Append a row; columns that changed (another model, another set of layers) begin a new series."""
        series = self.series.get(quantity)
        if series is None or series.columns != tuple(columns):
            series = self._begin(quantity, columns)
        series.append(step, row)

    def _begin(self, quantity: str, columns: Sequence[str]) -> Series:
        capacity = self.capacity * 4 if quantity == "loss" else self.capacity
        series = self.series[quantity] = Series(columns, capacity)
        return series

    def widen(self, quantity: str, columns: Sequence[str]) -> None:
        """Give a series more columns, or another order of them; what was not measured is NaN."""
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
        return [event for event in self.events if event.kind == kind]

    def until(self, step: int) -> "History":
        """This history as it stood after a step."""
        then = History(self.capacity)
        then.parameters, then.layers, then.loss = self.parameters, self.layers, self.loss
        then.settings, then.unavailable = self.settings, self.unavailable
        then.series = {name: series.between(0, step) for name, series in self.series.items()}
        then.events = [event for event in self.events if event.step <= step]
        return then

    def state_dict(self) -> dict[str, Any]:
        """As plain Python: strict checkpoints take nothing else."""
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
            "events": [_plain(event) for event in self.events],
            "settings": dict(self.settings),
            "unavailable": dict(self.unavailable),
        }

    def _load_facts(self, facts: dict[str, Any]) -> None:
        self.parameters = {
            name: ParameterFacts(**{**saved, "shape": tuple(saved["shape"])})
            for name, saved in facts["parameters"].items()
        }
        self.layers = {name: LayerFacts(**saved) for name, saved in facts["layers"].items()}
        self.loss = LossFacts(**facts["loss"])
        self.events = [Event(**{**saved, "where": tuple(saved["where"])}) for saved in facts["events"]]
        self.settings, self.unavailable = dict(facts["settings"]), dict(facts["unavailable"])

    def save(self, path: Path) -> None:
        """Write a ``.npz``: arrays ``QUANTITY/steps``, ``/rows``, ``/numbers``, and ``facts`` as JSON.

        The file appears whole or not at all.
        """
        facts = self._facts() | {
            "columns": {name: list(s.columns) for name, s in self.series.items()},
            "seen": {name: s.seen for name, s in self.series.items()},
        }
        arrays: dict[str, Any] = {"facts": np.array(json.dumps(facts))}
        for name, series in self.series.items():
            arrays[f"{name}/steps"], arrays[f"{name}/rows"] = series.steps, series.rows
            arrays[f"{name}/numbers"] = series.numbers
        part = path.with_name(f".{path.name}.part")
        try:
            with part.open("wb") as stream:
                np.savez_compressed(stream, **arrays)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path | str) -> "History":
        """Read what `save` wrote. Raises: OSError, ValueError: no such file, or no history."""
        history = cls()
        with np.load(path, allow_pickle=False) as arrays:
            if "facts" not in arrays:
                raise ValueError(f"A history holds `facts`; {path} does not. Pass a history.npz of a run.")
            facts = json.loads(str(arrays["facts"]))
            history._load_facts(facts)
            for name, columns in facts["columns"].items():
                steps, rows, numbers = (arrays[f"{name}/{part}"] for part in ("steps", "rows", "numbers"))
                history._begin(name, columns).restore(steps, rows, numbers, facts["seen"][name])
        return history


def _plain(facts: Any) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(facts).items()}
