"""What happens while a parsed command runs: folders, checkpoints, signals, messages."""
