"""Diagnostics with two processes and whole or sharded parameters: one measures, and no process waits."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, os, sys
sys.path.insert(0, TESTS)
import torch
torch.set_num_threads(1)
from lightning.pytorch import Trainer
from zoo import MLP, Module, loaders
from nnfoundations.callbacks import Diagnostics
from nnfoundations.diagnostics import FaultError

class Net(Module):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss * float("nan") if CASE != "healthy" and self.trainer.global_step == 20 else loss

diagnostics = Diagnostics(verbose=False, budget=1.0, action="warn" if CASE == "healthy" else CASE)
trainer = Trainer(
    accelerator="cpu", devices=2, strategy="ddp", max_steps=60, max_epochs=-1, logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    callbacks=[diagnostics],
)
torch.manual_seed(0)
raised = False
try:
    trainer.fit(Net(MLP(3)), *loaders())
except FaultError:
    raised = True
print(json.dumps({
    "rank": trainer.global_rank, "step": trainer.global_step, "raised": raised,
    "looks": len(diagnostics.history["gradient_norm"]), "failure": repr(diagnostics.failure),
    "findings": [[f.fault, str(f.severity), f.first_step] for f in diagnostics.findings],
}), file=open(os.path.join(OUT, f"{CASE}-{trainer.global_rank}.json"), "w"))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", ["stop", *(pytest.param(name, marks=pytest.mark.weekly) for name in ("healthy", "raise"))]
)
def test_two_processes(case, tmp_path):
    script = tmp_path / "fit.py"
    here = str(Path(__file__).parent)
    script.write_text(f"TESTS, OUT, CASE = {here!r}, {str(tmp_path)!r}, {case!r}\n" + SCRIPT)
    done = subprocess.run([sys.executable, script], timeout=600, capture_output=True, text=True, check=False)
    ranks = [tmp_path / f"{case}-{rank}.json" for rank in (0, 1)]
    assert all(path.exists() for path in ranks), done.stderr[-3000:]
    first, second = (json.loads(path.read_text()) for path in ranks)
    assert first["failure"] == second["failure"] == "None"
    assert first["looks"] > 10
    assert second["looks"] == 0
    if case == "healthy":
        assert first["step"] == second["step"] == 60
        assert not [f for f in first["findings"] if f[1] != "info"]
    else:
        assert first["findings"][0] == ["non-finite", "error", 20]
        assert 20 < first["step"] == second["step"] < 40
        assert first["raised"] == second["raised"] == (case == "raise")


# -- parts of the parameters -------------------------------------------------------------------------------

SHARED = """
import json, os, sys
sys.path.insert(0, TESTS)
import torch
torch.set_num_threads(1)
from torch import nn
from torch.distributed.fsdp import fully_shard
from zoo import MLP, Module, loaders

def shard(net, mesh):
    for layer in list(net.modules()):
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh)
    fully_shard(net, mesh=mesh)

def spoiled(loss, step, rank):
    return loss * float("nan") if step == 20 and rank == 0 else loss

def told(rank, watched):
    print(json.dumps({
        "failure": repr(watched.failure), "findings": [[f.fault, f.first_step] for f in watched.findings],
        "losses": len(watched.history["loss"]), "not_run": watched.not_run,
    }), file=open(os.path.join(OUT, f"{rank}.json"), "w"))
"""

LIGHTNING = """
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from nnfoundations.callbacks import Diagnostics

class Net(Module):
    def configure_model(self):
        shard(self.net, self.device_mesh["data_parallel"])
    def training_step(self, batch, batch_idx):
        return spoiled(super().training_step(batch, batch_idx), self.trainer.global_step, self.global_rank)

torch.manual_seed(0)
diagnostics = Diagnostics(verbose=False)
strategy = ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)
trainer = Trainer(
    accelerator="cpu", devices=2, strategy=strategy, max_steps=40, max_epochs=-1, logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    callbacks=[diagnostics],
)
trainer.fit(Net(MLP(3)), *loaders())
if trainer.is_global_zero:
    told(0, diagnostics)
"""

LOOP = """
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.device_mesh import init_device_mesh
from nnfoundations.diagnostics import Monitor

def main(rank):
    meet = "file://" + os.path.join(OUT, "meet")
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2)
    torch.manual_seed(0)
    net = MLP(3)
    shard(net, init_device_mesh("cpu", (2,)))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    with Monitor(net, optimizer, verbose=False) as monitor:
        for step, (x, y) in zip(range(40), loaders(batch_size=32)[0]):
            loss = spoiled(nn.functional.cross_entropy(net(x), y), step, rank)
            monitor.observe(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    told(rank, monitor)
    dist.destroy_process_group()

if __name__ == "__main__":
    mp.spawn(main, nprocs=2)
"""


@pytest.mark.weekly
@pytest.mark.parametrize("loop", [LIGHTNING, LOOP], ids=["lightning", "loop"])
def test_sharded_parameters(loop, tmp_path):
    script = tmp_path / "fit.py"
    here = str(Path(__file__).parent)
    script.write_text(f"TESTS, OUT = {here!r}, {str(tmp_path)!r}\n" + SHARED + loop)
    done = subprocess.run([sys.executable, script], timeout=600, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads((tmp_path / "0.json").read_text())
    assert seen["failure"] == "None"
    assert seen["losses"] > 15
    assert "sharded" in seen["not_run"]["vanishing-gradients"]
    # Only one process sees the NaN. If it ran the batch again, both would hang.
    assert seen["findings"] == [["non-finite", 20]]
