"""The checks that should catch a wrong gradient, applied to the exhibits of the museum."""

import numpy as np

from nnfoundations.labs.numpy_mlp._faults import RATE
from nnfoundations.labs.numpy_mlp.museum import EXHIBITS, Exhibit, build
from nnfoundations.numpy import sgd_update

__all__ = ["CHECKS", "caught"]

CHECKS = ("one batch", "gradient", "evaluation", "step", "large logits", "accuracy")
"""Their names; `accuracy` needs the training and is judged by the lab."""
Array = np.ndarray


def caught(name: str, x: Array, y: Array, seed: int) -> list[bool]:
    """Apply the checks that need no training run.

    Args:
        name: an exhibit.
        x: a batch of rows.
        y: their classes.
        seed: of weights.

    Returns:
        For each check but accuracy whether it caught a fault.
    """
    with np.errstate(all="ignore"):
        return [_one_batch(name, x, y, seed), _gradient(name, x, y, seed), _evaluation(name, x, seed),
                _step(name, x, y, seed), _large_logits(name, x, seed)]  # fmt: skip


def _one_batch(name: str, x: Array, y: Array, seed: int) -> bool:
    """400 steps on one batch must fit it: its rows right, and the loss at a tenth of its start."""
    net = build(name, seed)
    wanted = net.labels(y)  # the check sees the labels that the training sees
    net.eval()
    start = net.loss(net(x), wanted)
    net.train()
    for _ in range(400):
        _make_step(net, x, y)
    net.eval()
    output = net(x)
    fitted = (output.argmax(1) == wanted).mean() >= 0.95 and net.loss(output, wanted) <= start / 10
    return not fitted


def _make_step(net: Exhibit, x: Array, y: Array) -> None:
    received = net.received(x, y)
    for key, parameter in net.parameters.items():
        sgd_update(parameter, received[key], None, lr=RATE)


def _gradient(name: str, x: Array, y: Array, seed: int) -> bool:
    """The slope of the loss along a random direction of each parameter, by differences in float64."""
    net = build(name, seed, "float64")
    x, generator = x.astype(np.float64), np.random.default_rng(seed)

    def loss() -> float:
        for one, state in zip(net.generators, states, strict=True):
            one.bit_generator.state = state  # the same masks at each call
        return net.loss(net.forward(x), net.labels(y))

    states = [one.bit_generator.state for one in net.generators]
    _, _, gradients = net.differentiate(x, y)
    for key, parameter in net.parameters.items():
        direction = generator.standard_normal(parameter.shape)
        kept, h = parameter.copy(), 1e-6
        parameter += h * direction
        above = loss()
        parameter[...] = kept - h * direction
        slope = (above - loss()) / (2 * h)
        parameter[...] = kept
        # a bias before a norm has the slope 0
        if not abs((gradients[key] * direction).sum() - slope) <= 1e-4 * abs(slope) + 1e-7:
            return True
    return False


def _evaluation(name: str, x: Array, seed: int) -> bool:
    """In evaluation a row has one output, near its mean in training; statistics are those of the data."""
    net = build(name, seed)
    for _ in range(400):
        net.forward(x[:8])
    trained = np.mean([_hidden(net, x[:8]) for _ in range(400)], axis=0)
    net.eval()
    once, again = _hidden(net, x[:8]), _hidden(net, x[:8])
    if not np.array_equal(once, again):
        return True
    for layer in net.layers:
        if "running_var" in layer.buffers:
            # its output depends on the batch in training, so the means differ
            unbiased = np.asarray(layer.kept[0]).var(0, ddof=1)
            return not np.allclose(layer.buffers["running_var"], unbiased, rtol=1e-2, atol=1e-6)
    return bool(abs(once.sum() / trained.sum() - 1) > 0.1)


def _hidden(net: Exhibit, x: Array) -> Array:
    """The output of the first hidden block."""
    for layer in net.layers[:3]:
        x = layer.forward(x)
        if type(layer).__name__.startswith("Dropout"):
            break
    return x


def _step(name: str, x: Array, y: Array, seed: int) -> bool:
    """In the second of two steps the optimizer receives what the sound recipe makes of the gradient."""
    net = build(name, seed)
    _make_step(net, x, y)
    states = [one.bit_generator.state for one in net.generators]
    received = net.received(x, y)
    for one, state in zip(net.generators, states, strict=True):
        one.bit_generator.state = state  # the same masks
    _, _, gradients = net.differentiate(x, y)
    sound = EXHIBITS[net.entry.sound or name].recipe(gradients, net.parameters, {})
    return not all(np.allclose(received[key], sound[key], rtol=1e-4, atol=1e-8) for key in sound)


def _large_logits(name: str, x: Array, seed: int) -> bool:
    """Logits of 1e4 have a finite loss and a finite gradient."""
    net = build(name, seed)
    logits = np.zeros((4, 10), np.float32)
    logits[:, 3] = 1e4
    loss = net.loss(logits, np.array([3, 3, 0, 1]))
    return not (np.isfinite(loss) and np.isfinite(net.loss.backward()).all())
