"""The NumPy rule as one of torch's optimizers, and what NumPy needs of a tensor."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from nnfoundations._errors import OptionError
from nnfoundations.numpy import sgd_update
from nnfoundations.numpy._sgd import check_sgd

__all__ = ["NumPySGD", "needs_numpy"]


def needs_numpy(name: str, tensor: Tensor) -> None:
    """Raises: OptionError: it is not on the CPU, or in a number format that NumPy lacks or is slow in."""
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
    """`nnfoundations.numpy.sgd_update`, the NumPy rule, on parameters that torch owns.

    Args: params: on the CPU. lr, momentum, weight_decay, nesterov: as in `nnfoundations.numpy.SGD`.
    Raises: OptionError: one of them is outside its range; at a step, a parameter that is not on the CPU, in a
        half precision, or with a sparse gradient.
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
        """One step; the closure, by which Lightning calls its hooks, first."""
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
