"""Watches the operations of an evaluation: which ones draw random numbers, and how sharp attention is."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Operations"]

_DROPOUT = ("native_dropout", "bernoulli_", "_fused_dropout")
_DRAWS = ("bernoulli", "multinomial", "normal", "rand", "uniform", "exponential", "poisson")
_FUSED = "_scaled_dot_product"
_MASKED = -1e4
_FEWEST_KEYS, _LARGEST = 4, 2**24
"""Keys that an entropy needs, and scores above which it is not computed."""


class Operations(TorchDispatchMode):
    """Records the operations within a `with` block.

    Args:
        place: returns the name of the module that is running.
    """

    def __init__(self, place: Callable[[], str]) -> None:
        super().__init__()
        self._place = place
        self._softmax: dict[int, tuple[Tensor, Tensor]] = {}
        self.dropout: list[str] = []
        """The modules in which dropout was applied, once each."""
        self.draws = False
        """Whether other random numbers were drawn."""
        self.entropies: dict[str, Tensor] = {}
        """Mean entropy of the attention in a module: 1 for equal weights, 0 for a single key."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        name = function._schema.name.removeprefix("aten::")
        given = dict(zip((a.name for a in function._schema.arguments), args, strict=False)) | (kwargs or {})
        if name in _DROPOUT or given.get("dropout_p"):
            if (place := self._place()) not in self.dropout:
                self.dropout.append(place)
        elif name.startswith(_DRAWS):
            self.draws = True
        if name in ("_softmax", "_safe_softmax") and given["dim"] in (-1, args[0].ndim - 1):
            self._softmax[_storage(result)] = args[0], result
        elif name == "bmm" and _storage(args[0]) in self._softmax:  # a softmax that weighs values
            self._see(self._softmax.pop(_storage(args[0]))[0])
        elif name.startswith(_FUSED) and isinstance(given.get("query"), Tensor):
            self._see_fused(given)
        return result

    def _see_fused(self, given: dict[str, Any]) -> None:
        """Compute the scores that a fused attention does not show."""
        query, key = given["query"].float(), given["key"].float()
        if query.shape[:-2] != key.shape[:-2] or query.numel() * key.shape[-2] > _LARGEST:
            return
        scale = given.get("scale")
        scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
        mask = given.get("attn_mask", given.get("attn_bias"))
        if isinstance(mask, Tensor):
            scores = scores.masked_fill(~mask, -math.inf) if mask.dtype is torch.bool else scores + mask
        elif given.get("is_causal"):
            ahead = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(ahead, -math.inf)
        self._see(scores)

    def _see(self, scores: Tensor) -> None:
        if not scores.numel() <= _LARGEST or scores.ndim < 3:
            return
        scores = scores.float()
        keys = (scores > _MASKED).sum(-1)
        known = keys >= _FEWEST_KEYS
        entropy = torch.special.entr(scores.softmax(-1)).sum(-1) / keys.clamp(min=2).log()
        mean = torch.where(known, entropy, 0).sum() / known.sum()  # NaN if there are too few keys
        self.entropies.setdefault(self._place(), mean)


def _storage(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()
