"""A user's own rule beside those of the package: in a run, on a file, in the arbiter and in every option."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from sklearn.datasets import load_wine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from nnfoundations.callbacks import Diagnostics, GradientMonitor
from nnfoundations.diagnostics import RULES, Finding, History, Rule, Severity, diagnose
from nnfoundations.errors import OptionError

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


@dataclass(frozen=True)
class HighLoss(Rule):
    """The loss is above a limit."""

    fault, family, needs = "high-loss", "mine", ("loss",)
    explains = ("unscaled-inputs",)
    exact = True
    limit: float = 1.0

    def judge(self, history: History):
        losses = history["loss"]
        if losses.rows[-1, 0] < self.limit:
            return None
        return self.suspect(losses.steps[-1], (), "e.", "c.", "r.", Severity.ERROR)


class Wine(LightningModule):
    """A small net on wines; their raw values have a root mean square of about 220."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(13, 16), nn.Tanh(), nn.Linear(16, 3))

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


def fit(scaled=True, **options):
    torch.manual_seed(0)
    data = load_wine()
    x, y = torch.tensor(data.data, dtype=torch.float32), torch.tensor(data.target)
    if scaled:
        x = (x - x.mean(0)) / x.std(0)
    diagnostics = Diagnostics(verbose=False, **options)
    trainer = Trainer(
        max_epochs=4,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[diagnostics],
    )
    trainer.fit(Wine(), DataLoader(TensorDataset(x, y), 32, shuffle=True))
    return diagnostics


def faults(findings: list[Finding]) -> list[str]:
    return [finding.fault for finding in findings]


def test_it_runs_with_the_others():
    assert faults(fit(rules=[*RULES, HighLoss(0.1)]).findings) == ["high-loss"]
    assert fit(rules=[*RULES, HighLoss(100.0)]).findings == []


class HighLossOfData(HighLoss):
    family = "data"


def test_its_declaration_reaches_the_arbiter():
    first, *rest = fit(scaled=False, rules=[HighLossOfData(), *RULES]).findings
    assert (first.fault, first.consequences) == ("high-loss", ("unscaled-inputs",))
    assert "unscaled-inputs" not in faults(rest)
    # A family that is not listed comes last.
    assert faults(fit(scaled=False, rules=[HighLoss(), *RULES]).findings) == ["unscaled-inputs", "high-loss"]


def test_options_know_it(capsys):
    rules = [*RULES, HighLoss(0.1)]
    assert fit(rules=rules, mute="high-*").findings == []
    assert faults(fit(rules=rules, families=["mine"]).findings) == ["high-loss"]
    with pytest.raises(OptionError, match="one rule per fault; got two for 'high-loss'"):
        Diagnostics(rules=[HighLoss(), HighLoss(2.0)])
    with pytest.raises(OptionError, match="instances of Rule"):
        Diagnostics(rules=[HighLoss])
    assert [rule.fault for rule in GradientMonitor(rules=[HighLoss()]).rules] == ["high-loss"]


def test_a_saved_history_is_judged_by_it(tmp_path: Path):
    fit().history.save(tmp_path / "history.npz")
    assert faults(diagnose(History.load(tmp_path / "history.npz"), rules=[HighLoss(0.1)])) == ["high-loss"]
