"""The hyperparameters of a run for TensorBoard's HParams tab, the most important first."""

import inspect
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import time
from typing import Any, NamedTuple

from lightning.pytorch import LightningModule, Trainer
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.api_pb2 import (
    DATA_TYPE_BOOL,
    DATA_TYPE_FLOAT64,
    DATA_TYPE_STRING,
    STATUS_FAILURE,
    STATUS_SUCCESS,
    Experiment,
    HParamInfo,
    MetricInfo,
    MetricName,
)
from tensorboard.plugins.hparams.metadata import (
    EXPERIMENT_TAG,
    NULL_TENSOR,
    SESSION_END_INFO_TAG,
    SESSION_START_INFO_TAG,
    create_summary_metadata,
)
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo

__all__ = ["Hyperparameter", "flatten", "run_hyperparameters", "session_end", "session_start"]

FIRST = ("lr", "optimizer", "batch_size", "net")


class Hyperparameter(NamedTuple):
    """A value, and whether it differs from the default of the class that takes it."""

    value: bool | float | str
    chosen: bool = True


def run_hyperparameters(trainer: Trainer, pl_module: LightningModule) -> dict[str, Hyperparameter]:
    """The hyperparameters of module, data and optimizer.

    ``lr``, ``optimizer``, ``batch_size`` and ``net`` come first, if the run has them, then what differs from
    its default, then the rest.
    """
    datamodule = getattr(trainer, "datamodule", None)
    found = flatten(dict(pl_module.hparams_initial), type(pl_module))
    if datamodule is not None:
        found |= flatten(dict(datamodule.hparams_initial), type(datamodule))
    if trainer.optimizers:
        optimizer = trainer.optimizers[0]
        found["optimizer"] = Hyperparameter(type(optimizer).__name__)
        if isinstance(lr := optimizer.defaults.get("lr"), int | float):
            found["lr"] = Hyperparameter(lr)
            found.pop("optimizer.lr", None)
    if "batch_size" not in found and (size := getattr(trainer.train_dataloader, "batch_size", None)):
        found["batch_size"] = Hyperparameter(size)
    if "net" not in found:
        net = getattr(pl_module, "net", None) or getattr(pl_module, "model", None) or pl_module
        found["net"] = Hyperparameter(type(net).__name__)
    return {name: found[name] for name in sorted(found, key=lambda name: _place(name, found[name]))}


def _place(name: str, parameter: Hyperparameter) -> tuple[int, bool, str]:
    first = FIRST.index(name) if name in FIRST else len(FIRST)
    return first, not parameter.chosen, name


def flatten(tree: Mapping[str, Any], owner: Any = None, prefix: str = "") -> dict[str, Hyperparameter]:
    """Turn nested dictionaries into one, with keys joined by dots.

    A class of a config becomes ``optimizer: SGD, optimizer.momentum: 0.9``. None, and keys that Lightning
    adds (``_class_path``), are left out.

    Args:
        tree: the hyperparameters.
        owner: the class that takes them, for its defaults.
        prefix: the key of the tree.

    Example:
        >>> arguments = {"lr": 0.1, "fused": None, "dampening": 0}
        >>> settings = {"class_path": "torch.optim.SGD", "init_args": arguments}
        >>> for name, parameter in flatten({"optimizer": settings}).items():
        ...     print(name, *parameter)
        optimizer SGD True
        optimizer.lr 0.1 True
        optimizer.dampening 0 False
    """
    defaults = _defaults(owner)
    flat: dict[str, Hyperparameter] = {}
    for key, value in tree.items():
        name = f"{prefix}.{key}" if prefix else key
        default = defaults.get(key, inspect.Parameter.empty)
        if value is None or key.startswith("_"):
            continue
        if isinstance(value, Mapping) and "class_path" in value:
            module, _, short = value["class_path"].rpartition(".")
            flat[name] = Hyperparameter(short, short != getattr(default, "__name__", None))
            inner = getattr(sys.modules.get(module), short, None)
            flat |= flatten(value.get("init_args") or {}, inner, name)
        elif isinstance(value, Mapping):
            flat |= flatten(value, None, name)
        else:
            flat[name] = Hyperparameter(_plain(value), _plain(value) != _plain(default))
    return flat


def _defaults(owner: Any) -> dict[str, Any]:
    """The defaults of a class, with those of its bases: a subclass may pass ``**kwargs`` on."""
    found: dict[str, Any] = {}
    for kind in reversed(getattr(owner, "__mro__", (owner,))):
        with suppress(TypeError, ValueError):  # nothing is known of it, or it is written in C
            found |= {name: p.default for name, p in inspect.signature(kind).parameters.items()}
    return found


def _plain(value: Any) -> bool | float | str:
    if isinstance(value, tuple):  # a list in a config
        value = list(value)
    return value if isinstance(value, bool | int | float | str) else str(value)


def session_start(parameters: Mapping[str, Hyperparameter], metrics: Sequence[str]) -> list[Summary]:
    """The summaries that fill a row of the tab HParams.

    Args:
        parameters: in the order of their columns.
        metrics: tags of scalars, in the order of their columns.
    """
    # TensorBoard sorts columns by `differs`, then by name. Leading spaces put the first names in front; the
    # page does not show them.
    shown = [name for name in FIRST if name in parameters]
    keys = {name: name for name in parameters}
    keys |= {name: " " * (len(shown) - i) + name for i, name in enumerate(shown)}
    infos = [
        HParamInfo(
            name=keys[name],
            display_name=name,
            type=_data_type(parameter.value),
            differs=name in shown or parameter.chosen,
        )
        for name, parameter in parameters.items()
    ]
    columns = [MetricInfo(name=MetricName(tag=tag)) for tag in metrics]
    start = SessionStartInfo(start_time_secs=time())
    for name, parameter in parameters.items():
        _set_value(start.hparams[keys[name]], parameter.value)
    experiment = Experiment(hparam_infos=infos, metric_infos=columns)
    return [
        _summary(EXPERIMENT_TAG, HParamsPluginData(experiment=experiment)),
        _summary(SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start)),
    ]


def session_end(failed: bool) -> Summary:
    """The summary that says how the run ended.

    Args:
        failed: by an exception, Ctrl-C included.
    """
    end = SessionEndInfo(status=STATUS_FAILURE if failed else STATUS_SUCCESS, end_time_secs=time())
    return _summary(SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end))


def _summary(tag: str, data: HParamsPluginData) -> Summary:
    metadata = create_summary_metadata(data)
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=NULL_TENSOR)])


def _data_type(value: bool | float | str) -> Any:
    if isinstance(value, bool):
        return DATA_TYPE_BOOL
    return DATA_TYPE_STRING if isinstance(value, str) else DATA_TYPE_FLOAT64


def _set_value(field: Any, value: bool | float | str) -> None:
    if isinstance(value, bool):
        field.bool_value = value
    elif isinstance(value, str):
        field.string_value = value
    else:
        field.number_value = value
