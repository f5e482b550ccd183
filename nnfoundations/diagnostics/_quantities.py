"""The table of everything that diagnostics measure."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["FACTS", "QUANTITIES", "Quantity", "Source", "measured_by"]

Source = Literal[
    "activations",
    "data",
    "evaluation",
    "gradients",
    "loss",
    "loss-graph",
    "non-finite",
    "validation",
    "wiring",
]
"""What measures. If one fails, the others continue."""


@dataclass(frozen=True)
class Quantity:
    """A measured quantity: one series in the history.

    Args:
        source: what measures it. ``activations`` needs hooks in layers, ``gradients`` the parameters.
        columns: ``layer``, ``parameter``, ``group`` or ``feature`` if it has one number for each of them;
            otherwise the names of its numbers. A quantity without columns is a fact, kept as an event or in
            `LossFacts`.
        seen: what must occur in a run for it to be measured, for ``no ... was seen``.
    """

    source: Source
    columns: str | tuple[str, ...]
    seen: str = ""


QUANTITIES: dict[str, Quantity] = {
    "loss": Quantity("loss", ("loss",)),
    "lr": Quantity("loss", "group", "learning rate"),
    "skipped": Quantity("loss", ("steps",), "loss scaler"),
    "target": Quantity("loss-graph", ("low", "high", "spread", "samples"), "target in the batch"),
    "loss_graph": Quantity("loss-graph", ()),
    "wiring": Quantity("wiring", ()),
    "non_finite": Quantity("non-finite", ()),
    "constant_loss": Quantity("loss-graph", ("loss", "low", "high"), "loss with known targets"),
    "batch_classes": Quantity(
        "loss-graph", ("equal_pairs", "expected", "classes", "samples"), "loss with one label for each sample"
    ),
    "predictions": Quantity(
        "loss-graph",
        ("correct", "commonest", "found", "others", "samples"),
        "loss with scores and one label for each sample",
    ),
    "label_ranks": Quantity(
        "loss-graph",
        ("rank", "sure_wrong", "sure_right", "wrong", "samples"),
        "loss with scores and one label of several classes for each sample",
    ),
    "input": Quantity("activations", ("rms", "spread", "samples")),
    "feature_rms": Quantity("activations", "feature", "input with columns"),
    "batch_rms": Quantity("data", ("rms",), "batch of numbers"),
    "activation_std": Quantity("activations", "layer", "layer with weights"),
    "dead_share": Quantity("activations", "layer", "activation"),
    "silent_share": Quantity("activations", "layer", "activation"),
    "saturated_share": Quantity("activations", "layer", "bounded activation"),
    "sample_spread": Quantity("activations", "layer", "loss that does not fall"),
    "output_gradient": Quantity("activations", "layer", "loss that does not fall"),
    "input_gradient": Quantity("activations", "layer", "loss that does not fall"),
    "statistics_gap": Quantity("activations", "layer", "batch normalization"),
    "recurrent_growth": Quantity("activations", "layer", "recurrent layer"),
    "recurrent_gradient": Quantity("activations", "layer", "recurrent layer"),
    "gradient_norm": Quantity("gradients", "parameter", "gradient"),
    "weight_norm": Quantity("gradients", "parameter", "gradient"),
    "zero_gradient": Quantity("gradients", "parameter", "gradient in float16"),
    "update_ratio": Quantity("gradients", "parameter", "optimizer step"),
    "stale_gradient": Quantity("gradients", ("norm",), "backward pass"),
    "evaluation": Quantity(
        "evaluation", ("train", "plain", "evaluation", "gap", "repeated"), "extra evaluation of a batch"
    ),
    "mixing": Quantity("evaluation", ("reversed", "alone", "axis"), "extra evaluation of a batch"),
    "sequence": Quantity(
        "evaluation", ("shifted", "equal", "ahead", "own", "padding", "value"), "sequence of tokens"
    ),
    "reading": Quantity("evaluation", ("padding", "last"), "recurrent layer"),
    "masking": Quantity("evaluation", ("padding", "moved", "given"), "padding with a known mask"),
    "attention_entropy": Quantity("evaluation", "layer", "attention"),
    "validation_loss": Quantity("validation", ("loss", "error"), "finite validation loss"),
    "validation_accuracy": Quantity("validation", ("accuracy",), "validation accuracy"),
    "validation_input": Quantity(
        "data",
        ("rms", "train_rms", "scale", "shift", "samples"),
        "validation batch with numbers that enter the network",
    ),
    "validation_samples": Quantity(
        "data",
        ("seen", "samples", "training", "repeated"),
        "validation batch whose samples can be compared with those of training",
    ),
}
"""All quantities by name. A step may leave one out; rules that need it then say why they did not run."""


FACTS = frozenset(name for name, quantity in QUANTITIES.items() if not quantity.columns)
"""The quantities that are facts, without a series of numbers."""


def measured_by(*sources: Source) -> tuple[str, ...]:
    """Return the names of the quantities that these sources measure."""
    return tuple(name for name, quantity in QUANTITIES.items() if quantity.source in sources)
