"""The second run of a batch, which names the origin of a NaN, changes no state, or does not happen.

Each case keeps its state in another kind of object. A NaN arises in the backward pass of one batch, and the
state after the run must be that of a run without diagnostics.
"""

import array
import collections
import copy
import functools
import itertools
import logging
import random
import sys
import types
from dataclasses import dataclass
from typing import ClassVar

import lightning.pytorch as lightning
import numpy as np
import pytest
import torch
import torchmetrics
from torch import nn
from watched import trainer, watcher

NAN_AT = 3
LOG: list[float] = []
LOGGER = logging.getLogger(__name__)
TOTAL = 0
settings = types.ModuleType("settings_of_a_user")
settings.seen = 0
stream = itertools.count()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.second(self.first(x).relu())


class Case(lightning.LightningModule):
    """`case` makes the state, changes it in each step, and reads it."""

    def __init__(self, case):
        super().__init__()
        torch.manual_seed(4)
        self.net = Net()
        self.use = case.use
        case.start(self)

    def training_step(self, batch, batch_idx):
        x, y = batch
        self.use(self, batch)
        out = self.net(x)
        loss = nn.functional.mse_loss(out, y)
        return loss + (out * 0).sqrt().sum() if batch_idx == NAN_AT else loss

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        for p in self.parameters():  # a repair in the code of the user, so the training continues
            if p.grad is not None:
                p.grad.nan_to_num_(0, 0, 0)

    def configure_optimizers(self):
        return torch.optim.RMSprop(self.parameters(), 1e-3)


@dataclass
class Meter:
    total: float = 0.0
    values: list | None = None


class Slotted:
    __slots__ = ("count", "late")

    def __init__(self):
        self.count = 0


class Calls:
    total = 0
    names: ClassVar[list[str]] = []


class State:
    """A kind of state, with how a training step changes it."""

    def __init__(self, start, use, state, reason=""):
        self.start, self.use, self.state, self.reason = start, use, state, reason


STATELESS = State(lambda m: None, lambda m, batch: None, lambda m: None)


def held(value, use, state=lambda kept: kept):
    """An object in the attribute `kept` of the module."""
    return State(
        lambda m: setattr(m, "kept", value()), lambda m, batch: use(m.kept, batch), lambda m: state(m.kept)
    )


def buffer():
    def use(m, batch):
        m.mean.mul_(0.9).add_(batch[0].mean())

    return State(lambda m: m.register_buffer("mean", torch.zeros(())), use, lambda m: m.mean)


def attribute():
    def use(m, batch):
        m.calls += 1
        m.last = batch[0].detach()

    return State(lambda m: setattr(m, "calls", 0), use, lambda m: (m.calls, m.last))


def closure():
    count = 0
    kept = []

    def use(m, batch):
        nonlocal count
        count += 1
        kept.append(float(batch[0][0, 0]))

    def start(m):
        nonlocal count
        count = 0
        kept.clear()

    return State(start, use, lambda m: (count, list(kept)))


def global_variable():
    def use(m, batch):
        global TOTAL
        TOTAL += 1
        LOG.append(float(batch[1][0, 0]))
        settings.seen += 1

    def start(m):
        global TOTAL
        TOTAL, settings.seen = 0, 0
        LOG.clear()

    return State(start, use, lambda m: (TOTAL, list(LOG), settings.seen))


def new_global():
    def use(m, batch):
        globals().setdefault("FIRST_SEEN", []).append(len(batch))

    def start(m):
        globals().pop("FIRST_SEEN", None)

    return State(start, use, lambda m: list(globals()["FIRST_SEEN"]))


def class_attribute():
    def use(m, batch):
        Calls.total += 1
        Calls.names.append("step")

    def start(m):
        Calls.total, Calls.names = 0, []

    return State(start, use, lambda m: (Calls.total, list(Calls.names)))


def default_argument():
    def remember(x, kept=[]):  # noqa: B006
        kept.append(x)
        return len(kept)

    return State(
        lambda m: remember.__defaults__[0].clear(),
        lambda m, batch: remember(float(batch[0][0, 0])),
        lambda m: list(remember.__defaults__[0]),
    )


def function_attribute():
    def counted():
        counted.calls += 1

    return State(lambda m: setattr(counted, "calls", 0), lambda m, batch: counted(), lambda m: counted.calls)


def forward_hook():
    captured = []

    def start(m):
        captured.clear()
        m.net.first.register_forward_hook(lambda layer, inputs, output: captured.append(output.detach()))

    return State(start, lambda m, batch: None, lambda m: list(captured))


def parameter_in_place():
    @torch.no_grad()
    def use(m, batch):
        m.net.first.weight.mul_(0.99)
        m.net.second.bias.data.add_(0.01)

    return State(lambda m: None, use, lambda m: None)


def swapped_data():
    def use(m, batch):
        m.net.second.weight.data = m.net.second.weight.data * 0.98

    return State(lambda m: None, use, lambda m: None)


def frozen_layer():
    def use(m, batch):
        m.turn += 1
        m.net.first.weight.requires_grad_(m.turn % 3 > 0)

    return State(lambda m: setattr(m, "turn", 0), use, lambda m: (m.turn, m.net.first.weight.requires_grad))


def data_module():
    """An object that is reached through the Trainer only."""

    def use(m, batch):
        m.trainer.datamodule.seen.append(float(batch[0][0, 0]))
        m.trainer.count += 1

    return State(lambda m: None, use, lambda m: (m.trainer.datamodule.seen, m.trainer.count))


def added_submodule():
    def use(m, batch):
        m.turn += 1
        m.add_module(f"extra{m.turn}", nn.Identity())
        m.register_buffer(f"seen{m.turn}", batch[0].sum())

    return State(lambda m: setattr(m, "turn", 0), use, lambda m: (list(m._modules), list(m.state_dict())))


def mode():
    def use(m, batch):
        m.net.train(not m.net.training)

    return State(lambda m: None, use, lambda m: m.net.training)


def default_generators():
    def use(m, batch):
        m.drawn = (torch.rand(()).item(), random.random(), float(np.random.rand()))

    def start(m):
        torch.manual_seed(6)
        random.seed(6)
        np.random.seed(6)

    return State(start, use, lambda m: (m.drawn, random.random(), float(np.random.rand())))


def batch_in_place():
    def use(m, batch):
        batch[0].mul_(0.5)
        m.seen.append(batch[0])

    return State(lambda m: setattr(m, "seen", []), use, lambda m: m.seen, "the step changes its batch")


def batch_container():
    def use(m, batch):
        batch.append(batch[0] + 1)
        m.seen.append(batch)

    return State(
        lambda m: setattr(m, "seen", []),
        use,
        lambda m: [len(b) for b in m.seen],
        "a second run of the step failed",
    )


def iterator():
    return State(
        lambda m: setattr(m, "kept", iter(range(100))),
        lambda m, batch: next(m.kept),
        lambda m: next(m.kept),
        "kept is an iterator (range_iterator)",
    )


def python_generator():
    def start(m):
        m.kept = (i * i for i in range(100))

    return State(
        start, lambda m, batch: next(m.kept), lambda m: next(m.kept), "kept is an iterator (generator)"
    )


def global_iterator():
    def start(m):
        global stream
        stream = itertools.count()

    return State(
        start,
        lambda m, batch: next(stream),
        lambda m: next(stream),
        "the global variable stream is an iterator",
    )


def open_file(tmp):
    def start(m):
        m.kept = (tmp / "open").open("w+")

    def state(m):
        m.kept.close()
        return (tmp / "open").read_text()

    return State(start, lambda m, batch: m.kept.write("x"), state, "kept is an open file")


def written_file(tmp):
    path = tmp / "log"

    def use(m, batch):
        with open(path, "a") as log:
            log.write("x")

    return State(lambda m: path.unlink(missing_ok=True), use, lambda m: path.read_text(), "it writes a file")


def made_folder(tmp):
    def use(m, batch):
        m.turn += 1
        (tmp / str(m.turn)).mkdir()

    return State(
        lambda m: setattr(m, "turn", 0), use, lambda m: len(list(tmp.iterdir())), "it makes a folder"
    )


def touched_file(tmp):
    def use(m, batch):
        m.turn += 1
        (tmp / str(m.turn)).touch()

    return State(lambda m: setattr(m, "turn", 0), use, lambda m: len(list(tmp.iterdir())), "it writes a file")


def saved_tensor(tmp):
    def use(m, batch):
        m.turn += 1
        torch.save(batch, tmp / f"{m.turn}.pt")

    return State(
        lambda m: setattr(m, "turn", 0),
        use,
        lambda m: (m.turn, len(list(tmp.glob("*.pt")))),
        "it saves a file",
    )


def printed():
    def use(m, batch):
        print("step")
        print("step", file=sys.stderr)
        logging.getLogger("a.user").warning("step")

    return State(lambda m: None, use, lambda m: None)


def own_optimizer():
    def use(m, batch):
        if m.turn:
            m.optimizers().param_groups[0]["lr"] *= 0.9
        m.turn += 1

    return State(
        lambda m: setattr(m, "turn", 0),
        use,
        lambda m: m.trainer.optimizers[0].param_groups[0]["lr"],
        "it uses its optimizers",
    )


def bump(meter, batch):
    meter.total += float(batch[0].sum())
    meter.values.append(meter.total)


def count(slotted, batch):
    slotted.count += 1
    slotted.late = slotted.count


def nested(kept, batch):
    kept["a"][0].append(1)
    kept["b"] = {**kept["b"], len(kept["b"]): 2}


KINDS = {
    "buffer": buffer,
    "attribute": attribute,
    "tensor": lambda: held(lambda: torch.zeros(5), lambda t, batch: t.add_(batch[0].mean(0))),
    "expanded tensor": lambda: held(lambda: torch.zeros(1).expand(4), lambda t, batch: t[:1].add_(1)),
    "list": lambda: held(list, lambda kept, batch: kept.append(float(batch[0].sum()))),
    "dict": lambda: held(dict, lambda kept, batch: kept.update({len(kept): 1})),
    "ordered dict": lambda: held(collections.OrderedDict, lambda kept, batch: kept.update({-len(kept): 1})),
    "set": lambda: held(set, lambda kept, batch: kept.add(len(kept))),
    "deque": lambda: held(lambda: collections.deque(maxlen=3), lambda kept, batch: kept.append(len(batch))),
    "counter": lambda: held(collections.Counter, lambda kept, batch: kept.update(["a", "b"])),
    "default dict": lambda: held(
        lambda: collections.defaultdict(list), lambda kept, batch: kept["a"].append(1)
    ),
    "nested": lambda: held(lambda: {"a": ([],), "b": {}}, nested),
    "object": lambda: held(lambda: Meter(0.0, []), bump, lambda kept: (kept.total, kept.values)),
    "object with slots": lambda: held(Slotted, count, lambda kept: (kept.count, kept.late)),
    "namespace": lambda: held(
        lambda: types.SimpleNamespace(n=0), lambda kept, batch: setattr(kept, "n", kept.n + 1)
    ),
    "bytes": lambda: held(bytearray, lambda kept, batch: kept.append(1)),
    "array": lambda: held(lambda: array.array("d"), lambda kept, batch: kept.append(1.0)),
    "ndarray": lambda: held(
        lambda: np.zeros(5), lambda kept, batch: np.add(kept, batch[0].sum(0).numpy(), out=kept)
    ),
    "partial": lambda: held(
        lambda: functools.partial(list.append, []), lambda kept, batch: kept(1), lambda kept: kept.args
    ),
    "bound method": lambda: held(lambda: [].append, lambda kept, batch: kept(1), lambda kept: kept.__self__),
    "torch generator": lambda: held(
        lambda: torch.Generator().manual_seed(1),
        lambda kept, batch: torch.rand(2, generator=kept),
        lambda kept: torch.rand(2, generator=kept),
    ),
    "numpy generator": lambda: held(
        lambda: np.random.default_rng(1), lambda kept, batch: kept.random(), lambda kept: kept.random()
    ),
    "old numpy generator": lambda: held(
        lambda: np.random.RandomState(1), lambda kept, batch: kept.rand(), lambda kept: kept.rand()
    ),
    "python generator object": lambda: held(
        lambda: random.Random(1), lambda kept, batch: kept.random(), lambda kept: kept.random()
    ),
    "default generators": default_generators,
    "closure": closure,
    "global variable": global_variable,
    "class attribute": class_attribute,
    "default argument": default_argument,
    "function attribute": function_attribute,
    "forward hook": forward_hook,
    "parameter in place": parameter_in_place,
    "swapped data": swapped_data,
    "frozen layer": frozen_layer,
    "data module": data_module,
    "added submodule": added_submodule,
    "training mode": mode,
    "batch in place": batch_in_place,
    "container of the batch": batch_container,
    "printing": printed,
    "iterator": iterator,
    "generator function": python_generator,
    "global iterator": global_iterator,
    "own optimizer": own_optimizer,
    "open file": open_file,
    "written file": written_file,
    "made folder": made_folder,
    "touched file": touched_file,
    "saved tensor": saved_tensor,
}


def loader():
    generator = torch.Generator().manual_seed(8)
    data = [(torch.randn(5, generator=generator), torch.randn(3, generator=generator)) for _ in range(48)]
    return torch.utils.data.DataLoader(
        data, 8, collate_fn=lambda batch: list(map(torch.stack, zip(*batch, strict=True)))
    )


def outcome(case, *callbacks):
    class Data(lightning.LightningDataModule):
        def __init__(self):
            super().__init__()
            self.seen = []

        def train_dataloader(self):
            return loader()

    model, t = Case(case), trainer(*callbacks, max_steps=6)
    t.count = 0
    t.fit(model, datamodule=Data())
    weights = {name: p.detach() for name, p in model.named_parameters()}
    return copy.deepcopy((case.state(model), weights))


def same(a, b):
    if isinstance(a, torch.Tensor | np.ndarray):
        return a.shape == b.shape and bool((a == b).all())
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple | collections.deque):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_second_run_changes_no_state(kind, tmp_path, capsys):
    make = KINDS[kind]
    results, prints = [], []
    for callbacks in ([], [diagnostics := watcher()]):
        folder = tmp_path / str(len(results))
        folder.mkdir()
        case = make(folder) if make.__code__.co_argcount else make()
        capsys.readouterr()
        results.append(outcome(case, *callbacks))
        prints.append(capsys.readouterr())
    assert same(*results), results
    assert prints[0].out.count("step\n") == prints[1].out.count("step\n")
    assert prints[0].err.count("step\n") == prints[1].err.count("step\n")
    assert diagnostics.failure is None
    (event,) = diagnostics.history.events_of("non-finite")
    assert event.step == event["batch"] == NAN_AT
    if case.reason:
        assert event["place"] == "gradient"
        assert case.reason in event["reason"]
        assert case.reason in diagnostics.findings[0].evidence
    else:
        assert (event["place"], event.where) == ("backward", ("the loss",))


class Usual(Case):
    """What modules often hold: hyperparameters, metrics, normalization, parametrizations, buffers."""

    def __init__(self, rate=0.1, options=None):
        super().__init__(STATELESS)
        self.save_hyperparameters()
        self.error = torchmetrics.MetricCollection([torchmetrics.MeanSquaredError()])
        self.criterion, self.activation = nn.MSELoss(), torch.relu
        self.norm = nn.BatchNorm1d(5)
        self.mix = nn.utils.parametrizations.spectral_norm(nn.Linear(5, 5))
        self.register_buffer("scale", torch.ones(()))
        self.rates = functools.partial(torch.optim.lr_scheduler.StepLR, step_size=1)
        self.noise = torch.distributions.Normal(0.0, 1.0)
        self.average = torch.optim.swa_utils.AveragedModel(self.net)

    def training_step(self, batch, batch_idx):
        x, y = batch
        LOGGER.info("step %d", batch_idx)
        self.scale.mul_(1.01)  # a buffer that the graph saves for its backward pass
        out = self.net(self.activation(self.mix(self.norm(x * self.scale))))
        self.error.update(out, y)
        self.log_dict(self.error)
        self.trainer.optimizers[0].param_groups[0]["lr"] *= 0.99
        loss = self.criterion(out, y)
        return loss * torch.tensor(float("nan")) if batch_idx == NAN_AT else loss


@pytest.mark.parametrize("options", [{}, {"detect_anomaly": True}], ids=["", "anomaly"])
def test_the_state_of_usual_modules_is_restored(options):
    """The loss is NaN, so the batch runs again before its own backward pass."""
    results = []
    for callbacks in ([], [diagnostics := watcher()]):
        model = Usual(options={"rate": 3})
        t = trainer(*callbacks, max_steps=NAN_AT + 1, **options)
        if options:
            with pytest.raises(RuntimeError, match="returned nan values"):
                t.fit(model, loader())
        else:
            t.fit(model, loader())
        results.append((model, t.optimizers[0].param_groups[0]["lr"]))
    (a, rate_a), (b, rate_b) = results
    assert rate_a == rate_b
    for key, value in a.state_dict().items():
        assert same(value.nan_to_num(), b.state_dict()[key].nan_to_num()), key
    (event,) = diagnostics.history.events_of("non-finite")
    assert (event["place"], event.step) == ("loss", NAN_AT)
    assert "reason" not in event.detail


def test_an_exception_names_the_layer_in_anomaly_mode():
    class Steep(nn.Module):
        def forward(self, x):
            return (x * 0).abs().sqrt()

    module = Case(STATELESS)
    module.net.second = nn.Sequential(Steep(), nn.Linear(6, 3))
    diagnostics = watcher()
    with pytest.raises(RuntimeError, match="returned nan values"):
        trainer(diagnostics, max_steps=2, detect_anomaly=True).fit(module, loader())
    assert diagnostics.failure is None
    assert diagnostics.findings[0].where == ("net.second.0",)
