"""5,120 images of MNIST: whole batches of every power of 2 up to 512."""

from nnfoundations.datamodules import MNISTDataModule, TensorBatches

__all__ = ["IMAGES", "FewDigitsDataModule"]

IMAGES = 5120


class FewDigitsDataModule(MNISTDataModule):
    """5,120 training and 5,000 validation images of MNIST, the same for each seed.

    The validation images are one batch, so that small training batches do not make validation slow.

    Args:
        batch_size: images per training batch.
    """

    def __init__(self, batch_size: int = 64) -> None:
        super().__init__(batch_size=batch_size, train_size=IMAGES, val_size=5000)

    def val_dataloader(self) -> TensorBatches:
        """The validation images as one batch."""
        batches = super().val_dataloader()
        batches.batch_size = len(batches.rows)
        return batches
