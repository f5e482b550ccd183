"""The rules of diagnostics, one file per family. A new rule is a class, and a line in the list below."""

from nnfoundations.diagnostics.rules._attention import AttentionSaturation
from nnfoundations.diagnostics.rules._branches import LayersWithoutGradient
from nnfoundations.diagnostics.rules._data import ConstantInputs, UnscaledInputs
from nnfoundations.diagnostics.rules._evaluation import DropoutInEvaluation, EvaluationDiffers
from nnfoundations.diagnostics.rules._generalization import Overfitting
from nnfoundations.diagnostics.rules._gradients import ExplodingGradients, VanishingGradients
from nnfoundations.diagnostics.rules._high_learning_rate import LearningRateTooHigh
from nnfoundations.diagnostics.rules._loss import (
    LossNeedsLogProbabilities,
    SoftmaxBeforeCrossEntropy,
    SoftmaxOverBatch,
    SoftmaxOverOneUnit,
)
from nnfoundations.diagnostics.rules._low_learning_rate import LearningRateTooLow
from nnfoundations.diagnostics.rules._nonfinite import NonFinite, NonFiniteInput, UnstableLoss
from nnfoundations.diagnostics.rules._outputs import OutputActivationMismatch
from nnfoundations.diagnostics.rules._rule import SHORT, TENDENCY, Rule, weight_matrices
from nnfoundations.diagnostics.rules._samples import SamplesMixed
from nnfoundations.diagnostics.rules._sequences import (
    CausalLeak,
    PaddingInLoss,
    SequencePaddingRead,
    TargetsEqualInputs,
)
from nnfoundations.diagnostics.rules._signal import NoGradient, NoLearning
from nnfoundations.diagnostics.rules._start import BadInitialization, BadOutputScale, SymmetricWeights
from nnfoundations.diagnostics.rules._targets import (
    ConstantTargets,
    LossUnfitForTargets,
    ShapeBroadcastInLoss,
    TargetsOutOfRange,
    UnscaledTargets,
)
from nnfoundations.diagnostics.rules._units import DeadUnits, SaturatedUnits
from nnfoundations.diagnostics.rules._wiring import (
    GradientsNotZeroed,
    GraphCut,
    ParameterNotInOptimizer,
    TrainModeOff,
)

RULES: tuple[Rule, ...] = (
    NonFiniteInput(),
    TargetsOutOfRange(),
    UnscaledInputs(),
    ConstantTargets(),
    ConstantInputs(),
    UnscaledTargets(),
    TargetsEqualInputs(),
    PaddingInLoss(),
    SequencePaddingRead(),
    ParameterNotInOptimizer(),
    GraphCut(),
    GradientsNotZeroed(),
    TrainModeOff(),
    SamplesMixed(),
    CausalLeak(),
    DropoutInEvaluation(),
    EvaluationDiffers(),
    SoftmaxOverOneUnit(),
    SoftmaxOverBatch(),
    LossNeedsLogProbabilities(),
    SoftmaxBeforeCrossEntropy(),
    ShapeBroadcastInLoss(),
    LossUnfitForTargets(),
    OutputActivationMismatch(),
    UnstableLoss(),
    SymmetricWeights(),
    BadInitialization(),
    AttentionSaturation(),
    BadOutputScale(),
    LearningRateTooHigh(),
    LearningRateTooLow(),
    NoGradient(),
    LayersWithoutGradient(),
    ExplodingGradients(),
    VanishingGradients(),
    NonFinite(),
    SaturatedUnits(),
    DeadUnits(),
    NoLearning(),
    Overfitting(),
)

"""All rules. Of faults of one family that begin together, the earlier in this list is the root cause."""

__all__ = ["RULES", "SHORT", "TENDENCY", "Rule", "weight_matrices"]
