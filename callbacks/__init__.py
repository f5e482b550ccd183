"""Callbacks for any Lightning project: diagnostics, curves, TensorBoard pages and a table of predictions."""

from nnfoundations.callbacks._curves import TrainingCurves
from nnfoundations.callbacks._diagnostics import Diagnostics
from nnfoundations.callbacks._figures import ClassificationFigures
from nnfoundations.callbacks._histograms import ParameterHistograms
from nnfoundations.callbacks._loggers import log_folder, logger_place
from nnfoundations.callbacks._monitors import ActivationMonitor, GradientMonitor, OverfittingMonitor
from nnfoundations.callbacks._overview import TensorBoardOverview
from nnfoundations.callbacks._predictions import PredictionTable

__all__ = [
    "ActivationMonitor",
    "ClassificationFigures",
    "Diagnostics",
    "GradientMonitor",
    "OverfittingMonitor",
    "ParameterHistograms",
    "PredictionTable",
    "TensorBoardOverview",
    "TrainingCurves",
    "log_folder",
    "logger_place",
]
