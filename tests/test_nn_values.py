"""Values and gradients of every module in the registry, for all kinds of input."""

import pytest
from registry import Case, Law, each_law

from nnfoundations.testing import VALUE_LAWS


# Torch's RMSNorm warns under autocast, once per process.
@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight:UserWarning")
@each_law(VALUE_LAWS)
def test_law(case: Case, law: Law) -> None:
    law(case)
