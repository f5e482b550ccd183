"""Checks of what reaches the optimizer: the gradient, the parameters, their steps."""

from collections.abc import Sequence

from nnfoundations.check._gradient import Dependence, GradientCheck
from nnfoundations.check._trained_copy import Judgement, TrainedCopy
from nnfoundations.check._trial import train, trained
from nnfoundations.check._verdict import State

__all__ = ["gradient", "parameters", "step"]


def gradient(copy: TrainedCopy) -> Judgement:
    """Compare backpropagation with differences of the loss."""
    probe = GradientCheck()
    train(copy.model, copy.batches[:1], 1, probe, precision="64-true", accelerator="cpu")
    if probe.written:
        return (
            State.FAIL,
            f"backward changes parameters: {probe.written[0]}",
            "Compute all gradients first; only the optimizer may change weights.",
        )
    if not probe.comparisons:
        return State.SKIPPED, "no parameter has a gradient", ""
    wrong = [name for name, found in probe.comparisons.items() if found.error > found.limit]
    if wrong:
        worst = max(wrong, key=lambda name: probe.comparisons[name].excess)
        found = probe.comparisons[worst]
        return (
            State.FAIL,
            f"{found.error:.1e} from differences of the loss in {worst} (exact to {found.limit:.0e})",
            f"Check your own backward, detach() or .data from {wrong[-1]} on, with torch.autograd.gradcheck.",
        )
    measured = {name: found for name, found in probe.comparisons.items() if found.is_measured}
    if not measured:
        return State.SKIPPED, "all gradients are too small to be compared with differences of the loss", ""
    worst = max(measured, key=lambda name: measured[name].excess)
    unknown = len(probe.comparisons) - len(measured)
    text = f"{measured[worst].error:.1e} from differences of the loss (exact to {measured[worst].limit:.0e})"
    text += f", at worst in {worst}"
    return State.PASS, text + (f"; {unknown} too small to be compared" if unknown else ""), ""


def step(copy: TrainedCopy) -> Judgement:
    """Compare the gradient that the optimizer gets with that of the loss."""
    trial = copy.trial
    if not trial.used:
        return State.SKIPPED, "no optimizer has a parameter with a gradient", ""
    if trial.stale:
        return (
            State.FAIL,
            f"gradients of earlier steps are still there at step {trial.stale[0]}",
            "Call zero_grad() before each backward.",
        )
    if trial.cosine < 0.999:
        return (
            State.FAIL,
            f"the gradient turns between backward and step: cosine {trial.cosine:.3f}",
            "Clip by the global norm (gradient_clip_val), not by layer or by element.",
        )
    return State.PASS, f"the optimizer gets the gradient of the loss (cosine at least {trial.cosine:.4f})", ""


def parameters(copy: TrainedCopy) -> Judgement:
    """Find parameters that training does not change, and the cause."""
    trial = copy.trial
    if trial.left_out:
        return (
            State.FAIL,
            f"{_listed(trial.left_out)}: in no optimizer",
            "Pass all parameters() to the optimizer, or freeze them with requires_grad_(False).",
        )
    if unused := [name for name in trial.unmoved if name not in trial.used]:
        return (
            State.FAIL,
            f"{_listed(unused)}: no gradient",
            "Use each parameter in the loss, or freeze it with requires_grad_(False).",
        )
    if not trial.unmoved:
        return State.PASS, f"all {len(list(trained(copy.model)))} tensors moved", ""
    still = _that_matter(copy, trial.unmoved)
    if not still:
        return (
            State.NOTE,
            f"{_listed(trial.unmoved)} did not move: the loss does not depend on it",
            "Remove it, for example with bias=False before a batch norm.",
        )
    if set(still) & trial.had_gradient:
        return (
            State.FAIL,
            f"{_listed(still)} did not move: its updates are below the precision of its values",
            "Raise the learning rate; use larger initial weights or a normalization if gradients vanish.",
        )
    return (
        State.FAIL,
        f"{_listed(still)} did not move: its gradient is 0 in the first {trial.watch} steps",
        "Look for units that are 0 for each sample, a detach() or a factor of 0 after it.",
    )


def _that_matter(copy: TrainedCopy, names: Sequence[str]) -> list[str]:
    """Those of the parameters that the loss depends on; all of them under manual optimization."""
    if not copy.model.automatic_optimization:
        return list(names)
    probe = Dependence(names)
    train(copy.model, copy.batches[:1], 1, probe, precision="64-true", accelerator="cpu")
    return probe.found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
