"""The callbacks in a project that is not ours: a plain LightningModule, several loggers or none."""

import csv

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from nnfoundations.callbacks import (
    ClassificationFigures,
    ParameterHistograms,
    PredictionTable,
    TensorBoardOverview,
)
from nnfoundations.callbacks._figures import Worst, confusion_figure, mistakes_figure

ALL = [TensorBoardOverview, ParameterHistograms, ClassificationFigures, PredictionTable]
# Lightning's own demo has one worker and short epochs.
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


def fit(tmp_path, model, callbacks, logger, epochs=2, **options):
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=tmp_path,
        max_epochs=epochs,
        limit_train_batches=4,
        limit_val_batches=2,
        log_every_n_steps=1,
        callbacks=callbacks,
        logger=logger,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(model)
    return trainer


def read(logger):
    return EventAccumulator(logger.log_dir, size_guidance={"histograms": 0}).Reload()


@pytest.mark.parametrize("loggers", ["none", "csv", "both"])
def test_any_module_any_logger(loggers, tmp_path):
    """They write where there is TensorBoard, and stay out of the way where there is none."""
    tensorboard = TensorBoardLogger(tmp_path, default_hp_metric=False)
    table = CSVLogger(tmp_path)
    chosen = {"none": False, "csv": table, "both": [table, tensorboard]}[loggers]
    trainer = fit(tmp_path, BoringModel(), [kind() for kind in ALL], chosen)
    assert trainer.global_step == 8
    if loggers == "both":
        assert "model/text_summary" in read(tensorboard).Tags()["tensors"]


class Accumulated(BoringModel):
    """Keeps the gradient that a step was taken with, for comparison."""

    def on_before_optimizer_step(self, optimizer):
        self.taken = self.layer.weight.grad.clone()


def test_histograms_hold_whole_gradients_before_clipping(tmp_path):
    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)
    model = Accumulated()
    fit(
        tmp_path, model, [ParameterHistograms(every_n_epochs=1)], logger, epochs=1,
        accumulate_grad_batches=2, gradient_clip_val=1e-4,
    )  # fmt: skip
    (event,) = read(logger).Histograms("gradients/layer.weight")
    histogram = event.histogram_value
    assert histogram.num == model.taken.numel()
    assert histogram.sum == pytest.approx(float(model.taken.double().sum()), rel=1e-4)
    assert float(model.taken.norm()) > 1e-3, "too small to show that clipping came later"


def test_histograms_come_every_k_epochs(tmp_path):
    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)
    fit(tmp_path, BoringModel(), [ParameterHistograms(every_n_epochs=2)], logger, epochs=5)
    steps = [event.step for event in read(logger).Histograms("weights/layer.weight")]
    assert [step // 4 + 1 for step in steps] == [1, 2, 4, 5], "first, every second, last"


def test_histograms_survive_what_is_not_finite(tmp_path):
    """TensorBoard itself raises on a histogram without one finite value."""
    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)

    class AfterPoison(ParameterHistograms):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            if trainer.is_last_batch:  # earlier, all weights would be NaN by now
                pl_module.layer.weight.grad[0] = float("nan")
                pl_module.layer.bias.grad[:] = float("inf")
            super().on_before_optimizer_step(trainer, pl_module, optimizer)

    fit(tmp_path, BoringModel(), [AfterPoison(every_n_epochs=1)], logger, epochs=1)
    tags = read(logger).Tags()["histograms"]
    assert "gradients/layer.weight" in tags
    assert "gradients/layer.bias" not in tags


def test_worst_keeps_the_most_confident_mistakes():
    """Batch by batch as all at once."""
    generator = torch.Generator().manual_seed(0)
    images = torch.arange(100.0).reshape(100, 1, 1, 1)
    probabilities = torch.rand(100, 5, generator=generator).softmax(1)
    target = torch.randint(0, 5, (100,), generator=generator)
    worst = Worst(7, images)
    for rows in torch.arange(100).split(13):
        worst.update(images[rows], probabilities[rows], target[rows])
    confidence, predicted = probabilities.max(1)
    wrong = (predicted != target).nonzero().flatten()
    expected = wrong[confidence[wrong].argsort(descending=True)][:7]
    assert worst.found() == 7
    assert torch.equal(worst.images.flatten().long(), expected)
    assert torch.equal(worst.predicted, predicted[expected])
    assert torch.equal(worst.target, target[expected])
    assert torch.allclose(worst.confidence, confidence[expected])


def test_worst_of_a_flawless_batch_is_empty():
    worst = Worst(3, torch.zeros(2, 1, 1, 1))
    worst.update(torch.zeros(2, 1, 1, 1), torch.eye(2), torch.tensor([0, 1]))
    assert worst.found() == 0


def test_figures_say_true_and_predicted():
    worst = Worst(3, torch.zeros(0, 3, 4, 4))
    worst.update(torch.rand(3, 3, 4, 4), torch.eye(3) * 0.9, torch.tensor([1, 2, 0]))
    figure = mistakes_figure(worst, ["cat", "dog", "owl"])
    expected = {
        f"true {true}\nsaid {said} (0.9000)"
        for true, said in (("dog", "cat"), ("owl", "dog"), ("cat", "owl"))
    }
    assert {axes.get_title() for axes in figure.axes} == expected
    figure = confusion_figure(torch.tensor([[5, 1], [0, 4]]), ["cat", "dog"])
    (axes,) = figure.axes
    assert axes.get_title() == "accuracy 0.9000"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]
    assert {text.get_text() for text in axes.texts} == {"5", "1", "4"}


class Broken(LightningModule):
    """Predicts one batch, then fails."""

    def predict_dataloader(self):
        return DataLoader(torch.zeros(4, 1), batch_size=2)

    def predict_step(self, batch, batch_idx):
        if batch_idx:
            raise RuntimeError("out of luck")
        return torch.full((2, 3), 1 / 3)


def test_a_failed_prediction_leaves_no_file(tmp_path):
    trainer = Trainer(
        callbacks=[PredictionTable(str(tmp_path / "out" / "table.csv"))],
        logger=False,
        enable_progress_bar=False,
        accelerator="cpu",
    )
    with pytest.raises(RuntimeError, match="out of luck"):
        trainer.predict(Broken())
    assert not list((tmp_path / "out").iterdir())


def test_predictions_without_labels(tmp_path):
    class Unlabelled(Broken):
        def predict_dataloader(self):
            return DataLoader(torch.zeros(2, 1), batch_size=2)

    table = tmp_path / "table.csv"
    trainer = Trainer(
        callbacks=[PredictionTable(str(table))], logger=False, enable_progress_bar=False, accelerator="cpu"
    )
    trainer.predict(Unlabelled())
    with table.open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["index", "prediction", "p_0", "p_1", "p_2"]
    assert [row[0] for row in rows[1:]] == ["0", "1"]


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: ParameterHistograms(-1), "at least 0; got -1"),
        (lambda: ClassificationFigures(mistakes=0), "mistakes at least 1; got 5, 0"),
    ],
)
def test_bad_values_are_named(build, text):
    with pytest.raises(ValueError, match=text):
        build()


class Regression(BoringModel):
    def predict_step(self, batch, batch_idx):
        return self(batch)[:, 0]


class Odd(BoringModel):
    def predict_step(self, batch, batch_idx):
        return {"anything": batch}


@pytest.mark.parametrize(("kind", "head"), [(Regression, ["index", "prediction"]), (Odd, None)])
def test_predictions_that_are_no_probabilities(kind, head, tmp_path):
    table = tmp_path / "table.csv"
    trainer = Trainer(
        callbacks=[PredictionTable(str(table))], logger=False, enable_progress_bar=False, accelerator="cpu"
    )
    trainer.predict(kind())
    assert table.exists() == (head is not None)
    if head:
        with table.open(newline="") as stream:
            rows = list(csv.reader(stream))
        assert rows[0] == head
        assert len(rows) == 65
    assert not list(tmp_path.glob(".*"))


class Images(LightningModule):
    """Names its metrics with an underscore, keeps no confusion matrix, guesses the first class."""

    def __init__(self):
        super().__init__()
        self.save_hyperparameters({"rate": 0.1})
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def train_dataloader(self):
        return DataLoader(torch.utils.data.TensorDataset(torch.rand(8, 1, 4, 4), torch.arange(8) % 2))

    val_dataloader = train_dataloader

    def training_step(self, batch, batch_idx):
        self.log("train_loss", self.weight.square(), on_epoch=True, on_step=False)
        return self.weight.square()

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.weight.square())
        return {"probabilities": torch.tensor([[0.8, 0.2]]), "target": batch[1]}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_mistakes_and_charts_need_no_module_of_ours(tmp_path):
    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)
    fit(tmp_path, Images(), [ClassificationFigures(), TensorBoardOverview()], logger)
    tags = read(logger).Tags()
    assert tags["images"] == ["val/mistakes"]
    assert "custom_scalars__config__" in tags["tensors"]


def test_hyperparameters_without_validation(tmp_path):
    class Trained(Images):
        val_dataloader = validation_step = None

    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)
    fit(tmp_path, Trained(), [TensorBoardOverview()], logger)
    assert "_hparams_/experiment" in read(logger).summary_metadata
