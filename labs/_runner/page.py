"""The parts of a lab's page that are the same in all labs, computed from the files beside the notebook."""

import json
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnfoundations.labs._runner.choice import chosen_arms
from nnfoundations.labs._runner.lab import find_labs
from nnfoundations.labs._runner.markdown import (
    choice_text,
    claim_cells,
    interval_text,
    markdown,
    markdown_table,
    mean_text,
    number,
    p_text,
)
from nnfoundations.labs._runner.progress import duration
from nnfoundations.labs._runner.results import LEAST_SEEDS, TEST, Results
from nnfoundations.labs._runner.statistics import holm, mean_interval, p_value

if TYPE_CHECKING:
    from IPython.display import HTML, Image, Markdown

__all__ = ["Page"]


WORDS = (
    "An *arm* is one of the things that are compared. Runs of two arms with the same seed are *paired*: they "
    "share data, order and initial values where the arms allow it. A 95 % *interval* would hold the true "
    "mean in 95 of 100 repetitions of the lab. *p* is the probability of a difference at least as large if "
    "the true one is 0."
)
"""Below the set-up table: words that each lab uses."""


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
        return markdown(f"**{self.lab.question}**")

    def prediction(self) -> "Markdown":
        """The question whose answer is to be predicted, with its options.

        Returns:
            The text.
        """
        prediction = self._claims["prediction"]
        options = [f"- **{letter}** {one['text']}." for letter, one in prediction["options"].items()]
        return markdown("\n".join([prediction["question"], "", *options]))

    def our_prediction(self) -> "Markdown":
        """What we predicted before the full runs.

        Returns:
            The text.
        """
        ours = self._claims["prediction"]["ours"]
        return markdown(f"Our prediction, written before the runs: **{ours}**.")

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
        return markdown(f"Your prediction is kept: **{kept}**.")

    def setup(self) -> "Markdown":
        """The set-up table.

        Returns:
            The table.
        """
        rows = [*self.lab.setup.items(), ("arms", "; ".join(map(self.lab.label, self.results.arms)))]
        rows.append(("seeds", f"{max(len(self.results.seeds(arm)) for arm in self.results.arms)} per arm"))
        return markdown_table(("what", "how"), rows, below=WORDS)

    def figure(self, name: str, alt: str) -> "Image | Markdown":
        """A figure of the lab, or a sentence if the preset does not run its arms.

        Args:
            name: of its file in `figures`.
            alt: what it shows, for readers who cannot see it.

        Returns:
            The picture.
        """
        from IPython.display import Image

        file = self.folder / "figures" / f"{name}.png"
        if self._may_lack(file):
            return self._left_out("figure")
        return Image(filename=str(file), alt=alt)

    def animation(self, name: str, alt: str) -> "HTML | Markdown":
        """A figure that moves, or a sentence if the preset does not run its arms.

        It is HTML, because exporters leave out outputs of type image/gif.

        Args:
            name: of its file in `figures`.
            alt: what it shows.

        Returns:
            The picture.
        """
        from IPython.display import HTML

        file = self.folder / "figures" / f"{name}.gif"
        if self._may_lack(file):
            return self._left_out("animation")
        content = b64encode(file.read_bytes()).decode()
        return HTML(f'<img alt="{alt}" src="data:image/gif;base64,{content}">')

    def _may_lack(self, file: Path) -> bool:
        return bool(self.lab.presets[self.results.preset].arms) and not file.exists()

    def _left_out(self, what: str) -> "Markdown":
        return markdown(
            f"*This {what} needs arms that the preset `{self.results.preset}` does not run. "
            "The preset `full` runs them.*"
        )

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
                cells.append(mean_text(values))
            rows.append(cells)
        return markdown_table(heads, rows, right=range(1, len(heads)))

    def differences(self, column: str, pairs: Sequence[tuple[str, str]] = ()) -> "Markdown":
        """Paired differences of arms with 95 % intervals; the p-values by Holm over the pairs.

        Below five seeds there is no ranking, so nothing is compared.

        Args:
            column: a column of `results.csv`.
            pairs: the first arm minus the second. By default the comparisons of the lab, and each arm of
                the reader minus the second arm of the first comparison.

        Returns:
            The table, or a sentence.
        """
        planned = pairs or self._comparisons()
        compared = [pair for pair in planned if set(pair) <= set(self.results.arms)]
        if not compared:
            return self._left_out("comparison")
        values = [self.results.pairs(arm, against, column) for arm, against in compared]
        seeds = min(len(first) for first, _ in values)
        if seeds < LEAST_SEEDS:
            return markdown(f"{seeds} seeds: nothing is ranked below {LEAST_SEEDS}.")
        intervals = [mean_interval(first - second) for first, second in values]
        p_values = holm([p_value(first - second, 0) for first, second in values])
        rows = [
            (self._minus(*pair), number(interval.estimate), interval_text(interval), p_text(p))
            for pair, interval, p in zip(compared, intervals, p_values, strict=True)
        ]
        head = f"difference of {self.lab.table.get(column, column)}"
        rest = "; ".join(self._minus(*pair) for pair in planned if pair not in compared)
        below = "Each interval is for its pair alone. The p-values are corrected for their number (Holm)."
        if rest:
            below += (
                f" *Left out, because the preset `{self.results.preset}` does not run both arms: {rest}.*"
            )
        heads = (head, "mean", "95 % interval", "p (Holm)")
        return markdown_table(heads, rows, right=(1, 2, 3), below=below)

    def tested(self, columns: Sequence[str] = ()) -> "Markdown":
        """Which arms were chosen by which rule, and their test metrics: mean, s.d. and 95 % interval.

        Args:
            columns: of `test.csv` that are shown; empty means all.

        Returns:
            The table, or a sentence.
        """
        choices, readings = self.results.choices, self.results.readings
        arms = chosen_arms(choices)
        if not arms:
            return markdown(f"No arm was tested: a choice needs all runs and {LEAST_SEEDS} seeds.")
        rows = []
        for arm in arms:
            for column in columns or self.results.test_columns:
                values = self.results.values(arm, f"{TEST}{column}")
                cells = mean_text(values), interval_text(mean_interval(values)), str(len(values))
                rows.append((self.lab.label(arm), column.replace("_", " "), *cells))
        heads = ("tested arm", "metric on the test data", "mean ± s.d.", "95 % interval of the mean", "n")
        lines = [choice_text(self.lab, choice) for choice in choices]
        lines += [f"Test data were read {one['reason']}, for {one['tested']} runs." for one in readings]
        return markdown_table(heads, rows, right=(2, 3, 4), below="\n\n".join(lines))

    def tested_differences(self, column: str, against: str) -> "Markdown":
        """Paired differences on the test data, of each other tested arm minus one.

        Args:
            column: of `test.csv`.
            against: the arm that is subtracted.

        Returns:
            The table, or a sentence if these arms were not tested.
        """
        arms = chosen_arms(self.results.choices)
        pairs = [(arm, against) for arm in arms if arm != against]
        if against not in arms or not pairs:
            return markdown("No differences on the test data: the arms were not tested.")
        return self.differences(f"{TEST}{column}", pairs)

    def _comparisons(self) -> list[tuple[str, str]]:
        known = {arm.name for arm in self.lab.arms}
        own = [arm for arm in self.results.arms if arm not in known]
        return [*self.lab.comparisons, *((arm, self.lab.comparisons[0][1]) for arm in own)]

    def _minus(self, arm: str, against: str) -> str:
        return f"{self.lab.label(arm)}, minus {self.lab.label(against)}"

    def verdicts(self) -> "Markdown":
        """Every claim with its rule, what was measured, and the verdict.

        Returns:
            The table.
        """
        rows = [claim_cells(self.lab, one) for one in self._claims["claims"]]
        return markdown_table(("claim and source", "rule", "measured", "verdict"), rows)

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
        return markdown_table(("", "prediction", "verdict"), rows)

    def failed(self) -> "Markdown":
        """The runs that failed, with the first cause of each.

        Returns:
            The table, or a sentence.
        """
        rows = [(self.lab.label(row["arm"]), row["seed"], row["cause"]) for row in self.results.failures]
        if not rows:
            return markdown(f"No run failed; {len(self.results.rows)} runs ended.")
        return markdown_table(("arm", "seed", "first cause"), rows)

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
        return markdown("\n\n".join(lines))

    def command(self, jobs: int = 2) -> "Markdown":
        """The commands that repeat all of it, and one run alone.

        Args:
            jobs: runs at a time.

        Returns:
            The text.
        """
        lab = f"nnfoundations lab {self.lab.name} --preset {self.results.machine['preset']}"
        return markdown(f"```sh\n{lab} --jobs {jobs}\n{self.results.rows[0]['command']}\n```")
