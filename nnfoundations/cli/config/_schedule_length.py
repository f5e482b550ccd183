"""Makes the schedule of a packaged config as long as the run."""

from pathlib import Path

from nnfoundations.cli.config._arguments import options
from nnfoundations.cli.config._config_file import read_config
from nnfoundations.cli.config._packaged import packaged_configs
from nnfoundations.cli.config._settings import Setting

__all__ = ["SCHEDULE", "schedule_lengths"]

SCHEDULE = "model.lr_scheduler"


def schedule_lengths(args: list[str], settings: Setting) -> dict[str, int]:
    """Return the lengths of a packaged config's schedule, scaled to the run's `max_epochs`.

    In a packaged config each whole number of a schedule counts epochs, so that one rule serves every
    scheduler: 30 of 30 epochs become 60 of 60. Lengths keep their order. What the user sets stays.

    Args:
        args: the arguments, with configs as paths.
        settings: what they set.
    """
    packaged = {str(path) for path in packaged_configs().values()}
    given = [value for key, value in options(args) if key in ("config", "c") and value in packaged]
    schedule, epochs = settings.find(SCHEDULE), _epochs(settings)
    if not given or schedule is None or epochs is None:
        return {}
    path = given[-1]
    written_for = _epochs(read_config(Path(path)))
    whole = {
        name: option.value
        for name, option in schedule.children.items()
        if option.place.startswith(f"{path}, ") and type(option.value) is int
    }
    lengths: dict[str, int] = {}
    for name, value in sorted(whole.items(), key=lambda item: item[1]):
        shorter = [lengths[other] for other in lengths if whole[other] < value]
        scaled = round(value * epochs / written_for) if written_for else value
        lengths[name] = max(scaled, 1, *(length + 1 for length in shorter))
    return lengths


def _epochs(settings: Setting) -> int | None:
    found = settings.find("trainer.max_epochs")
    return found.value if found is not None and type(found.value) is int and found.value > 0 else None
