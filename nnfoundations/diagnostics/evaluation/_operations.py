"""Watches the operations of an evaluation: which ones draw random numbers, and how sharp attention is."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Operations"]

_DROPOUT = ("native_dropout", "_fused_dropout")
_UNIFORM = ("rand", "rand_like", "uniform_", "uniform")
_COMPARISONS = ("lt", "le", "gt", "ge")
_DRAWS = ("bernoulli", "multinomial", "normal", "rand", "uniform", "exponential", "poisson")
_FUSED = "_scaled_dot_product"
_FEWEST_KEYS, _LARGEST, _TOLERANCE = 4, 2**24, 1e-2
"""Keys that an entropy needs, weights above which it is not computed, and how far a sum may be off 1."""


class Operations(TorchDispatchMode):
    """Records the operations within a `with` block.

    Args:
        place: returns the name of the module that is running.
    """

    def __init__(self, place: Callable[[], str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch gives it no types
        self._place = place
        self._masks: dict[int, Tensor] = {}
        self._uniform: dict[int, Tensor] = {}
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
        if name in _UNIFORM:
            self._uniform[_storage(result)] = result
        if self._drops(name, result, given):
            if (place := self._place()) not in self.dropout:
                self.dropout.append(place)
        elif name.startswith(_DRAWS):
            self.draws = True
        if name == "bmm" and _are_weights(args[0]):
            self._see(args[0].float())
        elif name.startswith(_FUSED) and isinstance(given.get("query"), Tensor):
            self._see_fused(given)
        return result

    def _drops(self, name: str, result: Any, given: dict[str, Any]) -> bool:
        """Return whether an operation is dropout, or a mask of it: drawn with one probability for all."""
        if name == "bernoulli_":
            self._masks[_storage(result)] = result
        if name in ("div_", "mul", "mul_"):
            factors = [x for x in (given.get("self"), given.get("other")) if isinstance(x, Tensor)]
            return any(_storage(x) in self._masks for x in factors)
        if name == "bernoulli" and given["self"].numel() > 1:
            low, high = given["self"].aminmax()
            return bool(low == high)
        if name in _COMPARISONS and not isinstance(given.get("other"), Tensor):
            return isinstance(given["self"], Tensor) and _storage(given["self"]) in self._uniform
        return name in _DROPOUT or bool(given.get("dropout_p"))

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
        self._see(scores.softmax(-1).flatten(0, -3))

    def _see(self, weights: Tensor) -> None:
        """Compute the entropy of weights of shape (all heads, queries, keys)."""
        keys = (weights > 0).any(0).sum(-1)  # a mask is the same for most samples
        known = keys >= _FEWEST_KEYS
        entropy = torch.special.entr(weights).sum(-1) / keys.clamp(min=2).log()
        mean = torch.where(known, entropy.mean(0), 0).sum() / known.sum()  # NaN if there are too few keys
        self.entropies.setdefault(self._place(), mean)


def _are_weights(x: Tensor) -> bool:
    """Return whether numbers are attention: rows of at least four that are not negative and sum to 1."""
    if x.ndim != 3 or x.shape[-1] < _FEWEST_KEYS or not x.is_floating_point() or x.numel() > _LARGEST:
        return False
    return bool((x >= 0).all()) and bool(((x.sum(-1) - 1).abs() < _TOLERANCE).all())


def _storage(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()
