"""How fast a training step is on NumPy, torch and a GPU, and what a batch size costs. See lab.py."""
