"""The faults, the sound networks, the checks and the symptoms of the lab, as data."""

from dataclasses import dataclass

__all__ = ["CHECKS", "COURSE", "FAULTS", "SOUND", "SYMPTOMS", "Fault"]


@dataclass(frozen=True)
class Fault:
    """A fault that an arm of the same name has.

    Args:
        label: what is wrong.
        named: the names under which Diagnostics may report it as the root cause.
        sound: the arm without the fault.
        fix: what the fixed arm has changed, as the remedy of the finding says.
        fixed: the arm with the fix; empty if the fix makes the sound arm.
    """

    label: str
    named: tuple[str, ...]
    sound: str
    fix: str
    fixed: str = ""

    @property
    def fixed_arm(self) -> str:
        """The arm with the fix."""
        return self.fixed or self.sound


FAULTS = {
    "rate_high": Fault("learning rate too high", ("learning-rate-too-high",), "plain",
                       "the rate that the finding names", "rate_high_fixed"),
    "rate_low": Fault("learning rate too low", ("learning-rate-too-low",), "plain",
                      "the rate that the finding names", "rate_low_fixed"),
    "vanishing": Fault("ten sigmoid layers", ("vanishing-gradients",), "deep",
                       "batch norm between the layers", "vanishing_fixed"),
    "overfitting": Fault("128 training images", ("overfitting",), "wide", "augmentation and dropout",
                         "overfitting_fixed"),
    "dead": Fault("bias of -10", ("dead-units",), "plain", "bias 0"),
    "large_init": Fault("initial weights 2.5 times too large", ("bad-initialization",), "deep",
                        "He's initial weights"),
    "xavier_30": Fault("Xavier's weights in 30 ReLU layers", ("bad-initialization",), "deep_30",
                       "He's initial weights"),
    "exploding": Fault("recurrent weights doubled", ("exploding-gradients", "bad-initialization"), "rows",
                       "orthogonal recurrent weights"),
    "unscaled": Fault("pixels from 0 to 255", ("unscaled-inputs",), "plain",
                      "pixels divided by their root mean square", "unscaled_fixed"),
    "labels": Fault("labels of other images", ("labels-unrelated-to-inputs",), "plain",
                    "each image with its label"),
    "softmax": Fault("softmax before cross-entropy", ("softmax-before-cross-entropy",), "plain",
                     "no softmax"),
    "log_zero": Fault("logarithm of 0 in the loss", ("unstable-loss-function",), "plain",
                      "a loss that takes logits"),
    "sign": Fault("wrong sign of the loss", ("loss-sign-wrong",), "plain", "the right sign"),
    "not_zeroed": Fault("gradients not zeroed", ("gradients-not-zeroed",), "plain",
                        "gradients zeroed at each step"),
    "listed": Fault("layers in a Python list", ("parameter-not-in-optimizer",), "plain",
                    "layers in a module, so that the optimizer gets them"),
    "eval_mode": Fault("evaluation mode in training", ("train-mode-off",), "norm", "no eval() in the step"),
}  # fmt: skip
"""By the name of the broken arm."""

SOUND = {
    "plain": "sound: 2 layers, SGD",
    "deep": "sound: 10 layers",
    "deep_30": "sound: 30 layers",
    "wide": "sound: wide",
    "norm": "sound: batch norm, dropout",
    "rows": "sound: RNN over rows",
    "tanh": "sound: 8 tanh layers",
    "adam": "sound: GELU, AdamW, cosine",
    "cnn": "sound: CNN",
}
"""Networks without a fault, by arm."""

COURSE = {
    "one_batch": "overfits one batch",
    "falls": "loss falls in 100 steps",
    "explodes": "loss explodes",
    "rises": "validation loss rises",
}
"""The four checks of the course, by column."""

CHECKS = COURSE | {
    "initial": "initial loss",
    "gradient": "gradient",
    "received": "optimizer's gradient",
    "moves": "parameters move",
    "apart": "samples stay apart",
    "modes": "evaluation mode",
    "diagnostics": "Diagnostics",
}
"""All checks by column, which is 1 if the check says that something is wrong."""

SYMPTOMS = (
    "NaN or infinity",
    "loss below 0",
    "loss ends above its start",
    "loss stays at that of guessing",
    "validation loss rises",
    "accuracy below 85 %",
    "none in the curves",
)
"""What a reader sees in the curves of a run; the first that applies counts."""
