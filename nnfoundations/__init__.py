"""nnfoundations: see why a network does not learn.

The names of `__all__` are imported on first use, so that `import nnfoundations` loads no torch and
`from nnfoundations import nn` no Lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnfoundations import convert as convert
    from nnfoundations import errors as errors
    from nnfoundations import nn as nn
    from nnfoundations.callbacks import Diagnostics as Diagnostics
    from nnfoundations.diagnostics import Finding as Finding
    from nnfoundations.diagnostics import Monitor as Monitor
    from nnfoundations.lightning_modules import Classifier as Classifier
    from nnfoundations.lightning_modules import Regressor as Regressor
    from nnfoundations.models import MLP as MLP

__version__ = "0.2.0"

_SOURCES = {
    "Classifier": "lightning_modules",
    "Diagnostics": "callbacks",
    "Finding": "diagnostics",
    "MLP": "models",
    "Monitor": "diagnostics",
    "Regressor": "lightning_modules",
}
_PACKAGES = ("convert", "errors", "nn")

__all__ = ["MLP", "Classifier", "Diagnostics", "Finding", "Monitor", "Regressor", "convert", "errors", "nn"]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"{__name__}.{name}")
    if name in _SOURCES:
        return getattr(import_module(f"{__name__}.{_SOURCES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
