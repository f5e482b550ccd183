"""A network by hand: what each step of a recipe buys, and which check finds which wrong gradient.

The layers are those of `nnfoundations.numpy`. The ladder adds one change at a time to the same network.
The museum trains networks with one fault each, most of them in the gradient.
"""

from nnfoundations.labs._runner.lab import Arm, Choice, Lab, Preset
from nnfoundations.labs.numpy_mlp.reading import measure

__all__ = ["BY_HAND", "DEPTHS", "LAB", "LADDER", "RATES", "WIDTHS"]

BY_HAND = ("unit", "plain", "numpy_decay")
LADDER = ("sgd", "momentum", "schedule", "decay", "adamw", "affine", "elastic", "norm", "average")
RATES = {f"rate_{rate:g}": rate for rate in (0.001, 0.01, 0.1, 1.0)}
WIDTHS = {"linear": "0", "width_16": "16", "width_128": "128", "width_1024": "1024"}
DEPTHS = {"width_128": "1", "depth_2": "2", "depth_4": "4", "depth_8": "8"}


def _small(name: str, label: str, sizes: str, rate: float) -> Arm:
    """An arm on 10,000 images."""
    options = ("--model.init_args.net.init_args.sizes", f"[{sizes}]",
               "--model.init_args.optimizer.init_args.lr", str(rate))  # fmt: skip
    return Arm(name, label, "numpy_mlp/small", options)


LAB = Lab(
    name="numpy_mlp",
    question="Which step of a recipe buys how much on MNIST, and which check finds which wrong gradient?",
    setup={
        "data": "MNIST: 55,000 training and 5,000 validation images, one fixed stratified split. All choices "
        "are made on the validation part; the best network by hand and the best rung are tested",
        "model": "784-256-128-10, ReLU, 235,146 weights and biases, 768 more with batch norm; He's initial "
        "values",
        "plain": "by hand, `nnfoundations.numpy`: SGD, batches of 64, rate 0.01, 10 epochs",
        "momentum, decay": "by hand: momentum 0.9, decay 1e-4, a rate that falls to zero, 10 epochs",
        "ladder": "on torch: one change per rung, batches of 128, 15 epochs each. The rate of each rung is "
        "the best of at least four, tried with seed 100, which no run here uses",
        "10k": "by hand, on 10,000 images, 10 epochs. The rate of each size is tuned too",
        "museum": "784-64-32-10, 10,000 images, 4 epochs, rate 0.05: wrong and sound networks on the same "
        "batches",
        "a seed": "determines initial values, order and augmentation; arms with the same seed are paired",
    },
    arms=(
        Arm("unit", "plain, pixels 0 to 1"),
        Arm("plain", "plain"),
        Arm("numpy_decay", "NumPy, momentum and decay"),
        Arm("sgd", "SGD"),
        Arm("momentum", "+ momentum"),
        Arm("schedule", "+ schedule"),
        Arm("decay", "+ decay"),
        Arm("adamw", "AdamW for SGD"),
        Arm("affine", "+ affine"),
        Arm("elastic", "+ elastic"),
        Arm("norm", "+ batch norm"),
        Arm("average", "+ average"),
        *(_small(name, f"10k, rate {rate:g}", "784,256,128,10", rate) for name, rate in RATES.items()),
        _small("linear", "10k, no hidden layer", "784,10", 0.02),
        _small("width_16", "10k, 1 x 16", "784,16,10", 0.08),
        _small("width_128", "10k, 1 x 128", "784,128,10", 0.32),
        _small("width_1024", "10k, 1 x 1024", "784,1024,10", 0.64),
        _small("depth_2", "10k, 2 x 128", "784,128,128,10", 0.16),
        _small("depth_4", "10k, 4 x 128", f"784,{','.join(['128'] * 4)},10", 0.16),
        _small("depth_8", "10k, 8 x 128", f"784,{','.join(['128'] * 8)},10", 0.08),
        Arm("outliers", "curve with outliers"),
        Arm("museum", "museum"),
    ),
    presets={
        "smoke": Preset(
            1,
            10,
            (
                *("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2"),
                *("--trainer.limit_val_batches", "1", "--trainer.log_every_n_steps", "1"),
                *("--figures.every_n_epochs", "0"),
            ),
            arms=("plain", "average", "outliers"),
            notebook=False,
        ),
        "quick": Preset(
            5,
            58,
            (
                *("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "160"),
                *("--trainer.log_every_n_steps", "4", "--figures.every_n_epochs", "0"),
            ),
            arms=("unit", "plain", "sgd", "adamw", "outliers"),
        ),
        "full": Preset(5, 3380),
    },
    measure=measure,
    table={"error": "validation error, %", "train_error": "training error, %"},
    comparisons=(
        *(("plain", "unit"), ("width_1024", "width_128"), ("depth_8", "width_128")),
        *zip(LADDER[1:], LADDER[:-1], strict=True),
    ),
    main_figure="ladder",
    choices=(Choice("accuracy", "largest", among=BY_HAND), Choice("accuracy", "largest", among=LADDER)),
    data=("MNIST",),
)
