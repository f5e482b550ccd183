"""The rules of diagnostics, a family a file. A new rule comes into the list here and nowhere else."""

from nnfoundations.diagnostics.rules._data import ConstantInputs, UnscaledInputs
from nnfoundations.diagnostics.rules._generalization import Overfitting
from nnfoundations.diagnostics.rules._gradients import ExplodingGradients, VanishingGradients
from nnfoundations.diagnostics.rules._learning_rate import LearningRateTooHigh, LearningRateTooLow
from nnfoundations.diagnostics.rules._loss import SoftmaxBeforeCrossEntropy
from nnfoundations.diagnostics.rules._nonfinite import NonFinite, NonFiniteInput, UnstableLoss
from nnfoundations.diagnostics.rules._rule import Rule
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

__all__ = ["RULES", "Rule"]
