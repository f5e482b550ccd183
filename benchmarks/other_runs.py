"""Faulty and healthy runs on other data than digits: Fashion-MNIST, tables of scikit-learn, text.

Each entry makes a `Case` of tests/faults.py. The rules of diagnostics were not set on the networks of these
runs. Fashion-MNIST is read from NNFOUNDATIONS_DATA, and left out without it.
"""

import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import torch
from faults import Case
from sklearn import datasets
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, RMSprop
from torch.utils.data import DataLoader, TensorDataset

from nnfoundations.datamodules import FashionMNISTDataModule
from nnfoundations.errors import OptionError

__all__ = [
    "TASKS",
    "OtherRun",
    "Recurrent",
    "Task",
    "case_of",
    "loader",
    "mlp",
    "other_runs",
    "source_of_text",
    "split",
    "standardized",
]


class OtherRun(NamedTuple):
    """A run: the kind of its data, its name, the root causes that are right, and its maker.

    A healthy run has none. These small sets can be memorized, so overfitting is no false alarm in them.
    """

    data: str
    id: str
    causes: tuple[str, ...]
    make: Callable[[int], Case]


class Task(NamedTuple):
    """Training and validation data, the sizes of inputs and outputs, and the loss."""

    train: TensorDataset
    validation: TensorDataset
    inputs: int
    outputs: int
    loss: Callable[[Tensor, Tensor], Tensor]


def split(x: Tensor, y: Tensor, outputs: int, loss: Callable[[Tensor, Tensor], Tensor]) -> Task:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y, n = x[order], y[order], len(x) * 3 // 4
    return Task(TensorDataset(x[:n], y[:n]), TensorDataset(x[n:], y[n:]), x.shape[1], outputs, loss)


def standardized(x: Any) -> Tensor:
    values = torch.as_tensor(x, dtype=torch.float32)
    return (values - values.mean(0)) / values.std(0).clamp(min=1e-6)


@cache
def wine() -> Task:
    data = datasets.load_wine()
    return split(standardized(data.data), torch.tensor(data.target), 3, F.cross_entropy)


@cache
def cancer() -> Task:
    data = datasets.load_breast_cancer()
    target = torch.tensor(data.target, dtype=torch.float32)[:, None]
    return split(standardized(data.data), target, 1, F.binary_cross_entropy_with_logits)


@cache
def diabetes() -> Task:
    data = datasets.load_diabetes()
    return split(standardized(data.data), standardized(data.target)[:, None], 1, F.mse_loss)


@cache
def fashion() -> Task | None:
    """About 2,000 images, as vectors."""
    module = FashionMNISTDataModule(batch_size=64)
    try:
        module.prepare_data()
    except (OSError, OptionError, RuntimeError):
        return None
    module.setup("fit")
    batches = [(x.flatten(1), y) for x, y in islice(module.val_dataloader(), 2000 // 64)]
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return split(x, y, 10, F.cross_entropy)


@cache
def text() -> Task:
    """The descriptions of scikit-learn's data sets, to predict the next character after 24."""
    loaders = (datasets.load_wine, datasets.load_diabetes, datasets.load_breast_cancer, datasets.load_iris)
    whole = " ".join("".join(load().DESCR.split("\n\n")[:12]).lower() for load in loaders)
    letters = sorted(set(whole))
    codes = torch.tensor([letters.index(c) for c in whole])
    windows = codes.unfold(0, 25, 7)
    return split(windows[:, :-1], windows[:, -1], len(letters), F.cross_entropy)


def source_of_text(padded_at_the_front: bool) -> Task:
    """Five words of a description, to predict whose it is; padded with 0 to 100 characters."""
    loaders = (datasets.load_wine, datasets.load_diabetes, datasets.load_breast_cancer, datasets.load_iris)
    rows, labels = [], []
    for label, load in enumerate(loaders):
        words = load().DESCR.lower().split()
        for i in range(0, len(words) - 5, 5):
            codes = [min(ord(c), 127) - 31 for c in " ".join(words[i : i + 5])[:100]]
            padding = [0] * (100 - len(codes))
            rows.append(padding + codes if padded_at_the_front else codes + padding)
            labels.append(label)
    return split(torch.tensor(rows), torch.tensor(labels), 4, F.cross_entropy)


class Recurrent(nn.Module):
    """An LSTM or GRU over characters."""

    def __init__(self, letters: int, cell: type[nn.RNNBase] = nn.LSTM) -> None:
        super().__init__()
        self.embedding = nn.Embedding(letters, 24)
        self.rnn = cell(24, 48, batch_first=True)
        self.head = nn.Linear(48, letters)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.embedding(x))[0][:, -1])


def mlp(
    task: Task, depth: int = 3, width: int = 48, activation: type[nn.Module] = nn.ReLU, norm: bool = False
):
    layers: list[nn.Module] = []
    for i in range(depth):
        layers.append(nn.Linear(width if i else task.inputs, width))
        layers += [nn.BatchNorm1d(width)] if norm else []
        layers.append(activation())
    return nn.Sequential(*layers, nn.Linear(width, task.outputs))


TASKS: dict[str, Callable[[], Task | None]] = {
    "wine": wine, "cancer": cancer, "diabetes": diabetes, "fashion": fashion, "text": text,
}  # fmt: skip

RATES: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adam-1e-3": lambda p: Adam(p, 1e-3),
    "adam-1e-2": lambda p: Adam(p, 1e-2),
    "sgd-0.05": lambda p: SGD(p, 0.05, momentum=0.9),
    "sgd-0.1": lambda p: SGD(p, 0.1),
    "rmsprop-1e-3": lambda p: RMSprop(p, 1e-3),
}

HIGH, LOW = "learning-rate-too-high", "learning-rate-too-low"

UNSOUND = {
    ("fashion", "tanh", "adam-1e-2"): ("saturated-units", HIGH),
    **{
        (name, "gelu-6", rate): ("stopped-too-early", LOW)
        for name, rates in {
            "wine": ("sgd-0.05", "sgd-0.1"),
            "cancer": ("sgd-0.05", "sgd-0.1"),
            "diabetes": ("sgd-0.1",),
            "fashion": ("sgd-0.1",),
        }.items()
        for rate in rates
    },
}
"""Usual rates that are wrong here. Adam 1e-2: training loss 0.74 in place of 0.48 with 1e-3. Six layers of
GELU: after all 200 steps the loss is still that of a constant prediction; after 1,000 it has fallen."""

BAD_RATES: dict[str, tuple[str, Callable[[Any], torch.optim.Optimizer]]] = {
    "adam-1": (HIGH, lambda p: Adam(p, 1.0)),
    "sgd-30": (HIGH, lambda p: SGD(p, 30.0, momentum=0.9)),
    "adam-1e-7": (LOW, lambda p: Adam(p, 1e-7)),
    "sgd-1e-7": (LOW, lambda p: SGD(p, 1e-7)),
}


def _scale_inputs(case: Case, factor: float) -> None:
    train, _ = case.data or (None, None)
    assert train is not None
    x, y = train.dataset.tensors
    case.data = (loader(TensorDataset(x * factor, y)), None)


def loader(data: TensorDataset, shuffle: bool = True) -> DataLoader[Any]:
    return DataLoader(data, 32, shuffle=shuffle)


def _first_bias(case: Case) -> None:
    with torch.no_grad():
        case.net.get_parameter("0.bias").fill_(-20.0)


def _weights(factor: float) -> Callable[[Case], None]:
    def change(case: Case) -> None:
        with torch.no_grad():
            for p in case.net.parameters():
                if p.ndim > 1:
                    p.mul_(factor)

    return change


def _detach(case: Case) -> None:
    case.net.get_submodule("2").register_forward_hook(lambda module, inputs, output: output.detach())


def _leave_out(case: Case) -> None:
    left = {id(p) for p in case.net.get_submodule("2").parameters()}
    make = case.optimizer
    case.optimizer = lambda p: make([q for q in p if id(q) not in left])


def _softmax(case: Case) -> None:
    case.net.append(nn.Softmax(1))  # type: ignore[operator]  # a Sequential


INJECTED: dict[str, tuple[tuple[str, ...], Callable[[Case], None], tuple[str, ...]]] = {
    "inputs-times-1000": (("unscaled-inputs",), lambda case: _scale_inputs(case, 1000.0),
                          ("wine", "cancer", "diabetes", "fashion")),
    "first-bias": (("dead-units",), _first_bias, ("wine", "cancer", "diabetes", "fashion")),
    "weights-times-8": (("bad-initialization", "bad-output-scale", "exploding-gradients"), _weights(8.0),
                        ("wine", "fashion")),
    "zero-weights": (("symmetric-weights",), _weights(0.0), ("wine", "fashion", "diabetes")),
    "detached": (("graph-cut",), _detach, ("wine", "cancer", "diabetes", "fashion")),
    "left-out": (("parameter-not-in-optimizer",), _leave_out, ("wine", "cancer", "diabetes", "fashion")),
    "softmax": (("softmax-before-cross-entropy",), _softmax, ("wine", "fashion")),
}  # fmt: skip


def case_of(
    task: Task, net: Callable[[Task], nn.Module], optimizer: Any, seed: int, steps: int = 200
) -> Case:
    torch.manual_seed(seed)
    return Case(
        "mlp",
        net(task),
        optimizer=optimizer,
        loss=task.loss,
        data=(loader(task.train), loader(task.validation, shuffle=False)),
        steps=steps,
    )


def _nets(name: str) -> dict[str, Callable[[Task], nn.Module]]:
    if name == "text":
        return {"lstm": lambda t: Recurrent(t.outputs), "gru": lambda t: Recurrent(t.outputs, nn.GRU)}
    return {
        "relu": mlp,
        "tanh": lambda t: mlp(t, activation=nn.Tanh),
        "norm": lambda t: mlp(t, norm=True),
        "gelu-6": lambda t: mlp(t, depth=6, activation=nn.GELU),
        "one-layer": lambda t: mlp(t, depth=1, width=16),
    }


def _injected(
    task: Task, net: Callable[[Task], nn.Module], change: Callable[[Case], None], seed: int
) -> Case:
    case = case_of(task, net, RATES["adam-1e-3"], seed)
    change(case)
    return case


def other_runs() -> Iterator[OtherRun]:
    """Yield all runs whose data is here."""
    for name, load in TASKS.items():
        task = load()
        if task is None:
            continue
        nets = _nets(name)
        for net in nets:
            for rate, make in RATES.items():
                causes = UNSOUND.get((name, net, rate), ())
                yield OtherRun(
                    name, f"{causes[0] if causes else 'healthy'}/{name}/{net}/{rate}", causes,
                    lambda seed, t=task, n=nets[net], o=make: case_of(t, n, o, seed),
                )  # fmt: skip
        first = next(iter(nets.values()))
        for rate, (cause, make) in BAD_RATES.items():
            yield OtherRun(
                name, f"{cause}/{name}/{rate}", (cause,),
                lambda seed, t=task, n=first, o=make: case_of(t, n, o, seed),
            )  # fmt: skip
        for fault, (causes, change, where) in INJECTED.items():
            if name in where:
                yield OtherRun(
                    name, f"{causes[0]}/{name}/{fault}", causes,
                    lambda seed, t=task, n=first, c=change: _injected(t, n, c, seed),
                )  # fmt: skip
