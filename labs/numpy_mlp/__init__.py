"""Which step of a recipe buys what, and which check finds which wrong gradient? Networks by hand."""
