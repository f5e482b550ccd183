"""scikit-learn's digits: small, real, and there without any download."""

import torch

from nnfoundations.datamodules._arguments import check_size, rows_of
from nnfoundations.datamodules._image_data_module import ImageDataModule, ImageSet
from nnfoundations.datamodules._split import stratified_split


class DigitsDataModule(ImageDataModule):
    """1,797 handwritten digits of 8x8 pixels from 13 people, 17 grey levels (`sklearn.datasets.load_digits`).

    No test set is published with them, so one is drawn, class by class, by `split_seed`.

    Args:
        root: As in the other data sets; nothing is read from it.
        batch_size: Images a batch, at least 1.
        val_size: Validation images, out of what the test images leave over: a number of at least 1, or a
            fraction between 0 and 1.
        test_size: Test images: a number of at least 1, or a fraction between 0 and 1.
        seed: Seed of the training order, not negative.
        split_seed: Seed of both splits, not negative.
        normalize: Subtract the mean and divide by the standard deviation of the data set. Without it x is the
            pixel, 0 to 1.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998.
    """

    shape = (1, 8, 8)
    num_classes = 10
    class_names = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    pixel_max = 16
    mean, std = (0.3053,), (0.3761,)  # of all images, since the training part depends on the seed

    def __init__(
        self,
        root: str | None = None,
        *,
        batch_size: int = 64,
        val_size: int | float = 0.1,
        test_size: int | float = 0.2,
        seed: int = 0,
        split_seed: int = 0,
        normalize: bool = True,
    ) -> None:
        check_size("test_size", test_size)
        self.test_size = test_size
        super().__init__(
            root,
            batch_size=batch_size,
            val_size=val_size,
            seed=seed,
            split_seed=split_seed,
            normalize=normalize,
        )

    def read(self) -> ImageSet:
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.from_numpy(digits.images).to(torch.uint8).unsqueeze(1)
        labels = torch.from_numpy(digits.target).to(torch.int64)
        size = rows_of("test_size", self.test_size, len(labels))
        _, test = stratified_split(labels, size, (self.split_seed, 0))
        return ImageSet(images, labels, test)
