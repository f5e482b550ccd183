"""The command `sweep`: trials of a config at other settings, on Optuna."""
