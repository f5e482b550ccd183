"""Networks with hand-written gradients in a real Trainer: they learn the same as without it."""

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from quiet import QUIET
from torch.multiprocessing import ProcessRaisedException

from nnfoundations import autograd
from nnfoundations import numpy as ours
from nnfoundations.callbacks import Diagnostics
from nnfoundations.cli import main
from nnfoundations.datamodules import DigitsDataModule, SetosaDataModule, XORDataModule
from nnfoundations.errors import OptionError
from nnfoundations.lightning_modules import ManualClassifier, NumPyModule, NumPySGD


def sgd(**options):
    return lambda params: NumPySGD(params, **options)


def test_under_lightning_it_is_the_loop_written_by_hand(tmp_path):
    """Bit for bit the same weights, with momentum, a schedule and BatchNorm's statistics."""

    def net():
        return ours.Sequential(
            ours.Linear(64, 16, seed=0), ours.BatchNorm(16), ours.ReLU(), ours.Linear(16, 10, seed=1)
        )

    class Flat(ours.Sequential):
        def forward(self, x):
            return super().forward(x.reshape(len(x), -1))

    data = DigitsDataModule(batch_size=32)
    module = ManualClassifier(
        Flat(*net().layers),
        optimizer=sgd(lr=0.1, momentum=0.9),
        lr_scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, 1, 0.5),
    )
    trainer = Trainer(max_epochs=2, default_root_dir=tmp_path, enable_checkpointing=False, **QUIET)
    trainer.fit(module, datamodule=data)

    bare, data = Flat(*net().layers), DigitsDataModule(batch_size=32)
    data.setup()
    optimizer, loader = ours.SGD(bare, lr=0.1, momentum=0.9), data.train_dataloader()
    for epoch in range(2):
        optimizer.lr = 0.1 * 0.5**epoch
        for x, y in loader:
            bare.differentiate(x.numpy(), y.numpy())
            optimizer.step()
    state = module.net.state_dict()
    assert set(state) == {*bare.parameters, *bare.buffers}
    for name, value in {**bare.parameters, **bare.buffers}.items():
        np.testing.assert_array_equal(state[name].numpy(), value)


@pytest.mark.parametrize(
    ("net", "data", "lr", "least"),
    [
        (lambda: ours.MLP([64, 32, 10], seed=0), DigitsDataModule(batch_size=32), 0.1, 0.9),
        (lambda: autograd.MLP([64, 32, 10], seed=0), DigitsDataModule(batch_size=32), 0.1, 0.9),
        (lambda: ours.Perceptron(4), SetosaDataModule(batch_size=8), 1.0, 1.0),
    ],
    ids=["numpy", "autograd", "perceptron"],
)
def test_each_kind_learns_and_comes_back_from_a_checkpoint(net, data, lr, least, tmp_path):
    module = ManualClassifier(net(), data.num_classes, optimizer=sgd(lr=lr))
    trainer = Trainer(max_epochs=5, default_root_dir=tmp_path, **QUIET)
    trainer.fit(module, datamodule=data)
    (before,) = trainer.test(module, datamodule=data, verbose=False)
    assert before["test/accuracy"] >= least
    path = tmp_path / "saved.ckpt"
    trainer.save_checkpoint(path)
    again = ManualClassifier.load_from_checkpoint(path, net=net(), num_classes=data.num_classes)
    (after,) = Trainer(default_root_dir=tmp_path, **QUIET).test(again, datamodule=data, verbose=False)
    assert after == before


def test_dropout_goes_on_where_it_was(tmp_path):
    """After a checkpoint dropout masks, momentum and statistics equal those of the uninterrupted run."""

    def fitted(epochs, ckpt_path=None):
        first, last = ours.Linear(2, 8, seed=0), ours.Linear(8, 2, seed=2)
        layers = first, ours.BatchNorm(8), ours.Dropout(0.3, seed=1), last
        module = ManualClassifier(ours.Sequential(*layers), 2, optimizer=sgd(lr=0.1, momentum=0.9))
        options = {"default_root_dir": tmp_path, "enable_checkpointing": False, **QUIET}
        trainer = Trainer(max_epochs=epochs, **options)
        trainer.fit(module, datamodule=XORDataModule(batch_size=32), ckpt_path=ckpt_path)
        return module, trainer

    whole, _ = fitted(4)
    _, trainer = fitted(2)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    assert torch.load(tmp_path / "half.ckpt", weights_only=True)["generators"]  # nothing to be executed
    resumed, _ = fitted(4, tmp_path / "half.ckpt")
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_what_is_frozen_stays(tmp_path):
    module = ManualClassifier(ours.MLP([2, 4, 2], seed=0), 2)
    frozen = module.net.get_parameter("0.weight").requires_grad_(False)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    trainer = Trainer(max_epochs=1, default_root_dir=tmp_path, enable_checkpointing=False, **QUIET)
    trainer.fit(module, datamodule=XORDataModule(batch_size=32))
    assert torch.equal(frozen, before["net.0.weight"])
    assert not torch.equal(module.net.get_parameter("2.weight"), before["net.2.weight"])


@pytest.mark.parametrize("net", [torch.nn.Linear(2, 2), ours.Linear(2, 2), ours.MLP, None], ids=str)
def test_a_net_that_is_none_of_ours_is_said(net):
    with pytest.raises(TypeError, match=r"net with a `differentiate` method.*Use Classifier for a torch"):
        ManualClassifier(net, 2)


def test_torchs_optimizers_move_it_and_diagnostics_see_it(tmp_path):
    """A rate that is far too high is reported as for any module."""
    diagnostics = Diagnostics(verbose=False)
    module = ManualClassifier(
        ours.MLP([64, 32, 10], seed=0), optimizer=lambda params: torch.optim.SGD(params, lr=30.0)
    )
    trainer = Trainer(
        max_epochs=2, default_root_dir=tmp_path, callbacks=[diagnostics], enable_checkpointing=False, **QUIET
    )
    trainer.fit(module, datamodule=DigitsDataModule(batch_size=32))
    assert "learning-rate-too-high" in {finding.fault for finding in diagnostics.findings}


def test_another_device_is_one_clear_error():
    module = NumPyModule(ours.MLP([4, 2], seed=0))
    with pytest.raises(OptionError, match=r"MLP runs on NumPy and needs the CPU; got meta. Set --trainer"):
        module(torch.zeros(1, 4, device="meta"))
    with pytest.raises(OptionError, match="needs the CPU; got meta"):
        module.to("meta")(torch.zeros(1, 4))


def test_layers_may_be_nested(tmp_path):
    """Nested names: the same net, flat, ends with the same weights, and a checkpoint loads."""

    def layers():
        return ours.Linear(2, 8, seed=0), ours.BatchNorm(8), ours.Tanh(), ours.Linear(8, 2, seed=1)

    first, norm, act, last = layers()
    nested = ManualClassifier(ours.Sequential(ours.Sequential(first, ours.Sequential(norm, act)), last), 2)
    flat = ManualClassifier(ours.Sequential(*layers()), 2)
    for module in (nested, flat):
        trainer = Trainer(max_epochs=1, default_root_dir=tmp_path, enable_checkpointing=False, **QUIET)
        trainer.fit(module, datamodule=XORDataModule(batch_size=32))
    assert "net.0.1.0.running_mean" in nested.state_dict()
    state = nested.net.state_dict()
    for one, other in zip(state.values(), flat.net.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    again = NumPyModule(ours.Sequential(ours.Sequential(first, ours.Sequential(norm, act)), last))
    again.load_state_dict(state)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_half_precision_is_one_clear_error(precision, tmp_path):
    trainer = Trainer(max_epochs=1, precision=precision, default_root_dir=tmp_path, **QUIET)
    module = ManualClassifier(ours.MLP([2, 4, 2], seed=0), 2)
    with pytest.raises(OptionError, match=r"float32 or float64; got torch.b?float16. Set --trainer.prec"):
        trainer.fit(module, datamodule=XORDataModule(batch_size=32))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_numpy_rule_on_a_half_precision_net_is_one_clear_error(dtype):
    """Also a torch net; no weight changes."""
    net = torch.nn.Linear(3, 2).to(dtype)
    before = net.weight.detach().clone()
    optimizer = NumPySGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.ones(4, 3, dtype=dtype)).sum().backward()
    with pytest.raises(OptionError, match=rf"NumPySGD .*float32 or float64; got {dtype}. Set .*float\(\) on"):
        optimizer.step()
    assert torch.equal(net.weight, before)
    net.float().zero_grad()
    net(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    torch.testing.assert_close(net.weight, before.float() - 0.4)


def test_the_numpy_rule_says_what_a_sparse_gradient_needs():
    net = torch.nn.Embedding(5, 3, sparse=True)
    net(torch.tensor([1])).sum().backward()
    with pytest.raises(OptionError, match="needs dense gradients; got a sparse one of shape"):
        NumPySGD(net.parameters()).step()


def test_double_precision_is_double_throughout(tmp_path):
    module = ManualClassifier(ours.MLP([2, 4, 2], seed=0), 2)
    trainer = Trainer(max_epochs=1, precision="64-true", default_root_dir=tmp_path, **QUIET)
    trainer.fit(module, datamodule=XORDataModule(batch_size=32))
    assert {p.dtype for p in module.parameters()} == {torch.float64}
    assert module.net.net.parameters["0.weight"].dtype == np.float64


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_several_processes_are_refused(tmp_path):
    """Each process would train its own weights on its part of the data, and rank 0's would be saved."""
    options = {**QUIET, "devices": 2, "strategy": "ddp_fork"}
    trainer = Trainer(max_epochs=1, default_root_dir=tmp_path, enable_checkpointing=False, **options)
    module = ManualClassifier(ours.MLP([2, 4, 2], seed=0), 2)
    with pytest.raises(ProcessRaisedException, match=r"runs in one process.*got 2. Set --trainer.devices 1"):
        trainer.fit(module, datamodule=XORDataModule(batch_size=32))


def plateau(optimizer):
    """No fall is large enough to count: each validation halves the rate."""
    return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=1.0)


@pytest.mark.parametrize(("every", "rate"), [(1, 0.00625), (3, 0.025)])
def test_a_plateau_waits_for_the_first_validation(every, rate, tmp_path):
    module = ManualClassifier(ours.MLP([2, 4, 2], seed=0), 2, optimizer=sgd(lr=0.1), lr_scheduler=plateau)
    trainer = Trainer(
        max_epochs=4, check_val_every_n_epoch=every, default_root_dir=tmp_path,
        enable_checkpointing=False, **QUIET,
    )  # fmt: skip
    trainer.fit(module, datamodule=XORDataModule(batch_size=32))
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(rate)


def test_a_plateau_without_validation_is_said(tmp_path):
    module = ManualClassifier(ours.MLP([2, 4, 2], seed=0), 2, lr_scheduler=plateau)
    trainer = Trainer(max_epochs=1, limit_val_batches=0, default_root_dir=tmp_path, **QUIET)
    with pytest.raises(OptionError, match=r"needs val/loss; got a run without validation. Give"):
        trainer.fit(module, datamodule=XORDataModule(batch_size=32))


@pytest.mark.parametrize(("name", "least"), [("perceptron_iris", 1.0), ("autograd_xor", 0.99)])
def test_the_small_configs_keep_their_goals(name, least, tmp_path, capsys):
    assert main(["fit", "--config", name, "--trainer.default_root_dir", str(tmp_path)]) == 0
    (row,) = (line for line in capsys.readouterr().out.splitlines() if "test/accuracy " in line)
    assert float(row.split()[-1]) >= least
