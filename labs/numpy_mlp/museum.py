"""Networks with wrong gradients beside sound ones, on the same batches and with the same initial weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nnfoundations.errors import OptionError
from nnfoundations.labs.numpy_mlp import _faults, recipes
from nnfoundations.labs.numpy_mlp.recipes import Recipe, unchanged
from nnfoundations.numpy import (
    BatchNorm,
    CrossEntropyLoss,
    Dropout,
    Layer,
    LeakyReLU,
    Linear,
    Loss,
    ReLU,
    Sequential,
    Softmax,
)

__all__ = ["EXHIBITS", "Entry", "Exhibit", "Museum", "build"]

SIZES = (784, 64, 32, 10)

Array = np.ndarray


def _relu(units: int, dtype: str) -> list[Layer]:
    return [ReLU()]


def _norm(kind: type[BatchNorm]) -> Callable[[int, str], list[Layer]]:
    return lambda units, dtype: [kind(units, dtype=dtype), ReLU()]


def _dropout(kind: type[Dropout]) -> Callable[[int, str], list[Layer]]:
    return lambda units, dtype: [ReLU(), kind(0.5, seed=units)]


def _unwarned() -> Loss:
    """The loss warns if its first batch looks like probabilities, and this is what the exhibit is about."""
    loss = CrossEntropyLoss()
    loss(np.array([[-1.0, 1.0]]), np.array([0]))
    return loss


@dataclass(frozen=True)
class Entry:
    """How an exhibit differs from the plain network.

    Args:
        label: its name in figures.
        sound: the sound exhibit that it is compared with; empty if it is sound itself.
        linear: the class of its linear layers.
        between: layers after each hidden one, from its number of units and the dtype.
        last: a further layer at the end.
        loss: its loss.
        recipe: what the optimizer receives.
        shuffled: whether it trains on the labels of other rows.
    """

    label: str
    sound: str = ""
    linear: type[Linear] = Linear
    between: Callable[[int, str], list[Layer]] = _relu
    last: type[Layer] | None = None
    loss: Callable[[], Loss] = CrossEntropyLoss
    recipe: Recipe = unchanged
    shuffled: bool = False


EXHIBITS = {
    "sound": Entry("sound"),
    "divided_twice": Entry("batch divided twice", "sound", linear=_faults.DividingLinear),
    "never_divided": Entry("batch never divided", "sound", loss=_faults.SummedLoss),
    "update_first": Entry("update before backward", "sound", linear=_faults.StaleLinear),
    "no_mask": Entry("no ReLU mask", "sound", between=lambda units, dtype: [_faults.UnmaskedReLU()]),
    "softmax_layer": Entry("loss of probabilities", "sound", last=Softmax, loss=_unwarned),
    "jacobian_twice": Entry("softmax derived twice", "sound", loss=_faults.JacobianTwice),
    "overflow": Entry("softmax without shift", "sound", loss=_faults.Overflowing),
    "not_zeroed": Entry("gradients not zeroed", "sound", recipe=recipes.never_zero),
    "shuffled": Entry("labels of other rows", "sound", shuffled=True),
    "leaky": Entry("sound, leaky ReLU", between=lambda units, dtype: [LeakyReLU()]),
    "other_slope": Entry(
        "another slope at 0", "leaky", between=lambda units, dtype: [_faults.OtherSlopeAtZero()]
    ),
    "gelu": Entry("sound, GELU (tanh)", between=lambda units, dtype: [_faults.TanhGELU()]),
    "half_gelu": Entry(
        "derivative of another GELU", "gelu", between=lambda units, dtype: [_faults.HalfGELU()]
    ),
    "norm": Entry("sound, batch norm", between=_norm(BatchNorm)),
    "mask_before": Entry(
        "ReLU mask from before the norm",
        "norm",
        between=lambda units, dtype: [_faults.MaskFromBefore(units, dtype=dtype)],
    ),
    "constant_statistics": Entry(
        "statistics taken as constant", "norm", between=_norm(_faults.ConstantStatistics)
    ),
    "gains_forgotten": Entry(
        "γ, β not given to SGD", "norm", between=_norm(BatchNorm), recipe=recipes.forget_gains
    ),
    "biased_variance": Entry("biased running variance", "norm", between=_norm(_faults.BiasedVariance)),
    "dropout": Entry("sound, dropout", between=_dropout(Dropout)),
    "dropout_always": Entry("dropout in evaluation", "dropout", between=_dropout(_faults.DropoutAlways)),
    "unscaled": Entry("dropout not rescaled", "dropout", between=_dropout(_faults.DropoutUnscaled)),
    "clip": Entry("sound, clipping", recipe=recipes.clip),
    "clip_layers": Entry("clipping by layer", "clip", recipe=recipes.clip_layers),
    "clip_elements": Entry("clipping by element", "clip", recipe=recipes.clip_elements),
    "decay": Entry("sound, decay", recipe=recipes.decay),
    "decay_summed": Entry("decay times batch size", "decay", recipe=recipes.decay_summed),
    "decay_half": Entry("half the decay", "decay", recipe=recipes.decay_half),
    "decay_all": Entry("decay of biases too", "decay", recipe=recipes.decay_all),
    "huber": Entry("sound, Huber loss", loss=_faults.OneHotHuber),
    "huber_twice": Entry("chain rule twice in Huber", "huber", loss=_faults.HuberTwice),
}
"""By name; the order is that of the figure."""


class Exhibit(Sequential):
    """A network of the museum.

    Args:
        entry: how it differs from the plain one.
        seed: of the weights; exhibits with the same seed have the same weights.
        dtype: of the parameters.
    """

    def __init__(self, entry: Entry, seed: int, dtype: str = "float32") -> None:
        generator = np.random.default_rng(seed)
        layers: list[Layer] = []
        for features, units in pairwise(SIZES[:-1]):
            layers.append(entry.linear(features, units, seed=generator, dtype=dtype))
            layers += entry.between(units, dtype)
        layers.append(entry.linear(*SIZES[-2:], gain=1.0, seed=generator, dtype=dtype))
        super().__init__(*layers, *([entry.last()] if entry.last else []), loss=entry.loss())
        self.entry = entry
        self._memory: dict[str, Array] = {}

    def labels(self, target: Array) -> Array:
        """The classes that it trains on.

        Args:
            target: the true ones.

        Returns:
            The same, or those of other rows.
        """
        return np.roll(target, 1) if self.entry.shuffled else target

    def differentiate(self, x: Array, target: Array) -> tuple[float, Array, dict[str, Array]]:
        """Do one forward and one backward pass, on the classes that it trains on.

        Args:
            x: rows.
            target: the true classes.

        Returns:
            The mean loss, the output, and the gradient of each parameter by name.
        """
        return super().differentiate(x, self.labels(target))

    def received(self, x: Array, target: Array) -> dict[str, Array]:
        """What the optimizer receives for a batch.

        Args:
            x: rows.
            target: the true classes.

        Returns:
            An array for each parameter.
        """
        _, _, gradients = self.differentiate(x, target)
        return self.entry.recipe(gradients, self.parameters, self._memory)


def build(name: str, seed: int, dtype: str = "float32") -> Exhibit:
    """Build an exhibit.

    Args:
        name: a key of EXHIBITS.
        seed: of the weights.
        dtype: of the parameters.

    Returns:
        The network.

    Raises:
        OptionError: there is no such exhibit.
    """
    if name not in EXHIBITS:
        raise OptionError(f"an exhibit is one of {', '.join(EXHIBITS)}; got {name}.")
    return Exhibit(EXHIBITS[name], seed, dtype)


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
        """The output of the first exhibit.

        Args:
            x: images.

        Returns:
            Logits, one row per image.
        """
        return next(iter(self.exhibits.values())).forward(x.reshape(len(x), -1))

    def backward(self, grad_output: Array, *, grad_input: bool = True) -> Array | None:
        """Not possible for all at once.

        Args:
            grad_output: of one loss.
            grad_input: not used.

        Raises:
            NotImplementedError: always.
        """
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
        given: dict[str, Array] = {}
        with np.errstate(all="ignore"):  # some diverge
            for name, net in self.exhibits.items():
                own = net.received(rows, target)
                if not all(np.isfinite(value).all() for value in own.values()):
                    # It stays where it is: a checkpoint with weights that are not finite is not written.
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
        """Use other arrays.

        Args:
            arrays: by `EXHIBIT.INDEX.NAME`.
        """
        for name, net in self.exhibits.items():
            own = [*net.parameters, *net.buffers]
            net.bind({key: arrays[f"{name}.{key}"] for key in own})
        self._collect()
