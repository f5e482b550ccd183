"""Rules about what the network makes of the labels: nothing, the commonest class only, or other ones."""

from dataclasses import dataclass

import numpy as np

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import Rule, constant_loss, median, smooth, update_ratios

__all__ = ["LabelsUnrelatedToInputs", "NoisyLabels", "OneClassPredicted"]


@dataclass(frozen=True)
class LabelsUnrelatedToInputs(Rule):
    """The network learns nothing about samples that it has not seen, although it trains normally."""

    fault, family = "labels-unrelated-to-inputs", Family.DATA
    needs = ("target", "constant_loss", "validation_loss", "loss")
    explains = ("noisy-labels", "learning-rate-too-low", "stopped-too-early", Family.GENERALIZATION)
    wait: int = 200  # losses needed; a judgement
    validations: int = 3  # validations needed; a judgement
    level: float = 0.98  # lowest validation loss over that of a constant; digits without a fault have 0.1
    epoch: int = 10  # steps of the first epoch needed, whose samples are all new; a judgement
    highest: float = 3.0  # loss over that of a constant at any step; a judgement
    plateau: int = 600  # losses needed of a regression that stays up: digits and tables are slow at times
    memorized: float = 0.9  # training loss over that of a constant, when the network learns by heart
    smallest_update: float = 1e-4  # update / weight; smaller ones may be the reason; a judgement
    spread: float = 0.02  # of the outputs over the samples, relative to their size; on a plateau less

    def judge(self, history: History) -> Suspicion | None:
        validation, losses = history["validation_loss"].column("loss"), history["loss"].rows[:, 0]
        if len(losses) < self.wait or len(validation) < self.validations or not _from_data(history):
            return None
        constant, best = constant_loss(history), float(validation.min())
        if not best > self.level * constant > 0 or not self._starts_blind(history, constant):
            return None
        now = smooth(losses, 50)
        improves = len(validation) - int(np.argmin(validation)) <= 1
        if now > self.memorized * constant and (improves or not self._tries(history, now / constant)):
            return None
        if not losses.max() < self.highest * constant:
            return None  # the start or the learning rate is the fault
        learned = (
            f"while the training loss fell to {now:.3g}: the network learns the training labels by heart."
            if now <= self.memorized * constant
            else f"and the training loss is {now:.3g}."
        )
        return self.suspect(
            history["loss"].steps[0],
            (),
            f"The lowest of {len(validation)} validation losses is {best:.3g}, which is "
            f"{best / constant:.3g} times that of a constant prediction ({constant:.3g}), {learned} In the "
            "first epoch, when all samples are new, the training loss did not fall below it either.",
            "The labels do not seem to belong to the inputs, so there is nothing to learn that holds for new "
            "samples.",
            "Print some inputs with their labels. Check that inputs and labels are shuffled, sorted and "
            "filtered together, and that they are read from matching rows. If they are right, the inputs do "
            "not contain what the labels depend on.",
            Severity.INFO
            if history.loss.kind == "squared" and now > self.memorized * constant
            else Severity.WARNING,  # a regression may explain one per cent only, as of prices
            best=best,
            constant=constant,
            loss=now,
        )

    def _starts_blind(self, history: History, constant: float) -> bool:
        """Return whether the loss stayed up in the first epoch, when every sample was new."""
        steps = history.settings.get("steps_per_epoch", 0.0)
        first = history["loss"].between(steps // 2, steps - 1).rows[:, 0]
        return steps >= self.epoch and len(first) > 0 and float(first.mean()) > self.level * constant

    def _tries(self, history: History, level: float) -> bool:
        """Return whether updates are normal and outputs depend on the input, although nothing is learned."""
        updates, spread = history["update_ratio"], history["sample_spread"]
        if history.loss.kind == "squared" and len(history["loss"]) < self.plateau:
            return False
        if not len(updates) or not len(spread) or not self.level - 0.02 < level < 1.2:
            return False
        ratio = median(update_ratios(history, updates.rows[-5:])[0])
        names = [name for name in history.layers if name in spread.columns]
        outputs = spread.column(names[-1])[-3:]
        return ratio > self.smallest_update and bool(np.median(outputs) > self.spread)


def _from_data(history: History) -> bool:
    """Return whether the loss compares one output with targets of the data, which are not the inputs."""
    targets = [term.target for term in history.loss.terms if term.target is not None]
    return len(targets) == 1 and targets[0].entry >= 0 and not targets[0].is_input


@dataclass(frozen=True)
class OneClassPredicted(Rule):
    """The network predicts the commonest class for every sample, and a rare class never."""

    fault, family, needs = "one-class-predicted", Family.GENERALIZATION, ("predictions", "loss")
    wait: int = 150  # losses needed: at the start many networks predict one class; a judgement
    after: int = 40  # step from which predictions count; a judgement
    last: int = 12  # measurements that count; a judgement
    measurements: int = 4  # measurements needed; a judgement
    others: int = 12  # samples of other classes needed; a judgement
    common: float = 0.7  # smallest share of the commonest class: below it, something else is the reason
    recall: float = 0.05  # of the other classes: with class weights digits and noise have 0.5; a judgement
    useless: float = 0.97  # loss over that of a constant prediction from which it is a warning; a judgement

    def judge(self, history: History) -> Suspicion | None:
        series, losses = (
            history["predictions"].between(self.after).last(self.last),
            history["loss"].rows[:, 0],
        )
        if len(losses) < self.wait or len(series) < self.measurements:
            return None
        chosen = series.column("commonest")
        found, others, samples = (float(series.column(name).sum()) for name in ("found", "others", "samples"))
        if others < self.others or samples - others < self.common * samples:
            return None
        if found > self.recall * others or (chosen != chosen[0]).any():
            return None
        blind = smooth(losses, 20) > self.useless * constant_loss(history)
        share = others / samples
        return self.suspect(
            series.steps[0],
            (),
            f"Of {others:.0f} measured samples of rare classes ({share:.1%} of all since step "
            f"{int(series.steps[0])}) {found:.0f} were predicted right; the others were predicted as class "
            f"{chosen[0]:.0f}. Always answering this class is right for {1 - share:.1%}, so the accuracy "
            "hides it.",
            "The other classes are rare, so predicting none of them costs little. "
            + (
                "The loss is that of a constant prediction."
                if blind
                else "The scores may still rank the samples well: only the threshold of 0.5 is never reached."
            ),
            f"If the rare class matters, weight it: pos_weight=torch.tensor({(1 - share) / share:.2g}) in "
            f"BCEWithLogitsLoss, or weight= in CrossEntropyLoss; or use WeightedRandomSampler. Watch recall "
            "or average precision in place of accuracy.",
            Severity.WARNING if blind else Severity.INFO,
            share=share,
            samples=samples,
        )


@dataclass(frozen=True)
class NoisyLabels(Rule):
    """Many labels are wrong at random: the network knows the class of these samples, and the label differs.

    Where classes are hard to tell apart, the label is the second choice and the network is unsure. Of a label
    that is wrong at random, the place is random, and the network is as sure as elsewhere.
    """

    fault, family, needs = "noisy-labels", Family.DATA, ("label_ranks", "loss")
    explains = (Family.GENERALIZATION,)
    after: int = 40  # step from which predictions count; a judgement
    first: int = 12  # measurements that count: later, wrong labels are learned by heart
    measurements: int = 4  # measurements needed; a judgement
    correct: float = 0.35  # share of correct predictions in a measurement from which it counts; a judgement
    level: float = 0.3  # their mean probability from which it counts: before, places are random; a judgement
    excess: float = 0.2  # mean probability over the share that is correct; 0.5 after a step that was too big
    wrong: int = 60  # samples that are predicted otherwise; a judgement
    share: float = 0.1  # of all samples; a judgement
    rank: float = 0.2  # mean place of a label, less its error: hard images 0.05 to 0.21, wrong labels 0.25
    sure: float = 0.74  # probability of the prediction there, over elsewhere: hard images up to 0.73
    error: float = 0.6  # two standard deviations of a random place

    def judge(self, history: History) -> Suspicion | None:
        if history.events_of("strong-dropout"):
            return None  # its predictions are at random too
        rows = history["label_ranks"].between(self.after).rows
        right = rows[:, 4] - rows[:, 3]
        learned = (right > self.correct * rows[:, 4]) & (rows[:, 2] > self.level * right)
        honest = rows[:, 1] + rows[:, 2] < right + self.excess * rows[:, 4]
        rows = rows[learned & honest][: self.first]
        places, sure_wrong, sure_right, wrong, samples = (float(total) for total in rows.sum(0))
        if len(rows) < self.measurements or wrong < self.wrong or wrong < self.share * samples:
            return None
        rank, sure = places / wrong, (sure_wrong / wrong) / (sure_right / (samples - wrong))
        if rank - self.error / wrong**0.5 < self.rank or sure < self.sure:
            return None
        return self.suspect(
            history["label_ranks"].between(self.after).steps[0],
            (),
            f"Of {samples:.0f} measured training samples {wrong:.0f} were predicted otherwise than labelled. "
            f"Of these, the label comes at place {rank:.2f} of the other classes, from 0 (the next best) to "
            f"1 (0.5: at random; below 0.2 where classes are alike), and the network is {sure:.2f} times as "
            "sure as of the others (about 0.7 if it errs).",
            f"Up to {wrong / samples:.0%} of the labels seem to be wrong, at random. In a long training the "
            "network learns them by heart.",
            "Look at the training samples with the highest loss, and correct or remove those with a wrong "
            "label. If that is not possible, stop at the best validation, and try label_smoothing=0.1.",
            Severity.INFO,
            rank=rank,
            sure=sure,
            share=wrong / samples,
        )
