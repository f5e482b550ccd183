"""Some images of MNIST, perhaps with a fault."""

import torch

from nnfoundations.datamodules import MNISTDataModule, TensorBatches

__all__ = ["SomeDigitsDataModule"]


class SomeDigitsDataModule(MNISTDataModule):
    """Some training images and 2,000 validation images of MNIST, the same for each seed.

    The validation images are one batch.

    Args:
        train_size: training images.
        normalize: see `TensorDataModule`.
        augment: see `TensorDataModule`.
        scale: factor on the pixels, after `normalize`; 1 is right.
        shuffle_labels: give each image, for training and validation, the label of another one.
    """

    def __init__(
        self,
        train_size: int = 5120,
        normalize: bool = True,
        augment: tuple[str, ...] = (),
        scale: float = 1.0,
        shuffle_labels: bool = False,
    ) -> None:
        super().__init__(
            batch_size=64, train_size=train_size, val_size=2000, normalize=normalize, augment=augment
        )
        self.factor, self.shuffle_labels = scale, shuffle_labels

    def train_dataloader(self) -> TensorBatches:
        """The training images."""
        return self._changed(super().train_dataloader())

    def val_dataloader(self) -> TensorBatches:
        """The validation images as one batch."""
        batches = self._changed(super().val_dataloader())
        batches.batch_size = len(batches.rows)
        return batches

    def _changed(self, batches: TensorBatches) -> TensorBatches:
        batches.scale, batches.shift = self.factor * batches.scale, self.factor * batches.shift
        if self.shuffle_labels:
            order = torch.randperm(len(batches.labels), generator=torch.Generator().manual_seed(0))
            batches.labels = batches.labels[order]
        return batches
