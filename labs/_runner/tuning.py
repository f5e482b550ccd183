"""Trials: runs of an arm at another learning rate, with a seed that no run of a lab uses."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from nnfoundations.labs._runner.lab import Arm, Measured
from nnfoundations.labs._runner.run import Row, Run, carry_out

__all__ = ["TRIAL_SEED", "carry_out_trial"]

TRIAL_SEED = 100


def carry_out_trial(
    arm: Arm, config: str, option: str, rate: float, folder: Path, measure: Callable[[Path], Measured]
) -> Row:
    """Run a trial, or take one that has ended.

    Args:
        arm: whose rate is tuned. The rate that it has now does not matter.
        config: what `fit --config` takes.
        option: of `fit`: the rate.
        rate: the one to try.
        folder: of the trials.
        measure: reads the numbers from the folder of a run.

    Returns:
        Its row; the name of the arm ends with the rate.
    """
    others = list(arm.options)
    if option in others:
        start = others.index(option)
        del others[start : start + 2]
    options = (*others, option, str(rate))
    trial = replace(arm, name=f"{arm.name}_{rate}", config=config, options=options)
    run = Run(trial, TRIAL_SEED, folder, (), measure)
    return run.ended() or carry_out(run)
