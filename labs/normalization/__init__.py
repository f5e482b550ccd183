"""What normalization buys: accuracy, rates, depth, and batches of 2 to 512. See lab.py."""
