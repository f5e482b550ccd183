"""What do L2, L1, dropout, max-norm, early stopping and augmentation change on a small training set?"""
