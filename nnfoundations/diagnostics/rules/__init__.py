"""The rules of diagnostics, one file per family. A new rule is a class, and a line in the list below."""

from nnfoundations.diagnostics.rules._attention import AttentionSaturation
from nnfoundations.diagnostics.rules._batches import BadBatch, BatchesNotShuffled
from nnfoundations.diagnostics.rules._branches import LayersWithoutGradient
from nnfoundations.diagnostics.rules._clipping import ClippingTooTight
from nnfoundations.diagnostics.rules._data import ConstantInputs, UnscaledInputs
from nnfoundations.diagnostics.rules._end import ENDED, StoppedTooEarly
from nnfoundations.diagnostics.rules._evaluation import DropoutInEvaluation, EvaluationDiffers
from nnfoundations.diagnostics.rules._generalization import Overfitting
from nnfoundations.diagnostics.rules._gradients import ExplodingGradients, VanishingGradients
from nnfoundations.diagnostics.rules._high_learning_rate import LearningRateTooHigh
from nnfoundations.diagnostics.rules._labels import LabelsUnrelatedToInputs, NoisyLabels, OneClassPredicted
from nnfoundations.diagnostics.rules._loss import (
    LossNeedsLogProbabilities,
    SoftmaxBeforeCrossEntropy,
    SoftmaxOverBatch,
    SoftmaxOverOneUnit,
)
from nnfoundations.diagnostics.rules._loss_scale import LossNotAveraged, LossSignWrong
from nnfoundations.diagnostics.rules._low_learning_rate import LearningRateTooLow
from nnfoundations.diagnostics.rules._nonfinite import NonFinite, NonFiniteInput, UnstableLoss
from nnfoundations.diagnostics.rules._outputs import OutputActivationMismatch
from nnfoundations.diagnostics.rules._precision import GradientUnderflow
from nnfoundations.diagnostics.rules._regularization import OverRegularized
from nnfoundations.diagnostics.rules._rule import SHORT, TENDENCY, Rule, weight_matrices
from nnfoundations.diagnostics.rules._samples import SamplesMixed
from nnfoundations.diagnostics.rules._schedules import (
    ScheduleEndsEarly,
    ScheduleInterval,
    ScheduleLongerThanRun,
)
from nnfoundations.diagnostics.rules._sequences import (
    CausalLeak,
    PaddingAttended,
    PaddingInLoss,
    SequencePaddingRead,
    TargetsEqualInputs,
)
from nnfoundations.diagnostics.rules._signal import NoGradient, NoLearning
from nnfoundations.diagnostics.rules._start import BadInitialization, BadOutputScale, SymmetricWeights
from nnfoundations.diagnostics.rules._statistics import BatchStatisticsTooNoisy
from nnfoundations.diagnostics.rules._targets import (
    ConstantTargets,
    LossUnfitForTargets,
    ShapeBroadcastInLoss,
    TargetsOutOfRange,
    UnscaledTargets,
)
from nnfoundations.diagnostics.rules._units import DeadUnits, SaturatedUnits
from nnfoundations.diagnostics.rules._validation import (
    TrainValMismatch,
    TrainValOverlap,
    ValidationLossDiffers,
)
from nnfoundations.diagnostics.rules._weight_decay import WeightDecayTooStrong
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
    BatchesNotShuffled(),
    ConstantTargets(),
    ConstantInputs(),
    UnscaledTargets(),
    BadBatch(),
    TrainValMismatch(),
    TrainValOverlap(),
    BatchStatisticsTooNoisy(),
    LabelsUnrelatedToInputs(),
    NoisyLabels(),
    TargetsEqualInputs(),
    PaddingInLoss(),
    SequencePaddingRead(),
    ParameterNotInOptimizer(),
    GraphCut(),
    GradientsNotZeroed(),
    TrainModeOff(),
    SamplesMixed(),
    CausalLeak(),
    PaddingAttended(),
    DropoutInEvaluation(),
    EvaluationDiffers(),
    SoftmaxOverOneUnit(),
    SoftmaxOverBatch(),
    LossNeedsLogProbabilities(),
    SoftmaxBeforeCrossEntropy(),
    ShapeBroadcastInLoss(),
    LossUnfitForTargets(),
    OutputActivationMismatch(),
    ValidationLossDiffers(),
    LossSignWrong(),
    LossNotAveraged(),
    UnstableLoss(),
    SymmetricWeights(),
    BadInitialization(),
    AttentionSaturation(),
    BadOutputScale(),
    OverRegularized(),
    WeightDecayTooStrong(),
    LearningRateTooHigh(),
    ScheduleInterval(),
    ScheduleEndsEarly(),
    ScheduleLongerThanRun(),
    ClippingTooTight(),
    LearningRateTooLow(),
    StoppedTooEarly(),
    GradientUnderflow(),
    NoGradient(),
    LayersWithoutGradient(),
    ExplodingGradients(),
    VanishingGradients(),
    NonFinite(),
    SaturatedUnits(),
    DeadUnits(),
    NoLearning(),
    OneClassPredicted(),
    Overfitting(),
)

"""All rules. Of faults of one family that begin together, the earlier in this list is the root cause."""

__all__ = ["ENDED", "RULES", "SHORT", "TENDENCY", "Rule", "weight_matrices"]
