"""Hooks on the layers of a model, for the length of one step."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

__all__ = ["LayerHooks"]


class LayerHooks:
    """Attaches hooks to the innermost modules of a model, where Python can see what they compute.

    Args:
        model: the model.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.unseen: dict[str, str] = {}
        """The modules that cannot be seen, each with the reason."""
        self._handles: list[RemovableHandle] = []

    def attach(
        self,
        timed: Callable[..., Any],
        before: Callable[[str], Callable[..., Any]],
        after: Callable[[str], Callable[..., Any]],
    ) -> None:
        """Attach the hooks until `remove`.

        Args:
            timed: wraps each hook.
            before: makes the hook that runs before the module of this name.
            after: makes the hook that runs after it.
        """
        for name, module in self.model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                self.unseen.setdefault(name, "a ScriptModule runs outside Python, so hooks see nothing of it")
            elif next(module.children(), None) is None:
                first, last = self._outside(name, before(name)), self._outside(name, after(name))
                self._handles.append(module.register_forward_pre_hook(timed(first)))
                self._handles.append(module.register_forward_hook(timed(last)))

    def _outside(self, name: str, hook: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a hook so that it does not run in transforms such as `torch.vmap`, whose tensors must stay."""

        def run(*args: Any) -> Any:
            if torch._C._functorch.peek_interpreter_stack() is None:
                return hook(*args)
            self.unseen[name] = "it runs inside a transform such as torch.vmap"
            return None

        return run

    def add(self, handle: RemovableHandle) -> None:
        """Keep the handle of another hook, to remove it with these."""
        self._handles.append(handle)

    def remove(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
