"""The study of a sweep: opened or created in a file or a database, and refused if it is another one."""

import json
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnfoundations.cli.config._settings import CommandError
from nnfoundations.cli.sweep._plan import Plan

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.storages import BaseStorage

__all__ = ["IDENTITY", "PRUNERS", "find_study", "open_storage", "open_study", "quiet_optuna"]

IDENTITY = "nnfoundations"
"""The attribute of a study that holds what it compares."""

PRUNERS = ("median", "wilcoxon", "none")

_INSTALL = 'pip install "nnfoundations[sweep]"'


def quiet_optuna() -> None:
    """Import Optuna, and let it print warnings only.

    Raises:
        CommandError: it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise CommandError(f"`sweep` needs {error.name}, which is not installed.\n{_INSTALL}") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Wilcoxon's pruner and the Gaussian process are called experimental, wherever they are made.
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", category=FutureWarning, module="optuna")


def open_storage(storage: str) -> "BaseStorage":
    """Open a journal or a database.

    Args:
        storage: a file, or an URL such as `sqlite:///study.db`.

    Returns:
        The storage; a file or a database that does not exist is created.

    Raises:
        CommandError: it cannot be opened, or it holds something else.
    """
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    try:
        if "://" in storage:
            return RDBStorage(storage)
        _check_journal(Path(storage))
        return JournalStorage(JournalFileBackend(storage))
    except OSError as error:
        raise CommandError(
            f"--storage: `{storage}` cannot be opened: {error.strerror}.\n"
            "Give a file in a folder that exists and can be written."
        ) from None
    except Exception as error:  # a driver that is missing, a server that does not answer, another file
        what = "is not a database for Optuna" if "://" in storage else "is not a journal of Optuna"
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise CommandError(
            f"--storage: `{storage}` {what}: {why[0].rstrip('.')[:200]}.\n"
            "Give a new file, or an URL such as sqlite:///study.db."
        ) from None


def _check_journal(path: Path) -> None:
    """Refuse another file, to which Optuna would append, and cut a line that a killed process left torn."""
    from optuna.storages.journal import JournalFileSymlinkLock

    if not path.exists() or not (content := path.read_bytes()):
        return
    first, end, _ = content.partition(b"\n")
    if end and "op_code" not in json.loads(first):
        raise ValueError("its first line is not an operation")
    if not content.endswith(b"\n"):
        lock = JournalFileSymlinkLock(str(path))
        lock.acquire()
        try:
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
        finally:
            lock.release()


def open_study(plan: Plan) -> "Study":
    """Open or create the study of a sweep.

    Args:
        plan: the sweep.

    Returns:
        The study, with the sampler and the pruner of the plan.

    Raises:
        CommandError: the storage cannot be opened, or its study is another one.
    """
    import optuna

    from nnfoundations.cli.sweep._sampler import trial_sampler

    study = optuna.create_study(
        storage=open_storage(plan.storage),
        study_name=plan.name,
        direction="maximize" if plan.mode == "max" else "minimize",
        sampler=trial_sampler(plan.sampler),
        pruner=_pruner(plan.pruner),
        load_if_exists=True,
    )
    mine = json.loads(json.dumps(plan.identity(), default=str))
    found = study.user_attrs.get(IDENTITY)
    if found is None and not study.trials:
        study.set_user_attr(IDENTITY, mine)
    elif found != mine:
        other = [key for key in mine if found is None or found.get(key) != mine[key]]
        raise CommandError(
            f"--storage: `{plan.storage}` holds a study `{plan.name}` with another {_and(other)}.\n"
            "Give another --name or --storage; the study stays as it is."
        )
    return study


def _and(words: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _pruner(name: str) -> "BasePruner":
    from optuna import pruners

    kinds: dict[str, Any] = {
        "median": pruners.MedianPruner,
        "wilcoxon": pruners.WilcoxonPruner,
        "none": pruners.NopPruner,
    }
    pruner: BasePruner = kinds[name]()
    return pruner


def find_study(storage: str, name: str | None) -> "Study":
    """Open a study to read it.

    Args:
        storage: a file that exists, or an URL.
        name: of the study; None takes the only one.

    Returns:
        The study.

    Raises:
        CommandError: there is no such storage or study, or there are several.
    """
    import optuna

    if "://" not in storage and not Path(storage).is_file():
        raise CommandError(
            f"--show: `{storage}` does not exist.\nGive a file such as runs/sweeps/NAME/study.journal."
        )
    opened = open_storage(storage)
    names = optuna.get_all_study_names(opened)
    if name is None and len(names) == 1:
        name = names[0]
    if name not in names:
        listed = f"Studies: {', '.join(names)}." if names else "It holds no study."
        problem = f"there is no study `{name}` in" if name else f"{len(names)} studies are in"
        raise CommandError(f"--show: {problem} `{storage}`.\nGive --name. {listed}")
    return optuna.load_study(study_name=name, storage=opened)
