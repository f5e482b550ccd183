"""Separates root causes from symptoms: one finding per cause, with its symptoms.

A fault that begins earlier is the cause. Within 20 steps the order of families decides: data, wiring, loss,
initial values, learning rate, gradients and non-finite numbers, units, generalization. The order and the
table below were derived from runs with one known fault each.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nnfoundations.diagnostics._finding import Finding

if TYPE_CHECKING:
    from nnfoundations.diagnostics._judge import Case

__all__ = ["ABSORBS", "FAMILIES", "WINDOW", "arbitrate"]

FAMILIES: dict[str, int] = {
    "non-finite-input": 0,
    "unscaled-inputs": 0,
    "constant-inputs": 0,
    "parameter-not-in-optimizer": 1,
    "graph-cut": 1,
    "gradients-not-zeroed": 1,
    "train-mode-off": 1,
    "softmax-before-cross-entropy": 2,
    "unstable-loss-function": 2,
    "symmetric-weights": 3,
    "bad-initialization": 3,
    "bad-output-scale": 3,
    "learning-rate-too-high": 4,
    "learning-rate-too-low": 4,
    "exploding-gradients": 5,
    "vanishing-gradients": 5,
    "non-finite": 5,
    "saturated-units": 6,
    "dead-units": 6,
    "overfitting": 7,
}
"""Faults in causal order, each with the number of its family."""

_STEP = (
    "learning-rate-too-high",
    "exploding-gradients",
    "vanishing-gradients",
    "dead-units",
    "saturated-units",
)

ABSORBS: dict[str, tuple[str, ...]] = {
    "non-finite-input": ("non-finite", "exploding-gradients", "dead-units", "unstable-loss-function"),
    "unscaled-inputs": (
        *_STEP, "bad-initialization", "bad-output-scale", "learning-rate-too-low", "non-finite",
    ),
    "constant-inputs": (*_STEP, "bad-initialization", "learning-rate-too-low", "overfitting"),
    "parameter-not-in-optimizer": ("vanishing-gradients", "gradients-not-zeroed", "exploding-gradients"),
    "graph-cut": ("vanishing-gradients", "gradients-not-zeroed"),
    "gradients-not-zeroed": (*_STEP, "non-finite", "overfitting"),
    "train-mode-off": ("overfitting",),
    "softmax-before-cross-entropy": ("learning-rate-too-low", "vanishing-gradients"),
    "unstable-loss-function": ("non-finite", "exploding-gradients", "bad-output-scale", "bad-initialization"),
    "symmetric-weights": (*_STEP, "bad-initialization", "bad-output-scale", "learning-rate-too-low"),
    "bad-initialization": (*_STEP, "bad-output-scale", "learning-rate-too-low", "non-finite"),
    "bad-output-scale": (*_STEP, "non-finite", "unstable-loss-function"),
    "learning-rate-too-high": (*_STEP[1:], "learning-rate-too-low", "non-finite", "overfitting"),
    "exploding-gradients": (
        "non-finite", "learning-rate-too-high", "bad-output-scale", "dead-units", "saturated-units",
    ),
    "vanishing-gradients": ("learning-rate-too-low", "saturated-units", "dead-units"),
    "saturated-units": ("vanishing-gradients", "learning-rate-too-low"),
    "dead-units": ("vanishing-gradients", "learning-rate-too-low"),
}  # fmt: skip
"""The faults that each fault explains, unless it began clearly later than they did."""

WINDOW = 20
"""Steps within which the order of families decides and not the step: measurements may be that far apart."""


def arbitrate(cases: Mapping[str, "Case"]) -> list[Finding]:
    """Return one finding per root cause, the first cause first.

    A suspicion becomes a symptom of an earlier one that explains it. It is a separate cause only if it
    differs from every earlier cause in its layers or in its family.
    """
    order = {fault: i for i, fault in enumerate(FAMILIES)}
    ranked = sorted(
        ((fault, case) for fault, case in cases.items() if case.confirmed and case.suspicion is not None),
        key=lambda pair: (pair[1].first_step // WINDOW, order[pair[0]]),
    )
    causes: list[Finding] = []
    for fault, case in ranked:
        suspicion = case.suspicion
        assert suspicion is not None
        parent = next((i for i, cause in enumerate(causes) if _explains(cause, fault, suspicion.where)), None)
        if parent is not None:
            cause = causes[parent]
            causes[parent] = Finding(**{**vars(cause), "consequences": (*cause.consequences, fault)})
            continue
        causes.append(
            Finding(
                fault,
                suspicion.severity,
                case.first_step,
                case.last_step,
                suspicion.where,
                suspicion.evidence,
                suspicion.cause,
                suspicion.remedy,
                resolved=case.resolved,
                numbers=suspicion.numbers,
            )
        )
    return causes


def _explains(cause: Finding, fault: str, where: tuple[str, ...]) -> bool:
    if fault in ABSORBS.get(cause.fault, ()):
        return True
    same_family = FAMILIES[cause.fault] == FAMILIES[fault]
    return same_family and bool(set(cause.where) & set(where))
