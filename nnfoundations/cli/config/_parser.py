"""The argument parser: no abbreviations, errors as exceptions, a help that begins with the usual options."""

from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

__all__ = ["FoundationsParser", "ParsingFailed", "help_texts"]

_CONFIG = {"--config NAME": "packaged config or .yaml file; can be repeated"}
_TRAINING = {
    "--name NAME": "name of the run, written to runs/NAME/TIME",
    "--trainer.max_epochs N": "number of epochs",
    "--data.batch_size N": "samples per step",
    "--model.optimizer.lr X": "learning rate",
    "--model.net.sizes [64,100,10]": "layer sizes of an MLP, from input to output",
    "--model.net.norm batch": "norm of an MLP: batch, layer, rms, group, none",
    "--model.net.dropout X": "dropout of an MLP, from 0 to 1",
    "--model.l2 X": "weight of the L2 penalty",
    "--model.max_norm X": "largest norm of the weights that enter a unit",
    "--model.label_smoothing X": "label smoothing, from 0 to 1",
    "--seed_everything N": "random seed",
    "--ckpt_path last": "continue from a checkpoint: last, best, a path",
    "--early_stopping.patience N": "stop after N validations without improvement",
    "--logger wandb": "tensorboard (default), csv, wandb or mlflow",
    "--test false": "do not test at the end, and read no test data",
    "--trainer.fast_dev_run true": "run one batch of each stage; write nothing",
}
_EVALUATION = {
    "--ckpt_path best": "checkpoint to use: best, last, a path",
    "--data.batch_size N": "samples per step",
}
_ALWAYS = {
    "--trainer.accelerator cpu": "device: cpu, gpu or mps",
    "--print_config": "print the whole config as YAML; run nothing",
    "--quiet, --verbose": "print less; print everything",
}


class ParsingFailed(Exception):  # noqa: N818  # the parser stopped; the mistake is not known yet
    """The parser refused the arguments; the text is its own."""


class FoundationsParser(LightningArgumentParser):
    """Lightning's parser, for one command."""

    lead = ""
    """What its help begins with."""

    def __init__(self, *args: Any, lead: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lead = lead

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        # Parsers for the parts of a Union are of this class, too, and must go on to the next part.
        if not self.exit_on_error:
            super().error(message, ex)
        raise ParsingFailed(message) from ex

    def _get_option_tuples(self, option_string: str) -> list[Any]:
        return []  # `allow_abbrev=False` does not reach the parser of a subcommand

    def format_help(self, *args: Any) -> str:
        return self.lead + super().format_help(*args)


def help_texts(command: str) -> dict[str, str]:
    """The texts that `COMMAND --help` shows before and after the list of options.

    Args:
        command: `fit`, `validate`, `test` or `predict`.
    """
    usual = _CONFIG | (_TRAINING if command == "fit" else _EVALUATION) | _ALWAYS
    width = max(map(len, usual))
    rows = [f"  {option:<{width}}  {text}" for option, text in usual.items()]
    return {
        "lead": "\n".join(["The usual options (all options follow below):", *rows, "", ""]),
        "usage": f"nnfoundations {command} --config NAME [--key value ...]",
        "epilog": "Later values override earlier ones: defaults, then configs from left to right, then "
        "options of the command line. A list is replaced as a whole; --key+=value appends to it.",
    }
