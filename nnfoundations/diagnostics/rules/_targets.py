"""Rules about targets: their range, their shape, their size, and whether they vary."""

import math
from dataclasses import dataclass

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History, LossTerm, TargetFacts
from nnfoundations.diagnostics.rules._loss_rule import (
    CONSEQUENCES,
    REGRESSION,
    LossRule,
    first_step,
    place,
)
from nnfoundations.diagnostics.rules._rule import STEPS, Rule, learning_rate, smooth

__all__ = [
    "ConstantTargets",
    "LossUnfitForTargets",
    "ShapeBroadcastInLoss",
    "TargetsOutOfRange",
    "UnscaledTargets",
]

_UNBOUNDED = ("", "relu", "softplus", "exp", "elu", "gelu", "silu")


@dataclass(frozen=True)
class TargetsOutOfRange(LossRule):
    """Binary cross-entropy gets targets outside 0 to 1, such as class indices."""

    fault, family = "targets-out-of-range", Family.DATA
    explains = (
        "output-activation-mismatch",
        "unscaled-targets",
        "unstable-loss-function",
        *CONSEQUENCES,
        *STEPS,
        Family.NON_FINITE,
    )

    def judge(self, history: History) -> Suspicion | None:
        for term in self.terms(history):
            target = term.target
            if term.kind.startswith("binary-cross-entropy") and target is not None and not target.in_unit:
                return self._suspect(history, term, target)
        return None

    def _suspect(self, history: History, term: LossTerm, target: TargetFacts) -> Suspicion:
        lowest = float(np.nanmin(history["loss"].rows[:, 0]))
        below = f" The loss reaches {lowest:.3g}, although it cannot be below 0." if lowest < 0 else ""
        classes = int(target.high) + 1
        if target.low == -1 and target.high == 1:
            remedy = "Map the targets to 0 and 1: (targets + 1) / 2."
        elif _one_label_each(term, target) and 2 < classes <= 4 * target.distinct:
            remedy = (
                f"For {classes} classes give the last layer {classes} outputs (out_features={classes}) and "
                "use CrossEntropyLoss with the class indices (dtype int64, shape (N,))."
            )
        else:
            size = target.high - min(target.low, 0.0)
            shifted = f"targets + {-target.low:.4g}" if target.low < 0 else "targets"
            remedy = (
                f"Scale the targets to 0 to 1: ({shifted}) / {size:.4g}; or use a "
                "regression loss (MSELoss) without a sigmoid."
            )
        return self.suspect(
            first_step(history),
            place(term),
            f"The targets of binary cross-entropy are from {target.low:.4g} to {target.high:.4g} (allowed: 0 "
            f"to 1).{below}",
            "Binary cross-entropy compares probabilities. With targets outside 0 to 1 it has no minimum: it "
            "falls without end as outputs grow.",
            remedy,
            Severity.ERROR,
            low=target.low,
            high=target.high,
        )


def _one_label_each(term: LossTerm, target: TargetFacts) -> bool:
    """Return whether the targets may be class indices: whole numbers, one for each sample and output."""
    single = target.shape[:1] == (math.prod(target.shape),) == (math.prod(term.shape),)
    return single and target.whole and target.low >= 0


@dataclass(frozen=True)
class ConstantTargets(Rule):
    """All targets seen so far have the same value, so there is nothing to learn."""

    fault, family, needs = "constant-targets", Family.DATA, ("target", "loss")
    explains = ("constant-inputs", *CONSEQUENCES)
    exact = True
    samples: int = 1000  # samples needed, or a whole epoch: a rare value occurs later; a judgement

    def judge(self, history: History) -> Suspicion | None:
        if sum(term.target is not None for term in history.loss.terms) > 1:
            return None  # constants of a loss, such as those of an adversarial one, may be equal to labels
        series = history["target"]
        low, high = series.column("low"), series.column("high")
        if series.column("spread").any():
            return None
        if low.min() != low.max() or high.min() != high.max():
            return None
        sizes = series.column("samples")
        if sizes.sum() < self.samples and not _whole_epoch(history):
            return None
        value = f"{low[0]:.4g}" if low[0] == high[0] else "the same row"
        return self.suspect(
            series.steps[0],
            (),
            f"All targets in {len(series)} measured batches ({int(sizes.sum()):,} samples) are {value}.",
            "Targets that never differ teach only this constant: the output becomes the same for every "
            "input.",
            "Print the targets of the data set. Check how labels are read and selected. If the data are "
            "sorted by label, set shuffle=True in the DataLoader.",
            Severity.ERROR,
            value=float(low[0]),
            batches=len(series),
        )


def _whole_epoch(history: History) -> bool:
    """Return whether the targets of every batch of the first epoch were measured."""
    steps = history.settings.get("steps_per_epoch", math.inf)
    return len(history["target"].between(0, steps - 1)) >= steps


@dataclass(frozen=True)
class ShapeBroadcastInLoss(LossRule):
    """Outputs of shape (N, 1) meet targets of shape (N,), so each output is compared with all targets."""

    fault, family = "shape-broadcast-in-loss", Family.LOSS
    explains = ("loss-unfit-for-targets", "output-activation-mismatch", "unscaled-targets", *CONSEQUENCES)

    def judge(self, history: History) -> Suspicion | None:
        terms = self.terms(history)
        term = next((t for t in terms if self._mixes_samples(t)), None)
        if term is None or any(t.pairwise for t in terms):
            return None  # a loss that also compares outputs with each other compares all pairs on purpose
        target = term.target
        outputs, broadcast = term.shape, term.broadcast
        targets = target.shape if target is not None else broadcast[1:]
        if len(outputs) > len(targets):
            remedy = "loss(output.squeeze(-1), target), or loss(output, target.unsqueeze(-1))"
        else:
            remedy = "loss(output, target.squeeze(-1)), or loss(output.unsqueeze(-1), target)"
        return self.suspect(
            first_step(history),
            place(term),
            f"The loss compares outputs of shape {outputs} with targets of shape {targets}. Both are "
            f"broadcast to shape {broadcast}, so the loss has {math.prod(broadcast):,} terms for "
            f"{math.prod(outputs):,} outputs.",
            "Each output is compared with the targets of all samples, not with its own. The best answer is "
            "then the mean of the targets for every input.",
            f"Give outputs and targets the same shape: {remedy}.",
            Severity.ERROR,
            terms=float(math.prod(broadcast)),
            outputs=float(math.prod(outputs)),
        )

    @staticmethod
    def _mixes_samples(term: LossTerm) -> bool:
        """Return whether both sides have as many numbers, and the broadcast has more of them."""
        count, all_pairs = math.prod(term.shape), math.prod(term.broadcast)
        if term.kind not in REGRESSION or not term.broadcast or term.pairwise or all_pairs <= count:
            return False
        if term.target is not None:
            return math.prod(term.target.shape) == count
        return term.broadcast == (count, count)


@dataclass(frozen=True)
class LossUnfitForTargets(LossRule):
    """A regression loss compares several outputs with a single class index."""

    fault, family = "loss-unfit-for-targets", Family.LOSS
    explains = ("output-activation-mismatch", "unscaled-targets", *CONSEQUENCES)

    def judge(self, history: History) -> Suspicion | None:
        term = next((t for t in self.terms(history) if self._takes_class_indices(t)), None)
        if term is None or term.target is None:
            return None
        name = "squared error" if term.kind == "squared" else "absolute error"
        target, width = term.target, term.shape[-1]
        return self.suspect(
            first_step(history),
            place(term),
            f"The loss is the {name} between {width} outputs and one target per sample. The targets "
            f"are whole numbers from {target.low:.0f} to {target.high:.0f}, with {target.distinct} different "
            "values.",
            f"These are class indices: all {width} outputs learn the index as a number, so the largest "
            "output says nothing about the class.",
            f"Use CrossEntropyLoss on the {width} outputs, with the class indices (dtype int64, shape (N,)) "
            "and without an activation after the last layer.",
            Severity.ERROR,
            outputs=float(width),
            classes=float(target.distinct),
        )

    @staticmethod
    def _takes_class_indices(term: LossTerm) -> bool:
        target = term.target
        if term.kind not in REGRESSION or target is None or len(term.shape) < 2 or term.shape[-1] < 2:
            return False
        single = math.prod(target.shape) * term.shape[-1] == math.prod(term.shape)
        indices = target.whole and target.low >= 0 and target.high < term.shape[-1]
        return single and indices and target.distinct >= 2


@dataclass(frozen=True)
class UnscaledTargets(LossRule):
    """The targets of a regression are so large that the network has not even learned their mean."""

    fault, family = "unscaled-targets", Family.DATA
    exact = False
    explains = CONSEQUENCES
    rms: float = 10.0  # root mean square of the targets; healthy regressions with 3 learn without scaling
    learned: float = 1.2  # loss over that of the best constant, which a network reaches first; a judgement
    run_share: float = 0.5  # share of the run needed, if its length is known; a judgement
    wait: int = 300  # losses needed otherwise; a judgement

    small: float = 0.2  # spread of the outputs over that of the targets; a judgement
    above: float = 0.7  # loss over that of the best constant, of outputs that small; a judgement
    growth: float = 1.2  # of such outputs since half of the run; a judgement

    def judge(self, history: History) -> Suspicion | None:
        losses = history["loss"]
        steps = losses.steps[-1] - losses.steps[0] + 1
        total = history.settings.get("total_steps", 0.0)
        if steps < (self.run_share * total or self.wait) or not np.isfinite(losses.rows).all():
            return None
        terms = self.terms(history)
        term = next((t for t in terms if t.kind in REGRESSION and t.target is not None), None)
        if term is None or term.target is None or len(terms) > 1 or term.broadcast:
            return None
        if term.activation not in _UNBOUNDED or not term.target.rms > self.rms:
            return None
        target, first, now = term.target, float(losses.rows[0, 0]), smooth(losses.rows[:, 0], 20)
        size, constant = target.rms**2, target.spread**2
        if term.kind == "absolute" or term.node in ("HuberLoss", "SmoothL1Loss"):
            size, constant = target.rms, 0.8 * target.spread  # the mean distance of normal numbers
        fall = (smooth(losses.rows[:-20, 0], 20) - now) / 20  # of a step
        at_the_end = now - max(fall, 0.0) * max(total - steps, 0.0)
        level = self.above if self._still_grows(history, target.spread) else self.learned
        if not at_the_end > level * constant > 0:
            return None
        highest = float(np.convolve(losses.rows[:, 0], np.full(10, 0.1), mode="valid").max())
        if not 0.1 * constant < first < 10 * size or highest > 2 * size:
            return None  # another scale of the loss, or it diverges
        rate = learning_rate(history)
        return self.suspect(
            losses.steps[0],
            place(term),
            f"The targets have a mean of {target.mean:.3g} and a standard deviation of {target.spread:.3g}, "
            f"but outputs start near 0. After {int(steps)} steps the loss is {now:.3g} (first {first:.3g}). "
            f"The mean of the targets, as the answer to every input, has a loss of about {constant:.3g}.",
            "The last layer must first grow to the size of the targets, which takes many steps"
            + (f" at lr={rate:.3g}." if rate > 0 else "."),
            f"Standardize the targets: (targets - {target.mean:.4g}) / {target.spread:.4g}. To predict, "
            f"multiply the outputs by {target.spread:.4g} and add {target.mean:.4g}.",
            Severity.WARNING,
            rms=target.rms,
            mean=target.mean,
            spread=target.spread,
            constant=constant,
            loss=now,
        )

    def _still_grows(self, history: History, spread: float) -> bool:
        """Return whether the outputs are far smaller than the targets, and still grow."""
        outputs = history["activation_std"]
        last = [name for name in history.layers if name in outputs.columns][-1:]
        if not last or len(outputs) < 4:
            return False
        sizes = outputs.column(last[0])
        then = sizes[int(np.searchsorted(outputs.steps, outputs.steps[-1] / 2))]
        return bool(sizes[-1] < self.small * spread and sizes[-1] > self.growth * then)
