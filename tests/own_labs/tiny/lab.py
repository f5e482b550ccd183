"""Two widths, and a third one that only the full preset runs. A notebook's kernel would not find this lab."""

from nnfoundations.labs import Arm, Choice, Lab, Measured, Preset, logged_by_epoch

__all__ = ["LAB"]


def measure(folder):
    curves = logged_by_epoch(folder)
    accuracy = curves["val/accuracy"]
    return Measured({"accuracy": accuracy[-1][1], "loss": curves["val/loss"][-1][1]}, {"accuracy": accuracy})


SHORT = (*("--trainer.max_epochs", "2", "--data.batch_size", "128"),
         *("--diagnostics.enabled", "false", "--figures.every_n_epochs", "0"))  # fmt: skip

LAB = Lab(
    name="tiny",
    question="Does width help on the digits?",
    setup={"data": "digits"},
    arms=tuple(
        Arm(name, f"{width} units", "digits", ("--model.net.sizes", f"[64,{width},10]"))
        for name, width in {"narrow": 2, "middle": 8, "wide": 32}.items()
    ),
    presets={
        "smoke": Preset(1, 2, SHORT, arms=("narrow", "wide"), notebook=False),
        "quick": Preset(5, 10, SHORT, arms=("narrow", "wide"), notebook=False),
        "full": Preset(5, 15, SHORT, notebook=False),
    },
    measure=measure,
    table={"accuracy": "validation accuracy"},
    comparisons=(("wide", "narrow"), ("wide", "middle")),
    main_figure="accuracy",
    choices=(Choice("accuracy", "largest", among=("narrow", "middle", "wide")),),
)
