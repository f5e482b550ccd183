"""The pages of the faults, installed as `nnfoundations.faults`; `nnfoundations explain` prints them."""
