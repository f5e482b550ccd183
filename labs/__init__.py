"""Experiments with a report, one folder each. There is none yet."""
