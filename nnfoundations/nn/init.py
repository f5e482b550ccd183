"""Initial values: ours where we have one, every other public name of torch.nn.init as it is."""

from typing import Any

import torch
from torch.nn.init import *  # noqa: F403  handed on; what follows replaces

from nnfoundations.nn._init import calculate_gain as calculate_gain
from nnfoundations.nn._init import kaiming_normal_ as kaiming_normal_
from nnfoundations.nn._init import kaiming_uniform_ as kaiming_uniform_
from nnfoundations.nn._init import orthogonal_ as orthogonal_
from nnfoundations.nn._init import xavier_normal_ as xavier_normal_
from nnfoundations.nn._init import xavier_uniform_ as xavier_uniform_


def __getattr__(name: str) -> Any:
    """What is private there too: other people's models read `_calculate_fan_in_and_fan_out`."""
    return getattr(torch.nn.init, name)
