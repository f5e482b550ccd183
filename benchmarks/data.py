"""Compare images per second: our batches against torchvision's PIL transforms behind a DataLoader.

    python benchmarks/data.py [--output ROWS.csv] [--rounds 5] [--sets mnist cifar10]

Both sides normalize MNIST, and crop (reflected border), flip and normalize CIFAR-10. A round times each
loader in turn over whole batches. Wall time is used, because a DataLoader works in other processes; its
workers are started before. The number of workers with the best median is compared. Data sets are found in
NNFOUNDATIONS_DATA.
"""

import argparse
import os
import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import modules
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from nnfoundations.datamodules import CIFAR10DataModule, MNISTDataModule, TensorDataModule

BATCH = 256
SETS: dict[str, tuple[type[TensorDataModule], list[str], list[Any]]] = {
    "mnist": (MNISTDataModule, [], []),
    "cifar10": (
        CIFAR10DataModule,
        ["crop", "flip"],
        [transforms.RandomCrop(32, padding=4, padding_mode="reflect"), transforms.RandomHorizontalFlip()],
    ),
}
WORKERS = (0, 1, 2, 4)


class Pictures(Dataset[tuple[Tensor, int]]):
    """Works like the data sets of torchvision: an array of pixels, and a PIL image made on request."""

    def __init__(self, data: TensorDataModule, augment: list[Any]) -> None:
        loader = data.train_dataloader()
        pixels = loader.inputs[loader.rows].permute(0, 2, 3, 1).squeeze(-1)
        self.pixels, self.labels = pixels.numpy(), loader.labels[loader.rows].tolist()
        self.transform = transforms.Compose(
            [*augment, transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[i])), self.labels[i]


class Arm:
    """Measures images per second over a number of batches of one loader."""

    def __init__(self, loader: Iterable[Any], batches: int) -> None:
        self.loader, self.batches = loader, batches
        self.rates: list[float] = []

    def run(self) -> None:
        batches = iter(self.loader)
        next(batches)  # the start of an epoch is not part of the speed
        start = time.perf_counter()
        for _ in range(self.batches):
            next(batches)
        self.rates.append(self.batches * BATCH / (time.perf_counter() - start))


def measure(name: str, rounds: int, small: bool) -> dict[str, Any]:
    kind, ours, theirs = SETS[name]
    data = kind(batch_size=BATCH, augment=ours)
    data.prepare_data()
    data.setup()
    pictures = Pictures(data, theirs)
    arms = {"ours": Arm(data.train_dataloader(), 5 if small else 150)}
    for workers in WORKERS[:2] if small else WORKERS:
        loader = DataLoader(
            pictures,
            BATCH,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            multiprocessing_context="fork" if workers else None,
        )
        arms[f"{workers} workers"] = Arm(loader, 2 if small else 60)
    for i in range(rounds + 1):
        for arm in list(arms.values())[:: -1 if i % 2 else 1]:
            arm.run()
    medians = {which: statistics.median(arm.rates[1:]) for which, arm in arms.items()}
    best = max((which for which in medians if which != "ours"), key=medians.__getitem__)
    row = {"set": name, "augment": " ".join(ours), "batch": BATCH, "ours_per_s": round(medians["ours"])}
    row |= {
        f"workers_{which.split()[0]}_per_s": round(medians[which]) for which in medians if which != "ours"
    }
    row |= {"best": best, "ratio": round(medians["ours"] / medians[best], 1), "rounds": rounds}
    return row | {"threads": torch.get_num_threads()} | modules.machine("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--small", action="store_true", help="a few batches, to test this script")
    chosen = parser.parse_args()
    rows = []
    for name in chosen.sets:
        rows.append(measure(name, chosen.rounds, chosen.small))
        print(
            "{set:8} ours {ours_per_s:>9,}/s  ratio {ratio} to {best}  ({rounds} rounds)".format(**rows[-1])
        )
    if chosen.output:
        modules.write(chosen.output, rows)


if __name__ == "__main__":
    main()
