"""All programs, one file per family."""

from program import Program

from families import (
    convs,
    digit_losses,
    digit_mlps,
    examples,
    generative,
    recurrent,
    relations,
    similarity,
    tables,
    transformers,
)

__all__ = ["PROGRAMS"]

_FILES = (
    tables,
    digit_mlps,
    digit_losses,
    convs,
    recurrent,
    transformers,
    generative,
    similarity,
    relations,
    examples,
)

PROGRAMS: tuple[Program, ...] = tuple(program for file in _FILES for program in file.PROGRAMS)
