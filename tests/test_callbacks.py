"""The callbacks in a project of another author: a plain LightningModule, with several loggers or none."""

import csv
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from matplotlib.image import imread
from reported import RATE, changed
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.data import DataLoader

from nnfoundations.callbacks import (
    ClassificationFigures,
    ParameterHistograms,
    PredictionTable,
    TensorBoardOverview,
    TrainingCurves,
)
from nnfoundations.callbacks._curves_figure import RunCurves, curves_figure
from nnfoundations.callbacks._figures import Worst, confusion_figure, mistakes_figure
from nnfoundations.datamodules import DigitsDataModule
from nnfoundations.lightning_modules import Classifier
from nnfoundations.models import MLP

ALL = [TensorBoardOverview, ParameterHistograms, ClassificationFigures, PredictionTable]
# Lightning's demo module loads data without workers.
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
    """The callbacks write to TensorBoard if there is one, and do nothing otherwise."""
    tensorboard = TensorBoardLogger(tmp_path, default_hp_metric=False)
    table = CSVLogger(tmp_path)
    chosen = {"none": False, "csv": table, "both": [table, tensorboard]}[loggers]
    trainer = fit(tmp_path, BoringModel(), [kind() for kind in ALL], chosen)
    assert trainer.global_step == 8
    if loggers == "both":
        assert "model/text_summary" in read(tensorboard).Tags()["tensors"]


class Accumulated(BoringModel):
    """Keeps the gradient that each optimizer step uses, for comparison."""

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
    assert float(model.taken.norm()) > 1e-3, "too small to show that clipping comes later"


def test_histograms_are_written_every_k_epochs(tmp_path):
    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)
    fit(tmp_path, BoringModel(), [ParameterHistograms(every_n_epochs=2)], logger, epochs=5)
    steps = [event.step for event in read(logger).Histograms("weights/layer.weight")]
    assert [step // 4 + 1 for step in steps] == [1, 2, 4, 5], "first, every second, last"


def test_histograms_with_values_that_are_not_finite(tmp_path):
    """TensorBoard raises on a histogram that has no finite value."""
    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)

    class AfterPoison(ParameterHistograms):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            if trainer.is_last_batch:  # at an earlier batch, all weights would be NaN at the end
                pl_module.layer.weight.grad[0] = float("nan")
                pl_module.layer.bias.grad[:] = float("inf")
            super().on_before_optimizer_step(trainer, pl_module, optimizer)

    fit(tmp_path, BoringModel(), [AfterPoison(every_n_epochs=1)], logger, epochs=1)
    tags = read(logger).Tags()["histograms"]
    assert "gradients/layer.weight" in tags
    assert "gradients/layer.bias" not in tags


def test_worst_keeps_the_most_confident_mistakes():
    """Updates by batches give the same result as one update with all samples."""
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
        f"true {true}\nsaid {said}\n0.9000" for true, said in (("dog", "cat"), ("owl", "dog"), ("cat", "owl"))
    }
    assert {axes.get_title() for axes in figure.axes} == expected
    figure = confusion_figure(torch.tensor([[5, 1], [0, 4]]), ["cat", "dog"])
    (axes,) = figure.axes
    assert axes.get_title() == "accuracy 0.9000"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]
    assert {text.get_text() for text in axes.texts} == {"5", "1", "4"}


class Broken(LightningModule):
    """Predicts one batch, then raises."""

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
def test_predictions_that_are_not_probabilities(kind, head, tmp_path):
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
    """Has metric names with an underscore and no confusion matrix, and always predicts the first class."""

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


def test_mistakes_and_charts_of_another_module(tmp_path):
    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)
    fit(tmp_path, Images(), [ClassificationFigures(), TensorBoardOverview()], logger)
    tags = read(logger).Tags()
    assert tags["images"] == ["val/mistakes"]
    assert "custom_scalars__config__" in tags["tensors"]


def test_train_and_validation_are_runs_of_one_tag(tmp_path):
    """TensorBoard colours by run, so this is what gives them two colours."""
    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)
    fit(tmp_path, Images(), [TensorBoardOverview()], logger, epochs=3)
    ours = read(logger).Scalars
    for split, tag in (("train", "train_loss"), ("validation", "val_loss")):
        scalars = EventAccumulator(str(Path(logger.log_dir) / split)).Reload().Scalars("curves/loss")
        assert [(e.step, e.value) for e in scalars] == [(e.step, e.value) for e in ours(tag)]
        assert len(scalars) == 3


def columns(logger):
    """The hyperparameters as TensorBoard sorts them, and its session."""
    metadata = read(logger).summary_metadata
    content = metadata["_hparams_/experiment"].plugin_data.content
    infos = HParamsPluginData.FromString(content).experiment.hparam_infos
    content = metadata["_hparams_/session_start_info"].plugin_data.content
    session = HParamsPluginData.FromString(content).session_start_info.hparams
    assert {info.name for info in infos} == set(session)
    return [info.display_name for info in sorted(infos, key=lambda info: (not info.differs, info.name))]


def test_the_hyperparameters_that_matter_come_first(tmp_path):
    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)
    model = Classifier(MLP([64, 8, 10]), label_smoothing=0.1)
    trainer = Trainer(
        max_epochs=1, limit_train_batches=2, limit_val_batches=1, logger=logger, accelerator="cpu",
        callbacks=[TensorBoardOverview()], enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(model, datamodule=DigitsDataModule(batch_size=32, label_noise=0.2))
    names = columns(logger)
    assert names[:6] == ["lr", "optimizer", "batch_size", "net", "label_noise", "label_smoothing"]
    assert {"l1", "l2", "flatten", "val_size"} <= set(names[6:])
    status = read(logger).summary_metadata["_hparams_/session_end_info"].plugin_data.content
    assert HParamsPluginData.FromString(status).session_end_info.status == 1  # success


def test_hyperparameters_without_validation(tmp_path):
    class Trained(Images):
        val_dataloader = validation_step = None

    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)
    fit(tmp_path, Trained(), [TensorBoardOverview()], logger)
    assert columns(logger)[:4] == ["lr", "optimizer", "batch_size", "net"]


def drawn(path):
    """Whether this is a picture with something in it."""
    pixels = imread(path)
    return pixels.shape[1] == 840 and pixels.std() > 0.05


@pytest.mark.parametrize("kind", ["none", "csv", "tensorboard"])
def test_every_run_leaves_its_curves(kind, tmp_path):
    loggers = {"none": False, "csv": CSVLogger(tmp_path), "tensorboard": TensorBoardLogger(tmp_path)}
    callback = TrainingCurves()
    fit(tmp_path, Images(), [callback], loggers[kind], epochs=3)
    folder = Path(loggers[kind].log_dir) if loggers[kind] else tmp_path
    assert callback.file == folder / "curves.png"
    assert drawn(callback.file)
    assert [step for step, _ in callback.curves("train")["loss"]] == [4, 8, 12]
    assert [step for step, _ in callback.curves("validation")["loss"]] == [4, 8, 12]


def test_a_fast_dev_run_leaves_no_curves(tmp_path):
    fit(tmp_path, Images(), [TrainingCurves()], False, fast_dev_run=True)
    assert not list(tmp_path.iterdir())


class LogsAtSteps(Images):
    """As most projects do it: the training loss is logged at steps only."""

    def training_step(self, batch, batch_idx):
        self.log("train_loss", self.weight.square() + 1)
        return self.weight.square() + batch_idx


@pytest.mark.parametrize("model", [LogsAtSteps, BoringModel])
def test_without_a_training_loss_per_epoch_the_returned_one_is_drawn(model, tmp_path):
    callback = TrainingCurves()
    fit(tmp_path, model(), [callback], False, accumulate_grad_batches=2, epochs=2)
    curve = callback.curves("train")["loss"]
    assert [step for step, _ in curve] == [1, 2, 3, 4]
    if model is LogsAtSteps:  # batches 0 and 1, 2 and 3
        assert [value for _, value in curve] == pytest.approx([0.5, 2.5, 0.5, 2.5])
    assert drawn(callback.file)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_run_that_breaks_leaves_its_curves(error, tmp_path):
    class Breaks(LogsAtSteps):
        def training_step(self, batch, batch_idx):
            if self.global_step == 3:
                raise error("no more")
            return super().training_step(batch, batch_idx)

    callback = TrainingCurves(str(tmp_path / "mine.png"))
    with pytest.raises((RuntimeError, SystemExit)):
        fit(tmp_path, Breaks(), [callback], False)
    assert callback.curves("train")["loss"][-1][0] == 3
    assert drawn(tmp_path / "mine.png")


def test_a_picture_that_cannot_be_written_fails_no_run(tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="TrainingCurves wrote no picture"):
        trainer = fit(tmp_path, Images(), [TrainingCurves(str(tmp_path / "file" / "curves.png"))], False)
    assert trainer.state.finished


def test_the_curves_mark_findings_and_what_is_not_finite():
    nan = float("nan")
    run = RunCurves(
        train={"loss": [(10, 100.0), (20, 1.0), (30, nan)], "f1": [(30, 0.5)]},
        validation={"loss": [(10, 2.0), (20, 1.0), (30, 0.5)], "accuracy": [(30, 0.5)]},
        rates=[[(0, 0.1), (30, 0.01)]],
        findings=[changed(RATE, fault=f"fault-{i}", first_step=10 * (i % 2)) for i in range(10)],
        epochs=[(0, 0), (10, 1), (20, 2)],
        ended="interrupted at step 30",
    )
    figure = curves_figure(run)
    loss, accuracy, rate = figure.axes
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy", "learning rate"]
    assert (loss.get_yscale(), accuracy.get_yscale(), rate.get_yscale()) == ("log", "linear", "linear")
    assert rate.get_xlabel() == "epoch (10 optimizer steps each)"
    train, lost, validation = loss.lines[:3]
    assert train.get_xdata().tolist() == [1, 2, 3], "epochs are counted from 1"
    assert (lost.get_label(), lost.get_xdata().tolist()) == ("train not finite", [3])
    assert train.get_color() != validation.get_color()
    assert [text.get_text() for text in loss.texts] == ["1, 3, 5, 7", "2, 4, 6, 8"]
    assert figure.get_supxlabel().splitlines()[0] == "1  fault-0 (error), step 0"
    assert figure.get_supxlabel().splitlines()[-1] == "and 2 more"
    assert figure.get_suptitle() == "interrupted at step 30"
    figure.canvas.draw()


def test_curves_of_nothing(tmp_path):
    figure = curves_figure(RunCurves({}, {}, [], [], [(0, 0)]))
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "learning rate"]
    assert figure.axes[-1].get_xlabel() == "optimizer step"
    figure.savefig(tmp_path / "figure.png")
