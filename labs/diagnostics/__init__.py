"""Faults made on purpose: symptoms, findings, fixes, and which check catches what. See lab.py."""
