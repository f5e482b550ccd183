"""A network of NumPy arrays as a torch Module."""

import numpy as np
import torch
from torch import Tensor

from nnfoundations import autograd, numpy
from nnfoundations.lightning_modules._numpy_sgd import needs_numpy

__all__ = ["Net", "NumPyModule"]

Net = numpy.Sequential | numpy.Perceptron | autograd.MLP


class NumPyModule(torch.nn.Module):
    """A network of NumPy arrays as a torch Module: Parameters and arrays share their memory.

    Shape: x, a tensor as the network takes it -> the network's output; no graph is recorded.

    Args:
        net: its parameters become Parameters of the same names, its buffers become buffers.

    Raises:
        TypeError: the net has no `differentiate`.
        OptionError: at a call, the device is not the CPU, or the dtype is a half precision.

    Example:
        >>> module = NumPyModule(numpy.MLP([4, 8, 3], seed=0))
        >>> module(torch.zeros(5, 4)).shape, len(list(module.parameters()))
        (torch.Size([5, 3]), 4)
    """

    def __init__(self, net: Net) -> None:
        super().__init__()
        if isinstance(net, type) or not hasattr(net, "differentiate"):
            raise TypeError(
                "NumPyModule needs a net with a `differentiate` method, such as numpy.MLP, numpy.Sequential, "
                f"numpy.Perceptron or autograd.MLP; got {net!r}. Use Classifier for a torch net."
            )
        self.net = net
        for name, array in net.parameters.items():
            owner, leaf = self._owner(name)
            owner.register_parameter(leaf, torch.nn.Parameter(torch.from_numpy(array)))
        for name, array in getattr(net, "buffers", {}).items():
            owner, leaf = self._owner(name)
            owner.register_buffer(leaf, torch.from_numpy(array))

    def _owner(self, name: str) -> tuple[torch.nn.Module, str]:
        """Return the module of a dotted name, one per layer as in torch, and the name's last part."""
        owner: torch.nn.Module = self
        *path, leaf = name.split(".")
        for part in path:
            if part not in dict(owner.named_children()):
                owner.add_module(part, torch.nn.Module())
            owner = owner.get_submodule(part)
        return owner, leaf

    def forward(self, x: Tensor) -> Tensor:
        self.bind(x)
        if isinstance(self.net, numpy.Layer):
            self.net.train() if self.training else self.net.eval()
        return torch.from_numpy(np.asarray(self.net.forward(x.numpy())))

    def differentiate(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Compute the gradients with the net's own backward.

        Args:
            x: a batch, as the network takes it.
            target: its targets.

        Returns:
            The mean loss, the output, and the gradient of each parameter by name.
        """
        self.bind(x)
        if isinstance(self.net, numpy.Layer):
            self.net.train()
        loss, output, gradients = self.net.differentiate(x.numpy(), target.numpy())
        found = {name: torch.from_numpy(np.asarray(gradient)) for name, gradient in gradients.items()}
        return torch.tensor(loss), torch.from_numpy(output), found

    def bind(self, *inputs: Tensor) -> None:
        """Let the net compute with the current Parameters, which something may have loaded or replaced.

        Args:
            *inputs: tensors that the net will compute with; they are only checked.

        Raises:
            OptionError: a tensor is not on the CPU, or has a half-precision dtype.
        """
        tensors = dict([*self.named_parameters(), *self.named_buffers()])
        for tensor in (*inputs, *tensors.values()):
            needs_numpy(type(self.net).__name__, tensor)
        self.net.bind({name: tensor.detach().numpy() for name, tensor in tensors.items()})
