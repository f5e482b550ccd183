"""MNIST with few training images, drawn for each seed."""

from collections.abc import Sequence

import torch

from nnfoundations.datamodules import MNISTDataModule, TensorBatches

__all__ = ["SmallMNISTDataModule"]


class SmallMNISTDataModule(MNISTDataModule):
    """A small training part and a validation part of MNIST, with a draw for each `--seed_everything`.

    So the spread over the seeds includes that of the training images. Arms with the same seed have the same
    images. The test part is MNIST's own.

    Args:
        train_size: training images.
        batch_size: images per batch.
        label_noise: see `TensorDataModule`; 0.9 makes all ten labels equally probable for each image.
        augment: see `TensorDataModule`.
    """

    def __init__(
        self,
        train_size: int = 1000,
        batch_size: int = 100,
        label_noise: float = 0.0,
        augment: Sequence[str] = (),
    ) -> None:
        super().__init__(
            train_size=train_size,
            batch_size=batch_size,
            label_noise=label_noise,
            augment=augment,
            val_size=2000,
            split_seed=torch.initial_seed() % 2**31,
        )

    def val_dataloader(self) -> TensorBatches:
        """The validation images as one batch, which is faster than many small ones."""
        return _as_one_batch(super().val_dataloader())

    def clean_train_part(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The training images without augmentation, with the labels that are trained.

        Returns:
            x `(N, 1, 28, 28)` and y `(N,)`.
        """
        ((x, y),) = _as_one_batch(self._batches(self._train))
        return x, y


def _as_one_batch(batches: TensorBatches) -> TensorBatches:
    batches.batch_size = len(batches.rows)
    return batches
