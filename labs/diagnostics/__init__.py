"""Faults on purpose: their curves, what Diagnostics says, the fix, and which check catches what. See lab.py."""
