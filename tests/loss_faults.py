"""Faults of losses and targets, on tables of scikit-learn and on sequences, with torch's layers and ours.

This file holds no tests; `faults.py` lists these faults with all others.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from cases import Case, Fault
from sklearn import datasets
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset

import nnfoundations.nn
import nnfoundations.nn.functional

TABLES = ("table", "table-ours")
"""Nets with one hidden layer on a table, with torch's layers and with those of `nnfoundations`."""

NETS = (*TABLES, "sequence")
"""The same, and a GRU with an output at each step of a sequence."""


def library(name: str) -> Any:
    if name.endswith("ours"):
        return SimpleNamespace(nn=nnfoundations.nn, F=nnfoundations.nn.functional)
    return SimpleNamespace(nn=nn, F=F)


def numbers(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def standardized(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / x.std(0)


def wine() -> tuple[Tensor, Tensor]:
    """178 wines with 13 measurements, of 3 kinds."""
    x, y = datasets.load_wine(return_X_y=True)
    return standardized(numbers(x)), torch.tensor(y)


def iris() -> tuple[Tensor, Tensor]:
    """150 flowers with 4 measurements, of 3 kinds."""
    x, y = datasets.load_iris(return_X_y=True)
    return standardized(numbers(x)), torch.tensor(y)


def cancer() -> tuple[Tensor, Tensor]:
    """569 tumours with 30 measurements, benign (1) or not (0)."""
    x, y = datasets.load_breast_cancer(return_X_y=True)
    return standardized(numbers(x)), numbers(y)[:, None]


def diabetes() -> tuple[Tensor, Tensor]:
    """442 patients with 10 measurements, and how far the disease progressed, standardized."""
    x, y = datasets.load_diabetes(return_X_y=True)
    return standardized(numbers(x)), standardized(numbers(y)[:, None])


def walks() -> tuple[Tensor, Tensor]:
    """600 random walks of 12 steps, and where each is after each step."""
    steps = torch.randn(600, 12, 4, generator=torch.Generator().manual_seed(0))
    return steps, steps[..., :1].cumsum(1) / 3


class Steps(nn.Module):
    """Outputs at each step of a sequence."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(4, 32, batch_first=True), nn.Linear(32, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0])


def net(name: str, inputs: int, outputs: int, *last: nn.Module) -> nn.Sequential:
    """Return a net whose activations at the end are modules 3, 4, ... (1, 2, ... for sequences)."""
    if name == "sequence":
        return nn.Sequential(Steps(outputs), *last)
    layers = library(name).nn
    return nn.Sequential(layers.Linear(inputs, 32), layers.ReLU(), layers.Linear(32, outputs), *last)


def loaders(x: Tensor, y: Tensor, batch: int = 32) -> tuple[DataLoader[Any], DataLoader[Any]]:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    n = len(x) // 4
    train, validation = (TensorDataset(x[rows], y[rows]) for rows in (order[n:], order[:n]))
    return DataLoader(train, batch, shuffle=True), DataLoader(validation, batch)


def case(
    name: str,
    data: tuple[Tensor, Tensor],
    outputs: int,
    loss: Callable[[Tensor, Tensor], Tensor],
    *last: nn.Module,
    rate: float = 3e-3,
    steps: int = 120,
) -> Case:
    x, y = data
    return Case(
        name,
        net(name, x.shape[-1], outputs, *last),
        optimizer=lambda parameters: Adam(parameters, rate),
        loss=loss,
        data=loaders(x, y),
        steps=steps,
    )


# -- healthy twins ---------------------------------------------------------------------------------------


def kinds(name: str) -> tuple[Tensor, Tensor]:
    """Return data with three classes."""
    if name != "sequence":
        return wine()
    x, y = walks()
    return x, (y[..., 0] > -0.5).long() + (y[..., 0] > 0.5)


def yes_or_no(name: str) -> tuple[Tensor, Tensor]:
    if name != "sequence":
        return cancer()
    x, y = walks()
    return x, (y > 0).float()


def amounts(name: str) -> tuple[Tensor, Tensor]:
    return walks() if name == "sequence" else diabetes()


def rows(out: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return outputs and labels with one row per sample and step."""
    return out.flatten(0, -2), y.flatten()


def sigmoid_twin(name: str) -> Case:
    """Binary cross-entropy after a sigmoid."""
    lib = library(name)
    return case(name, yes_or_no(name), 1, lib.F.binary_cross_entropy, lib.nn.Sigmoid())


def logits_twin(name: str) -> Case:
    return case(name, yes_or_no(name), 1, library(name).F.binary_cross_entropy_with_logits)


def softmax_twin(name: str) -> Case:
    """A cross-entropy written by hand, after a softmax."""

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return -(F.one_hot(y, 3) * torch.log(out.clamp(1e-7, 1))).sum(-1).mean()

    return case(name, kinds(name), 3, loss, library(name).nn.Softmax(-1))


def classes_twin(name: str) -> Case:
    lib = library(name)
    return case(name, kinds(name), 3, lambda out, y: lib.F.cross_entropy(*rows(out, y)))


def nll_twin(name: str) -> Case:
    lib = library(name)
    return case(name, kinds(name), 3, lambda out, y: lib.F.nll_loss(*rows(out, y)), lib.nn.LogSoftmax(-1))


def regression_twin(name: str) -> Case:
    return case(name, amounts(name), 1, library(name).F.mse_loss, steps=160)


def absolute_twin(name: str) -> Case:
    return case(name, amounts(name), 1, library(name).F.l1_loss)


def tanh_twin(name: str) -> Case:
    """Targets that fit into -1 to 1, after a tanh."""
    lib = library(name)
    x, y = amounts(name)
    return case(name, (x, y / y.abs().max()), 1, lib.F.mse_loss, lib.nn.Tanh())


def labels_twin(name: str) -> Case:
    """Three labels at once: whether each of three measurements is above its mean."""
    lib = library(name)
    x, _ = cancer() if name != "sequence" else walks()
    return case(name, (x, (x[..., :3] > 0).float()), 3, lib.F.binary_cross_entropy, lib.nn.Sigmoid())


def indices_twin(name: str) -> Case:
    lib = library(name)
    return case(name, iris(), 3, lambda out, y: lib.F.cross_entropy(out, y))


def onehot_twin(name: str) -> Case:
    lib = library(name)
    return case(name, kinds(name), 3, lambda out, y: lib.F.mse_loss(out, F.one_hot(y, 3).float()))


# -- faults ----------------------------------------------------------------------------------------------


def last_is(make: Callable[[Any], nn.Module]) -> Callable[[Case], None]:
    """Replace the last activation; `make` gets the library of the layers."""

    def inject(case: Case) -> None:
        case.net[-1] = make(library(case.name).nn)

    return inject


def then(make: Callable[[Any], nn.Module]) -> Callable[[Case], None]:
    """Add an activation at the end."""

    def inject(case: Case) -> None:
        case.net.append(make(library(case.name).nn))

    return inject


def without_last(case: Case) -> None:
    del case.net[-1]


def cross_entropy_of_one(case: Case) -> None:
    loss = library(case.name).F.cross_entropy
    case.loss = lambda out, y: loss(out.flatten(0, -2), y.flatten(0, -2))


def targets(change: Callable[[Tensor], Tensor]) -> Callable[[Case], None]:
    def inject(case: Case) -> None:
        x, y = (torch.cat(parts) for parts in zip(*(part.dataset.tensors for part in case.data), strict=True))
        case.data = loaders(x, change(y))

    return inject


def class_indices(case: Case) -> None:
    lib = library(case.name)
    case.net = net(case.name, 4, 1)
    case.loss = lambda out, y: lib.F.binary_cross_entropy_with_logits(out, y[:, None].float())


def against_rows(case: Case) -> None:
    """Targets lose their last axis, so they are broadcast against the outputs."""
    loss = case.loss

    def broadcast(out: Tensor, y: Tensor) -> Tensor:
        out, y = (out[:, -1], y[:, -1]) if out.ndim > 2 else (out, y)
        return loss(out, y[:, 0])

    case.loss = broadcast


def against_indices(case: Case) -> None:
    loss = library(case.name).F.mse_loss
    case.loss = lambda out, y: loss(out, y[..., None].float())


LOSS_FAULTS = (
    Fault("softmax-over-one-unit/sigmoid-replaced", NETS, 3, last_is(lambda lib: lib.Softmax(-1)),
          where=lambda case: f"net.{len(case.net) - 1}", twin=sigmoid_twin),
    Fault("softmax-over-one-unit/cross-entropy", NETS, 3, cross_entropy_of_one, twin=logits_twin),
    Fault("softmax-over-batch/dim-0", NETS, 3, last_is(lambda lib: lib.Softmax(0)), twin=softmax_twin),
    Fault("loss-needs-log-probabilities/nll", NETS, 3, without_last, twin=nll_twin),
    Fault("loss-needs-log-probabilities/softmax", NETS, 3, last_is(lambda lib: lib.Softmax(-1)),
          twin=nll_twin),
    Fault("loss-needs-log-probabilities/logarithm", NETS, 3, without_last, twin=softmax_twin),
    Fault("output-activation-mismatch/relu", NETS, 3, then(lambda lib: lib.ReLU()), twin=regression_twin),
    Fault("output-activation-mismatch/relu-l1", TABLES, 3, then(lambda lib: lib.ReLU()), twin=absolute_twin),
    Fault("output-activation-mismatch/tanh", NETS, 3, targets(lambda y: 10 * y), twin=tanh_twin),
    Fault("output-activation-mismatch/logits", NETS, 3, then(lambda lib: lib.ReLU()), twin=classes_twin),
    Fault("output-activation-mismatch/several-labels", NETS, 3, last_is(lambda lib: lib.Softmax(-1)),
          twin=labels_twin),
    Fault("targets-out-of-range/class-indices", TABLES, 3, class_indices, twin=indices_twin),
    Fault("targets-out-of-range/minus-one", NETS, 3, targets(lambda y: 2 * y - 1), twin=logits_twin),
    Fault("shape-broadcast-in-loss/squared", NETS, 3, against_rows, twin=regression_twin),
    Fault("shape-broadcast-in-loss/absolute", NETS, 3, against_rows, twin=absolute_twin),
    Fault("loss-unfit-for-targets/class-indices", NETS, 3, against_indices, twin=onehot_twin),
    Fault("constant-targets/one-class", NETS, 30, targets(torch.zeros_like), twin=classes_twin),
    Fault("unscaled-targets/times-100", NETS, 160, targets(lambda y: 100 * y + 200), twin=regression_twin),
)  # fmt: skip
