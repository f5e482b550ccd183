"""The perceptron in a real Trainer: the rule, its stop, its history, and what is refused."""

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from quiet import QUIET

from nnfoundations import optim
from nnfoundations.datamodules import SetosaDataModule
from nnfoundations.errors import OptionError
from nnfoundations.lightning_modules import ManualClassifier, NumPySGD
from nnfoundations.numpy import Perceptron


def module(optimizer=lambda params: NumPySGD(params, lr=1.0), **options):
    return ManualClassifier(Perceptron(4), 2, optimizer=optimizer, **options)


class Hard(SetosaDataModule):
    """Versicolor, which no plane separates from the others."""

    def read(self):
        flowers = super(SetosaDataModule, self).read()
        return flowers._replace(labels=(flowers.labels == 1).to(torch.int64))


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("package", [NumPySGD, torch.optim.SGD, optim.SGD])
def test_it_stops_after_an_epoch_without_a_mistake(batch_size, package, tmp_path):
    trained = module(lambda params: package(params, lr=1.0))
    trainer = Trainer(max_epochs=100, default_root_dir=tmp_path, enable_checkpointing=False, **QUIET)
    trainer.fit(trained, datamodule=SetosaDataModule(batch_size=batch_size))
    net = trained.net.net
    assert net.converged
    assert len(net.history.mistakes) == trainer.current_epoch < 100
    assert net.history.mistakes[-1] == 0
    assert 0 not in net.history.mistakes[:-1]
    assert sum(net.history.mistakes) == len(net.history.updates)
    assert [update.epoch for update in net.history.updates] == [
        epoch for epoch, mistakes in enumerate(net.history.mistakes) for _ in range(mistakes)
    ]
    np.testing.assert_allclose(net.history.updates[-1].weight, trained.net.weight.detach(), rtol=1e-5)


def test_what_is_not_separable_is_said_at_the_limit(tmp_path):
    trained = module()
    trainer = Trainer(max_epochs=3, default_root_dir=tmp_path, enable_checkpointing=False, **QUIET)
    with pytest.warns(UserWarning, match=r"Perceptron: still \d+ mistakes in epoch 3, the run's last"):
        trainer.fit(trained, datamodule=Hard(batch_size=8))
    assert len(trained.net.net.history.mistakes) == 3
    assert not trained.net.net.converged


def test_a_part_of_an_epoch_is_no_proof(tmp_path):
    """Two batches without a mistake say nothing about the others; the whole epoch does."""
    trained, again = module(), module()
    trainer = Trainer(max_epochs=100, default_root_dir=tmp_path, enable_checkpointing=False, **QUIET)
    trainer.fit(trained, datamodule=SetosaDataModule(batch_size=8))
    again.load_state_dict(trained.state_dict())
    for limit, mistakes in (({"max_steps": 2}, []), ({"max_epochs": 9}, [0])):
        trainer = Trainer(**limit, default_root_dir=tmp_path, enable_checkpointing=False, **QUIET)
        trainer.fit(again, datamodule=SetosaDataModule(batch_size=8))
        assert again.net.net.history.mistakes == mistakes
        assert again.net.net.converged == bool(mistakes)


@pytest.mark.filterwarnings("ignore:Perceptron. still")
def test_the_history_goes_on_from_a_checkpoint(tmp_path):
    whole, half = module(), module()
    for one, epochs in ((whole, 4), (half, 2)):
        trainer = Trainer(max_epochs=epochs, default_root_dir=tmp_path, enable_checkpointing=False, **QUIET)
        trainer.fit(one, datamodule=Hard(batch_size=8))
    path = tmp_path / "half.ckpt"
    trainer.save_checkpoint(path)
    rest = module()
    trainer = Trainer(max_epochs=4, default_root_dir=tmp_path, enable_checkpointing=False, **QUIET)
    trainer.fit(rest, datamodule=Hard(batch_size=8), ckpt_path=path)
    one, other = whole.net.net.history, rest.net.net.history
    assert one.mistakes == other.mistakes
    for a, b in zip(one.updates, other.updates, strict=True):
        assert (a.epoch, a.row, a.bias) == (b.epoch, b.row, b.bias)
        np.testing.assert_array_equal(a.weight, b.weight)


@pytest.mark.parametrize(
    ("options", "came"),
    [
        ({"optimizer": NumPySGD}, "NumPySGD with lr=0.01, momentum=0.0, weight_decay=0.0 and no schedule"),
        ({"optimizer": lambda p: NumPySGD(p, lr=1.0, momentum=0.9)}, "momentum=0.9"),
        ({"optimizer": lambda p: torch.optim.SGD(p, lr=1.0, weight_decay=0.1)}, "weight_decay=0.1"),
        ({"optimizer": lambda p: optim.Adam(p, lr=1.0)}, "got Adam with lr=1.0"),
        ({"lr_scheduler": lambda o: torch.optim.lr_scheduler.StepLR(o, 5)}, "StepLR"),
    ],
)  # fmt: skip
def test_another_rule_is_refused(options, came, tmp_path):
    """Nothing is trained; the error says what was given, and what to give."""
    refused = module(**options)
    trainer = Trainer(max_epochs=1, default_root_dir=tmp_path, enable_checkpointing=False, **QUIET)
    with pytest.raises(OptionError, match=r"Perceptron needs SGD with lr=1.*Give NumPySGD") as caught:
        trainer.fit(refused, datamodule=SetosaDataModule(batch_size=8))
    assert came in str(caught.value)
