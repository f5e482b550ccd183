"""Experiments with a report; each a folder of its own."""
