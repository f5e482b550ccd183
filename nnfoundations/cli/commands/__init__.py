"""The subcommands of `nnfoundations`: a table of them, and one file for each."""
