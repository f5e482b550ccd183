"""`python -m nnfoundations` is the command `nnfoundations`."""

from nnfoundations.cli import run

run()
