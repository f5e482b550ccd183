"""Checks whether a LightningModule is sound: a debugging checklist, run on copies of it."""

from nnfoundations.check._check import CHECKS, check
from nnfoundations.check._verdict import State, Verdict

__all__ = ["CHECKS", "State", "Verdict", "check"]
