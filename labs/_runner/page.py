"""The parts of a lab's page that are the same in all labs, computed from the files beside the notebook."""

import json
import math
from base64 import b64encode
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfoundations.labs._runner.lab import find_labs
from nnfoundations.labs._runner.progress import duration
from nnfoundations.labs._runner.results import LEAST_SEEDS, Results
from nnfoundations.labs._runner.statistics import Interval, holm, mean_interval, p_value

if TYPE_CHECKING:
    from IPython.display import HTML, Image, Markdown

__all__ = ["Page"]


class Page:
    """What a notebook shows of its lab. Each method returns something that a notebook displays.

    Args:
        lab: the name of the lab.
        folder: holds the results.

    Raises:
        FileNotFoundError: there are no results; the message has the command that makes them.
    """

    def __init__(self, lab: str, folder: str = ".") -> None:
        self.lab, self.folder = find_labs()[lab], Path(folder)
        if not (self.folder / "claims.json").exists():
            raise FileNotFoundError(
                f"there are no results beside this notebook. Run `nnfoundations lab {lab}` and open the "
                "notebook in the folder that it names."
            )
        self.results = Results(self.folder)
        self._claims = json.loads((self.folder / "claims.json").read_text(encoding="utf-8"))

    def question(self) -> "Markdown":
        """The question of the lab.

        Returns:
            The text.
        """
        return _markdown(f"**{self.lab.question}**")

    def prediction(self) -> "Markdown":
        """The question whose answer is to be predicted, with its options.

        Returns:
            The text.
        """
        prediction = self._claims["prediction"]
        options = [f"- **{letter}** {one['text']}." for letter, one in prediction["options"].items()]
        return _markdown("\n".join([prediction["question"], "", *options]))

    def our_prediction(self) -> "Markdown":
        """What we predicted before the full runs.

        Returns:
            The text.
        """
        ours = self._claims["prediction"]["ours"]
        return _markdown(f"Our prediction, written before the runs: **{ours}**.")

    def keep(self, choice: str) -> "Markdown":
        """Keep the reader's prediction. The first one counts.

        Args:
            choice: the letter of an option.

        Returns:
            A sentence.

        Raises:
            ValueError: it is not one of the options; nothing below is shown until one is chosen.
        """
        options = self._claims["prediction"]["options"]
        if choice not in options:
            raise ValueError(f"choose one of {', '.join(options)} in the cell above, before you read on.")
        file = self.folder / "prediction.json"
        if not file.exists():
            file.write_text(json.dumps({"choice": choice}) + "\n", encoding="utf-8")
        kept = json.loads(file.read_text(encoding="utf-8"))["choice"]
        return _markdown(f"Your prediction is kept: **{kept}**.")

    def setup(self) -> "Markdown":
        """The set-up table.

        Returns:
            The table.
        """
        rows = [*self.lab.setup.items(), ("arms", "; ".join(map(self.lab.label, self.results.arms)))]
        rows.append(("seeds", f"{max(len(self.results.seeds(arm)) for arm in self.results.arms)} per arm"))
        return _table(("what", "how"), rows)

    def figure(self, name: str, alt: str) -> "Image":
        """A figure of the lab.

        Args:
            name: of its file in `figures`.
            alt: what it shows, for readers who cannot see it.

        Returns:
            The picture.
        """
        from IPython.display import Image

        return Image(filename=str(self.folder / "figures" / f"{name}.png"), alt=alt)

    def animation(self, name: str, alt: str) -> "HTML":
        """A figure that moves, as HTML: exporters leave out outputs of type image/gif.

        Args:
            name: of its file in `figures`.
            alt: what it shows.

        Returns:
            The picture.
        """
        from IPython.display import HTML

        content = b64encode((self.folder / "figures" / f"{name}.gif").read_bytes()).decode()
        return HTML(f'<img alt="{alt}" src="data:image/gif;base64,{content}">')

    def table(self) -> "Markdown":
        """Mean and standard deviation of each column for each arm.

        Returns:
            The table.
        """
        heads = ["mean ± s.d.", "n", *self.lab.table.values()]
        rows = []
        for arm in self.results.arms:
            cells = [self.lab.label(arm), str(len(self.results.seeds(arm)))]
            for column in self.lab.table:
                values = self.results.values(arm, column)
                cells.append(_mean(values))
            rows.append(cells)
        return _table(heads, rows, right=range(1, len(heads)))

    def differences(self, column: str) -> "Markdown":
        """The comparisons of the lab: paired differences with 95 % intervals, p-values by Holm.

        An arm of the reader is compared with the baseline of the first comparison.

        Below five seeds there is no ranking, so nothing is compared.

        Args:
            column: a column of `results.csv`.

        Returns:
            The table, or a sentence.
        """
        known = {arm.name for arm in self.lab.arms}
        baseline = self.lab.comparisons[0][1]
        planned = [*self.lab.comparisons, *((a, baseline) for a in self.results.arms if a not in known)]
        compared = [pair for pair in planned if set(pair) <= set(self.results.arms)]
        pairs = [self.results.pairs(arm, against, column) for arm, against in compared]
        seeds = min((len(first) for first, _ in pairs), default=0)
        if seeds < LEAST_SEEDS:
            return _markdown(f"{seeds} seeds: nothing is ranked below {LEAST_SEEDS}.")
        intervals = [mean_interval(first - second) for first, second in pairs]
        p_values = holm([p_value(first - second, 0) for first, second in pairs])
        rows = [
            (f"{self.lab.label(arm)}, minus {self.lab.label(against)}", *_ends(interval), _p(p))
            for (arm, against), interval, p in zip(compared, intervals, p_values, strict=True)
        ]
        head = f"difference of {self.lab.table.get(column, column)}"
        return _table((head, "mean", "95 % interval", "p (Holm)"), rows, right=(1, 2, 3))

    def verdicts(self) -> "Markdown":
        """Every claim with its rule, what was measured, and the verdict.

        Returns:
            The table.
        """
        rows = []
        for one in self._claims["claims"]:
            measured = one["measured"]
            found = "-"
            if measured["estimate"] is not None:
                low, high = (math.inf if end is None else end for end in (measured["low"], measured["high"]))
                found = f"{number(measured['estimate'])} [{number(low)}, {number(high)}]"
            why = f" ({one['reason']})" if one["reason"] else ""
            rows.append(
                (f"{one['claim']} *{one['source']}*", _rule(one), found, f"**{one['verdict']}**{why}")
            )
        return _table(("claim and source", "rule", "measured", "verdict"), rows)

    def answers(self) -> "Markdown":
        """The options of the prediction with their verdicts, and what the reader chose.

        Returns:
            The table.
        """
        prediction = self._claims["prediction"]
        file = self.folder / "prediction.json"
        chosen = json.loads(file.read_text(encoding="utf-8"))["choice"] if file.exists() else ""
        rows = [
            (letter + (" (yours)" if letter == chosen else ""), one["text"], one["verdict"])
            for letter, one in prediction["options"].items()
        ]
        return _table(("", "prediction", "verdict"), rows)

    def failed(self) -> "Markdown":
        """The runs that failed, with the first cause of each.

        Returns:
            The table, or a sentence.
        """
        rows = [(self.lab.label(row["arm"]), row["seed"], row["cause"]) for row in self.results.failures]
        if not rows:
            return _markdown(f"No run failed; {len(self.results.rows)} runs ended.")
        return _table(("arm", "seed", "first cause"), rows)

    def cost(self) -> "Markdown":
        """Time and machine of the runs.

        Returns:
            The text.
        """
        total = sum(float(row["cpu_seconds"]) for row in self.results.timings)
        lines = [f"{len(self.results.rows)} runs took {duration(total)} of CPU time, one thread per run."]
        for machine in self.results.machine["machines"]:
            versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
            revision = machine["revision"]["nnfoundations"] or "not in a repository"
            lines.append(f"{machine['device']}, {machine['cores']} cores; {versions}; revision {revision}.")
        return _markdown("\n\n".join(lines))

    def command(self) -> "Markdown":
        """The commands that repeat all of it, and one run alone.

        Returns:
            The text.
        """
        lab = f"nnfoundations lab {self.lab.name} --preset {self.results.machine['preset']} --jobs 2"
        return _markdown(f"```sh\n{lab}\n{self.results.rows[0]['command']}\n```")


def number(value: float) -> str:
    """A number in three digits, or in full if it is a large whole one."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "-∞" if value < 0 else "NaN"
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.3g}"


def _mean(values: np.ndarray) -> str:
    mean, n = float(values.mean()), len(values)
    spread = float(values.std(ddof=1)) if n > 1 else 0.0
    if math.isnan(mean):
        return "-"
    return number(mean) + (f" ± {number(spread)}" if spread > 1e-9 * abs(mean) else "")


def _ends(interval: Interval) -> tuple[str, str]:
    return number(interval.estimate), f"[{number(interval.low)}, {number(interval.high)}]"


def _p(value: float) -> str:
    return "NaN" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _rule(claim: dict[str, Any]) -> str:
    relation = {"at_least": "≥", "at_most": "≤", "equal": "="}[claim["relation"]]
    margin = f" ± {number(claim['margin'])}" if claim["margin"] else ""
    quantity = {"every": "each", "difference": "difference of", "ratio": "ratio of"}.get(
        claim["quantity"], f"{claim['quantity']} of"
    )
    return f"{quantity} {claim['column'].replace('_', ' ')} {relation} {number(claim['number'])}{margin}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> "Markdown":
    ends = set(right)
    ruler = ["---:" if i in ends else "---" for i in range(len(heads))]
    lines = [heads, ruler, *rows]
    return _markdown(
        "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    )


def _markdown(text: str) -> "Markdown":
    from IPython.display import Markdown

    return Markdown(text)
