"""What a run has logged, read back from its TensorBoard files."""

from bisect import bisect_left
from pathlib import Path

__all__ = ["logged_by_epoch"]


def logged_by_epoch(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Read the scalars that a run has logged.

    Args:
        folder: of the run.

    Returns:
        For each name, such as `val/loss`, points (epoch from 1, value). Of several values in an epoch the
        last one counts.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    names = set(events.Tags()["scalars"])
    if "epoch" not in names:
        return {}
    epochs = events.Scalars("epoch")
    steps = [event.step for event in epochs]
    curves = {}
    for name in sorted(names - {"epoch"}):
        points = {}
        for event in events.Scalars(name):
            i = min(bisect_left(steps, event.step), len(steps) - 1)
            points[epochs[i].value + 1] = event.value
        curves[name] = list(points.items())
    return curves
