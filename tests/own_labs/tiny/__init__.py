"""A lab for tests of the runner: the digits by two widths, in a second a run."""
