"""Projects of others, trained unchanged: no false alarm, no crash, and all hooks are removed."""

import lightning.pytorch as lightning
import pytest
import pytorch_lightning
import torch
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel
from lightning.pytorch.demos.lstm import LightningLSTM, SequenceSampler
from lightning.pytorch.demos.transformer import LightningTransformer
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18
from watched import unharmed
from zoo import digits

from nnfoundations.callbacks import Diagnostics
from nnfoundations.diagnostics import Severity

pytestmark = [
    pytest.mark.filterwarnings("ignore:You defined a `validation_step`"),
    pytest.mark.filterwarnings("ignore:The total number of parameters detected"),
]


def fit(module, *data, root=lightning, true=(), **options):
    """Fit, and allow only the findings in `true`, which are right."""
    torch.manual_seed(0)
    diagnostics = Diagnostics(verbose=False, budget=1.0)
    root.Trainer(
        accelerator="cpu",
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[diagnostics],
        **options,
    ).fit(module, *data)
    unharmed(diagnostics)
    alarms = [f for f in diagnostics.findings if f.severity is not Severity.INFO and f.fault not in true]
    assert [str(f) for f in alarms] == []
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
    assert len(diagnostics.history["gradient_norm"]) > 10
    assert len(diagnostics.history["activation_std"]) >= 3
    return diagnostics


def test_the_boring_model():
    """Its learning rate really is too high: lr times the squared input, 0.1 x 32, is above 2."""
    diagnostics = fit(BoringModel(), BoringDataModule(), max_steps=128, true=("learning-rate-too-high",))
    assert "neither returns" in diagnostics.not_run["overfitting"]  # it returns {"x": ...}


def sentences():
    """Sentences in which each word follows from the one before."""
    torch.manual_seed(0)
    words = (torch.randint(50, (600, 1)) + torch.arange(17) * 7) % 50
    return TensorDataset(words[:, :-1], words[:, 1:])


def offline(demo):
    """The demo of Lightning without its download."""
    base = lightning.LightningModule
    return type(demo.__name__, (demo,), {n: getattr(base, n) for n in ("prepare_data", "train_dataloader")})


def test_the_transformer_demo():
    """It makes a mask for its encoder and does not pass it on, so the encoder sees all tokens."""
    data = DataLoader(sentences(), 20, shuffle=True)
    model = offline(LightningTransformer)(vocab_size=50)
    diagnostics = fit(model, data, max_steps=40, true=("causal-leak",))
    assert diagnostics.history.loss.kind == "cross-entropy"


@pytest.mark.slow
def test_the_lstm_demo():
    """Trained as in its source: SGD with lr 20, clipped at 0.25."""
    words = sentences()
    data = DataLoader(words, batch_sampler=SequenceSampler(words, 20))
    fit(offline(LightningLSTM)(vocab_size=50), data, max_steps=24, gradient_clip_val=0.25)


@pytest.mark.parametrize(
    "root",
    [lightning, pytest.param(pytorch_lightning, marks=pytest.mark.slow)],
    ids=["lightning", "pytorch_lightning"],
)
@pytest.mark.slow
def test_a_resnet18_on_small_images(root):
    class Net(root.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = resnet18(num_classes=10)

        def training_step(self, batch, batch_idx):
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def validation_step(self, batch, batch_idx):
            return self.training_step(batch, batch_idx)

        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
            return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3)]

    def loader(x, y):
        images = F.interpolate(x.view(-1, 1, 8, 8), scale_factor=2).expand(-1, 3, -1, -1)
        return DataLoader(TensorDataset(images, y), 32)

    x, y, xv, yv = digits()
    data = loader(x[:480], y[:480]), loader(xv[:96], yv[:96])
    diagnostics = fit(Net(), *data, root=root, max_steps=30)
    assert diagnostics.history["validation_loss"].rows[-1, 1] > 0


class RowLSTM(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(8, 48, num_layers=2, batch_first=True), nn.Linear(48, 10)

    def training_step(self, batch):
        x, y = batch
        return {"loss": F.cross_entropy(self.head(self.rnn(x.view(-1, 8, 8))[0][:, -1]), y)}

    def configure_optimizers(self):
        return torch.optim.RMSprop(self.parameters(), 1e-3)


@pytest.mark.slow
def test_an_lstm_that_reads_rows():
    x, y, *_ = digits()
    fit(RowLSTM(), DataLoader(TensorDataset(x, y), 32, shuffle=True), max_steps=150, gradient_clip_val=0.25)


class GAN(lightning.LightningModule):
    """As in the documentation of Lightning."""

    automatic_optimization = False

    def __init__(self):
        super().__init__()
        self.generator = nn.Sequential(
            nn.Linear(16, 64), nn.BatchNorm1d(64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.Tanh()
        )
        self.discriminator = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))

    def training_step(self, batch, batch_idx):
        real = batch[0].tanh()
        ours, theirs = self.optimizers()
        noise = torch.randn(len(real), 16)
        self.toggle_optimizer(ours)
        wanted = torch.ones(len(real), 1)
        loss = F.binary_cross_entropy_with_logits(self.discriminator(self.generator(noise)), wanted)
        self.log("g_loss", loss, prog_bar=True)
        self.manual_backward(loss)
        ours.step()
        ours.zero_grad()
        self.untoggle_optimizer(ours)
        self.toggle_optimizer(theirs)
        loss = F.binary_cross_entropy_with_logits(self.discriminator(real), wanted)
        fake = self.discriminator(self.generator(noise).detach())
        loss = (loss + F.binary_cross_entropy_with_logits(fake, 1 - wanted)) / 2
        self.log("d_loss", loss, prog_bar=True)
        self.manual_backward(loss)
        theirs.step()
        theirs.zero_grad()
        self.untoggle_optimizer(theirs)

    def configure_optimizers(self):
        nets = (self.generator, self.discriminator)
        return [torch.optim.Adam(net.parameters(), 2e-4, betas=(0.5, 0.999)) for net in nets], []


def test_a_gan_with_manual_optimisation():
    x, y, *_ = digits()
    diagnostics = fit(GAN(), DataLoader(TensorDataset(x, y), 32, shuffle=True, drop_last=True), max_steps=300)
    assert "several optimizers" in diagnostics.not_run["learning-rate-too-low"]
    norms = diagnostics.history["gradient_norm"]
    assert {"generator.0.weight", "discriminator.0.weight"} <= set(norms.columns)
    assert (norms.rows == norms.rows).all()  # both step in each batch
