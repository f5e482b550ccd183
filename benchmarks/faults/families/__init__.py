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
    restoration,
    series,
    similarity,
    tables,
    tokens,
    transformers,
)

__all__ = ["PROGRAMS"]

_FILES = (tables, digit_mlps, digit_losses, convs, recurrent, series, transformers, tokens)
_MORE = (generative, restoration, similarity, relations, examples)

PROGRAMS: tuple[Program, ...] = tuple(program for file in _FILES + _MORE for program in file.PROGRAMS)
