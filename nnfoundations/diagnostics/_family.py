"""The families of faults, in causal order."""

from enum import StrEnum

__all__ = ["Family"]


class Family(StrEnum):
    """What a fault is about. Of faults that begin together, one of an earlier family is the root cause.

    A family that is not listed here, as of a user's own rule, comes last.
    """

    DATA = "data"
    WIRING = "wiring"
    LOSS = "loss"
    INITIALIZATION = "initialization"
    LEARNING_RATE = "learning-rate"
    GRADIENTS = "gradients"
    NON_FINITE = "non-finite"
    UNITS = "units"
    GENERALIZATION = "generalization"

    @staticmethod
    def rank(family: str) -> int:
        """Return the position of a family in causal order.

        Args:
            family: name of the family.

        Returns:
            A number from 0; that of an unknown family is larger than all others.
        """
        return next((i for i, known in enumerate(Family) if known == family), len(Family))
