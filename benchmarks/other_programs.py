"""Programs with a mistake that users make, and their healthy twins, on other data than digits.

Each kind runs on two kinds of data at least, in nets of their own: deep nets, recurrent nets, rates on a
schedule, a loss scaler, a likelihood written by hand. The tasks are those of `other_runs.py`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from cases import Case
from lightning.pytorch import Callback
from lightning.pytorch.plugins.precision import MixedPrecision
from other_runs import (
    TASKS,
    OtherRun,
    Recurrent,
    Task,
    case_of,
    loader,
    mlp,
    source_of_text,
    split,
    standardized,
)
from sklearn.datasets import load_diabetes, load_wine
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import ExponentialLR
from torch.utils.data import DataLoader, TensorDataset
from zoo import Module, he

__all__ = ["other_programs"]


def adam(rate: float = 1e-3) -> Callable[[Any], torch.optim.Optimizer]:
    return lambda parameters: Adam(parameters, rate)


# -- deep nets -----------------------------------------------------------------------------------------------


def deep(task: Task, seed: int) -> Case:
    """Eight hidden layers with He's initial values."""
    return case_of(task, lambda t: he(mlp(t, depth=8)), adam(), seed)


def small_weights(task: Task, seed: int) -> Case:
    """Weights drawn with a standard deviation of 0.01 and biases of 0, as in old code for images."""
    case = deep(task, seed)
    for p in case.net.parameters():
        nn.init.normal_(p, std=0.01) if p.ndim > 1 else nn.init.zeros_(p)
    return case


def very_deep(task: Task, seed: int) -> Case:
    """Thirty hidden layers with He's initial values."""
    return case_of(task, lambda t: he(mlp(t, depth=30)), lambda p: SGD(p, 0.003, momentum=0.9), seed)


def xavier(task: Task, seed: int) -> Case:
    """The same with Xavier's, which are for tanh: each layer of ReLU halves the mean square."""
    case = very_deep(task, seed)
    for p in case.net.parameters():
        nn.init.xavier_uniform_(p) if p.ndim > 1 else nn.init.zeros_(p)
    return case


def second_bias(task: Task, seed: int) -> Case:
    case = deep(task, seed)
    nn.init.constant_(case.net.get_parameter("2.bias"), -20.0)
    return case


# -- a net whose inputs are percentages ----------------------------------------------------------------------


def tanh(task: Task, seed: int) -> Case:
    return case_of(task, lambda t: mlp(t, depth=4, activation=nn.Tanh), adam(), seed)


def percentages(task: Task, seed: int) -> Case:
    """Each column is scaled to 0 to 100, which is far too large for tanh."""
    case = tanh(task, seed)
    x, y = task.train.tensors
    low, high = x.min(0).values, x.max(0).values
    case.data = (loader(TensorDataset(100 * (x - low) / (high - low).clamp(min=1e-6), y)), None)
    return case


# -- small batches -------------------------------------------------------------------------------------------


def batch_of_one(task: Task, seed: int) -> Case:
    case = case_of(task, mlp, adam(), seed)
    case.data = (DataLoader(task.train, 1, shuffle=True), None)
    return case


# -- targets in their own units, in a run that a callback ends -----------------------------------------------


class StopAt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        trainer.should_stop = trainer.global_step >= self.step


def measured(task: Task) -> tuple[Tensor, Tensor]:
    """The progress of diabetes, or the proline in a wine from its other twelve measurements."""
    if task.outputs == 3:
        x, y = load_wine().data[:, :-1], load_wine().data[:, -1:]
    else:
        x, y = load_diabetes().data, load_diabetes().target[:, None]
    return standardized(x), torch.tensor(y, dtype=torch.float32)


def in_hundreds(rate: float) -> Callable[[Task, int], Case]:
    """Plain SGD, targets divided by 100. A high rate kills all units; the output bias learns the mean."""

    def make(task: Task, seed: int) -> Case:
        x, y = measured(task)
        return case_of(split(x, y / 100, 1, F.mse_loss), mlp, lambda p: SGD(p, rate), seed)

    return make


def regression(standard: bool) -> Callable[[Task, int], Case]:
    def make(task: Task, seed: int) -> Case:
        x, y = measured(task)
        y = standardized(y) if standard else y
        case = case_of(split(x, y, 1, F.mse_loss), mlp, adam(1e-4), seed, steps=-1)
        case.options = {"callbacks": [StopAt(400)]}
        return case

    return make


# -- rates on a schedule -------------------------------------------------------------------------------------


def scheduled(gamma: float) -> Callable[[Task, int], Case]:
    """Multiply the rate by `gamma` after each batch."""

    class Scheduled(Module):
        def configure_optimizers(self) -> Any:
            optimizer = super().configure_optimizers()
            return [optimizer], [{"scheduler": ExponentialLR(optimizer, gamma), "interval": "step"}]

    def make(task: Task, seed: int) -> Case:
        net = mlp if task.train.tensors[0].is_floating_point() else (lambda t: Recurrent(t.outputs))
        case = case_of(task, net, adam(), seed)
        case.module = Scheduled
        return case

    return make


# -- recurrent nets ------------------------------------------------------------------------------------------


class Elman(nn.Module):
    """A plain recurrent layer over characters, or over the rows of an image; the last state is read."""

    def __init__(self, task: Task, nonlinearity: str) -> None:
        super().__init__()
        self.letters = (
            0 if task.train.tensors[0].is_floating_point() else int(task.train.tensors[0].max()) + 1
        )
        self.embedding = nn.Embedding(self.letters, 24, padding_idx=0) if self.letters else nn.Identity()
        self.rnn = nn.RNN(24 if self.letters else 28, 48, nonlinearity=nonlinearity, batch_first=True)
        self.head = nn.Linear(48, task.outputs)

    def forward(self, x: Tensor) -> Tensor:
        sequence = self.embedding(x) if self.letters else x.view(-1, 28, 28)
        return self.head(self.rnn(sequence)[0][:, -1])


def identity(task: Task, seed: int) -> Case:
    """A recurrent layer with ReLU whose recurrent weights start as the identity (Le et al. 2015)."""
    case = case_of(task, lambda t: Elman(t, "relu"), adam(), seed)
    nn.init.eye_(case.net.get_parameter("rnn.weight_hh_l0"))
    return case


def normal(task: Task, seed: int) -> Case:
    """Recurrent weights drawn with a standard deviation of 0.3: twice too large for 48 units."""
    case = identity(task, seed)
    nn.init.normal_(case.net.get_parameter("rnn.weight_hh_l0"), std=0.3)
    return case


def padded(front: bool) -> Callable[[Task, int], Case]:
    """Which text a sentence is from; padded to 100 characters, of which the net reads the last state."""

    def make(task: Task, seed: int) -> Case:
        return case_of(source_of_text(front), lambda t: Elman(t, "tanh"), adam(), seed)

    return make


# -- a loss scaler -------------------------------------------------------------------------------------------


def scaler(**options: Any) -> Callable[[Task, int], Case]:
    def make(task: Task, seed: int) -> Case:
        case = case_of(task, mlp, adam(), seed)
        plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", **options))
        case.options = {"plugins": [plugin]}
        return case

    return make


# -- a likelihood written by hand ----------------------------------------------------------------------------


def likelihood(last: type[nn.Module], **options: Any) -> Callable[[Task, int], Case]:
    def make(task: Task, seed: int) -> Case:
        case = case_of(task, lambda t: mlp(t).append(last(**options)), adam(), seed)
        case.loss = lambda out, y: F.nll_loss(torch.log(out + 1e-8), y)
        return case

    return make


HIGH = "learning-rate-too-high"

PROGRAMS: tuple[tuple[str, tuple[str, ...], Callable[[Task, int], Case], tuple[str, ...]], ...] = (
    ("deep", (), deep, ("wine", "cancer", "diabetes", "fashion")),
    ("small-weights", ("bad-initialization",), small_weights, ("wine", "cancer", "fashion")),
    ("very-deep", (), very_deep, ("wine", "cancer", "fashion")),
    ("xavier", ("bad-initialization",), xavier, ("wine", "cancer", "fashion")),
    ("second-bias", ("dead-units",), second_bias, ("wine", "cancer", "fashion")),
    ("tanh", (), tanh, ("wine", "cancer", "fashion")),
    ("percentages", ("saturated-units",), percentages, ("wine", "cancer")),
    ("in-hundreds-at-1", (HIGH,), in_hundreds(1.0), ("wine", "diabetes")),
    ("in-hundreds-at-0.01", (), in_hundreds(0.01), ("wine", "diabetes")),
    ("growing-rate", (HIGH,), scheduled(1.05), ("diabetes", "fashion", "text")),
    ("falling-rate", (), scheduled(0.99), ("diabetes", "fashion", "text")),
    ("identity", (), identity, ("fashion", "text")),
    ("normal", ("exploding-gradients",), normal, ("fashion", "text")),
    ("padded-at-the-end", ("vanishing-gradients",), padded(front=False), ("text",)),
    ("padded-at-the-front", (), padded(front=True), ("text",)),
    ("eager-scaler", ("non-finite",), scaler(init_scale=2.0**24, growth_interval=1), ("wine", "fashion")),
    ("scaler", (), scaler(), ("wine", "fashion")),
    ("batch-of-one", (), batch_of_one, ("wine", "cancer")),
    ("raw-targets", ("unscaled-targets",), regression(standard=False), ("wine", "diabetes")),
    ("standard-targets", (), regression(standard=True), ("wine", "diabetes")),
    ("sigmoids", ("loss-needs-log-probabilities",), likelihood(nn.Sigmoid), ("wine", "fashion")),
    ("softmax", (), likelihood(nn.Softmax, dim=1), ("wine", "fashion")),
)  # fmt: skip
"""Name, root causes that are right (none if healthy), maker, and kinds of data."""


def other_programs() -> Iterator[OtherRun]:
    """Yield all programs whose data is here."""
    for program, causes, make, where in PROGRAMS:
        for name in where:
            if (task := TASKS[name]()) is not None:
                title = f"{causes[0] if causes else 'healthy'}/{name}/{program}"
                yield OtherRun(name, title, causes, lambda seed, m=make, t=task: m(t, seed))
