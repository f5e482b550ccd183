"""What the activation and the width change, on the engine of `nnfoundations.autograd`.

The engine computes every gradient, with the chain rule and a table of derivatives. Its gradients are compared
with torch's and with differences. The networks are the smallest that show something: XOR with 2 and 8 hidden
units, the 8x8 digits, and a curve fitted by 1 to 64 units, with and without a skip connection.
"""

from pathlib import Path

from nnfoundations.labs._runner.lab import Arm, Lab, Measured, Preset

__all__ = ["ACTIVATIONS", "LAB", "WIDTHS", "measure"]

ACTIVATIONS = {"relu": "ReLU", "gelu": "GELU", "silu": "SiLU", "tanh": "tanh"}
WIDTHS = (1, 4, 16, 64)
SMOKE = ("xor_2_relu", "xor_2_gelu", "digits_gelu", "fit_4_skip")
QUICK = ("xor_2_relu", "xor_2_gelu", "xor_8_relu", "digits_relu", "digits_gelu", "fit_4", "fit_4_skip")


def measure(folder: Path) -> Measured:
    """Read a run of XOR, of the digits or of the curve.

    Args:
        folder: of the run.

    Returns:
        Values: `solved` (XOR), `accuracy` (digits, % of the held-out part) or `rmse` (curve); `loss` at the
        end; the largest difference of the gradients from torch's, whether gradcheck passes, and how many
        powers of ten a step of 1e-12 is worse than one of 1e-5. Curves: the loss of each epoch, the error of
        differences for each step; misses of each digit in %; the fitted curve.
    """
    from nnfoundations.labs.autograd.measure import read  # imports torch

    return read(folder)


def _arms(task: str, label: str) -> tuple[Arm, ...]:
    option = "--model.init_args.net.init_args.activation"
    return tuple(
        Arm(f"{task}_{name}", f"{label}, {shown}", f"autograd/{task}", (option, name))
        for name, shown in ACTIVATIONS.items()
    )


def _fits(width: int) -> tuple[Arm, Arm]:
    label = f"curve, {width} unit" + "s" * (width > 1)
    skip = ("--model.init_args.net.init_args.skip", "true")
    return (
        Arm(f"fit_{width}", label),
        Arm(f"fit_{width}_skip", f"{label}, skip", f"autograd/fit_{width}", skip),
    )


LAB = Lab(
    name="autograd",
    question="What does the activation change: the gradients, how often training solves XOR, the accuracy on "
    "the digits? And how wide must a layer be to fit a curve, with and without a skip connection?",
    setup={
        "engine": "`nnfoundations.autograd`: reverse mode on NumPy arrays; torch only runs the optimizer",
        "XOR": "2-2-2 and 2-8-2, inputs -1 and 1, the four patterns as one batch; 300 steps of SGD, rate "
        "0.3, momentum 0.9",
        "digits": "scikit-learn's 8x8 digits, 64-32-10; for each seed a stratified split of 1,437 for "
        "training and 360 held out, standardized per pixel; 30 epochs of SGD, batches of 32, rate 0.1, "
        "momentum 0.9. Nothing is chosen, so there is no validation part, and the 360 are read once, after "
        "the last epoch",
        "curve": "sin 2x + x / 2 on [-2, 2], 256 points without noise; 1, 4, 16 or 64 tanh units; 60 epochs "
        "of Adam, batches of 32, rate 0.05",
        "skip": "a linear map of the input is added to the output",
        "rate": "falls linearly to 0 in all runs, and is the same for all activations",
        "a seed": "determines initial values, order and split; arms of one task with one seed are paired",
        "gradients": "of every trained network: against torch's, and against differences, in float64",
    },
    arms=(
        *_arms("xor_2", "XOR, 2 units"),
        *_arms("xor_8", "XOR, 8 units"),
        *_arms("digits", "digits"),
        *(arm for width in WIDTHS for arm in _fits(width)),
    ),
    presets={
        "smoke": Preset(1, 4, ("--trainer.max_epochs", "1"), SMOKE, notebook=False),
        "quick": Preset(5, 70, arms=QUICK),
        "full": Preset(20, 1120),
    },
    measure=measure,
    table={
        "solved": "XOR solved",
        "accuracy": "accuracy, %",
        "rmse": "error of the fit",
        "gradient_error": "error of gradients",
    },
    comparisons=(
        *((f"xor_2_{name}", "xor_2_relu") for name in ("gelu", "silu", "tanh")),
        *((f"xor_8_{name}", f"xor_2_{name}") for name in ACTIVATIONS),
    ),
    main_figure="xor",
)
