"""Text and figures on the pages of every logger that can show them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Page", "kind_of", "pages"]

KINDS = ("TensorBoardLogger", "CSVLogger", "WandbLogger", "MLFlowLogger")


class Page(Protocol):
    """Where one logger shows text and figures."""

    def text(self, tag: str, markdown: str, step: int) -> None:
        """Show text, under a tag such as ``diagnostics/findings``."""

    def figure(self, tag: str, figure: "Figure", step: int) -> None:
        """Show a figure."""


def kind_of(logger: Any) -> str:
    """The name of Lightning's logger that this one is, or derives from; else the name of its class.

    By name, so that loggers of ``pytorch_lightning`` count as well.
    """
    names = [cls.__name__ for cls in type(logger).__mro__]
    return next((name for name in names if name in KINDS), names[0])


def pages(trainer: Any) -> Iterator[Page]:
    """List the pages of a run's loggers, in the first process only.

    Args:
        trainer: a Trainer of ``lightning`` or ``pytorch_lightning``.

    Yields:
        A page for each logger that shows text or figures.
    """
    for logger in trainer.loggers if trainer.is_global_zero else ():
        kind = kind_of(logger)
        if kind == "WandbLogger":
            yield _WandbPage(logger)
        elif kind == "MLFlowLogger":
            yield _MLflowPage(logger)
        elif hasattr(logger.experiment, "add_text") or hasattr(logger.experiment, "add_figure"):
            yield _WriterPage(logger.experiment)


class _WriterPage:
    """TensorBoard, and loggers whose experiment offers the same methods."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer

    def text(self, tag: str, markdown: str, step: int) -> None:
        if hasattr(self.writer, "add_text"):
            self.writer.add_text(tag, markdown, step)

    def figure(self, tag: str, figure: "Figure", step: int) -> None:
        if hasattr(self.writer, "add_figure"):
            self.writer.add_figure(tag, figure, step)


class _WandbPage:
    """Weights & Biases: text as a table of one row, as Lightning's logger does it."""

    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def text(self, tag: str, markdown: str, step: int) -> None:
        # A figure may have the same tag, and W&B shows one kind of thing under a key.
        self.logger.log_text(f"{tag}/text", columns=["text"], data=[[markdown]], step=step)

    def figure(self, tag: str, figure: "Figure", step: int) -> None:
        self.logger.log_image(tag, [figure], step=step)


class _MLflowPage:
    """MLflow: files of the run, the last text and a figure per step."""

    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def text(self, tag: str, markdown: str, step: int) -> None:
        self.logger.experiment.log_text(self.logger.run_id, markdown, f"{tag}.md")

    def figure(self, tag: str, figure: "Figure", step: int) -> None:
        self.logger.experiment.log_figure(self.logger.run_id, figure, f"{tag}/step_{step}.png")
