"""Writes docs/diagnostics.md, and a page in docs/faults for each rule, from the rules and from real runs.

python docs/generate_diagnostics.py          the runs (several minutes), their rows and figures, and the pages
python docs/generate_diagnostics.py --page   the pages alone, from the committed rows

The file is longer than usual because a third of it is the texts for faults.
"""

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np

from nnfoundations.diagnostics import RULES, Finding, History, Severity
from nnfoundations.diagnostics._console import announcement
from nnfoundations.diagnostics._quantities import QUANTITIES
from nnfoundations.diagnostics.rules._rule import median, weight_matrices

HERE = Path(__file__).parent
sys.path.append(str(HERE))  # last: tests/faults.py must come before the folder docs/faults
import fault_pages  # noqa: E402  # it lies beside this file, which tests run from elsewhere

PAGE, HEAD, PAGES = HERE / "diagnostics.md", HERE / "diagnostics_head.md", HERE / "faults"
ROWS, IMAGES = HERE / "results" / "diagnostics_faults.csv", HERE / "images"

INJECTED = {
    "vanishing-gradients/tiny-weights": "all weights drawn with a standard deviation of 0.01",
    "bad-initialization/large-weights": "He initial values times 2.5",
    "bad-initialization/xavier-with-relu": "Xavier's initial values in a ReLU net of 30 layers, SGD",
    "bad-initialization/unit-weights": "one hidden layer, all weights drawn with a standard deviation of 1",
    "symmetric-weights/zero": "all weights 0",
    "symmetric-weights/constant": "all parameters 0.05",
    "bad-output-scale/last-layer": "the last layer's weights times 100",
    "unscaled-inputs/times-1000": "inputs times 1000",
    "constant-inputs/one-image": "the loader gives one image again and again",
    "non-finite-input/nan-pixel": "one NaN pixel at step 100",
    "vanishing-gradients/sigmoids": "ten sigmoid layers in place of ReLU ones",
    "vanishing-gradients/through-time": "recurrent weights of a tanh RNN halved, 64 steps",
    "exploding-gradients/through-time": "recurrent weights of a ReLU RNN doubled, 64 steps",
    "dead-units/bias": "the bias of the second layer set to -10",
    "dead-units/large-steps": "torch's own initial values in five convolutions, SGD at 0.5",
    "saturated-units/weights": "all weights of a tanh net drawn with a standard deviation of 1.5",
    "saturated-units/bias": "a bias of 5 in the second layer of a tanh net",
    "learning-rate-too-high/sgd-3": "SGD with lr 3.0 and momentum 0.9",
    "learning-rate-too-high/sgd-1": "SGD with lr 1.0 and momentum 0.9, torch's own initial values",
    "learning-rate-too-high/adam": "Adam with lr 0.3",
    "learning-rate-too-high/one-step": "lr times 500 for one step, at step 60",
    "learning-rate-too-low/adam": "Adam with lr 1e-7",
    "softmax-before-cross-entropy/softmax": "a softmax in the model before cross-entropy",
    "softmax-before-cross-entropy/reshaped": "a softmax, in another shape and clamped, before cross-entropy",
    "softmax-before-cross-entropy/sigmoid": "a sigmoid before binary cross-entropy with logits",
    "unstable-loss-function/log-of-zero": (
        "a cross-entropy written by hand, without a floor under the logarithm"
    ),
    "non-finite/overflow": "from step 40 on a layer in the middle overflows",
    "samples-mixed/batch-first": "a layer with batch_first=False on digits of shape (samples, rows, columns)",
    "samples-mixed/text": "an LSTM with batch_first=False on text of shape (samples, characters)",
    "samples-mixed/view": "a view that exchanges samples and rows in place of a transposition",
    "causal-leak/no-mask": "a decoder of text without its causal mask",
    "causal-leak/off-by-one": "a causal mask that shows one character too many",
    "targets-equal-inputs/not-shifted": "the characters themselves as targets, not the next ones",
    "padding-in-loss/not-ignored": "texts padded to one length, without ignore_index",
    "padding-attended/mask-ignored": "attention that ignores the mask of the padding",
    "padding-attended/no-mask": "an encoder without a mask, after an embedding that knows the padding",
    "gradient-underflow/small-loss": "float16, and the loss times 1e-6",
    "sequence-padding-read/last-state": "digits with 16 blank rows after them, the state behind these read",
    "dropout-in-evaluation/function": "F.dropout without training=self.training",
    "evaluation-differs/flipped": "rows in another order in evaluation mode",
    "attention-saturation/large-weights": "the projections of queries and keys times 8",
    "layers-without-gradient/gain-of-zero": "the branches of one block times 0",
    "layers-without-gradient/round": "hidden units rounded to whole numbers",
    "overfitting/few-samples": "60 training samples, a wide net",
    "parameter-not-in-optimizer/left-out": "one layer left out of the optimizer",
    "parameter-not-in-optimizer/python-list": "the layers but the last in a Python list",
    "graph-cut/detach": "a `.detach()` after the second layer",
    "graph-cut/late-zero-grad": "`zero_grad` between the backward pass and the step",
    "gradients-not-zeroed/no-zero-grad": "no `zero_grad`",
    "train-mode-off/eval-in-step": "`self.eval()` in `training_step`",
    "train-mode-off/eval-before-fit": "a model that comes in evaluation mode",
    "softmax-over-one-unit/sigmoid-replaced": "a softmax in place of a sigmoid after one output",
    "softmax-over-one-unit/cross-entropy": "CrossEntropyLoss of a net with one output",
    "softmax-over-batch/dim-0": "dim=0 in the softmax at the end",
    "loss-needs-log-probabilities/nll": "NLLLoss without a log-softmax",
    "loss-needs-log-probabilities/softmax": "NLLLoss after a softmax",
    "loss-needs-log-probabilities/logarithm": "a hand-written cross-entropy without a softmax before it",
    "output-activation-mismatch/relu": "a ReLU after the last layer of a regression",
    "output-activation-mismatch/relu-l1": "a ReLU after the last layer of a regression with L1Loss",
    "output-activation-mismatch/tanh": "targets times 10, which a tanh at the end cannot reach",
    "output-activation-mismatch/logits": "a ReLU before CrossEntropyLoss",
    "output-activation-mismatch/several-labels": "a softmax in place of a sigmoid for three labels at once",
    "targets-out-of-range/class-indices": "one output and binary cross-entropy for three classes",
    "targets-out-of-range/minus-one": "targets -1 and 1 for binary cross-entropy",
    "shape-broadcast-in-loss/squared": "outputs (N, 1) and targets (N,) in MSELoss",
    "shape-broadcast-in-loss/absolute": "outputs (N, 1) and targets (N,) in L1Loss",
    "loss-unfit-for-targets/class-indices": "MSELoss between three outputs and the class index",
    "constant-targets/one-class": "all labels 0",
    "unscaled-targets/times-100": "targets with mean 200 and standard deviation 100",
    "unscaled-targets/no-mean": "targets with mean 0 and standard deviation 200",
    "no-gradient/dead-output": "a ReLU at the end, with a bias of -8 before it",
    "no-gradient/softmax-over-one-unit": "a softmax over the single output unit",
    "no-gradient/times-zero": "the output multiplied by 0",
    "no-learning/one-feature-norm": "a layer normalization over the single output",
    "no-learning/weight-penalty": "0.25 times the sum of all squared weights in the loss",
    "dead-units/narrow-layer": "a bias of -20 in a layer of 4 units",
    "dead-units/late": "a bias of -50 in the first layer from step 130 of 160 on",
    "saturated-units/output": "targets of 80 to 340 for a tanh output",
    "learning-rate-too-high/warm-up": "Adam with lr 1.0 behind a warm-up of 80 steps",
    "learning-rate-too-low/warm-up": "Adam with lr 1e-8 behind a warm-up of 20 steps",
    "weight-decay-too-strong/sgd": "SGD with a weight decay of 0.5",
    "weight-decay-too-strong/adam": "Adam with a weight decay of 1",
    "weight-decay-too-strong/adamw": "AdamW with a weight decay of 100",
    "schedule-interval/decay-per-step": "StepLR over 4 epochs, stepped at every step",
    "schedule-interval/cosine-per-step": "a cosine over all 12 epochs, stepped at every step",
    "schedule-interval/cosine-per-epoch": "a cosine over all 252 steps, stepped at every epoch",
    "schedule-interval/warm-up-per-epoch": "a warm-up over 1000 steps, stepped at every epoch",
    "schedule-ends-early/linear": "a linear decay to 0 over the first 38 of 252 steps",
    "schedule-ends-early/cosine": "a cosine over 4 of 12 epochs",
    "schedule-longer-than-run/cosine": "a cosine over 504 steps in a run of 252",
    "clipping-too-tight/norm-1e-4": "SGD with `gradient_clip_val=1e-4`",
    "loss-sign-wrong/minus": "a minus sign before the loss",
    "loss-sign-wrong/factor": "the loss times -0.5",
    "loss-sign-wrong/missing-minus": "the mean log-probability of the labels, without its minus sign",
    "learning-rate-too-high/diverges": "SGD with lr 0.1 and momentum 0.9 behind a warm-up of 100 steps",
    "stopped-too-early/half-the-steps": "420 steps of plain SGD where 840 suffice",
    "stopped-too-early/hardly-begun": "60 steps of Adam with lr 2e-5",
    "learning-rate-too-low/full-batch": "Adam with lr 1e-8, all samples in one batch",
    "learning-rate-too-low/quadratic": "SGD with lr 0.001 on a curve without noise",
    "learning-rate-too-low/absolute": "SGD with lr 1e-4 on a curve without noise, L1Loss",
    "loss-not-averaged/sum": 'SGD and a loss with `reduction="sum"`',
    "loss-not-averaged/added-up": "SGD and the sum of the losses of all samples",
    "train-val-mismatch/raw-pixels": "validation inputs that are not normalized",
    "softmax-before-cross-entropy/validation-only": "a softmax before the loss in `validation_step` only",
    "validation-loss-differs/squares": "squared errors of probabilities as the loss of `validation_step`",
    "train-val-overlap/copy": "500 training samples as validation data",
    "batches-not-shuffled/sorted-by-class": "training data sorted by class, without shuffling",
    "bad-batch/times-10000": "the inputs of one batch times 10,000",
    "labels-unrelated-to-inputs/permuted-in-batches": "labels permuted inside every batch",
    "labels-unrelated-to-inputs/shuffled-once": "labels shuffled once, without the inputs",
    "noisy-labels/thirty-per-cent": "30 % of the training labels drawn at random",
    "batch-statistics-too-noisy/batch-of-two": "batches of 2 with batch normalization of a table",
    "batch-statistics-too-noisy/slow-statistics": "momentum=0.0005 in batch normalization",
    "over-regularized/dropout": "dropout of 0.95 in place of 0.5",
    "unscaled-inputs/three-columns": "three columns of a table times 1,000",
    "one-class-predicted/rare-class": "4 % positives without pos_weight",
}
NETS = {
    "mlp": "deep MLP", "cnn": "CNN", "cnn-batchnorm": "CNN with BatchNorm", "residual": "residual CNN",
    "recurrent": "LSTM or RNN", "transformer": "transformer", "autoencoder": "autoencoder",
    "curve": "small tanh MLP on a curve", "table": "MLP on a table",
    "table-ours": "MLP on a table, layers of nnfoundations",
    "sequence": "GRU over a sequence",
    "wine": "MLP, wine data", "regression": "MLP, diabetes data", "cancer": "MLP, breast cancer data",
    "regression-ours": "MLP of nnfoundations, diabetes data",
    "cancer-ours": "MLP of nnfoundations, breast cancer data",
    "text": "decoder of characters", "text-ours": "decoder of characters, layers of nnfoundations",
    "text-lstm": "LSTM of characters",
    "rows-mlp": "MLP on the rows of digits",
    "rows-mlp-ours": "MLP of nnfoundations on the rows of digits",
    "rows-lstm": "LSTM on the rows of digits", "rows-attention": "attention over the rows of digits",
    "rows-lstm-ours": "LSTM of nnfoundations on the rows of digits",
}  # fmt: skip
TELLING = {
    "unscaled-inputs": "input of rms",
    "constant-inputs": "input of spread",
    "constant-targets": "target of spread",
    "parameter-not-in-optimizer": "update_ratio by layer",
    "graph-cut": "gradient_norm by layer",
    "gradients-not-zeroed": "stale_gradient of norm",
    "symmetric-weights": "gradient_norm by layer",
    "bad-initialization": "activation_std by layer",
    "bad-output-scale": "activation_std by layer",
    "exploding-gradients": "gradient_norm",
    "vanishing-gradients": "gradient_norm by layer",
    "saturated-units": "saturated_share",
    "dead-units": "silent_share",
    "overfitting": "validation_loss of loss",
    "no-gradient": "gradient_norm by layer",
    "no-learning": "sample_spread by layer",
    "learning-rate-too-high": "update_ratio",
    "learning-rate-too-low": "update_ratio",
    "train-val-mismatch": "validation_loss of loss",
    "train-val-overlap": "validation_loss of loss",
    "labels-unrelated-to-inputs": "validation_loss of loss",
    "over-regularized": "validation_loss of loss",
    "noisy-labels": "label_ranks of wrong",
    "validation-loss-differs": "validation_loss of loss",
    "batch-statistics-too-noisy": "statistics_gap by layer",
    "batches-not-shuffled": "batch_classes of equal_pairs",
    "bad-batch": "batch_rms of rms",
    "one-class-predicted": "predictions of found",
}
"""The quantity that a figure shows beside the loss; by default the first that the rule needs and that has one
number per layer or parameter."""

TITLES = {
    "input of rms": "RMS of the inputs",
    "input of spread": "standard deviation of an input over the batch",
    "stale_gradient of norm": "gradient norm before the backward pass",
    "saturated_share": "share of saturated units, worst layer",
    "silent_share": "share of units that are 0 on every sample, worst layer",
    "target of spread": "range of the targets in a batch",
    "validation_loss of loss": "validation loss",
    "label_ranks of wrong": "samples of a batch predicted otherwise than labelled",
    "sample_spread by layer": "spread over the samples / size, layer by layer",
    "update_ratio": "update / weight, median layer",
    "update_ratio by layer": "update / weight, layer by layer",
    "gradient_norm": "gradient norm",
    "gradient_norm by layer": "gradient norm, layer by layer",
    "activation_std by layer": "standard deviation of activations, layer by layer",
}


# -- runs ------------------------------------------------------------------------------------------------


def rows_and_figures() -> list[dict[str, Any]]:
    """Train each fault and its healthy twin in its first net; in other nets if a rule has no example yet."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    import faults

    rows: list[dict[str, Any]] = []
    shown = set()
    plan = [(fault, fault.nets[0]) for fault in faults.FAULTS]
    others = [(fault, net) for fault in faults.FAULTS for net in fault.nets[1:]]
    for i, (fault, net) in enumerate(plan + others):
        cause = fault.causes[0]
        if cause in shown and i >= len(plan):
            continue
        row, histories = run(fault, net)
        if row["named"] == cause and cause not in shown:
            shown.add(cause)
            draw(cause, *histories)
            row["figure"] = "yes"
        if i < len(plan) or row["figure"] == "yes":
            rows.append(row)
            sys.stdout.write(f"{fault.id} {net}: {row['named'] or 'nothing'} ({row['right']})\n")
    return rows


def run(fault: Any, net: str) -> tuple[dict[str, Any], tuple[History, History]]:
    """Run a fault in a net; return its row, and the measurements of the healthy and of the broken run."""
    import zoo

    healthy, broken = (
        zoo.run(case.build(), case.steps, case.data, **case.options)
        for case in (fault.healthy(net), fault.broken(net))
    )
    found = broken.findings[0] if broken.findings else None
    right = found is not None and found.fault in fault.causes and found.first_step <= fault.by
    row = {
        "fault": fault.id, "net": net, "expected": fault.causes[0], "named": found.fault if found else "",
        "step": found.first_step if found else "", "right": "yes" if right else "no",
        "twin": ", ".join(finding.fault for finding in healthy.findings) or "silent", "figure": "no",
        "severity": str(found.severity) if found else "", "where": "; ".join(found.where) if found else "",
        "explains": "; ".join(found.consequences) if found else "",
    }  # fmt: skip
    row |= {name: getattr(found, name) if found else "" for name in ("evidence", "cause", "remedy")}
    row |= curves_of("fault", broken.history) | curves_of("twin", healthy.history)
    return row, (healthy.history, broken.history)


def curves_of(run: str, history: History) -> dict[str, Any]:
    """Return how the losses of a run went: at the start, at best and at the end."""
    losses = history["loss"].rows[:, 0]
    numbers = {"first": losses[0], "last": np.median(losses[-10:])}
    numbers |= dict.fromkeys(("best_validation", "last_validation"))
    if len(checks := history["validation_loss"]) > 1:
        values = checks.column("loss")
        numbers |= {"best_validation": values.min(), "last_validation": values[-1]}
    steps = {f"{run}_steps": int(history["loss"].steps[-1]) + 1}
    return steps | {f"{run}_{k}": "" if v is None else f"{v:.3g}" for k, v in numbers.items()}


def draw(fault: str, healthy: History, broken: History) -> None:
    """Draw the loss and the quantity that shows the fault, for the broken run and its healthy twin."""
    from matplotlib.figure import Figure

    telling = telling_of(fault)
    figure = Figure(figsize=(8, 2.5), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2)
    for history, label, colour in ((healthy, "healthy twin", "#7f7f7f"), (broken, fault, "#c0392b")):
        losses, (x, y) = history["loss"], curve(history, telling)
        left.plot(losses.steps, losses.rows[:, :1], color=colour, label=label, linewidth=1.2)
        right.plot(x, y, color=colour, marker="o" if len(x) < 40 else "", markersize=3, linewidth=1.2)
        lost = losses.steps[~np.isfinite(losses.rows[:, :1].ravel())]
        if len(lost):
            left.axvline(lost[0], color=colour, linestyle=":", label=f"not finite from step {lost[0]} on")
    right.set_xlabel("layer, from the input" if "by layer" in telling else "step", fontsize=8)
    left.set_xlabel("step", fontsize=8)
    left.legend(fontsize=8, frameon=False)
    for axes, title in ((left, "training loss"), (right, TITLES.get(telling, telling.replace("_", " ")))):
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        values = np.concatenate([np.ravel(line.get_ydata()).astype(float) for line in axes.lines])
        seen = values[np.isfinite(values)]
        if len(seen) and seen.max() > 30 * seen.min() > 0 and "share" not in title:
            axes.set_yscale("log")
    figure.savefig(image_of(fault))


def telling_of(fault: str) -> str:
    """Return the quantity that a figure shows beside the loss."""
    needs = next(rule.needs for rule in RULES if rule.fault == fault)
    series = (name for name in needs if name != "loss" and name in QUANTITIES)
    plain = (name for name in series if isinstance(QUANTITIES[name].columns, str))
    return TELLING.get(fault) or next(plain, "gradient_norm")


def curve(history: History, telling: str) -> tuple[Any, Any]:
    """Return the curve of a quantity: over the layers at the first measurements, or over the steps."""
    quantity, _, by_layer = telling.partition(" by ")
    quantity, _, column = quantity.partition(" of ")
    series = history[quantity]
    if not len(series):
        return [], []
    if column:
        return series.steps, series.column(column)
    if quantity.endswith("share"):
        return series.steps, series.rows.max(1)
    chosen = weight_matrices(history, series.columns) or list(range(len(series.columns)))
    rows = np.where(np.isfinite(series.rows), series.rows, np.nan)[:, chosen]
    if quantity == "gradient_norm" and not by_layer:
        return series.steps, np.sqrt(np.square(rows).sum(1))
    if not by_layer:
        return series.steps, [median(row) for row in rows]
    measured = dict(zip([series.columns[i] for i in chosen], np.median(rows[:3], axis=0), strict=True))
    if set(measured) <= set(history.parameters):  # a missing layer leaves a gap
        every = weight_matrices(history, tuple(history.parameters))
        measured = {
            name: measured.get(name, np.nan) for name in [tuple(history.parameters)[i] for i in every]
        }
    return list(range(len(measured))), list(measured.values())


def image_of(fault: str) -> Path:
    return IMAGES / f"diagnostics_{fault}.png"


# -- pages -----------------------------------------------------------------------------------------------


def pages() -> dict[Path, str]:
    """Build all documents: docs/diagnostics.md, the list of faults, and a page for each rule."""
    rows = fault_pages.read(ROWS.stem)
    for row in rows:
        row["run"] = f"{NETS.get(row['net'], row['net'])}: {INJECTED.get(row['fault'], row['fault'])}"
    documents = {PAGE: page(rows), PAGES / "README.md": fault_pages.index()}
    for rule in RULES:
        documents[PAGES / f"{rule.fault}.md"] = fault_pages.fault_page(rule, rows)
    return documents


def page(rows: list[dict[str, str]]) -> str:
    """Build docs/diagnostics.md from its head, the benchmarks and the committed rows."""
    example = next(row for row in rows if row["fault"] == "learning-rate-too-high/adam")
    head = HEAD.read_text(encoding="utf-8").replace("{example}", "\n".join(t for _, t in told(example)))
    return "\n\n".join([head.rstrip(), cost(), accuracy(), summary(rows)]) + "\n"


def told(row: dict[str, str]) -> list[tuple[str, str]]:
    """Lay out the finding of a row as the terminal shows it."""
    where, explains = (tuple(filter(None, row[name].split("; "))) for name in ("where", "explains"))
    step = int(row["step"])
    return announcement(
        Finding(row["named"], Severity(row["severity"]), step, step, where, row["evidence"], row["cause"],
                row["remedy"], explains),
        100,
    )  # fmt: skip


def cost() -> str:
    """Build the part about cost, from the rows of the benchmarks."""
    rows = fault_pages.read("diagnostics_cost")
    table = ["| net, batch | with | ms per step | ratio | added after step 100 |", "|---|---|---|---|---|"]
    for row in rows:
        added = "" if row["arm"] == "nothing" else f"{float(row['steady_added_us']):+.0f} us"
        table.append(
            f"| {row['net']} | {row['arm']} | {float(row['whole_ms']):.2f} | "
            f"{float(row['whole_ratio']):.3f} x | {added} |"
        )
    device = f"{rows[0]['device']}, {rows[0]['threads']} thread, torch {rows[0]['torch']}"
    steps = [
        "| net, batch | pairs | steps | ms per step | added, whole run | own clock "
        "| added after step 100 | own clock |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in fault_pages.read("diagnostics_step"):
        cells = [row["net"], row["pairs"], row["steps"], f"{float(row['bare_ms']):.2f}"]
        for part in ("whole", "steady"):
            added, error, own = (float(row[f"{part}_{name}_us"]) for name in ("added", "error", "own"))
            share = float(row[f"{part}_ratio"]) - 1
            cells += [f"{added:.0f} ± {error:.0f} us ({share:.1%})", f"{own:.0f} us"]
        steps.append(f"| {' | '.join(cells)} |")
    return (
        "Pairs of equal trainings run in turn, 25 steps at a time, one of each with diagnostics. The table\n"
        "shows the difference in CPU time with its standard error, and the cost that diagnostics measured\n"
        "with their own clock ([rows](results/diagnostics_step.csv), `benchmarks/diagnostics_step.py`):\n\n"
        + "\n".join(steps)
        + "\n\n"
        "The next table compares other tools, in alternating runs with Lightning on MNIST. It shows medians\n"
        f"over the rounds on {device}\n([rows](results/diagnostics_cost.csv), "
        "`benchmarks/diagnostics_cost.py`):\n\n" + "\n".join(table)
    )


def accuracy() -> str:
    """Build the part about accuracy, from the rows of the benchmark."""
    rows = fault_pages.read("diagnostics_accuracy")
    seeds = len({row["seed"] for row in rows})
    faulty = [row for row in rows if row["kind"] == "faulty"]
    right = [row for row in faulty if row["right"] == "1"]
    placed = [row["placed"] for row in right if row["placed"]]
    counted = {
        "healthy runs with a false alarm (the limits were set on these runs)": [
            row["right"] == "0" for row in rows if row["kind"] == "healthy"
        ],
        "held-out healthy runs with a false alarm": [
            row["right"] == "0" for row in rows if row["kind"] == "held-out"
        ],
        "faulty runs with the right root cause": [row["right"] == "1" for row in faulty],
        "of these, found in time": [int(row["step"]) <= int(row["by"]) for row in right],
        "of these, with a second finding that is wrong": [row["extra"] != "0" for row in right],
        "of these, with the right layer, if the fault has one": [share == "1" for share in placed],
    }
    table = ["| outcome | runs | of |", "|---|---|---|"]
    table += [f"| {what} | {sum(counts)} | {len(counts)} |" for what, counts in counted.items()]
    moved = fault_pages.read("diagnostics_margins")
    recorded = max(int(row["runs"]) for row in moved)
    kinds = sorted({kind for row in moved for kind in row["data"].split()})
    data = ", ".join(
        {"cancer": "breast cancer", "fashion": "Fashion-MNIST"}.get(kind, kind) for kind in kinds
    )
    return (
        "## Accuracy\n\nFaults in up to seven kinds of networks, healthy runs that resemble a fault, and "
        f"held-out healthy runs, with {seeds}\nseed{'s' * (seeds > 1)} each, on digits and tables "
        "([rows](results/diagnostics_accuracy.csv), `benchmarks/diagnostics_accuracy.py`):\n\n"
        + "\n".join(table)
        + "\n\nThe rules were tuned on these faulty runs, with seed 0 first. So the table\n"
        "checks the rules; it does not estimate how often they are right in other projects.\n"
        "The [benchmark](benchmark.md) does, on programs that no limit was set on.\n\n"
        f"{remedies()}\n\n"
        f"Each limit was moved, by a factor of up to 3 up and down, over up to {recorded} recorded runs:\n"
        f"{data}. The pages of the faults give the\n"
        "range in which no run gets another result ([rows](results/diagnostics_margins.csv),\n"
        "`benchmarks/diagnostics_ablation.py`). Those of the older rules were also switched off\n"
        "([rows](results/diagnostics_ablation.csv))."
    )


def remedies() -> str:
    """Say how often the remedy of a finding helped."""
    rows = [row for row in fault_pages.read("diagnostics_remedies") if row["gain"] != "nan"]
    good = sum(float(row["gain"]) >= 0.95 for row in rows)
    return (
        f"A program applied the remedy of the first finding in {len(rows)} faulty runs. {good} of them\n"
        "then got at least 95 % of the way from the score of the fault to that of the healthy twin\n"
        "([rows](results/diagnostics_remedies.csv), `benchmarks/diagnostics_remedies.py`)."
    )


def summary(rows: list[dict[str, str]]) -> str:
    """Build the part that links to the pages of the faults."""
    right = sum(row["right"] == "yes" for row in rows)
    silent = sum(row["twin"] == "silent" for row in rows)
    table = ["| family | faults |", "|---|---|"]
    for family, rules in fault_pages.by_family():
        links = ", ".join(f"[`{rule.fault}`](faults/{rule.fault}.md)" for rule in rules)
        table.append(f"| {family} | {links} |")
    return "\n\n".join([
        "## Faults",
        "Each fault has a page with symptom, evidence, cause, fix, and a figure of a real run beside its\n"
        "healthy twin. The [list of faults](faults/README.md) says what each fault is. Offline,\n"
        "`nnfoundations explain` prints this list, and `nnfoundations explain dead-units` a page.",
        "\n".join(table),
        "Each fault was injected into networks that train on digits or on a table. Its healthy twin is\n"
        f"the same run without the fault. {right} of {len(rows)} faults were found in time as root cause,\n"
        f"and {silent} healthy twins had no finding ([rows](results/diagnostics_faults.csv)).",
    ])  # fmt: skip


if __name__ == "__main__":
    if "--page" not in sys.argv:
        table = rows_and_figures()
        with ROWS.open("w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, list(table[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
    PAGES.mkdir(exist_ok=True)
    documents = pages()
    for old in set(PAGES.glob("*.md")) - set(documents):
        old.unlink()
    for path, text in documents.items():
        path.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{len(documents)} pages\n")
