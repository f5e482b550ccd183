"""Diagnostics that run only some families of rules."""

from nnfoundations.callbacks._diagnostics import Diagnostics

__all__ = ["ActivationMonitor", "GradientMonitor", "OverfittingMonitor"]


class GradientMonitor(Diagnostics):
    """Find gradients that vanish or explode, and numbers that are not finite.

    The arguments are those of `Diagnostics`.
    """

    default_families = ("gradients", "non-finite")


class ActivationMonitor(Diagnostics):
    """Find dead and saturated units, and initial weights that no learning rate suits.

    The arguments are those of `Diagnostics`.
    """

    default_families = ("units", "initialization")


class OverfittingMonitor(Diagnostics):
    """Find overfitting.

    The arguments are those of `Diagnostics`.
    """

    default_families = ("generalization",)
