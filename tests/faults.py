"""The faults that diagnostics must name, a line each: what is broken, in which nets, and what is to be said.

Each is injected into the net of `zoo.py` that its healthy twin trains without a word. Nothing here is a test.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam
from zoo import CNN, MLP, NETS, RNN, Autoencoder, Module, digits, he, loaders

SECOND = {"M": "2", "C": "3", "B": "4", "R": "blocks.0", "L": "rnn", "T": "encoder.layers.0", "A": "2"}
"""A layer in the middle of each net, by name."""

LAST = {"M": "16", "C": "9", "B": "12", "R": "head", "L": "head", "T": "head", "A": "6"}


@dataclass
class Case:
    """A run about to be made; a fault changes what it wants of it."""

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
    """`causes`: the right one first, then what is accepted too. `by`: the latest step that counts.

    `twin` makes the healthy run of it, `inject` breaks that; `where` is a name that must be in the finding.
    """

    id: str
    nets: str
    causes: tuple[str, ...]
    by: int
    inject: Callable[[Case], None]
    where: Callable[[Case], str] | None = None
    twin: Callable[[str], Case] | None = None

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
    case = Case(name, NETS[name](), loss=F.mse_loss if name == "A" else F.cross_entropy)
    for key, value in changes.items():
        setattr(case, key, value)
    return case


def matrices(net: nn.Module) -> list[nn.Parameter]:
    return [p for name, p in net.named_parameters() if p.ndim > 1 and "position" not in name]


def set_weights(change: Callable[[Tensor], Any]) -> Callable[[Case], None]:
    def inject(case: Case) -> None:
        with torch.no_grad():
            for p in matrices(case.net):
                change(p)

    return inject


def set_all(value: float) -> Callable[[Case], None]:
    def inject(case: Case) -> None:
        for p in case.net.parameters():
            nn.init.constant_(p, value)

    return inject


def deep(name: str) -> Case:
    """Ten layers without normalization, He initial values."""
    net = {"M": lambda: MLP(10), "C": lambda: CNN(depth=10), "A": lambda: he(DeepAutoencoder())}[name]()
    return usual(name, net=net)


class DeepAutoencoder(Autoencoder):
    def __init__(self) -> None:
        nn.Sequential.__init__(self)
        for _ in range(8):
            self.append(nn.Linear(64, 64))
            self.append(nn.ReLU())
        self.append(nn.Linear(64, 64))


def default(name: str, net: nn.Module | None = None) -> Case:
    """torch's own initial values: a rate that is too high does not show at the first steps."""
    net = net or NETS[name]()
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.reset_parameters()
    return usual(name, net=net)


def of_optimizer(make: Callable[[Any], torch.optim.Optimizer]) -> Callable[[Case], None]:
    def inject(case: Case) -> None:
        case.optimizer = make

    return inject


def of_rate(**rates: float) -> Callable[[Case], None]:
    """Adam at the rate of each net."""
    return lambda case: of_optimizer(lambda p: Adam(p, rates[case.name]))(case)


def of_batches(change: Callable[[Tensor, int], Tensor]) -> Callable[[Case], None]:
    """Change the inputs of every training batch, by its step."""

    def inject(case: Case) -> None:
        class Changed(case.module):  # type: ignore[misc, name-defined]  # a class that is chosen as it runs
            def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
                if not self.trainer.training:
                    return batch
                x, y = batch
                return change(x.clone(), self.trainer.global_step), y

        case.module = Changed

    return inject


def with_nan(x: Tensor, step: int) -> Tensor:
    if step == 100:
        x[3, 10] = float("nan")
    return x


def scale_last(case: Case) -> None:
    with torch.no_grad():
        case.layer(LAST).weight.mul_(100)


def second_bias(case: Case) -> None:
    nn.init.constant_(case.layer(SECOND).bias, -10.0)


def spike(case: Case) -> None:
    class Spiked(case.module):  # type: ignore[misc, name-defined]  # a class that is chosen as it runs
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            for group in self.optimizers().param_groups:
                group.setdefault("usual", group["lr"])
                group["lr"] = group["usual"] * (500 if self.trainer.global_step == 60 else 1)

    case.module = Spiked


def softmax_last(case: Case) -> None:
    class Probabilities(case.module):  # type: ignore[misc, name-defined]  # a class that is chosen as it runs
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).softmax(1)

    case.module = Probabilities


def softmax_clamped(case: Case) -> None:
    """In another shape, and kept off 0."""

    class Probabilities(case.module):  # type: ignore[misc, name-defined]  # a class that is chosen as it runs
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[:, None].softmax(2).clamp(1e-7).squeeze(1)

    case.module = Probabilities


def one_against_all(name: str) -> Case:
    return usual(name, loss=lambda out, y: F.binary_cross_entropy_with_logits(out, F.one_hot(y, 10).float()))


def sigmoid_last(case: Case) -> None:
    case.net = nn.Sequential(case.net, nn.Sigmoid())


def unstable_log(case: Case) -> None:
    """-log(p) of a softmax taken by hand, and logits that are large: 0 is reached in float32."""

    def loss(out: Tensor, y: Tensor) -> Tensor:
        if out.shape == y.shape:
            return -torch.log(1 - (50 * (out - y)).abs().clamp(max=1)).mean()
        p = (50 * out - (50 * out).amax(1, keepdim=True)).exp()
        return -torch.log((p / p.sum(1, keepdim=True))[torch.arange(len(y)), y]).mean()

    case.loss = loss


def few_samples(case: Case) -> None:
    case.data = loaders(60, batch_size=20)


def wide(name: str) -> Case:
    nets = {"M": lambda: MLP(3, 512), "C": CNN, "R": NETS["R"], "T": lambda: NETS["T"]()}
    rate, steps = (3e-3, 600) if name == "R" else (1e-3, 400)
    return usual(name, net=nets[name](), steps=steps, optimizer=lambda p: Adam(p, rate))


def left_out(case: Case) -> None:
    hidden = {id(p) for p in case.layer(SECOND).parameters()}
    usual_optimizer = case.optimizer
    case.optimizer = lambda parameters: usual_optimizer([p for p in parameters if id(p) not in hidden])


class InAList(nn.Module):
    """A Python list registers nothing."""

    def __init__(self, net: nn.Sequential) -> None:
        super().__init__()
        *self.hidden, self.last = net

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.hidden:
            x = layer(x)
        return self.last(x)


def in_a_list(case: Case) -> None:
    case.net = InAList(case.net)


def detached(case: Case) -> None:
    def cut(module: nn.Module, inputs: Any, output: Any) -> Any:
        return (
            tuple(o.detach() for o in output[:1]) + output[1:]
            if isinstance(output, tuple)
            else output.detach()
        )

    case.layer(SECOND).register_forward_hook(cut)


def never_zeroed(case: Case) -> None:
    class Manual(case.module):  # type: ignore[misc, name-defined]  # a class that is chosen as it runs
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            self.manual_backward(self.loss(self(batch[0]), self.target(*batch)))
            self.optimizers().step()

    case.module = Manual


def zeroed_too_late(case: Case) -> None:
    class Manual(case.module):  # type: ignore[misc, name-defined]  # a class that is chosen as it runs
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            self.manual_backward(self.loss(self(batch[0]), self.target(*batch)))
            self.optimizers().zero_grad()
            self.optimizers().step()

    case.module = Manual


def overflowing(case: Case) -> None:
    """From step 40 on, a layer in the middle overflows."""

    def double(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        module.calls = getattr(module, "calls", 0) + module.training
        return output * torch.finfo(torch.float32).max if module.calls > 40 else output

    case.layer(SECOND).register_forward_hook(double)


def evaluating(case: Case) -> None:
    class Evaluating(case.module):  # type: ignore[misc, name-defined]  # a class that is chosen as it runs
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.eval()
            return super().training_step(batch, batch_idx)

    case.module = Evaluating


def sigmoids(name: str) -> Case:
    """The healthy twin is the same net with ReLU and He values."""
    return usual(name, net=MLP(10), optimizer=lambda p: SGD(p, 0.05, momentum=0.9), steps=150)


def to_sigmoids(case: Case) -> None:
    case.net = MLP(10, activation=nn.Sigmoid)


class First(RNN):
    """The image comes whole at the first of 64 steps, zeros after it."""

    def __init__(self, nonlinearity: str = "tanh") -> None:
        super().__init__(64, nonlinearity)
        self.rnn = nn.RNN(64, 64, batch_first=True, nonlinearity=nonlinearity)
        nn.init.orthogonal_(self.rnn.weight_hh_l0)

    def forward(self, x: Tensor) -> Tensor:
        sequence = F.pad(x[:, None], (0, 0, 0, 63))
        return self.head(self.rnn(sequence)[0][:, -1])


def recurrent(name: str, nonlinearity: str = "tanh") -> Case:
    return usual(name, net=First(nonlinearity))


def recurrent_times(factor: float) -> Callable[[Case], None]:
    def inject(case: Case) -> None:
        with torch.no_grad():
            case.net.rnn.weight_hh_l0.mul_(factor)

    return inject


def second_bias_high(case: Case) -> None:
    nn.init.constant_(case.layer(SECOND).bias, 5.0)


def tanh_net(name: str) -> Case:
    return usual(name, net=MLP(5, activation=nn.Tanh) if name == "M" else RNN())


def constant(x: Tensor, step: int) -> Tensor:
    return digits()[0][:1].expand_as(x).clone()


EVERY = "MCBRLTA"
HIGH = "learning-rate-too-high"

FAULTS = (
    Fault("F01", "MA", ("vanishing-gradients", "bad-initialization"), 20,
          set_weights(lambda p: p.normal_(0, 0.01)), twin=deep),
    Fault("F02", "MC", ("bad-initialization", "exploding-gradients"), 5,
          set_weights(lambda p: p.mul_(2.5)), twin=deep),
    Fault("F02b", "M", ("bad-initialization",), 12, set_weights(lambda p: p.normal_()),
          twin=lambda name: usual(name, net=MLP(1, 128))),
    Fault("F03", "MCAL", ("symmetric-weights",), 10, set_all(0.0)),
    Fault("F04", "MCA", ("symmetric-weights",), 10, set_all(0.05)),
    Fault("F05", EVERY, ("bad-output-scale", "bad-initialization"), 3, scale_last,
          where=lambda case: LAST[case.name]),
    Fault("F07", "MCLA", ("unscaled-inputs",), 3, of_batches(lambda x, step: x * 1000)),
    Fault("F08", EVERY, ("constant-inputs",), 3, of_batches(constant)),
    Fault("F11", EVERY, ("non-finite-input",), 100, of_batches(with_nan)),
    Fault("F14", "M", ("vanishing-gradients",), 20, to_sigmoids, twin=sigmoids),
    Fault("F15", "L", ("vanishing-gradients",), 50, recurrent_times(0.5), twin=recurrent),
    Fault("F16", "L", ("exploding-gradients", "bad-initialization"), 5, recurrent_times(2.0),
          twin=lambda name: usual(name, net=RNN(nonlinearity="relu"))),
    Fault("F18", "MC", ("dead-units",), 50, second_bias, where=lambda case: SECOND[case.name]),
    Fault("F18b", "C", ("dead-units", HIGH), 120, of_optimizer(lambda p: SGD(p, 0.5)),
          twin=lambda name: default(name, CNN(depth=5))),
    Fault("F19", "ML", ("saturated-units", "bad-initialization"), 30,
          set_weights(lambda p: p.normal_(0, 1.5)), twin=tanh_net),
    Fault("F19b", "M", ("saturated-units",), 30, second_bias_high, where=lambda case: SECOND[case.name],
          twin=tanh_net),
    Fault("F21", "MCB", (HIGH,), 10, of_optimizer(lambda p: SGD(p, 3.0, momentum=0.9))),
    Fault("F21b", "C", (HIGH,), 100, of_optimizer(lambda p: SGD(p, 1.0, momentum=0.9)), twin=default),
    Fault("F22", "MTLB", (HIGH,), 10, of_rate(M=0.3, T=0.1, L=0.5, B=1.0)),
    Fault("F23", "MC", (HIGH, "dead-units"), 80, spike),
    Fault("F24", EVERY, ("learning-rate-too-low",), 100, of_optimizer(lambda p: Adam(p, 1e-7))),
    Fault("F27", "MCBRLT", ("softmax-before-cross-entropy",), 3, softmax_last),
    Fault("F27b", "MC", ("softmax-before-cross-entropy",), 3, softmax_clamped),
    Fault("F27c", "MC", ("softmax-before-cross-entropy",), 3, sigmoid_last, twin=one_against_all),
    Fault("F30", "MCBA", ("unstable-loss-function",), 120, unstable_log),
    Fault("F30b", "MC", ("non-finite",), 60, overflowing, where=lambda case: SECOND[case.name]),
    Fault("F31", "MCRT", ("overfitting",), 600, few_samples, twin=wide),
    Fault("F37", EVERY, ("parameter-not-in-optimizer",), 2, left_out,
          where=lambda case: SECOND[case.name]),
    Fault("F37b", "MC", ("parameter-not-in-optimizer",), 2, in_a_list,
          where=lambda case: f"hidden[{SECOND[case.name]}].weight"),
    Fault("F38", EVERY, ("graph-cut",), 5, detached, where=lambda case: SECOND[case.name]),
    Fault("F38b", "MCL", ("graph-cut",), 5, zeroed_too_late),
    Fault("F39", "MCL", ("gradients-not-zeroed",), 30, never_zeroed),
    Fault("F40", "BRT", ("train-mode-off",), 2, evaluating),
    Fault("F40b", "BRT", ("train-mode-off",), 2, lambda case: case.net.eval()),
)  # fmt: skip
