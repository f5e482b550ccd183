"""Digits as other tasks than ten classes: bits, numbers, a teacher, scores, rewards, ordered classes."""

from itertools import pairwise
from typing import Any

import torch
from lightning.pytorch import LightningModule
from program import Fault, Program, Setup
from sets import digits, loaders, table
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PROGRAMS"]


def perceptron(*sizes: int, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers[:-1])


class Task(LightningModule):
    """Subclasses give `loss` and `correct` for the outputs of the network."""

    lr = 2e-3

    def __init__(self, net: nn.Module, fault: str) -> None:
        super().__init__()
        self.net, self.fault = net, fault

    def loss(self, out: Tensor, y: Tensor) -> Tensor:
        raise NotImplementedError

    def correct(self, out: Tensor, y: Tensor) -> Tensor:
        return out.argmax(1) == y

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        out = self.net(batch[0])
        if not isinstance(self, Reward):  # a policy may be sure of a wrong answer
            self.log("val_loss", self.loss(out, batch[1]))
        self.log("val_acc", self.correct(out, batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), self.lr)


class Bits(Task):
    """The four bits of the digit, several of them 1 at once."""

    def bits(self, y: Tensor) -> Tensor:
        return (y[:, None] >> torch.arange(4) & 1).float()

    def loss(self, out: Tensor, y: Tensor) -> Tensor:
        if self.fault == "softmax":
            return F.binary_cross_entropy(out.softmax(1), self.bits(y))
        if self.fault == "cross-entropy":
            return F.cross_entropy(out, self.bits(y))
        if self.fault == "softmax-dim-0":
            return F.binary_cross_entropy(out.softmax(0), self.bits(y))
        return F.binary_cross_entropy_with_logits(out, self.bits(y))

    def correct(self, out: Tensor, y: Tensor) -> Tensor:
        p = {"softmax": out.softmax(1), "cross-entropy": out.softmax(1), "softmax-dim-0": out.softmax(0)}
        return ((p.get(self.fault, out.sigmoid()) > 0.5) == (self.bits(y) > 0.5)).all(1)


def bits(fault: str) -> Setup:
    return Setup(Bits(perceptron(64, 64, 32, 4), fault), *loaders(digits()), {"max_epochs": 15})


class OneHot(Task):
    """Squared errors of probabilities, as in old textbooks."""

    def loss(self, out: Tensor, y: Tensor) -> Tensor:
        p = out.softmax(0 if self.fault == "dim-0" else 1)
        target = F.one_hot(y, 10).float()
        if self.fault == "index":
            return F.mse_loss(out, y[:, None].float())
        return (p - target).square().sum(1).mean()


def one_hot(fault: str) -> Setup:
    return Setup(
        OneHot(perceptron(64, 100, 10, act=nn.Sigmoid), fault), *loaders(digits()), {"max_epochs": 15}
    )


class Number(Task):
    """The digit as a number, with an absolute error; right within one half."""

    def loss(self, out: Tensor, y: Tensor) -> Tensor:
        value = out if self.fault == "broadcast" else out[:, 0]
        value = value.sigmoid() if self.fault == "sigmoid" else value
        return F.smooth_l1_loss(value, y.float())

    def correct(self, out: Tensor, y: Tensor) -> Tensor:
        value = out.sigmoid() if self.fault == "sigmoid" else out
        return (value[:, 0] - y).abs() < 0.5


def number(fault: str) -> Setup:
    net = perceptron(64, 64, 64, 1)
    if fault == "relu-dead":
        nn.init.constant_(net[-1].bias, -30.0)
        net.append(nn.ReLU())
    return Setup(Number(net, fault), *loaders(digits()), {"max_epochs": 20})


class Student(Task):
    """Learns the soft answers of a teacher that is trained before."""

    def __init__(self, fault: str) -> None:
        super().__init__(perceptron(64, 32, 10, act=nn.GELU), fault)
        teacher = perceptron(64, 128, 10)
        x, y, _, _ = digits()
        optimizer = torch.optim.Adam(teacher.parameters(), 1e-2)
        for _ in range(40):
            optimizer.zero_grad()
            F.cross_entropy(teacher(x), y).backward()
            optimizer.step()
        self.teacher = teacher.requires_grad_(False)
        self.lr = 5e-3

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        out, wanted = self.net(batch[0]), (self.teacher(batch[0]) / 2).softmax(1)
        if self.fault == "no-log":
            return F.kl_div((out / 2).softmax(1), wanted, reduction="batchmean")
        loss = F.kl_div((out / 2).log_softmax(1), wanted, reduction="batchmean")
        return -loss if self.fault == "sign" else loss

    def loss(self, out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out, y)


def student(fault: str) -> Setup:
    return Setup(Student(fault), *loaders(digits()), {"max_epochs": 12})


class Negative(Task):
    """A negative log-likelihood, by NLLLoss or by hand."""

    def loss(self, out: Tensor, y: Tensor) -> Tensor:
        if self.fault == "logits":
            return F.nll_loss(out, y)
        if self.fault == "log-of-relu":
            return F.nll_loss(torch.log(F.relu(out) + 1e-8), y)
        if self.fault == "no-floor":
            p, hot = (20 * out).sigmoid(), F.one_hot(y, 10)
            return -(hot * p.log() + (1 - hot) * (1 - p).log()).sum(1).mean()
        return F.nll_loss(F.log_softmax(out, dim=1), y)


def negative(fault: str) -> Setup:
    net = perceptron(64, 64, 64, 10, act=nn.Hardswish)
    if fault == "double-softmax":
        net.append(nn.Softmax(-1))
    return Setup(Negative(net, fault), *loaders(digits()), {"max_epochs": 10})


class Reward(Task):
    """A policy that is rewarded for the right digit: REINFORCE with the mean reward as baseline."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        policy = torch.distributions.Categorical(logits=self.net(batch[0]))
        action = policy.sample()
        reward = (action == batch[1]).float()
        advantage = reward - (0 if self.fault == "no-baseline" else reward.mean())
        loss = -(policy.log_prob(action) * advantage).mean()
        return -loss if self.fault == "sign" else loss

    def loss(self, out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out, y)


def reward(fault: str) -> Setup:
    module = Reward(perceptron(64, 64, 10), fault)
    module.lr = 2.0 if fault == "rate-2" else 1e-2
    return Setup(module, *loaders(digits(), 64), {"max_epochs": 25})


class Ordered(Task):
    """Four ordered levels of diabetes as three questions "more than this?"."""

    def loss(self, out: Tensor, y: Tensor) -> Tensor:
        target = (y[:, None] > torch.arange(3)).float()
        if self.fault == "signs":
            target = 2 * target - 1
        return F.binary_cross_entropy_with_logits(out, target)

    def correct(self, out: Tensor, y: Tensor) -> Tensor:
        return ((out > 0).sum(1) - y).abs() <= 1


def ordered(fault: str) -> Setup:
    x, y, x_val, y_val = table("diabetes")
    borders = torch.tensor([87.0, 140.0, 212.0])
    levels, levels_val = torch.bucketize(y, borders), torch.bucketize(y_val, borders)
    if fault == "permuted":
        levels = levels[torch.randperm(len(levels), generator=torch.Generator().manual_seed(2))]
    if fault == "column-of-nan":
        x = x.clone()
        x[7, 3] = torch.nan
    module = Ordered(perceptron(10, 16, 3, act=nn.CELU), fault)
    return Setup(module, *loaders((x, levels, x_val, levels_val)), {"max_epochs": 20})


class Hinge(Task):
    """A support vector machine with features: even or odd."""

    def loss(self, out: Tensor, y: Tensor) -> Tensor:
        sign = 1 - 2 * (y % 2).float()
        loss = (1 - out[:, 0] * sign).clamp(min=0)
        if self.fault == "sum":
            return loss.sum()
        return -loss.mean() if self.fault == "sign" else loss.mean()

    def correct(self, out: Tensor, y: Tensor) -> Tensor:
        return (out[:, 0] < 0) == (y % 2 == 1)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)


def hinge(fault: str) -> Setup:
    net = perceptron(64, 64, 1)
    net[-1].requires_grad_(fault != "frozen")
    return Setup(Hinge(net, fault), *loaders(digits(), 50), {"max_epochs": 15})


PROGRAMS = (
    Program("digits-bits", bits, 0.85, 0.1, (
        Fault("softmax", ("output-activation-mismatch",)),
        Fault("cross-entropy", ("output-activation-mismatch", "loss-unfit-for-targets")),
        Fault("softmax-dim-0", ("softmax-over-batch",)))),
    Program("digits-squared", one_hot, 0.88, 0.1, (
        Fault("dim-0", ("softmax-over-batch",)),
        Fault("index", ("loss-unfit-for-targets", "shape-broadcast-in-loss")))),
    Program("digits-number", number, 0.4, 0.1, (
        Fault("broadcast", ("shape-broadcast-in-loss",)), Fault("sigmoid", ("output-activation-mismatch",)),
        Fault("relu-dead", ("no-gradient", "dead-units")))),
    Program("digits-student", student, 0.9, 0.1, (
        Fault("no-log", ("loss-needs-log-probabilities",), chance=2.3), Fault("sign", ("loss-sign-wrong",)))),
    Program("digits-likelihood", negative, 0.93, 0.1, (
        Fault("logits", ("loss-needs-log-probabilities",)),
        Fault("log-of-relu", ("loss-needs-log-probabilities",)),
        Fault("no-floor", ("unstable-loss-function", "non-finite")),
        Fault("double-softmax", ("softmax-before-cross-entropy",), chance=2.3))),
    Program("digits-reward", reward, 0.6, 0.1, (
        Fault("sign", ("loss-sign-wrong",)), Fault("rate-2", ("learning-rate-too-high",)))),
    Program("diabetes-ordered", ordered, 0.8, 0.6, (
        Fault("signs", ("targets-out-of-range",)), Fault("permuted", ("labels-unrelated-to-inputs",)),
        Fault("column-of-nan", ("non-finite-input",)))),
    Program("digits-hinge", hinge, 0.9, 0.5, (
        Fault("sum", ("loss-not-averaged", "learning-rate-too-high")), Fault("sign", ("loss-sign-wrong",)))),
)  # fmt: skip
