"""Values and gradients of every module in the registry, on all kinds of input."""

import pytest
from registry import Case, Law, held

from nnfoundations.testing import VALUES


# Torch's own RMSNorm says so under autocast, once a process.
@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight:UserWarning")
@held(VALUES)
def test_law(case: Case, law: Law) -> None:
    law(case)
