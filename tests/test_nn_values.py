"""Values and gradients of every module in the registry, on all kinds of input."""

from registry import Case, Law, held

from nnfoundations.testing import VALUES


@held(VALUES)
def test_law(case: Case, law: Law) -> None:
    law(case)
