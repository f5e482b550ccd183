"""What a run with diagnostics is made of, and how a fault is injected into it.

This file holds no tests. The faults are in `faults.py` and `faults_tables.py`, healthy runs in
`controls.py` and `controls_tables.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from zoo import NETS, Module, loaders


@dataclass
class Case:
    """What a run is made of. Injecting a fault changes one of these parts."""

    name: str
    net: nn.Module
    module: Callable[..., Module] = Module
    optimizer: Callable[[Any], torch.optim.Optimizer] = lambda parameters: Adam(parameters, 1e-3)
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy
    data: tuple[Any, Any] | None = None
    steps: int = 120
    options: dict[str, Any] = field(default_factory=dict)

    def layer(self, of: dict[str, str]) -> nn.Module:
        return self.net.get_submodule(of[self.name])

    def build(self) -> Module:
        return self.module(self.net, self.optimizer, self.loss)


@dataclass(frozen=True)
class Fault:
    """A fault and one way to inject it.

    `id` is the rule that must find the fault, then how it is injected. `nets` are the nets of `zoo.py` that
    it is tried in. The finding must come at step `by` at the latest. `inject` breaks the healthy run that
    `twin` makes. `also` lists other root causes that are right as well; `where` is a name that the finding
    must contain.
    """

    id: str
    nets: tuple[str, ...]
    by: int
    inject: Callable[[Case], None]
    also: tuple[str, ...] = ()
    where: Callable[[Case], str] | None = None
    twin: Callable[[str], Case] | None = None

    @property
    def causes(self) -> tuple[str, ...]:
        """The root causes that are accepted, the expected one first."""
        return (self.id.partition("/")[0], *self.also)

    def healthy(self, name: str, seed: int = 0) -> Case:
        torch.manual_seed(seed)
        case = self.twin(name) if self.twin else usual(name)
        case.data = case.data or loaders(seed=seed)
        return case

    def broken(self, name: str, seed: int = 0) -> Case:
        case = self.healthy(name, seed)
        self.inject(case)
        return case


def usual(name: str, **changes: Any) -> Case:
    case = Case(name, NETS[name](), loss=F.mse_loss if name == "autoencoder" else F.cross_entropy)
    for key, value in changes.items():
        setattr(case, key, value)
    return case


def of_optimizer(make: Callable[[Any], torch.optim.Optimizer]) -> Callable[[Case], None]:
    def inject(case: Case) -> None:
        case.optimizer = make

    return inject


@dataclass(frozen=True)
class Control:
    """`looks_like` is the fault that a careless rule would find; empty if there is no such fault in view."""

    id: str
    looks_like: str
    make: Callable[[], Case]
