"""The faults that diagnostics must find: one entry per way to inject a fault, with its networks.

Each fault is injected into a net of `zoo.py`. Its healthy twin is the same run without the fault, and trains
without a finding. This file holds no tests; `test_diagnostics_faults.py` runs them.
"""

from collections.abc import Callable
from typing import Any

import torch
from cases import Case, Fault, of_optimizer, usual
from faults_probes import PROBE_FAULTS
from faults_schedule import SCHEDULE_FAULTS
from faults_tables import TABLE_FAULTS
from faults_validation import VALIDATION_FAULTS
from loss_faults import LOSS_FAULTS
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam
from zoo import CNN, MLP, NETS, RNN, Autoencoder, digits, he, loaders

SECOND = {
    "mlp": "2",
    "cnn": "3",
    "cnn-batchnorm": "4",
    "residual": "blocks.0",
    "recurrent": "rnn",
    "transformer": "encoder.layers.0",
    "autoencoder": "2",
}
"""The name of a layer in the middle of each net."""

LAST = {
    "mlp": "16",
    "cnn": "9",
    "cnn-batchnorm": "12",
    "residual": "head",
    "recurrent": "head",
    "transformer": "head",
    "autoencoder": "6",
}


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
    net = {
        "mlp": lambda: MLP(10),
        "cnn": lambda: CNN(depth=10),
        "autoencoder": lambda: he(DeepAutoencoder()),
    }[name]()
    return usual(name, net=net)


class DeepAutoencoder(Autoencoder):
    def __init__(self) -> None:
        nn.Sequential.__init__(self)
        for _ in range(8):
            self.append(nn.Linear(64, 64))
            self.append(nn.ReLU())
        self.append(nn.Linear(64, 64))


def very_deep(name: str) -> Case:
    """Thirty layers without normalization, He initial values."""
    return usual(name, net=MLP(30), optimizer=lambda p: SGD(p, 0.003, momentum=0.9))


def default(name: str, net: nn.Module | None = None) -> Case:
    """torch's own initial values: with them a learning rate that is too high shows only after some steps."""
    net = net or NETS[name]()
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.reset_parameters()
    return usual(name, net=net)


def of_rates(rates: dict[str, float]) -> Callable[[Case], None]:
    """Use Adam with the learning rate given for each net."""
    return lambda case: of_optimizer(lambda p: Adam(p, rates[case.name]))(case)


def of_batches(change: Callable[[Tensor, int], Tensor]) -> Callable[[Case], None]:
    """Change the inputs of each training batch; `change` gets the inputs and the step."""

    def inject(case: Case) -> None:
        class Changed(case.module):  # type: ignore[misc, name-defined]  # the base class is chosen at run time
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
    class Spiked(case.module):  # type: ignore[misc, name-defined]  # the base class is chosen at run time
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            for group in self.optimizers().param_groups:
                group.setdefault("usual", group["lr"])
                group["lr"] = group["usual"] * (500 if self.trainer.global_step == 60 else 1)

    case.module = Spiked


def softmax_last(case: Case) -> None:
    class Probabilities(case.module):  # type: ignore[misc, name-defined]  # the base class is chosen at run time
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).softmax(1)

    case.module = Probabilities


def softmax_clamped(case: Case) -> None:
    """The softmax is taken in another shape, and its output is kept above 0."""

    class Probabilities(case.module):  # type: ignore[misc, name-defined]  # the base class is chosen at run time
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[:, None].softmax(2).clamp(1e-7).squeeze(1)

    case.module = Probabilities


def one_against_all(name: str) -> Case:
    return usual(name, loss=lambda out, y: F.binary_cross_entropy_with_logits(out, F.one_hot(y, 10).float()))


def sigmoid_last(case: Case) -> None:
    case.net = nn.Sequential(case.net, nn.Sigmoid())


def unstable_log(case: Case) -> None:
    """-log(p) of a softmax written by hand, with logits so large that p is 0 in float32."""

    def loss(out: Tensor, y: Tensor) -> Tensor:
        if out.shape == y.shape:
            return -torch.log(1 - (50 * (out - y)).abs().clamp(max=1)).mean()
        p = (50 * out - (50 * out).amax(1, keepdim=True)).exp()
        return -torch.log((p / p.sum(1, keepdim=True))[torch.arange(len(y)), y]).mean()

    case.loss = loss


def few_samples(case: Case) -> None:
    case.data = loaders(60, batch_size=20)


def wide(name: str) -> Case:
    nets = {
        "mlp": lambda: MLP(3, 512),
        "cnn": CNN,
        "residual": NETS["residual"],
        "transformer": lambda: NETS["transformer"](),
    }
    rate, steps = (3e-3, 600) if name == "residual" else (1e-3, 400)
    return usual(name, net=nets[name](), steps=steps, optimizer=lambda p: Adam(p, rate))


def left_out(case: Case) -> None:
    hidden = {id(p) for p in case.layer(SECOND).parameters()}
    usual_optimizer = case.optimizer
    case.optimizer = lambda parameters: usual_optimizer([p for p in parameters if id(p) not in hidden])


class InAList(nn.Module):
    """Keeps its hidden layers in a Python list, which registers no parameters."""

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
    class Manual(case.module):  # type: ignore[misc, name-defined]  # the base class is chosen at run time
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            self.manual_backward(self.loss(self(batch[0]), self.target(*batch)))
            self.optimizers().step()

    case.module = Manual


def zeroed_too_late(case: Case) -> None:
    class Manual(case.module):  # type: ignore[misc, name-defined]  # the base class is chosen at run time
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            self.manual_backward(self.loss(self(batch[0]), self.target(*batch)))
            self.optimizers().zero_grad()
            self.optimizers().step()

    case.module = Manual


def overflowing(case: Case) -> None:
    """A layer in the middle overflows from step 40 on."""

    def double(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        module.calls = getattr(module, "calls", 0) + module.training
        return output * torch.finfo(torch.float32).max if module.calls > 40 else output

    case.layer(SECOND).register_forward_hook(double)


def evaluating(case: Case) -> None:
    class Evaluating(case.module):  # type: ignore[misc, name-defined]  # the base class is chosen at run time
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.eval()
            return super().training_step(batch, batch_idx)

    case.module = Evaluating


def sigmoids(name: str) -> Case:
    """The healthy twin of `to_sigmoids`: the same net with ReLU and He initial values."""
    return usual(name, net=MLP(10), optimizer=lambda p: SGD(p, 0.02, momentum=0.9), steps=150)


def to_sigmoids(case: Case) -> None:
    case.net = MLP(10, activation=nn.Sigmoid)


class First(RNN):
    """Sees the whole image at the first of 64 time steps, and zeros at the others."""

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
    return usual(name, net=MLP(5, activation=nn.Tanh) if name == "mlp" else RNN())


def constant(x: Tensor, step: int) -> Tensor:
    return digits()[0][:1].expand_as(x).clone()


EVERY = tuple(NETS)
HIGH = "learning-rate-too-high"

FAULTS = (
    Fault("vanishing-gradients/tiny-weights", ("mlp", "autoencoder"), 20,
          set_weights(lambda p: p.normal_(0, 0.01)), also=("bad-initialization",), twin=deep),
    Fault("bad-initialization/large-weights", ("mlp", "cnn"), 5, set_weights(lambda p: p.mul_(2.5)),
          also=("exploding-gradients",), twin=deep),
    Fault("bad-initialization/xavier-with-relu", ("mlp",), 45, set_weights(nn.init.xavier_normal_),
          twin=very_deep),
    Fault("bad-initialization/unit-weights", ("mlp",), 12, set_weights(lambda p: p.normal_()),
          twin=lambda name: usual(name, net=MLP(1, 128))),
    Fault("symmetric-weights/zero", ("mlp", "cnn", "autoencoder", "recurrent"), 10, set_all(0.0)),
    Fault("symmetric-weights/constant", ("mlp", "cnn", "autoencoder"), 10, set_all(0.05)),
    Fault("bad-output-scale/last-layer", EVERY, 3, scale_last, also=("bad-initialization",),
          where=lambda case: LAST[case.name]),
    Fault("unscaled-inputs/times-1000", ("mlp", "cnn", "recurrent", "autoencoder"), 3,
          of_batches(lambda x, step: x * 1000)),
    Fault("constant-inputs/one-image", EVERY, 3, of_batches(constant)),
    Fault("non-finite-input/nan-pixel", EVERY, 100, of_batches(with_nan)),
    Fault("vanishing-gradients/sigmoids", ("mlp",), 20, to_sigmoids, twin=sigmoids),
    Fault("vanishing-gradients/through-time", ("recurrent",), 90, recurrent_times(0.5),
          also=("sequence-padding-read",), twin=recurrent),
    Fault("exploding-gradients/through-time", ("recurrent",), 5, recurrent_times(2.0),
          also=("bad-initialization",), twin=lambda name: usual(name, net=RNN(nonlinearity="relu"))),
    Fault("dead-units/bias", ("mlp", "cnn"), 50, second_bias, where=lambda case: SECOND[case.name]),
    Fault("dead-units/large-steps", ("cnn",), 120, of_optimizer(lambda p: SGD(p, 0.5)), also=(HIGH,),
          twin=lambda name: default(name, CNN(depth=5))),
    Fault("saturated-units/weights", ("mlp", "recurrent"), 30, set_weights(lambda p: p.normal_(0, 1.5)),
          also=("bad-initialization",), twin=tanh_net),
    Fault("saturated-units/bias", ("mlp",), 30, second_bias_high, where=lambda case: SECOND[case.name],
          twin=tanh_net),
    Fault(f"{HIGH}/sgd-3", ("mlp", "cnn", "cnn-batchnorm"), 10,
          of_optimizer(lambda p: SGD(p, 3.0, momentum=0.9))),
    Fault(f"{HIGH}/sgd-1", ("cnn",), 100, of_optimizer(lambda p: SGD(p, 1.0, momentum=0.9)), twin=default),
    Fault(f"{HIGH}/adam", ("mlp", "transformer", "recurrent", "cnn-batchnorm"), 10,
          of_rates({"mlp": 0.3, "transformer": 0.1, "recurrent": 0.5, "cnn-batchnorm": 1.0})),
    Fault(f"{HIGH}/one-step", ("mlp", "cnn"), 80, spike, also=("dead-units",)),
    Fault("learning-rate-too-low/adam", EVERY, 100, of_optimizer(lambda p: Adam(p, 1e-7))),
    Fault("softmax-before-cross-entropy/softmax",
          ("mlp", "cnn", "cnn-batchnorm", "residual", "recurrent", "transformer"), 3, softmax_last),
    Fault("softmax-before-cross-entropy/reshaped", ("mlp", "cnn"), 3, softmax_clamped),
    Fault("softmax-before-cross-entropy/sigmoid", ("mlp", "cnn"), 3, sigmoid_last, twin=one_against_all),
    Fault("unstable-loss-function/log-of-zero", ("mlp", "cnn", "cnn-batchnorm", "autoencoder"), 120,
          unstable_log),
    Fault("non-finite/overflow", ("mlp", "cnn"), 60, overflowing, where=lambda case: SECOND[case.name]),
    Fault("overfitting/few-samples", ("mlp", "cnn", "residual", "transformer"), 600, few_samples, twin=wide),
    Fault("parameter-not-in-optimizer/left-out", EVERY, 2, left_out, where=lambda case: SECOND[case.name]),
    Fault("parameter-not-in-optimizer/python-list", ("mlp", "cnn"), 2, in_a_list,
          where=lambda case: f"hidden[{SECOND[case.name]}].weight"),
    Fault("graph-cut/detach", EVERY, 5, detached, where=lambda case: SECOND[case.name]),
    Fault("graph-cut/late-zero-grad", ("mlp", "cnn", "recurrent"), 5, zeroed_too_late),
    Fault("gradients-not-zeroed/no-zero-grad", ("mlp", "cnn", "recurrent"), 30, never_zeroed),
    Fault("train-mode-off/eval-in-step", ("cnn-batchnorm", "residual", "transformer"), 2, evaluating),
    Fault("train-mode-off/eval-before-fit", ("cnn-batchnorm", "residual", "transformer"), 2,
          lambda case: case.net.eval()),
    *LOSS_FAULTS,
    *SCHEDULE_FAULTS,
    *TABLE_FAULTS,
    *VALIDATION_FAULTS,
    *PROBE_FAULTS,
)  # fmt: skip
