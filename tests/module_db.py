"""Runs our modules on the samples with which PyTorch tests its own.

Run it as a process, because the import changes global flags. It prints one line of JSON: the number of
samples and of error inputs, and the failures.
"""

import json
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.testing._internal.common_modules import ModuleErrorEnum, module_db
from torch.utils._pytree import tree_flatten, tree_map

from nnfoundations import nn


def built(kind: type[torch.nn.Module], given: Any, training: bool) -> torch.nn.Module:
    torch.manual_seed(0)
    module = kind(*given.args, **given.kwargs).train(training)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.rand_like(parameter), alpha=0.3)
    return module


def results(module: torch.nn.Module, given: Any) -> list[Tensor]:
    """Output, all gradients, and buffers."""
    fresh = tree_map(
        lambda x: x.detach().clone().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x,
        (given.args, given.kwargs),
    )
    torch.manual_seed(1)
    y = module(*fresh[0], **fresh[1])
    leaves = [x for x in tree_flatten(fresh)[0] if isinstance(x, Tensor)]
    wanted = [x for x in (*leaves, *module.parameters()) if x.requires_grad]
    grads = torch.autograd.grad(y, wanted, torch.ones_like(y), allow_unused=True) if y.requires_grad else ()
    return [y, *(g for g in grads if g is not None), *module.buffers()]


def compare(ours: type, theirs: type, sample: Any, training: bool, dtype: torch.dtype) -> None:
    """Raise if they differ. PyTorch compares its module with its reference functions, so we need not."""
    a = built(ours, sample.constructor_input, training)
    r = built(theirs, sample.constructor_input, training)
    given = sample.forward_input
    tolerance = {"rtol": 1e-12, "atol": 1e-12} if dtype == torch.float64 else {}
    found = results(a, given)
    for x, y in zip(found, results(r, given), strict=True):
        torch.testing.assert_close(x, y, equal_nan=True, **tolerance)


def compare_error(ours: type, theirs: type, error: Any, training: bool) -> None:
    """Raise if ours accepts an input that torch rejects, or raises another class of error."""
    given = error.module_error_input

    def run(kind: type) -> None:
        module = built(kind, given.constructor_input, training)
        if error.error_on == ModuleErrorEnum.FORWARD_ERROR:
            module(*given.forward_input.args, **given.forward_input.kwargs)

    try:
        run(theirs)  # some inputs are invalid in training only
    except error.error_type:
        pass
    else:
        return
    try:
        run(ours)
    except error.error_type:
        return
    raise AssertionError(f"no {error.error_type.__name__}: {error.error_regex}")


def failure(name: str, check: Callable[..., None], *arguments: Any) -> list[str]:
    try:
        check(*arguments)
    except Exception as error:
        return [" ".join(f"{name}: {type(error).__name__}: {error}".split())[:300]]
    return []


def main() -> None:
    warnings.simplefilter("ignore")
    samples: Counter[str] = Counter()
    failures: list[str] = []
    errors = 0
    for info in module_db:
        ours = getattr(nn, info.module_cls.__name__, info.module_cls)
        if ours is info.module_cls or not issubclass(ours, info.module_cls):
            continue
        for dtype in (torch.float64, torch.float32):
            torch.set_default_dtype(dtype)
            for training in (True, False):
                torch.manual_seed(0)
                options = {"device": "cpu", "dtype": dtype, "requires_grad": True, "training": training}
                for i, sample in enumerate(info.module_inputs_func(info, **options)):
                    samples[ours.__name__] += 1
                    name = f"{ours.__name__} {i} {sample.desc} {dtype} training={training}"
                    failures += failure(name, compare, ours, info.module_cls, sample, training, dtype)
                refused = info.module_error_inputs_func
                for error in refused(info, **options) if refused else ():
                    errors += 1
                    name = f"{ours.__name__} error input {dtype} training={training}"
                    failures += failure(name, compare_error, ours, info.module_cls, error, training)
    print(json.dumps({"samples": samples, "errors": errors, "failures": failures}))


if __name__ == "__main__":
    main()
