"""Diagnostics that run only some rules."""

from nnfoundations.callbacks._diagnostics import Diagnostics
from nnfoundations.diagnostics import RULES, Family, Rule

__all__ = ["ActivationMonitor", "GradientMonitor", "OverfittingMonitor"]


def _of(*families: Family) -> tuple[Rule, ...]:
    return tuple(rule for rule in RULES if rule.family in families)


class GradientMonitor(Diagnostics):
    """Find gradients that vanish or explode, and numbers that are not finite.

    The arguments are those of `Diagnostics`.
    """

    default_rules = (
        *(rule for rule in RULES if rule.fault in ("non-finite-input", "unstable-loss-function")),
        *_of(Family.GRADIENTS, Family.NON_FINITE),
    )


class ActivationMonitor(Diagnostics):
    """Find dead and saturated units, and initial weights that no learning rate suits.

    The arguments are those of `Diagnostics`.
    """

    default_rules = _of(Family.UNITS, Family.INITIALIZATION)


class OverfittingMonitor(Diagnostics):
    """Find overfitting.

    The arguments are those of `Diagnostics`.
    """

    default_rules = _of(Family.GENERALIZATION)
