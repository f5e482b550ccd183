"""All programs, one file per family."""

from families import convs, digit_losses, digit_mlps, recurrent, tables, transformers
from program import Program

__all__ = ["PROGRAMS"]

PROGRAMS: tuple[Program, ...] = (*tables.PROGRAMS, *digit_mlps.PROGRAMS, *digit_losses.PROGRAMS, *convs.PROGRAMS, *recurrent.PROGRAMS, *transformers.PROGRAMS)
