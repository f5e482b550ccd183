"""Stochastic gradient descent."""

import numpy as np

from nnfoundations.errors import OptionError
from nnfoundations.numpy._layer import Array, Layer

__all__ = ["SGD", "check_sgd", "sgd_update"]


def sgd_update(
    parameter: Array,
    gradient: Array,
    velocity: Array | None,
    *,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> None:
    r"""Update one parameter in place: g <- g + weight_decay w, v <- momentum v + g, w <- w - lr v.

    With Nesterov momentum w <- w - lr (g + momentum v). Without momentum v is g.

    Args:
        parameter: w, changed in place.
        gradient: g, not changed.
        velocity: v, changed in place: zeros before the first step, None without momentum.
        lr: learning rate.
        momentum: fraction of v that stays.
        weight_decay: factor of the L2 penalty.
        nesterov: use Nesterov momentum.

    Source: Sutskever et al. 2013, with the rate outside the velocity, as in torch.optim.SGD.
    """
    # NumPy numbers, as from a learning-rate schedule, would raise every product to float64.
    lr, momentum, weight_decay = float(lr), float(momentum), float(weight_decay)
    step = gradient
    if weight_decay:
        step = weight_decay * parameter
        step += gradient
    if velocity is not None:
        velocity *= momentum
        velocity += step
        step = momentum * velocity + step if nesterov else velocity
    parameter -= lr * step


def check_sgd(name: str, lr: float, momentum: float, weight_decay: float, nesterov: bool) -> None:
    """Check the options of SGD.

    Args:
        name: the optimizer's name, for the error.
        lr: learning rate, at least 0.
        momentum: in [0, 1).
        weight_decay: at least 0.
        nesterov: whether to use Nesterov momentum, which needs a momentum above 0.

    Raises:
        OptionError: one of them is outside its range.
    """
    if not (lr >= 0 and 0 <= momentum < 1 and weight_decay >= 0):
        raise OptionError(
            f"{name} needs lr and weight_decay of at least 0 and a momentum in [0, 1); got lr={lr}, "
            f"momentum={momentum}, weight_decay={weight_decay}. lr=0.01, momentum=0.9 is usual."
        )
    if nesterov and not momentum:
        raise OptionError(f"{name} needs a momentum for nesterov; got 0. Set momentum=0.9.")


class SGD:
    """Stochastic gradient descent: `sgd_update` for every parameter of a network.

    Args:
        network: the network, whose `gradients` are read at each step.
        lr: learning rate, at least 0; may be changed between steps.
        momentum: in [0, 1).
        weight_decay: factor of the L2 penalty, at least 0.
        nesterov: use Nesterov momentum; needs a momentum above 0.

    Raises:
        OptionError: one of them is outside its range.
        TypeError: network is not a Layer.

    >>> from nnfoundations.numpy import MLP
    >>> net = MLP([2, 8, 2], seed=0)
    >>> optimizer = SGD(net, lr=0.1, momentum=0.9)
    >>> x, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32), np.array([0, 1, 1, 0])
    >>> for _ in range(100):
    ...     loss, _, _ = net.differentiate(x, y)
    ...     optimizer.step()
    >>> net(x).argmax(1)
    array([0, 1, 1, 0])
    """

    def __init__(
        self,
        network: Layer,
        lr: float,
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        if not isinstance(network, Layer):
            raise TypeError(
                f"SGD needs the network, whose gradients it reads; got {type(network).__name__}. "
                "Pass it first: SGD(net, lr=0.01)."
            )
        check_sgd("SGD", lr, momentum, weight_decay, nesterov)
        self.network, self.lr = network, lr
        self.momentum, self.weight_decay, self.nesterov = momentum, weight_decay, nesterov
        parameters = network.parameters
        self.velocities = {name: np.zeros_like(p) for name, p in parameters.items()} if momentum else {}

    def step(self) -> None:
        """Update every parameter once.

        Raises:
            RuntimeError: the network has no gradients, because no backward was called.
        """
        if not self.network.gradients:
            raise RuntimeError(
                "SGD.step needs the gradients of a backward; got none. Call differentiate(x, target) first."
            )
        for name, parameter in self.network.parameters.items():
            sgd_update(
                parameter,
                self.network.gradients[name],
                self.velocities.get(name),
                lr=self.lr,
                momentum=self.momentum,
                weight_decay=self.weight_decay,
                nesterov=self.nesterov,
            )
