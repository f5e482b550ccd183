"""Which activation, at which depth, from which initial weights?"""
