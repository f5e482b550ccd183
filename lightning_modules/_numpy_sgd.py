"""NumPy's SGD as a torch optimizer, and the check that NumPy can compute with a tensor."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from nnfoundations.errors import OptionError
from nnfoundations.numpy import check_sgd, sgd_update

__all__ = ["NumPySGD", "needs_numpy"]


def needs_numpy(name: str, tensor: Tensor) -> None:
    """Check that NumPy can compute with a tensor.

    Args:
        name: what needs it, for the message.
        tensor: the tensor.

    Raises:
        OptionError: it is not on the CPU, or has a half-precision dtype.
    """
    if tensor.device.type != "cpu":
        raise OptionError(
            f"{name} runs on NumPy and needs the CPU; got {tensor.device}. "
            "Set --trainer.accelerator cpu, or call cpu() on the net."
        )
    if tensor.dtype in (torch.bfloat16, torch.float16):
        raise OptionError(
            f"{name} runs on NumPy and needs float32 or float64; got {tensor.dtype}. "
            "Set --trainer.precision 32-true, or call float() on the net."
        )


class NumPySGD(Optimizer):
    """Stochastic gradient descent by `nnfoundations.numpy.sgd_update`, on parameters of torch.

    Args:
        params: parameters on the CPU.
        lr: learning rate, at least 0.
        momentum: fraction of the velocity that stays, in [0, 1).
        weight_decay: factor of the L2 penalty, at least 0.
        nesterov: use Nesterov momentum.

    Raises:
        OptionError: an option is outside its range; at a step, a parameter is not on the CPU, has a
            half-precision dtype, or has a sparse gradient.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 0.01,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        check_sgd("NumPySGD", lr, momentum, weight_decay, nesterov)
        options = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
        super().__init__(params, options)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step.

        Args:
            closure: called first; Lightning runs forward, backward and its hooks in it.

        Returns:
            The closure's result.
        """
        result = closure() if closure is not None else None
        for group in self.param_groups:
            options = {name: group[name] for name in ("lr", "momentum", "weight_decay", "nesterov")}
            for p in group["params"]:
                if p.grad is None:
                    continue
                needs_numpy("NumPySGD", p)
                if p.grad.is_sparse:
                    raise OptionError(
                        f"NumPySGD needs dense gradients; got a sparse one of shape {tuple(p.shape)}. "
                        "Build the embedding with sparse=False."
                    )
                if group["momentum"] and "momentum_buffer" not in self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
                velocity = self.state[p].get("momentum_buffer")
                sgd_update(
                    p.detach().numpy(),
                    p.grad.numpy(),
                    None if velocity is None else velocity.numpy(),
                    **options,
                )
        return result
