"""What findings tell the reader to change, as programs: one function for each fault that this can fix.

Each function changes a case as the remedy says. It reads the finding alone: names in `where`, and `numbers`.
They stand in one file, because the table at the end is the list of all that a program can apply.
"""

from collections.abc import Callable
from typing import Any

import torch
from cases import Case
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from nnfoundations.diagnostics import Finding

__all__ = ["REMEDIES"]

BOUNDED = (nn.Sigmoid, nn.Tanh)


def _extended(case: Case, **methods: Callable[..., Any]) -> None:
    """Override methods of the LightningModule; each gets the method of the class above as `usual`."""

    class Fixed(case.module):  # type: ignore[misc, name-defined]  # the base class is chosen at run time
        pass

    for name, method in methods.items():

        def call(self: Any, *args: Any, _name: str = name, _method: Any = method, **options: Any) -> Any:
            return _method(self, getattr(super(Fixed, self), _name), *args, **options)

        setattr(Fixed, name, call)
    case.module = Fixed


def _named(case: Case, name: str) -> nn.Module:
    """A module by its name in the LightningModule, which holds the network as `net`."""
    return case.net.get_submodule(name.partition(".")[2])


def _replace(case: Case, name: str, new: nn.Module) -> None:
    parent, _, last = name.partition(".")[2].rpartition(".")
    setattr(case.net.get_submodule(parent), last, new)


# -- rates and decay -------------------------------------------------------------------------------------


def set_rate(case: Case, finding: Finding) -> None:
    """Multiply all rates, or, for one that is too high at some steps only, limit them."""
    now, better = finding.numbers["lr"], finding.numbers["suggested_lr"]

    def optimizer_step(self: Any, usual: Any, epoch: int, batch: int, optimizer: Any, closure: Any) -> None:
        before = [group["lr"] for group in optimizer.param_groups]
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * better / now if better > now else min(group["lr"], better)
        usual(epoch, batch, optimizer, closure)
        for group, rate in zip(optimizer.param_groups, before, strict=True):
            group["lr"] = rate

    _extended(case, optimizer_step=optimizer_step)


def set_decay(case: Case, finding: Finding) -> None:
    make = case.optimizer

    def weaker(parameters: Any) -> torch.optim.Optimizer:
        optimizer = make(parameters)
        for group in optimizer.param_groups:
            group["weight_decay"] = finding.numbers["suggested_weight_decay"]
        return optimizer

    case.optimizer = weaker


# -- schedules and clipping --------------------------------------------------------------------------------


def _scheduled(case: Case, change: Callable[[dict[str, Any]], None]) -> None:
    """Change each schedule that `configure_optimizers` returns."""

    def configure_optimizers(self: Any, usual: Any) -> Any:
        optimizers, schedules = usual()
        for schedule in schedules:
            change(schedule)
        return optimizers, schedules

    _extended(case, configure_optimizers=configure_optimizers)


def other_interval(case: Case, finding: Finding) -> None:
    def change(schedule: dict[str, Any]) -> None:
        schedule["interval"] = "epoch" if schedule["interval"] == "step" else "step"

    _scheduled(case, change)


def longer_schedule(case: Case, finding: Finding) -> None:
    """The length that is suggested; without one, the other interval."""
    if "suggested_length" not in finding.numbers:
        return other_interval(case, finding)

    def change(schedule: dict[str, Any]) -> None:
        schedule["scheduler"].T_max = round(finding.numbers["suggested_length"])

    return _scheduled(case, change)


def wider_clipping(case: Case, finding: Finding) -> None:
    case.options = {**case.options, "gradient_clip_val": finding.numbers["gradient_norm"]}


# -- initial values --------------------------------------------------------------------------------------


def draw_again(case: Case, finding: Finding) -> None:
    """He's initial values before a ReLU, else Xavier's; recurrent weights are orthogonal."""
    bounded = any(isinstance(layer, BOUNDED) for layer in case.net.modules())
    recurrent = {id(p) for m in case.net.modules() if isinstance(m, nn.RNNBase) for p in m.parameters()}
    for layer in case.net.modules():
        if isinstance(layer, nn.RNNBase):
            layer.reset_parameters()
    others = [
        (n, p) for n, p in case.net.named_parameters() if id(p) not in recurrent and "position" not in n
    ]
    last = [p for _, p in others if p.ndim > 1][-1]
    for name, p in case.net.named_parameters():
        if "weight_hh" in name:
            nn.init.orthogonal_(p)
    for name, p in others:
        if p.ndim > 1:
            (nn.init.xavier_normal_ if bounded or p is last else nn.init.kaiming_normal_)(p)
        elif "bias" in name:
            nn.init.zeros_(p)


def divide_output(case: Case, finding: Finding) -> None:
    layer = _named(case, finding.where[0])
    with torch.no_grad():
        layer.weight.div_(finding.numbers["gain"])  # type: ignore[operator]  # a tensor


def orthogonal_recurrence(case: Case, finding: Finding) -> None:
    for name, p in _named(case, finding.where[0]).named_parameters():
        if "weight_hh" in name:
            nn.init.orthogonal_(p)


def relu_for_bounded(case: Case, finding: Finding) -> None:
    """ReLU with He's initial values; in a recurrent layer orthogonal recurrent weights."""
    if isinstance(_named(case, finding.where[0]), nn.RNNBase):
        return orthogonal_recurrence(case, finding)
    for name, layer in list(case.net.named_modules()):
        if isinstance(layer, BOUNDED):
            _replace(case, f"net.{name}", nn.ReLU())
    return draw_again(case, finding)


def layers_again(case: Case, finding: Finding) -> None:
    """The layers that are named, with bias 0; or the rate, if that has killed the units.

    Units that a program kills while it trains are out of reach.
    """
    if "suggested_lr" in finding.numbers:
        return set_rate(case, finding)
    if "on_train_batch_start" in vars(case.module):
        raise NotImplementedError
    for name in finding.where:
        layer = _named(case, name)
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # a tensor
    return None


# -- wiring ----------------------------------------------------------------------------------------------


def all_parameters(case: Case, finding: Finding) -> None:
    """Lists of layers become `nn.ModuleList`, and the optimizer gets all that it lacks."""
    for name in {name.split("[")[0] for name in finding.where if "[" in name}:
        owner, _, attribute = name.rpartition(".")
        owner_module = _named(case, owner) if "." in owner else case.net
        setattr(owner_module, attribute, nn.ModuleList(getattr(owner_module, attribute)))

    def configure_optimizers(self: Any, usual: Any) -> Any:
        optimizer = usual()
        known = {id(p) for group in optimizer.param_groups for p in group["params"]}
        missing = [p for p in self.parameters() if id(p) not in known]
        if missing:
            optimizer.add_param_group({"params": missing})
        return optimizer

    _extended(case, configure_optimizers=configure_optimizers)


def zero_grad(case: Case, finding: Finding) -> None:
    def training_step(self: Any, usual: Any, *args: Any) -> Any:
        self.optimizers().zero_grad()
        return usual(*args)

    _extended(case, training_step=training_step)


def stay_in_training(case: Case, finding: Finding) -> None:
    """`train()` at the start of training, and no `eval()` in it."""
    _extended(
        case,
        on_train_start=lambda self, usual: (self.train(), usual()),
        eval=lambda self, usual: self if self.trainer.training else usual(),
    )


# -- data ------------------------------------------------------------------------------------------------


def standardize_inputs(case: Case, finding: Finding) -> None:
    """By the mean and the deviation of the first training batch, where batches are prepared.

    In a table each column by its own; pixels, some of which are constant, all by the same numbers.
    """

    def prepare(self: Any, usual: Any, batch: Any, loader: int) -> Any:
        x, y = usual(batch, loader)
        if not self.trainer.training:
            return x, y
        columns = x.ndim == 2 and bool((x.std(0) > 0).all())
        self.seen = getattr(self, "seen", None) or ((x.mean(0), x.std(0)) if columns else (x.mean(), x.std()))
        return (x - self.seen[0]) / self.seen[1], y

    _extended(case, on_before_batch_transfer=prepare)


def _loaded(case: Case, size: int | None = None) -> None:
    """Shuffle the training data; in batches of another size if one is given."""
    assert case.data is not None
    train, validation = case.data
    changed = size is not None
    loader = DataLoader(train.dataset, size or train.batch_size, shuffle=True, drop_last=changed)
    case.data = loader, validation


def shuffled(case: Case, finding: Finding) -> None:
    _loaded(case)


def better_statistics(case: Case, finding: Finding) -> None:
    """Batches of 16, or the usual momentum."""
    assert case.data is not None
    if case.data[0].batch_size < 16:
        return _loaded(case, 16)  # a last batch of one sample would end the training
    for name in finding.where:
        _named(case, name).momentum = 0.1  # type: ignore[assignment]  # a float
    return None


def weaker_dropout(case: Case, finding: Finding) -> None:
    for name in finding.where:
        _named(case, name).p = 0.5  # type: ignore[assignment]  # a float


def change_targets(case: Case, change: Callable[[Tensor], Tensor]) -> None:
    assert case.data is not None
    train, validation = case.data
    (x, y), (xv, yv) = train.dataset.tensors, validation.dataset.tensors
    case.data = (
        DataLoader(TensorDataset(x, change(y)), train.batch_size, shuffle=True),
        DataLoader(TensorDataset(xv, change(yv)), validation.batch_size),
    )


def standardize_targets(case: Case, finding: Finding) -> None:
    mean, spread = finding.numbers["mean"], finding.numbers["spread"]
    change_targets(case, lambda y: (y - mean) / spread)


def targets_to_unit(case: Case, finding: Finding) -> None:
    """From -1 and 1 to 0 and 1. Other targets need another network or loss."""
    if finding.numbers["low"] != -1:
        raise NotImplementedError
    change_targets(case, lambda y: (y + 1) / 2)


# -- loss ------------------------------------------------------------------------------------------------


def multiply_loss(case: Case, factor: float) -> None:
    loss = case.loss
    case.loss = lambda out, y: factor * loss(out, y)


def other_sign(case: Case, finding: Finding) -> None:
    multiply_loss(case, -1)


def averaged(case: Case, finding: Finding) -> None:
    multiply_loss(case, 1 / finding.numbers["elements"])


def of_logarithms(case: Case, finding: Finding) -> None:
    """NLLLoss on log-probabilities, or BCELoss on probabilities."""
    if finding.numbers["floor"] < 0.4:  # of a sigmoid
        case.loss = lambda out, y: F.binary_cross_entropy(out, F.one_hot(y, out.shape[1]).float())
    else:
        case.loss = lambda out, y: F.nll_loss(out.clamp_min(1e-7).log(), y)


def sigmoid_for_softmax(case: Case, finding: Finding) -> None:
    """A sigmoid in place of the softmax; without one, BCEWithLogitsLoss."""
    kinds = ("Softmax", "LogSoftmax")
    softmax = [n for n in finding.where if type(_named(case, n)).__name__ in kinds]
    if softmax:
        _replace(case, softmax[0], nn.Sigmoid())
    else:
        case.loss = F.binary_cross_entropy_with_logits


def dim_of_classes(case: Case, finding: Finding) -> None:
    _named(case, finding.where[0]).dim = -1  # type: ignore[assignment]  # an int


def log_softmax_first(case: Case, finding: Finding) -> None:
    """Put log_softmax before NLLLoss, or softmax before a logarithm; replace a softmax."""
    softmax = [n for n in finding.where if type(_named(case, n)).__name__ == "Softmax"]
    if softmax:
        _replace(case, softmax[0], nn.LogSoftmax(-1))
    else:
        case.net.append(nn.Softmax(-1) if "lowest" in finding.numbers else nn.LogSoftmax(-1))  # type: ignore[operator]  # a Sequential


def without_activation(case: Case, finding: Finding) -> None:
    """Remove the last activation; for several labels, take binary cross-entropy with logits."""
    _replace(case, finding.where[-1], nn.Identity())
    if set(finding.numbers) == {"share"}:  # the finding about several labels
        case.loss = F.binary_cross_entropy_with_logits


def same_shape(case: Case, finding: Finding) -> None:
    """The same error of targets with the shape of the outputs: the loss itself removes an axis."""
    two = torch.full((1, 1), 2.0)
    error = F.l1_loss if float(case.loss(0 * two, two)) == 2 else F.mse_loss
    case.loss = lambda out, y: error(out, y.reshape(out.shape))


def cross_entropy(case: Case, finding: Finding) -> None:
    case.loss = lambda out, y: F.cross_entropy(out.flatten(0, -2), y.flatten())


REMEDIES: dict[str, Callable[[Case, Finding], None]] = {
    "learning-rate-too-high": set_rate,
    "learning-rate-too-low": set_rate,
    "weight-decay-too-strong": set_decay,
    "schedule-interval": other_interval,
    "schedule-ends-early": longer_schedule,
    "clipping-too-tight": wider_clipping,
    "bad-initialization": draw_again,
    "symmetric-weights": draw_again,
    "bad-output-scale": divide_output,
    "vanishing-gradients": relu_for_bounded,
    "exploding-gradients": orthogonal_recurrence,
    "dead-units": layers_again,
    "parameter-not-in-optimizer": all_parameters,
    "gradients-not-zeroed": zero_grad,
    "train-mode-off": stay_in_training,
    "batches-not-shuffled": shuffled,
    "batch-statistics-too-noisy": better_statistics,
    "over-regularized": weaker_dropout,
    "unscaled-inputs": standardize_inputs,
    "unscaled-targets": standardize_targets,
    "targets-out-of-range": targets_to_unit,
    "loss-sign-wrong": other_sign,
    "loss-not-averaged": averaged,
    "softmax-before-cross-entropy": of_logarithms,
    "softmax-over-one-unit": sigmoid_for_softmax,
    "softmax-over-batch": dim_of_classes,
    "loss-needs-log-probabilities": log_softmax_first,
    "output-activation-mismatch": without_activation,
    "shape-broadcast-in-loss": same_shape,
    "loss-unfit-for-targets": cross_entropy,
}
"""By the name of the fault. What is missing needs a person: a detach, the reading of data, an overflow."""
