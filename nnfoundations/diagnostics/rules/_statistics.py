"""The rule about batch normalization whose running statistics do not fit its batches."""

import math
from dataclasses import dataclass

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import Rule, smooth

__all__ = ["BatchStatisticsTooNoisy"]


@dataclass(frozen=True)
class BatchStatisticsTooNoisy(Rule):
    """The statistics of a batch are far from the running ones, so evaluation mode computes something else."""

    fault, family, needs = "batch-statistics-too-noisy", Family.DATA, ("statistics_gap", "input", "loss")
    explains = ("learning-rate-too-high", Family.GENERALIZATION)
    gap: float = 0.7  # in running deviations; digits: batches of 2 have 0.87, of 4 0.58, of 64 0.12
    apart: float = 0.35  # the same for more samples, if validation suffers; a judgement
    unlikely: float = 2.0  # and over what chance explains; a judgement
    after: int = 45  # step from which it counts: the first statistics then have a share of 1 %
    measurements: int = 2  # measurements needed; all of fewer than 5 must show it; a judgement
    few: int = 4  # samples of a batch that are too few for statistics; a judgement
    harm: float = 2.0  # validation over training loss, where there are more samples; a judgement

    def judge(self, history: History) -> Suspicion | None:
        series = history["statistics_gap"].between(self.after)
        if len(series) < self.measurements:
            return None
        gaps = (np.nanmedian if len(series) >= 5 else np.min)(series.rows[-5:], axis=0)
        samples = int(np.median(history["input"].column("samples")))
        few = samples <= self.few
        chance = math.sqrt(1.5 / max(samples, 1))  # error of mean and deviation of independent samples
        limit = self.gap if few else max(self.apart, self.unlikely * chance)
        worst = [i for i in np.argsort(-gaps) if gaps[i] > limit]
        if not worst or not (few or self._suffers(history)):
            return None
        names = tuple(series.columns[i] for i in worst)
        cause, remedy = _few_samples(names[0]) if few else _other_statistics(names[0])
        return self.suspect(
            series.steps[0],
            names,
            f"Mean and deviation of a batch are {gaps[worst[0]]:.2g} running standard deviations away from "
            f"the running statistics of {names[0]} (healthy: below {limit:.2g}), with batches of {samples}.",
            cause,
            remedy,
            Severity.WARNING,
            gap=float(gaps[worst[0]]),
        )

    def _suffers(self, history: History) -> bool:
        """Return whether the validation loss is far above that of training."""
        validation = history["validation_loss"]
        training = smooth(history["loss"].rows[:, 0], 50)
        return len(validation) > 0 and float(validation.rows[-1, 0]) > self.harm * training > 0


def _few_samples(name: str) -> tuple[str, str]:
    return (
        "So few samples give random statistics. Training normalizes each batch by its own, and evaluation "
        "mode by the running mean of all, which fits none of them.",
        f"Use batches of 16 or more (drop_last=True if the last one is smaller), or replace {name} by "
        "GroupNorm or LayerNorm, which do not depend on the batch.",
    )


def _other_statistics(name: str) -> tuple[str, str]:
    return (
        "Evaluation mode normalizes by the running statistics, which are not those of training batches.",
        f"Set momentum=0.1 in {name} if it is smaller. Call the network in training mode on training data "
        "only.",
    )
