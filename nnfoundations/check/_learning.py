"""Checks of the loss: at the first step, on one batch, on real batches, at ten times the learning rate."""

import math
from statistics import mean, median

from nnfoundations.check._loss_terms import LossTerm
from nnfoundations.check._trained_copy import STEPS, Judgement, TrainedCopy
from nnfoundations.check._trial import Trial
from nnfoundations.check._verdict import State

__all__ = ["initial_loss", "one_batch", "real_batches", "ten_times"]

ONE_BATCH_STEPS, PATIENT_STEPS = 200, 1000


def initial_loss(copy: TrainedCopy) -> Judgement:
    """Compare the first loss with that of a network that has learned nothing."""
    trial = copy.trial
    if fault := _wrong_shape(trial):
        return fault
    if not trial.terms:
        return State.SKIPPED, f"{trial.losses[0]:.3g}; no reference value is known for this loss", ""
    known = [term for term in trial.terms if term.guess > 0]
    if not known:
        return State.SKIPPED, f"{trial.losses[0]:.3g}; the targets of this batch do not vary", ""
    judgements = [_initial_term(term, len(known)) for term in known]
    order = [State.FAIL, State.NOTE, State.PASS]
    return min(judgements, key=lambda judgement: order.index(judgement[0]))


def _wrong_shape(trial: Trial) -> Judgement | None:
    if trial.broadcast:
        return (
            State.FAIL,
            f"{trial.broadcast}: each prediction is compared with all targets",
            "Give both one shape: squeeze(1) the predictions, or unsqueeze(1) the targets.",
        )
    if trial.facts.softmax_before:
        return (
            State.FAIL,
            "probabilities go into a cross-entropy that takes logits",
            "Remove the softmax or sigmoid from the model: the loss applies it.",
        )
    if trial.facts.kind == "cross-entropy" and trial.facts.classes == 1:
        return (
            State.FAIL,
            "cross-entropy over one output is always 0",
            "Use one output per class; or BCEWithLogitsLoss with float targets for two classes.",
        )
    return None


def _initial_term(term: LossTerm, count: int) -> Judgement:
    what = "" if count == 1 else f", one of {count} terms"
    is_regression = not math.isnan(term.mean)
    untrained = "predicting the mean" if is_regression else "random guessing"
    text = f"{term.value:.3g}{what}, where {untrained} has {term.guess:.3g}"
    if term.value <= 2 * term.guess:
        if _knows_already(term):
            return (
                State.NOTE,
                text,
                "The loss is better than chance before training. Is the model already trained?",
            )
        return State.PASS, text, ""
    if term.value <= 2 * term.zero:
        return State.NOTE, f"{text}; {_targets(term)}, and outputs begin near 0", _STANDARDIZE
    return (
        State.FAIL,
        text,
        "Standardize the inputs, and use smaller initial weights in the last layer.",
    )


def _knows_already(term: LossTerm) -> bool:
    return term.value < 0.2 * term.guess


def one_batch(copy: TrainedCopy) -> Judgement:
    """Train on a single batch, which a sound network learns by heart."""
    trial, steps = copy.train(ONE_BATCH_STEPS, Trial(watch=0), batches=copy.batches[:1]), ONE_BATCH_STEPS
    if _left(trial, copy.least) > 0.1:
        if copy.is_too_small:
            return State.SKIPPED, "the model has fewer parameters than the batch has targets", ""
        steps = PATIENT_STEPS
        patient = Trial(watch=0, regularize=False)
        trial = copy.train(steps, patient, batches=copy.batches[:1], dropout=False)
    left = _left(trial, copy.least)
    text = f"{trial.losses[0]:.3g} to {median(trial.losses[-10:]):.3g} in {steps} steps"
    if left <= 0.1:
        return State.PASS, text, ""
    remedy = _remedy(copy, "Try another learning rate, then a larger network.")
    if trial.is_warming_up or left <= 0.5:
        return State.NOTE, f"{text}: the batch is learned only in part", remedy
    return State.FAIL, f"{text}: the network cannot learn one batch", remedy


def real_batches(copy: TrainedCopy) -> Judgement:
    """Judge the loss over the first trial, on real batches."""
    trial = copy.trial
    first, last = mean(trial.losses[:3]), mean(trial.losses[-10:])
    text = f"{first:.3g} to {last:.3g} in {len(trial.losses)} steps"
    if last < 0.9 * first:
        return State.PASS, text, ""
    if trial.is_warming_up:
        return State.SKIPPED, f"{text}; the learning rate is still warming up", ""
    if math.isfinite(last) and any(map(_knows_already, trial.terms)):
        return State.NOTE, text, "The model was better than chance before this check. Is it already trained?"
    return (
        State.FAIL,
        text,
        _remedy(copy, "Check that each label belongs to its input, and try another learning rate."),
    )


def ten_times(copy: TrainedCopy) -> Judgement:
    """Train at ten times the learning rate, which should not be better."""
    trial = copy.train(STEPS, Trial(rate=10, watch=0))
    here, there = mean(copy.trial.losses[-10:]), mean(trial.losses[-10:])
    if not math.isfinite(there) or there > 2 * trial.losses[0]:
        return State.PASS, "at 10 times the learning rate it diverges, as expected", ""
    text = f"at 10 times the learning rate the loss ends at {there:.3g}, not {here:.3g}"
    if there < 0.8 * here:
        return State.NOTE, text, "Try 3 times the learning rate."
    return State.PASS, text, ""


def _left(trial: Trial, least: float) -> float:
    """The share of the first loss that is left at the end, both above the least possible value."""
    first, last = trial.excess[0] - least, median(trial.excess[-10:]) - least
    if not math.isfinite(last):
        return math.inf
    return last / first if first > 0 else math.inf


_STANDARDIZE = "Standardize the targets for training, and scale predictions back."


def _targets(term: LossTerm) -> str:
    return f"the targets have mean {term.mean:.3g} and standard deviation {term.std:.3g}"


def _remedy(copy: TrainedCopy, otherwise: str) -> str:
    if copy.failed:
        return f"First fix {' and '.join(copy.failed)}."
    unscaled = [term for term in copy.trial.terms if term.is_unscaled]
    return f"{_STANDARDIZE[:-1]}: {_targets(unscaled[0])}." if unscaled else otherwise
