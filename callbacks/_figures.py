"""Shows where a classifier errs: the confusion matrix, and its most confident mistakes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from nnfoundations.callbacks._pages import pages

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ClassificationFigures", "Worst", "confusion_figure", "mistakes_figure"]

CARD = 4.0
"""Inches: the width of a figure that is shown on a card of TensorBoard, about 320 pixels wide."""

DPI = 200
"""Sharp when the card is enlarged."""


class ClassificationFigures(Callback):
    """Draw ``SPLIT/confusion`` and ``SPLIT/mistakes``, for SPLIT ``val`` and ``test``.

    They are shown in TensorBoard, W&B and MLflow, whichever the Trainer logs to.

    The confusion matrix is drawn if the module has one: a torchmetrics metric named ``val_confusion`` or
    ``test_confusion``. Mistakes are drawn if ``validation_step`` and ``test_step`` return
    ``{"probabilities": (N, C), "target": (N,)}`` and the inputs are images ``(N, C, H, W)`` of one or three
    channels. For any other module nothing is drawn.

    Args:
        every_n_epochs: the number of epochs between two drawings of the validation; it is also drawn at the
            end of training. 0 draws nothing at all.
        mistakes: the number of images, the most confident mistake first.

    Raises:
        ValueError: every_n_epochs is negative, or mistakes is below 1.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[ClassificationFigures(mistakes=8)])  # doctest: +SKIP
    """

    def __init__(self, every_n_epochs: int = 5, mistakes: int = 20) -> None:
        if every_n_epochs < 0 or mistakes < 1:
            raise ValueError(
                f"every_n_epochs must be at least 0, mistakes at least 1; got {every_n_epochs}, {mistakes}."
            )
        self.every_n_epochs = every_n_epochs
        self.mistakes = mistakes
        self._worst: Worst | None = None
        self._drawn_at = -1

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._worst = None

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not isinstance(outputs, dict) or "probabilities" not in outputs or not self.every_n_epochs:
            return
        x = batch[0]
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            return
        if self._worst is None:
            self._worst = Worst(self.mistakes, x)
        self._worst.update(x, outputs["probabilities"], outputs["target"])

    on_test_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        fitting = not trainer.sanity_checking and trainer.state.fn == "fit"
        if trainer.state.fn == "validate" or (
            fitting and (trainer.current_epoch + 1) % max(self.every_n_epochs, 1) == 0
        ):
            self._draw(trainer, pl_module, "val")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._drawn_at != trainer.global_step:
            self._draw(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._draw(trainer, pl_module, "test")

    def _draw(self, trainer: Trainer, pl_module: LightningModule, split: str) -> None:
        self._drawn_at = trainer.global_step
        if not self.every_n_epochs:
            return
        named = getattr(getattr(trainer, "datamodule", None), "class_names", None)
        figures: dict[str, Figure] = {}
        confusion = getattr(pl_module, f"{split}_confusion", None)
        if confusion is not None and confusion.update_called:
            counts = confusion.compute().cpu()  # on every process: it gathers
            figures["confusion"] = confusion_figure(counts, named)
        if self._worst is not None and self._worst.found():
            figures["mistakes"] = mistakes_figure(self._worst, named)
        for page in pages(trainer) if figures else ():
            for name, figure in figures.items():
                page.figure(f"{split}/{name}", figure, trainer.global_step)


class Worst:
    """The k most confident mistakes so far. They stay on the device, so no step waits for it."""

    def __init__(self, k: int, x: Tensor) -> None:
        self.k = k
        self.images = x[:0]
        self.confidence = torch.empty(0, device=x.device)
        self.predicted = self.target = torch.empty(0, dtype=torch.long, device=x.device)

    def update(self, x: Tensor, probabilities: Tensor, target: Tensor) -> None:
        confidence, predicted = probabilities.max(1)
        # A correct prediction ranks below every mistake. It is not cut out, because the size of a mask is
        # known only on the device.
        confidence = torch.where(predicted == target, -1.0, confidence)
        confidence = torch.cat([self.confidence, confidence])
        best = confidence.topk(min(self.k, len(confidence))).indices
        self.confidence = confidence[best]
        self.images = torch.cat([self.images, x])[best]
        self.predicted = torch.cat([self.predicted, predicted])[best]
        self.target = torch.cat([self.target, target])[best]

    def found(self) -> int:
        return int((self.confidence >= 0).sum())


def confusion_figure(counts: Tensor, named: Sequence[str] | None = None) -> "Figure":
    """Draw a confusion matrix: rows are true classes, shaded by share of the row, and numbers are counts.

    Args:
        counts: ``(C, C)``, rows by true class, columns by predicted class.
        named: the names of the classes; None numbers them.
    """
    from matplotlib.figure import Figure  # imported here, because it takes a second

    n = len(counts)
    names = [str(name) for name in named or range(n)]
    share = counts / counts.sum(1, keepdim=True).clamp(min=1)
    # A card is about 320 pixels wide, so 4 inches and 8 points are legible there.
    size = CARD if n <= 12 else min(0.33 * n, 12.0)
    small, large = 7 * max(1.0, size / CARD / 2), 8 * size / CARD
    figure = Figure(figsize=(size, size), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(share.numpy(), cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("predicted", fontsize=large)
    axes.set_ylabel("true", fontsize=large)
    axes.set_title(f"accuracy {counts.trace() / counts.sum():.4f}", fontsize=large + 1)
    shown = range(0, n, 1 if n <= 20 else -(-n // 10))
    ticks = small + 1 if n <= 20 else large
    labels = [names[i] for i in shown]
    slanted = any(len(name) > 2 for name in labels)
    axes.set_xticks(shown, labels, fontsize=ticks, rotation=45 if slanted else 0)
    axes.set_yticks(shown, labels, fontsize=ticks)
    if n <= 20:
        for i, j in counts.nonzero().tolist():
            colour = "white" if share[i, j] > 0.5 else "black"
            axes.text(j, i, str(int(counts[i, j])), ha="center", va="center", color=colour, fontsize=small)
    return figure


def mistakes_figure(worst: Worst, named: Sequence[str] | None = None) -> "Figure":
    """Draw each image with its true label, the predicted one, and the probability of the predicted one.

    Args:
        worst: the mistakes.
        named: the names of the classes; None numbers them.
    """
    from matplotlib.figure import Figure

    n = worst.found()
    columns = min(n, 4)
    rows = -(-n // columns)
    figure = Figure(figsize=(CARD / 4 * columns, 1.4 * rows), dpi=DPI, layout="constrained")
    for i, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.axis("off")
        if i >= n:
            continue
        image = worst.images[i].float().cpu()
        low, high = image.min(), image.max()
        image = (image - low) / (high - low).clamp(min=1e-12)
        axes.imshow(image.permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
        true, predicted = (named[k] if named else k for k in (int(worst.target[i]), int(worst.predicted[i])))
        axes.set_title(f"true {true}\nsaid {predicted}\n{worst.confidence[i]:.4f}", fontsize=8, pad=2)
    return figure
