"""Diagnostics of one kind each, for those who ask for no more."""

from nnfoundations.callbacks._diagnostics import Diagnostics


class GradientMonitor(Diagnostics):
    """Gradients that vanish or explode, and numbers that are not finite. Arguments as in `Diagnostics`."""

    watched = ("gradients", "non-finite")


class ActivationMonitor(Diagnostics):
    """Dead and saturated units, and initial values that no rate suits. Arguments as in `Diagnostics`."""

    watched = ("units", "initialization")


class OverfittingMonitor(Diagnostics):
    """What holds for the training data only. Arguments as in `Diagnostics`."""

    watched = ("generalization",)
