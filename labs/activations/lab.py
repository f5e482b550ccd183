"""Activations: accuracy, cost, depth and initial weights.

The same network with seven activations, each at the learning rate that suits it best; ReLU and SiLU (Swish)
at 10 to 50 layers; signal and gradients in 20 layers that are not trained yet, from seven kinds of initial
weights; and 30 layers of ReLU from He's and from Xavier's initial weights.
"""

from pathlib import Path

from nnfoundations.labs._runner.lab import Arm, Choice, Lab, Measured, Preset
from nnfoundations.labs._runner.tuning import RATE
from nnfoundations.labs.activations.tuning import GRID, TUNING

__all__ = ["ACTIVATIONS", "DEPTHS", "LAB", "NETS", "measure"]

ACTIVATIONS = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "ReLU", "leaky": "LeakyReLU", "prelu": "PReLU",
               "gelu": "GELU", "silu": "SiLU"}  # fmt: skip
DEPTHS = (10, 30, 50)
NETS = tuple(f"net_{name}" for name in ACTIVATIONS)
SMOKE = ("deep_10_relu", "deep_10_silu")
QUICK = ("net_sigmoid", "net_relu", "net_gelu", *SMOKE)
NET = "--model.init_args.net.init_args"
TUNED = TUNING.rates()


def measure(folder: Path) -> Measured:
    """Read a run, and measure its activation in a network of 20 layers that is not trained.

    Args:
        folder: of the run.

    Returns:
        Values: `accuracy` on validation data in %, `loss` there, `train_loss`, `steps`, and `no_signal`: 1 if
        Diagnostics says that no signal gets through. For clothes also, with own, He's and Xavier's initial
        weights, the gradient of the first hidden layer over that of the last, and the spread of the last over
        that of the first. Curves: loss and accuracy of each epoch; spread and gradient of each layer.
    """
    from nnfoundations.labs.activations.measure import read  # imports torch

    return read(folder)


def _arm(name: str, label: str, config: str, **options: object) -> Arm:
    given = [text for key, value in options.items() for text in (f"{NET}.{key}", str(value))]
    return Arm(name, label, f"activations/{config}", (*given, RATE, str(TUNED.get(name, GRID[0]))))


def _deep(name: str, depth: int) -> Arm:
    kind = ACTIVATIONS[name]
    init = {} if name == "relu" else {"init": "he"}  # for ReLU its own are He's
    return _arm(
        f"deep_{depth}_{name}", f"{depth} layers, {kind}", "deep", depth=depth, activation=kind, **init
    )


LAB = Lab(
    name="activations",
    question="Which activation gives the best accuracy, what does it cost, and from which depth and which "
    "initial weights do gradients vanish?",
    setup={
        "the same network": "Fashion-MNIST: 5,000 images for training, 5,000 for validation; 784-64-64-10; 8 "
        "epochs of SGD, batches of 64, momentum 0.9",
        "depth": "8x8 digits of scikit-learn: 1,078 for training, 360 for validation; 10 to 50 hidden layers "
        "of 64 units, without normalization or skip connections; 20 epochs of SGD, batches of 64, momentum "
        "0.9",
        "initial values": "weights from a normal distribution, biases 0. fan_in is the number of inputs of a "
        "unit, and fan_out the number of units. Xavier's: variance 2 / (fan_in + fan_out). He's: 2 / fan_in. "
        "Own: 1 / (fan_in E φ(z)²) for the activation φ, where E φ(z)² is the mean of φ(z)² over z from a "
        "standard normal distribution. For ReLU that is He's",
        "rate": "falls linearly to 0; its start is the best of 0.01, 0.03 and 0.1 on the validation "
        "data with seed 100, the trial seed, for each arm; an arm whose best rate is at an end gets further "
        "ones; of equally good rates the middle one is taken",
        "a seed": "determines initial values and order; arms of one task with one seed are paired",
        "at initialization": "20 hidden layers of 64 units, 256 digits, not trained",
        "preset `quick`": "5 arms, 3 epochs each; the rate does not reach 0",
        "chosen for the test": "the activation with the largest mean accuracy on clothes",
    },
    arms=(
        *(_arm(f"net_{name}", kind, "net", activation=kind) for name, kind in ACTIVATIONS.items()),
        *(_deep(name, depth) for depth in DEPTHS for name in ("relu", "silu")),
        _arm("xavier_30", "30 layers, ReLU, Xavier", "deep", depth=30, activation="ReLU", init="xavier"),
    ),
    presets={
        "smoke": Preset(1, 8, ("--trainer.max_epochs", "1"), SMOKE, notebook=False),
        "quick": Preset(
            5,
            60,
            ("--trainer.max_epochs", "3", "--figures.every_n_epochs", "0"),
            QUICK,
        ),
        "full": Preset(5, 640),
    },
    measure=measure,
    table={
        "accuracy": "validation accuracy, %",
        "train_loss": "training loss",
        "no_signal": "named by Diagnostics",
    },
    comparisons=tuple((arm, "net_relu") for arm in NETS if arm != "net_relu"),
    main_figure="depth",
    choices=(Choice("accuracy", "largest", NETS),),
    data=("FashionMNIST",),
)
