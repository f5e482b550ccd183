"""The rules of diagnostics, one file per family. A new rule is added to the list below and to `_arbiter`."""

from nnfoundations.diagnostics.rules._data import ConstantInputs, UnscaledInputs
from nnfoundations.diagnostics.rules._generalization import Overfitting
from nnfoundations.diagnostics.rules._gradients import ExplodingGradients, VanishingGradients
from nnfoundations.diagnostics.rules._learning_rate import LearningRateTooHigh, LearningRateTooLow
from nnfoundations.diagnostics.rules._loss import SoftmaxBeforeCrossEntropy
from nnfoundations.diagnostics.rules._nonfinite import NonFinite, NonFiniteInput, UnstableLoss
from nnfoundations.diagnostics.rules._rule import Rule, weight_matrices
from nnfoundations.diagnostics.rules._start import BadInitialization, BadOutputScale, SymmetricWeights
from nnfoundations.diagnostics.rules._units import DeadUnits, SaturatedUnits
from nnfoundations.diagnostics.rules._wiring import (
    GradientsNotZeroed,
    GraphCut,
    ParameterNotInOptimizer,
    TrainModeOff,
)

RULES: tuple[Rule, ...] = (
    NonFiniteInput(),
    UnscaledInputs(),
    ConstantInputs(),
    ParameterNotInOptimizer(),
    GraphCut(),
    GradientsNotZeroed(),
    TrainModeOff(),
    SoftmaxBeforeCrossEntropy(),
    UnstableLoss(),
    SymmetricWeights(),
    BadInitialization(),
    BadOutputScale(),
    LearningRateTooHigh(),
    LearningRateTooLow(),
    ExplodingGradients(),
    VanishingGradients(),
    NonFinite(),
    SaturatedUnits(),
    DeadUnits(),
    Overfitting(),
)

__all__ = ["RULES", "Rule", "weight_matrices"]
