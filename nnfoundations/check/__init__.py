"""Is this model sound? The debugging checklist of the courses, run on copies of a LightningModule.

`check` measures and judges; nothing of the caller's is changed.
"""

from nnfoundations.check._check import CHECKS, check
from nnfoundations.check._verdict import State, Verdict

__all__ = ["CHECKS", "State", "Verdict", "check"]
