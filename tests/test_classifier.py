"""Classifier in a real Trainer: what it optimizes, what it logs, and when it waits for the device."""

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import ReduceLROnPlateau as Plateau
from torch.nn import functional
from torch.optim import SGD
from torch.optim.lr_scheduler import LinearLR, OneCycleLR, ReduceLROnPlateau, StepLR

from nnfoundations import nn
from nnfoundations.datamodules import DigitsDataModule
from nnfoundations.errors import OptionError, ShapeError
from nnfoundations.lightning_modules import Classifier, Regressor
from nnfoundations.models import MLP


def trainer_in(tmp_path, epochs, **options):
    quiet = {"logger": False, "enable_checkpointing": False, "log_every_n_steps": 5}
    quiet |= {"enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(accelerator="cpu", max_epochs=epochs, default_root_dir=tmp_path, **(quiet | options))


def fit(tmp_path, model, epochs=2, **options):
    torch.manual_seed(0)
    trainer = trainer_in(tmp_path, epochs, **options)
    trainer.fit(model, datamodule=DigitsDataModule(batch_size=32))
    return trainer


def one_batch(datamodule):
    datamodule.prepare_data()
    datamodule.setup("fit")
    return datamodule.train_dataloader()


def test_train_metrics_are_those_of_the_epoch(tmp_path):
    """Compare the sums with the same numbers computed from outside, batch by batch."""
    model = Classifier(MLP([64, 16, 10]))
    seen = []
    model.loss.register_forward_hook(
        lambda _, args, loss: (
            seen.append((loss.detach(), (args[0].argmax(1) == args[1]).sum(), len(args[1])))
            if model.training
            else None
        )
    )
    trainer = fit(tmp_path, model, epochs=1)
    losses, right, sizes = (torch.tensor(column, dtype=torch.float64) for column in zip(*seen, strict=True))
    metrics = trainer.callback_metrics
    assert metrics["train/loss"] == pytest.approx(float((losses * sizes).sum() / sizes.sum()), rel=1e-5)
    assert metrics["train/accuracy"] == pytest.approx(float(right.sum() / sizes.sum()))


def test_validation_metrics_are_those_of_all_images(tmp_path):
    """Compare with the definitions over the whole split; the last batch is smaller than the others."""
    model = Classifier(MLP([64, 16, 10]))
    trainer = fit(tmp_path, model, epochs=1)
    batches = list(trainer.datamodule.val_dataloader())
    assert len({len(y) for _, y in batches}) > 1
    x, y = (torch.cat(part) for part in zip(*batches, strict=True))
    with torch.no_grad():
        logits = model.eval()(x).double()
    probabilities = logits.softmax(1)
    predicted = probabilities.argmax(1)
    scores = []
    for c in range(10):
        hit = ((predicted == c) & (y == c)).sum()
        scores.append(2 * hit / ((predicted == c).sum() + (y == c).sum()))
    confidence, right = probabilities.max(1).values, (predicted == y).double()
    bins = (confidence * 15).ceil().clamp(1, 15)
    gaps = [
        (bins == b).double().mean() * (confidence[bins == b].mean() - right[bins == b].mean()).abs()
        for b in bins.unique()
    ]
    expected = {
        "loss": -probabilities.log()[torch.arange(len(y)), y].mean(),
        "accuracy": right.mean(),
        "accuracy_top3": (probabilities.topk(3, 1).indices == y[:, None]).any(1).double().mean(),
        "f1": torch.stack(scores).mean(),
        "calibration_error": sum(gaps),
    }
    for name, value in expected.items():
        assert trainer.callback_metrics[f"val/{name}"] == pytest.approx(float(value), abs=1e-5), name
    confusion = torch.zeros(10, 10)
    confusion.index_put_((y, predicted), torch.ones(len(y)), accumulate=True)
    assert torch.equal(model.val_confusion.compute().float(), confusion)


@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.02), (0.003, 0.0), (0.003, 0.02)])
def test_penalties_add_their_gradient_to_weights_only(l1, l2):
    torch.manual_seed(0)
    net = MLP([64, 16, 10])
    x, y = torch.randn(8, 64), torch.arange(8)

    def gradients(**penalties):
        model = Classifier(net, **penalties)
        net.zero_grad()
        trainer = Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False)
        trainer.strategy.connect(model)
        model.trainer = trainer
        model.on_fit_start()
        model.training_step((x, y), 0).backward()
        return {name: p.grad.clone() for name, p in net.named_parameters()}

    plain, penalised = gradients(), gradients(l1=l1, l2=l2)
    for name, p in net.named_parameters():
        extra = l1 * p.sign() + l2 * p if p.ndim > 1 else torch.zeros_like(p)
        torch.testing.assert_close(penalised[name] - plain[name], extra, atol=1e-6, rtol=1e-4)


def test_l2_is_weight_decay_of_sgd(tmp_path):
    """Both train the same weights if biases are left out of the decay."""

    def decayed(params):
        params = list(params)
        return torch.optim.SGD(
            [
                {"params": [p for p in params if p.ndim > 1], "weight_decay": 0.01},
                {"params": [p for p in params if p.ndim == 1]},
            ],
            lr=0.1,
        )

    nets = []
    for arguments in (
        {"l2": 0.01, "optimizer": lambda p: torch.optim.SGD(p, lr=0.1)},
        {"optimizer": decayed},
    ):
        torch.manual_seed(0)
        nets.append(MLP([64, 16, 10]))
        fit(tmp_path, Classifier(nets[-1], **arguments), epochs=1)
    for ours, theirs in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_smoothing_is_optimised_and_not_logged(tmp_path):
    torch.manual_seed(0)
    net = MLP([64, 16, 10])
    x, y = next(iter(one_batch(DigitsDataModule(batch_size=32))))
    smoothed = torch.nn.functional.cross_entropy(net(x), y, label_smoothing=0.3)
    expected = torch.autograd.grad(smoothed, net.layers[1].weight)[0]
    plain = float(torch.nn.functional.cross_entropy(net(x), y).detach())
    before = net.layers[1].weight.detach().clone()
    model = Classifier(net, label_smoothing=0.3, optimizer=lambda p: torch.optim.SGD(p, lr=1.0))
    trainer = fit(tmp_path, model, epochs=1, limit_train_batches=1)
    torch.testing.assert_close(before - net.layers[1].weight, expected, atol=1e-6, rtol=1e-4)
    assert trainer.callback_metrics["train/loss"] == pytest.approx(plain, rel=1e-5)
    assert plain != pytest.approx(float(smoothed.detach()), rel=1e-3)


def test_loss_optimizer_and_schedule_are_injected(tmp_path):
    model = Classifier(
        MLP([64, 16, 10]),
        loss=nn.MultiMarginLoss,
        optimizer=lambda p: torch.optim.AdamW(p, lr=0.01),
        lr_scheduler=lambda o: StepLR(o, 1, gamma=0.5),
    )
    trainer = fit(tmp_path, model)
    assert isinstance(model.loss, torch.nn.MultiMarginLoss)
    (optimizer,) = trainer.optimizers
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01 / 4)


def test_schedules_step_in_their_own_unit(tmp_path):
    one_cycle = Classifier(MLP([64, 10]), lr_scheduler=lambda o: OneCycleLR(o, 0.1, total_steps=1000))
    trainer = fit(tmp_path, one_cycle, epochs=1)
    assert trainer.lr_scheduler_configs[0].scheduler.last_epoch == trainer.global_step
    plateau = Classifier(
        MLP([64, 10]), lr_scheduler=lambda o: ReduceLROnPlateau(o, patience=0, threshold=1e9)
    )
    fit(tmp_path, plateau, epochs=3)
    assert plateau.trainer.optimizers[0].param_groups[0]["lr"] < 0.1


def test_built_from_python_its_checkpoint_is_plain_data(tmp_path):
    model = Classifier(MLP([64, 10]), l2=0.5, optimizer=lambda p: torch.optim.SGD(p, lr=0.1))
    trainer = fit(tmp_path, model, epochs=1)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    stored = torch.load(tmp_path / "model.ckpt", weights_only=True)
    numbers = {"num_classes": 10, "l1": 0.0, "l2": 0.5, "label_smoothing": 0.0, "max_norm": None}
    assert stored["hyper_parameters"] == numbers
    loaded = Classifier.load_from_checkpoint(tmp_path / "model.ckpt", net=MLP([64, 10]), weights_only=True)
    assert loaded.l2 == 0.5


def test_a_training_step_asks_nothing_of_the_device(tmp_path, monkeypatch):
    """Reading a number from a tensor makes the host wait: only logged steps may do it."""
    calls = []

    def counted(name):
        original = getattr(torch.Tensor, name)

        def call(tensor, *args, **kwargs):
            calls.append(name)
            return original(tensor, *args, **kwargs)

        return call

    class Counting(Classifier):
        def training_step(self, batch, batch_idx):
            before = len(calls)
            result = super().training_step(batch, batch_idx)
            if (self.global_step + 1) % 5:
                assert len(calls) == before, calls[before:]
            return result

    for name in ("item", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__", "cpu"):
        monkeypatch.setattr(torch.Tensor, name, counted(name))
    fit(tmp_path, Counting(MLP([64, 10])), epochs=1)
    assert calls, "the counters saw nothing at all"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"l1": -1.0}, "l1 and l2 must be at least 0; got l1=-1.0"),
        ({"label_smoothing": 1.0}, "less than 1; got 1.0"),
        (
            {"label_smoothing": 0.1, "loss": nn.MultiMarginLoss},
            "a loss that takes it; .* to 0",
        ),
    ],
)
def test_bad_values_are_named(arguments, text):
    with pytest.raises(ValueError, match=text):
        Classifier(MLP([64, 10]), **arguments)


def test_logits_of_another_width_are_named(tmp_path):
    with pytest.raises(ShapeError, match=r"shape \(N, 10\); the net returned \(32, 20\)"):
        fit(tmp_path, Classifier(MLP([64, 20])), num_sanity_val_steps=0)


def test_a_schedule_shorter_than_the_run_is_told(tmp_path):
    model = Classifier(MLP([64, 10]), lr_scheduler=lambda o: LinearLR(o, 1.0, 0.0, total_iters=1))
    with pytest.warns(UserWarning, match="after epoch 1 of 4 the rate is 0") as told:
        fit(tmp_path, model, epochs=4)
    assert sum("schedule ends" in str(warning.message) for warning in told) == 1


@pytest.mark.filterwarnings("ignore:Checkpoint directory", "ignore:You.re resuming")  # the data restarts
def test_resumes_within_an_epoch(tmp_path):
    """Lightning does not call the hook at the start of the first epoch of such a run."""
    arguments = {"limit_train_batches": 10, "enable_checkpointing": True}
    middle = ModelCheckpoint(tmp_path, filename="middle", every_n_train_steps=15)
    fit(tmp_path, Classifier(MLP([64, 10])), callbacks=[middle], **arguments)
    torch.manual_seed(0)
    trainer = trainer_in(tmp_path, 2, callbacks=[middle], **arguments)
    data = DigitsDataModule(batch_size=32)
    trainer.fit(Classifier(MLP([64, 10])), datamodule=data, ckpt_path=tmp_path / "middle.ckpt")
    assert trainer.global_step == 20
    assert 0 < trainer.callback_metrics["train/accuracy"] <= 1


def test_log_every_n_steps_may_be_off(tmp_path):
    assert fit(tmp_path, Classifier(MLP([64, 10])), epochs=1, log_every_n_steps=0).global_step == 41


def test_an_instance_of_a_loss_is_refused_in_one_sentence():
    with pytest.raises(OptionError, match=r"takes the class of the loss; .* Write loss=CrossEntropyLoss"):
        Classifier(MLP([64, 10]), loss=nn.CrossEntropyLoss())


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda net: Classifier(MLP), r"needs a network; got the class MLP. Call it: Classifier\(MLP"),
        (lambda net: Classifier(None), "needs a network, a torch.nn.Module; got NoneType"),
        (lambda net: Regressor(MLP), "^Regressor needs a network; got the class MLP"),
        (
            lambda net: Classifier(net, optimizer=SGD(net.parameters(), 0.1)),
            "of the optimizer; got an ins",
        ),
        (lambda net: Classifier(net, optimizer="adam"), "got 'adam'. Write optimizer=torch.optim.Adam"),
        (lambda net: Regressor(net, optimizer="adam"), "^Regressor needs the class of the optimizer"),
        (lambda net: Classifier(net, lr_scheduler="step"), "class of the lr_scheduler; got 'step'"),
        (lambda net: Classifier(net, loss="mse"), "takes the class of the loss; got 'mse'"),
        (
            lambda net: Classifier(net, loss=functional.cross_entropy),
            "cross_entropy needs input. Pass a",
        ),
        (lambda net: Regressor(net, loss=functional.mse_loss), "Regressor calls loss without arguments"),
        (lambda net: Classifier(net, loss=nn.MSELoss), "a loss of class indices; got MSELoss"),
        (lambda net: Classifier(net, loss=torch.nn.HuberLoss), "Use CrossEntropyLoss or NLLLoss; Regressor"),
    ],
)
def test_a_wrong_argument_is_refused_when_the_module_is_built(build, text):
    with pytest.raises(OptionError, match=text) as error:
        build(MLP([64, 10]))
    assert "\n" not in str(error.value)


def test_a_schedule_follows_its_own_metric(tmp_path):
    """Lightning's ReduceLROnPlateau has a monitor; torch's follows val/loss."""
    model = Classifier(MLP([64, 10]), lr_scheduler=lambda o: Plateau(o, "val/accuracy", mode="max"))
    trainer = fit(tmp_path, model, epochs=1, limit_train_batches=2, limit_val_batches=1)
    assert trainer.lr_scheduler_configs[0].monitor == "val/accuracy"
    assert trainer.lr_scheduler_configs[0].scheduler.best == trainer.callback_metrics["val/accuracy"]
