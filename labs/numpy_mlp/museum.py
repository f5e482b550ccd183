"""Wrong gradients of published code, each as a small change of a sound network.

Sound networks are beside them. Every exhibit trains on the same batches with the same initial values. A fault
is in a layer, in the loss, or in the gradients that the optimizer receives.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nnfoundations import formulas
from nnfoundations.errors import OptionError
from nnfoundations.formulas import numpy_namespace
from nnfoundations.numpy import (
    GELU,
    BatchNorm,
    CrossEntropyLoss,
    Dropout,
    HuberLoss,
    Layer,
    Linear,
    Loss,
    ReLU,
    Sequential,
    Softmax,
)

__all__ = ["EXHIBITS", "SOUND", "Exhibit", "Museum", "build"]

SIZES = (784, 64, 32, 10)
DECAY, BATCH = 1e-3, 64

Array = np.ndarray


class HalfGELU(GELU):
    """The forward of the tanh approximation, the derivative of the exact function."""

    _formula = formulas.gelu_tanh


class DividingLinear(Linear):
    """Divides by the batch, although the loss has already."""

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        grad = super().backward(grad_output, grad_input=grad_input)
        self.gradients = {name: value / len(grad_output) for name, value in self.gradients.items()}
        return grad


class StaleLinear(Linear):
    """Updates its weight first, and carries the gradient down with the new one."""

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        super().backward(grad_output, grad_input=False)
        new = self.parameters["weight"] - 0.05 * self.gradients["weight"]
        return grad_output @ new if grad_input else None


class UnmaskedReLU(ReLU):
    """Passes the gradient of units that are off."""

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        return grad_output if grad_input else None


class MaskFromBefore(BatchNorm):
    """BatchNorm and ReLU in one: the mask is the sign of the input of the norm."""

    def forward(self, x: Array) -> Array:
        return np.maximum(super().forward(x), 0)

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        return super().backward(grad_output * (self.kept[0] > 0), grad_input=grad_input)


class ConstantStatistics(BatchNorm):
    """Differentiates as if mean and variance did not depend on the batch."""

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        x, mean, variance, fixed = self.kept
        self._kept = (x, mean[0], variance[0], True) if not fixed else self.kept
        return super().backward(grad_output, grad_input=grad_input)


class BiasedVariance(BatchNorm):
    """Keeps the biased variance of a batch in the running one."""

    def forward(self, x: Array) -> Array:
        before = self.buffers["running_var"].copy()
        y = super().forward(x)
        if self.training:
            biased = before + self.momentum * (x.var(0) - before)
            self.buffers["running_var"][...] = biased
        return y


class DropoutAlways(Dropout):
    """Drops units in evaluation too."""

    def eval(self) -> None:
        """Stay in training."""


class DropoutUnscaled(Dropout):
    """Does not divide by the share of units that stay."""

    def forward(self, x: Array) -> Array:
        y = super().forward(x)
        return y * x.dtype.type(1 - self.p) if self.training else y

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        grad = super().backward(grad_output, grad_input=grad_input)
        return grad * grad.dtype.type(1 - self.p) if grad is not None and self.training else grad


class SummedLoss(CrossEntropyLoss):
    """Never divides by the batch."""

    def backward(self) -> Array:
        return super().backward() * len(self.kept[0])


class JacobianTwice(CrossEntropyLoss):
    """Applies the derivative of softmax to p - t, which contains it."""

    def backward(self) -> Array:
        p = formulas.softmax(self.kept[0], axis=-1, xp=numpy_namespace())
        grad: Array = formulas.softmax_backward(super().backward(), p, axis=-1, xp=numpy_namespace())
        return grad


class OneHotHuber(HuberLoss):
    """Huber loss of the outputs with the classes as 0 and 1."""

    def forward(self, x: Array, target: Array) -> float:
        return super().forward(x, np.eye(x.shape[1], dtype=x.dtype)[target])


class HuberTwice(OneHotHuber):
    """Applies the chain rule twice: the gradient of a residual r becomes r r, never negative."""

    def backward(self) -> Array:
        x, target = self.kept
        return super().backward() * np.clip(x - target, -self.delta, self.delta)


class Overflowing(CrossEntropyLoss):
    """Softmax without subtracting the largest logit."""

    def forward(self, x: Array, target: Array) -> float:
        super().forward(x, target)
        e = np.exp(x)
        return float(-np.log(e[np.arange(len(x)), target] / e.sum(1)).mean())

    def backward(self) -> Array:
        x, target = self.kept
        e = np.exp(x)
        p = e / e.sum(1, keepdims=True)
        return np.asarray((p - np.eye(x.shape[1])[target]) / len(x), x.dtype)


def _unwarned() -> Loss:
    """The loss warns if its first batch looks like probabilities, and this is what the exhibit is about."""
    loss = CrossEntropyLoss()
    loss(np.array([[-1.0, 1.0]]), np.array([0]))
    return loss


Received = Callable[[dict[str, Array], Mapping[str, Array], dict[str, Array]], dict[str, Array]]


def _as_they_are(
    new: dict[str, Array], parameters: Mapping[str, Array], kept: dict[str, Array]
) -> dict[str, Array]:
    return new


def _never_zeroed(
    new: dict[str, Array], parameters: Mapping[str, Array], kept: dict[str, Array]
) -> dict[str, Array]:
    for name, value in new.items():
        kept[name] = kept.get(name, 0) + value
    return {name: value.copy() for name, value in kept.items()}


def _gains_forgotten(
    new: dict[str, Array], parameters: Mapping[str, Array], kept: dict[str, Array]
) -> dict[str, Array]:
    norms = {
        name.partition(".")[0] for name, p in parameters.items() if name.endswith("weight") and p.ndim == 1
    }
    return {n: np.zeros_like(g) if n.partition(".")[0] in norms else g for n, g in new.items()}


def _clipped_by_element(
    new: dict[str, Array], parameters: Mapping[str, Array], kept: dict[str, Array]
) -> dict[str, Array]:
    return {name: np.clip(value, -0.01, 0.01) for name, value in new.items()}


def _decay_of_a_sum(
    new: dict[str, Array], parameters: Mapping[str, Array], kept: dict[str, Array]
) -> dict[str, Array]:
    return {name: value + BATCH * DECAY * parameters[name] for name, value in new.items()}


class Exhibit(Sequential):
    """A network and what happens to its gradients on the way to the optimizer.

    Args:
        *layers: of the network.
        loss: its loss.
        received: makes from gradients what the optimizer receives.
        shuffled: train on the labels of other rows.
    """

    def __init__(
        self,
        *layers: Layer,
        loss: Loss | None = None,
        received: Received = _as_they_are,
        shuffled: bool = False,
    ) -> None:
        super().__init__(*layers, loss=loss)
        self.received, self.shuffled = received, shuffled
        self._summed: dict[str, Array] = {}

    def differentiate(self, x: Array, target: Array) -> tuple[float, Array, dict[str, Array]]:
        """Differentiate, with the labels of other rows if they are shuffled."""
        return super().differentiate(x, np.roll(target, 1) if self.shuffled else target)

    def given(self, x: Array, target: Array) -> dict[str, Array]:
        """What the optimizer receives for a batch.

        Args:
            x: rows.
            target: classes.

        Returns:
            An array for each parameter.
        """
        _, _, gradients = self.differentiate(x, target)
        return self.received(gradients, self.parameters, self._summed)


def _net(generator: np.random.Generator, dtype: str, *, linear: type[Linear] = Linear, between: Any = None,
         last: Callable[[], Layer] | None = None, **options: Any) -> Exhibit:  # fmt: skip
    layers: list[Layer] = []
    for features, units in zip(SIZES[:-2], SIZES[1:-1], strict=True):
        layers += [linear(features, units, seed=generator, dtype=dtype), *(between or _relu)(units, dtype)]
    return Exhibit(
        *layers,
        linear(*SIZES[-2:], gain=1.0, seed=generator, dtype=dtype),
        *([last()] if last else []),
        **options,
    )


def _relu(units: int, dtype: str) -> list[Layer]:
    return [ReLU()]


def _norm(kind: type[BatchNorm]) -> Callable[[int, str], list[Layer]]:
    fused = kind is MaskFromBefore
    return lambda units, dtype: [kind(units, dtype=dtype), *([] if fused else [ReLU()])]


def _dropout(kind: type[Dropout]) -> Callable[[int, str], list[Layer]]:
    return lambda units, dtype: [ReLU(), kind(0.5, seed=units)]


EXHIBITS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "sound": ("sound", "", {}),
    "divided_twice": ("batch divided twice (D1)", "sound", {"linear": DividingLinear}),
    "never_divided": ("batch never divided (D1)", "sound", {"loss": SummedLoss}),
    "update_first": ("update before backward (D3)", "sound", {"linear": StaleLinear}),
    "no_mask": ("no ReLU mask", "sound", {"between": lambda u, d: [UnmaskedReLU()]}),
    "softmax_layer": ("cross-entropy of probabilities (D6)", "sound", {"last": Softmax, "loss": _unwarned}),
    "jacobian_twice": ("derivative of softmax twice (D6)", "sound", {"loss": JacobianTwice}),
    "overflow": ("softmax without shift", "sound", {"loss": Overflowing}),
    "not_zeroed": ("gradients not zeroed", "sound", {"received": _never_zeroed}),
    "clip_element": ("clipping by element (D10)", "sound", {"received": _clipped_by_element}),
    "summed_decay": ("decay times batch size", "sound", {"received": _decay_of_a_sum}),
    "shuffled": ("labels of other rows", "sound", {"shuffled": True}),
    "gelu": ("sound, GELU (tanh)", "", {"between": lambda u, d: [_TanhGELU()]}),
    "half_gelu": ("derivative of another GELU (D4)", "gelu", {"between": lambda u, d: [HalfGELU()]}),
    "norm": ("sound, BatchNorm", "", {"between": _norm(BatchNorm)}),
    "mask_before": ("ReLU mask from before the norm (D2)", "norm", {"between": _norm(MaskFromBefore)}),
    "constant_statistics": ("norm without its statistics' terms", "norm", {"between": _norm(ConstantStatistics)}),
    "gains_forgotten": ("γ, β not given to SGD (D7)", "norm", {"between": _norm(BatchNorm),
                        "received": _gains_forgotten}),
    "biased_variance": ("biased running variance (D7)", "norm", {"between": _norm(BiasedVariance)}),
    "dropout": ("sound, dropout", "", {"between": _dropout(Dropout)}),
    "dropout_always": ("dropout in evaluation (D5)", "dropout", {"between": _dropout(DropoutAlways)}),
    "unscaled": ("dropout not rescaled (D5)", "dropout", {"between": _dropout(DropoutUnscaled)}),
    "huber": ("sound, Huber loss", "", {"loss": OneHotHuber}),
    "huber_twice": ("chain rule twice in Huber (D11)", "huber", {"loss": HuberTwice}),
}  # fmt: skip
"""By name: label, the sound network that it is compared with (empty if it is sound), and how it is built."""
SOUND = [name for name, (_, sound, _) in EXHIBITS.items() if not sound]


class _TanhGELU(GELU):
    _formula, _derivative = formulas.gelu_tanh, formulas.gelu_tanh_backward


def build(name: str, seed: int, dtype: str = "float32") -> Exhibit:
    """Build an exhibit; those with the same seed have the same weights.

    Args:
        name: a key of EXHIBITS.
        seed: of the weights.
        dtype: of the parameters.

    Raises:
        OptionError: there is no such exhibit.
    """
    if name not in EXHIBITS:
        raise OptionError(f"an exhibit is one of {', '.join(EXHIBITS)}; got {name}.")
    options = dict(EXHIBITS[name][2])
    if "loss" in options:
        options["loss"] = options["loss"]()
    return _net(np.random.default_rng(seed), dtype, **options)


class Museum(Sequential):
    """Exhibits side by side, each trained as if it were alone; the output is that of the first.

    Args:
        exhibits: names in EXHIBITS; None takes all.
    """

    def __init__(self, exhibits: Sequence[str] | None = None) -> None:
        seed = int(np.random.randint(2**31))  # the run's seed decides
        self.exhibits = {name: build(name, seed) for name in exhibits or EXHIBITS}
        super().__init__()
        self.generators = [one for net in self.exhibits.values() for one in net.generators]

    def _collect(self) -> None:
        for own in ("parameters", "buffers"):
            setattr(self, own, {f"{name}.{key}": array for name, net in self.exhibits.items()
                                for key, array in getattr(net, own).items()})  # fmt: skip

    def forward(self, x: Array) -> Array:
        return next(iter(self.exhibits.values())).forward(x.reshape(len(x), -1))

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        raise NotImplementedError("each exhibit has a loss of its own; call differentiate")

    def differentiate(self, x: Array, target: Array) -> tuple[float, Array, dict[str, Array]]:
        """What each exhibit gives to the optimizer.

        Args:
            x: images.
            target: classes.

        Returns:
            Loss and output of the first exhibit, and an array for each parameter.
        """
        rows = x.reshape(len(x), -1)
        given: dict[str, Any] = {}
        with np.errstate(all="ignore"):  # some diverge
            for name, net in self.exhibits.items():
                own = net.given(rows, target)
                if not all(np.isfinite(value).all() for value in own.values()):
                    # It stays where it is: weights that are not finite are not saved, not even those of others.
                    own = {key: np.zeros_like(value) for key, value in own.items()}
                given |= {f"{name}.{key}": value for key, value in own.items()}
            first = next(iter(self.exhibits.values()))
            output = first.forward(rows)
            return first.loss(output, target), output, given

    def train(self) -> None:
        """Train all."""
        super().train()
        for net in self.exhibits.values():
            net.train()

    def eval(self) -> None:
        """Evaluate all."""
        super().eval()
        for net in self.exhibits.values():
            net.eval()

    def bind(self, arrays: Mapping[str, Array]) -> None:
        for name, net in self.exhibits.items():
            own = [*net.parameters, *net.buffers]
            net.bind({key: arrays[f"{name}.{key}"] for key in own})
        self._collect()
