"""The mathematics, once: each formula a forward and a backward over an explicit array namespace."""
