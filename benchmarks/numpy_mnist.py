"""Compares the NumPy MLP with torch on MNIST: test accuracy and seconds for each epoch, on the CPU.

    export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
    python benchmarks/numpy_mnist.py --output docs/results/numpy_mnist.csv

The network is 784-256-128-10 in float32, with batches of 64. `--recipe momentum` is the config `numpy_mnist`
(lr 0.03 that falls linearly to 0, momentum 0.9, weight decay 1e-4); `plain` is SGD with lr 0.01. Both
networks start from the same weights and train on the same batches: twenty batches of one, then the same
twenty of the other, in alternating order. The time does not include the making of the batches. Nothing is
selected by the test accuracy.
"""

import argparse
import csv
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from nnfoundations.datamodules import MNISTDataModule
from nnfoundations.numpy import MLP, SGD

RECIPES = {
    "momentum": {"lr": 0.03, "momentum": 0.9, "weight_decay": 1e-4},
    "plain": {"lr": 0.01},
}
TURN = 20  # batches before the other network's turn, so that other load on the machine slows both
FIELDS = "recipe seed epoch threads train_images numpy_test_accuracy torch_test_accuracy numpy_seconds "
FIELDS += "torch_seconds numpy_version torch_version"


def torch_twin(net: MLP) -> torch.nn.Sequential:
    sizes = [net.parameters[f"{i}.weight"].shape for i in (0, 2, 4)]
    twin = torch.nn.Sequential(
        torch.nn.Linear(*sizes[0][::-1]), torch.nn.ReLU(),
        torch.nn.Linear(*sizes[1][::-1]), torch.nn.ReLU(),
        torch.nn.Linear(*sizes[2][::-1]),
    )  # fmt: skip
    twin.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in net.parameters.items()})
    return twin


def numpy_epoch(net: MLP, optimizer: SGD, batches: list[tuple[np.ndarray, np.ndarray]]) -> float:
    start = time.perf_counter()
    for x, y in batches:
        net.differentiate(x, y)
        optimizer.step()
    return time.perf_counter() - start


def torch_epoch(net: torch.nn.Module, optimizer: torch.optim.SGD, batches: list) -> float:
    loss = torch.nn.CrossEntropyLoss()
    start = time.perf_counter()
    for x, y in batches:
        optimizer.zero_grad()
        loss(net(x), y).backward()
        optimizer.step()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", choices=RECIPES, nargs="+", default=list(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of torch; OPENBLAS_NUM_THREADS sets NumPy's"
    )
    parser.add_argument(
        "--train-size", type=int, help="training images (default: all but those of the validation)"
    )
    parser.add_argument("--data", help="folder that contains MNIST/raw")
    parser.add_argument("--output", type=Path, help="a CSV file for the rows")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = []
    for recipe in args.recipe:
        for seed in args.seeds:
            rows += run(recipe, seed, args)
    seconds = [[float(row[f"{name}_seconds"]) for row in rows] for name in ("numpy", "torch")]
    mine, other = map(statistics.median, seconds)
    print(f"median of {len(rows)} epochs: NumPy {mine:.2f} s, torch {other:.2f} s, ratio {mine / other:.3f}")
    if args.output:
        with args.output.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, FIELDS.split())
            writer.writeheader()
            writer.writerows(rows)


def run(recipe: str, seed: int, args: argparse.Namespace) -> list[dict[str, object]]:
    data = MNISTDataModule(args.data, batch_size=64, seed=seed, train_size=args.train_size)
    data.setup()
    test_x, test_y = (torch.cat(parts) for parts in zip(*data.test_dataloader(), strict=True))
    net = MLP([784, 256, 128, 10], seed=seed)
    twin = torch_twin(net)
    options = RECIPES[recipe]
    mine = SGD(net, **options)
    theirs = torch.optim.SGD(twin.parameters(), **options)
    loader = data.train_dataloader()
    rows: list[dict[str, object]] = []
    for epoch in range(args.epochs):
        if recipe == "momentum":
            mine.lr = theirs.param_groups[0]["lr"] = options["lr"] * (1 - epoch / args.epochs)
        batches = [(x.flatten(1), y) for x, y in loader]
        arrays = [(x.numpy(), y.numpy()) for x, y in batches]
        ours = other = 0.0
        for turn, start in enumerate(range(0, len(batches), TURN)):
            part = slice(start, start + TURN)
            if turn % 2:
                other += torch_epoch(twin, theirs, batches[part])
                ours += numpy_epoch(net, mine, arrays[part])
            else:
                ours += numpy_epoch(net, mine, arrays[part])
                other += torch_epoch(twin, theirs, batches[part])
        # In float64 the seconds could not be compared with torch's.
        assert all(g.dtype == np.float32 for g in net.gradients.values())
        accuracy = float((net(test_x.numpy()).argmax(1) == test_y.numpy()).mean())
        with torch.no_grad():
            twins = float((twin(test_x.flatten(1)).argmax(1) == test_y).float().mean())
        values = (recipe, seed, epoch + 1, args.threads, len(loader.rows), f"{accuracy:.4f}", f"{twins:.4f}")
        versions = (np.__version__, torch.__version__)
        rows.append(
            dict(zip(FIELDS.split(), (*values, f"{ours:.3f}", f"{other:.3f}", *versions), strict=True))
        )
        print(f"{recipe} seed {seed} epoch {epoch + 1}: NumPy {accuracy:.4f} {ours:.2f} s, "
              f"torch {twins:.4f} {other:.2f} s", flush=True)  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
