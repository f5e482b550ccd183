"""Rules about batches: their order, and single ones that differ from all others."""

from dataclasses import dataclass

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import STEPS, Rule, median

__all__ = ["BadBatch", "BatchesNotShuffled"]


@dataclass(frozen=True)
class BatchesNotShuffled(Rule):
    """A batch holds samples of one class, the next one of another, so each step unlearns other classes."""

    fault, family, needs = "batches-not-shuffled", Family.DATA, ("batch_classes", "loss")
    explains = (
        "constant-targets",
        "bad-initialization",
        "no-learning",
        *STEPS,
        Family.NON_FINITE,
        Family.GENERALIZATION,
    )
    exact = True
    excess: float = 0.6  # 0: as in shuffled batches, 1: one class in each; 4 of 100 classes give 0.25
    expected: float = 0.8  # largest share of equal pairs if shuffled; with rare classes chance decides
    batches: int = 5  # batches needed; a judgement
    pairs: int = 100  # pairs of samples needed; a judgement

    def judge(self, history: History) -> Suspicion | None:
        series = history["batch_classes"]
        rows = series.rows[series.column("samples") > 1]
        if len(rows) < self.batches or not rows[-1, 1] <= self.expected:
            return None
        equal, expected, classes, samples = rows.T
        pairs = samples * (samples - 1) / 2
        share = float((equal * pairs).sum() / pairs.sum())
        shuffled = float(expected[-1])
        if pairs.sum() < self.pairs or (share - shuffled) / (1 - shuffled) < self.excess:
            return None
        return self.suspect(
            series.steps[0],
            (),
            f"In {len(rows)} measured batches {share:.0%} of the pairs of samples have the same class "
            f"(expected if shuffled: {shuffled:.0%}, with {int(classes[-1])} classes seen so far).",
            "The samples come sorted by class. Each step pulls the network towards the class of its batch, "
            "and it forgets the other classes.",
            "Set shuffle=True in the DataLoader of the training data, or shuffle the rows once if a sampler "
            "or a stream gives their order.",
            Severity.WARNING,
            share=share,
            expected=shuffled,
        )


@dataclass(frozen=True)
class BadBatch(Rule):
    """The inputs of one batch are far larger than those of all others, and its loss jumps."""

    fault, family, needs = "bad-batch", Family.DATA, ("batch_rms", "loss")
    explains = ("bad-initialization", "no-learning", *STEPS, Family.NON_FINITE, Family.GENERALIZATION)
    exact = True
    factor: float = 10.0  # size over the median of the others; one batch times 4 does no harm on digits
    others: int = 20  # other batches needed; a judgement
    most: int = 2  # such batches: a bad sample comes again in the next epoch; a judgement
    jump: float = 3.0  # loss of the batch over the median of those before; a judgement
    before: int = 20  # losses before it; a judgement

    def judge(self, history: History) -> Suspicion | None:
        series, losses = history["batch_rms"], history["loss"]
        sizes = series.column("rms")
        usual = median(sizes)
        odd = np.flatnonzero(sizes > self.factor * usual)
        if len(sizes) <= self.others or not 0 < len(odd) <= self.most or not usual > 0:
            return None
        step, size = int(series.steps[odd[0]]), float(sizes[odd[0]])
        there, earlier = losses.between(step, step), losses.between(0, step - 1).last(self.before)
        if not len(there) or not len(earlier):
            return None
        loss, level = float(there.rows[0, 0]), median(earlier.rows[:, 0])
        if loss <= level + (self.jump - 1) * abs(level):
            return None
        return self.suspect(
            step,
            (),
            f"The inputs of the batch of step {step} have a root mean square of {size:.3g}, and those of "
            f"other batches {usual:.3g}. The loss rose from {level:.3g} to {loss:.3g} at this step.",
            "One batch with such inputs makes one huge gradient, which can undo the training, and Adam keeps "
            "its square for a thousand steps.",
            f"Find the samples of this batch whose numbers are about {size / usual:.0e} times too large "
            "(a broken file, a unit, a sentinel value such as 1e6), and remove or clip them. "
            "gradient_clip_val=1.0 limits the harm of others.",
            Severity.WARNING,
            rms=size,
            usual=usual,
            loss=loss,
        )
