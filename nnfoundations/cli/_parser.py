"""The argument parser: no abbreviations, errors as exceptions, a help that begins with what people change."""

from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

_CHANGED = {
    "--config NAME": "a packaged config, or a file ending in .yaml; several",
    "--trainer.max_epochs N": "how long",
    "--data.batch_size N": "samples a step",
    "--model.optimizer.lr X": "step size",
    "--model.net.sizes [64,100,10]": "layers of an MLP, from input to output",
    "--model.l2 X": "weight penalty; --model.label_smoothing X",
    "--seed_everything N": "another draw of everything random",
    "--ckpt_path last": "go on from the newest checkpoint; best; a path",
    "--trainer.accelerator cpu": "or gpu, mps",
    "--trainer.fast_dev_run true": "one batch of each, no trace left",
    "--print_config": "the whole config as YAML, without running",
    "--quiet, --verbose": "say less, or all",
}


class ParsingFailed(Exception):  # noqa: N818  # what happened, not yet what is wrong
    """The parser refused; its own words."""


class FoundationsParser(LightningArgumentParser):
    """Lightning's, for one command."""

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
    """What `COMMAND --help` shows before and behind the options."""
    rows = [f"  {flag}\n      {text}" for flag, text in _CHANGED.items()]
    return {
        "lead": "\n".join(["What people change (all else follows below):", *rows, "", ""]),
        "usage": f"nnfoundations {command} --config NAME [--key value ...]",
        "epilog": "Defaults, then configs from left to right, then flags: the later one wins. A list is "
        "replaced as a whole; --key+=value appends to it.",
    }
