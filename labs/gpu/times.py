"""A LightningModule whose training steps are rounds of a measurement: all kinds in turn, each timed once."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from nnfoundations.datamodules import MNISTDataModule
from nnfoundations.errors import OptionError
from nnfoundations.labs.gpu.clock import cores, seconds_per_step, threads, warm_up
from nnfoundations.labs.gpu.kinds import BASE, KINDS, Kind, sizes_of
from nnfoundations.labs.gpu.steps import Images, Step, build_step, unavailable

__all__ = ["StepTimes", "load_images", "machine"]


@dataclass
class _Case:
    name: str
    kind: Kind
    step: Step
    count: int
    done: int = 0

    def measure(self) -> float:
        with threads(self.kind):
            seconds = seconds_per_step(self.step, self.done, self.count, self.kind.device)
        self.done += self.count
        return seconds


class StepTimes(LightningModule):
    """Times a training step of each kind with each batch size and width, and logs microseconds per step.

    A training step of the Trainer is one round: each case is timed once, in an order that every second round
    reverses. So a disturbance meets all cases, and a drift none more than another. A kind that cannot run
    here is left out, with a warning that says why.

    Args:
        kinds: names in `KINDS`.
        batches: images per step.
        widths: units of the first hidden layer.
        rounds: times of each case; fewer if the Trainer has fewer training batches.
        seconds: that one measurement takes at least.
        trains: before it is timed, train each kind for one step per training batch of the Trainer and log its
            validation accuracy.
        largest_on_cpu: CPU kinds are not timed with larger batches, which take seconds there.

    Raises:
        OptionError: a kind is unknown.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        batches: Sequence[int] = (BASE["batch"],),
        widths: Sequence[int] = (BASE["width"],),
        *,
        rounds: int = 5,
        seconds: float = 0.05,
        trains: bool = False,
        largest_on_cpu: int = 4096,
    ) -> None:
        super().__init__()
        if unknown := [name for name in kinds if name not in KINDS]:
            raise OptionError(f"kinds are names among {', '.join(KINDS)}; got {', '.join(unknown)}.")
        self.automatic_optimization = False
        self.kinds, self.batches, self.widths = list(kinds), list(batches), list(widths)
        self.rounds, self.seconds, self.trains = rounds, seconds, trains
        self.largest_on_cpu = largest_on_cpu
        self._cases: list[_Case] = []
        self._accuracies: dict[str, float] = {}

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """None: each step has an optimizer of its own."""
        return []

    def on_train_start(self) -> None:
        """Build every case, train it if that is asked for, and warm it up."""
        self._images, self._validation = load_images(self.trainer.datamodule, max(self.batches))  # type: ignore[attr-defined]  # set by the Trainer
        for width in self.widths:
            for batch in self.batches:
                for name in self.kinds:
                    if KINDS[name].device != "cpu" or batch <= self.largest_on_cpu:
                        self._add(name, batch, width)

    def _add(self, name: str, batch: int, width: int) -> None:
        kind = KINDS[name]
        why = unavailable(kind)
        if not why:
            try:
                with threads(kind):
                    step = build_step(kind, sizes_of(width), batch, self._images, self._seed)
                    if self.trains:
                        self._accuracies[f"accuracy/{name}"] = self._train(step)
                    count = warm_up(step, kind.device, self.seconds)
                self._cases.append(_Case(f"us/{name}/{batch}/{width}", kind, step, count))
            except Exception as error:  # a compiler may be missing, and each backend has its own exception
                if not kind.compiled:
                    raise
                why = f"torch.compile fails: {str(error).splitlines()[0]}"
        if why:
            rank_zero_warn(f"not measured: {kind.label}, batches of {batch}, width {width}: {why}")

    def _train(self, step: Step) -> float:
        """Train a new network, and return its validation accuracy in %."""
        for i in range(int(self.trainer.num_training_batches)):
            step(i)
        right = step.predict(self._validation.x) == self._validation.y
        return 100 * right.double().mean().item()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Nothing: without this method the Trainer warns that the data module has validation data."""

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Time every case once."""
        rounds = min(self.rounds, int(self.trainer.num_training_batches))
        if batch_idx == 0:
            self._log(machine() | self._accuracies)
        self._log({case.name: 1e6 * case.measure() for case in self._cases[:: 1 if batch_idx % 2 else -1]})
        if batch_idx == rounds - 1:
            self.trainer.should_stop = True

    def _log(self, values: dict[str, float]) -> None:
        # float64, since a device may lack it
        self.log_dict({name: torch.tensor(value) for name, value in values.items()})

    @property
    def _seed(self) -> int:
        return int(self.trainer.datamodule.seed)  # type: ignore[attr-defined]  # set by the Trainer


def load_images(data: MNISTDataModule, batch: int) -> tuple[Images, Images]:
    """Read the images of a data module into the memory of the host, ready to be used.

    Args:
        data: which images, in which order.
        batch: the largest batch that will be taken.

    Returns:
        Training images, as many as 430 batches of 64 or the largest batch have, and the validation images.
    """
    own = MNISTDataModule(
        data.root,
        batch_size=max(430 * BASE["batch"], batch),
        seed=data.seed,
        flatten=True,
        mirror=data.mirror,
    )
    own.setup("fit")
    return Images(*next(iter(own.train_dataloader()))), Images(*next(iter(own.val_dataloader())))


def machine() -> dict[str, float]:
    """What a reader of times must know of the machine, as numbers, beside the name of the device.

    Returns:
        `machine/cores` that may be used, and with a GPU `machine/` `capability` (9.0 for H100 and H200, 12.1
        for GB10), `driver`, `tf32` (1 if products of float32 may be rounded), `free_gib` and `total_gib` of
        memory, by torch, since NVML has none for GB10, and `unified` (1 if CPU and GPU share it).
    """
    found = {"cores": float(cores())}
    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
        free, total = torch.cuda.mem_get_info()
        found |= {
            "capability": major + minor / 10,
            "driver": _driver(),
            "tf32": float(torch.backends.cuda.matmul.allow_tf32),
            "free_gib": free / 2**30,
            "total_gib": total / 2**30,
            "unified": float(torch.cuda.get_device_properties(0).is_integrated),
        }
    return {f"machine/{name}": value for name, value in found.items()}


def _driver() -> float:
    """The version of NVIDIA's driver, such as 580.95; NaN where the system does not say."""
    file = Path("/proc/driver/nvidia/version")
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    found = re.search(r"\b(\d{3,}\.\d+)", text)
    return float(found[1]) if found else math.nan
