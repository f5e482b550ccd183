"""Initial values built on our formulas, and every other public name of torch.nn.init unchanged."""

from typing import Any

import torch
from torch.nn.init import *  # noqa: F403  names that we do not define are torch's

from nnfoundations.nn._init import calculate_gain as calculate_gain
from nnfoundations.nn._init import kaiming_normal_ as kaiming_normal_
from nnfoundations.nn._init import kaiming_uniform_ as kaiming_uniform_
from nnfoundations.nn._init import orthogonal_ as orthogonal_
from nnfoundations.nn._init import xavier_normal_ as xavier_normal_
from nnfoundations.nn._init import xavier_uniform_ as xavier_uniform_


def __getattr__(name: str) -> Any:
    """Return torch's private name: existing models read `_calculate_fan_in_and_fan_out`, for example."""
    return getattr(torch.nn.init, name)


# There is no __all__: type checkers would then hide the names of torch.nn.init.
def __dir__() -> list[str]:
    """List the functions: ours and those of torch.nn.init."""
    return sorted(torch.nn.init.__all__)
