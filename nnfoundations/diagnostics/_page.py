"""Says where a fault is explained."""

from nnfoundations.diagnostics.rules import RULES

__all__ = ["page_command"]

_FAULTS = frozenset(rule.fault for rule in RULES)


def page_command(fault: str) -> str:
    """Return the command that explains a fault.

    Args:
        fault: name of the fault, such as ``dead-units``.

    Returns:
        The command; empty for the fault of a user's own rule, which has no page.
    """
    return f"nnfoundations explain {fault}" if fault in _FAULTS else ""
