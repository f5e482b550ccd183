"""Networks, losses and training modules with a fault each, and a recurrent network."""

import torch
from torch import Tensor
from torch.optim import Optimizer

from nnfoundations import nn
from nnfoundations.lightning_modules import Classifier
from nnfoundations.models import MLP

__all__ = ["DeadMLP", "EvaluatingClassifier", "ListedMLP", "LogOfSoftmax", "NegativeCrossEntropy",
           "NeverZeroedClassifier", "RowRNN", "SoftmaxMLP"]  # fmt: skip


class DeadMLP(MLP):
    """An MLP whose second hidden layer starts with biases of -10, so that its ReLU units are 0.

    Args:
        sizes: see `MLP`.
    """

    def __init__(self, sizes: list[int]) -> None:
        super().__init__(sizes)
        maps = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        nn.init.constant_(maps[1].bias, -10.0)


class SoftmaxMLP(MLP):
    """An MLP that returns probabilities, although its loss takes logits.

    Args:
        sizes: see `MLP`.
    """

    def __init__(self, sizes: list[int]) -> None:
        super().__init__(sizes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the probabilities."""
        return super().forward(x).softmax(1)


class ListedMLP(nn.Module):
    """An MLP whose hidden layers are in a Python list, so that the optimizer does not get their weights.

    Args:
        sizes: see `MLP`.
    """

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        *self.hidden, self.last = MLP(sizes).layers

    def forward(self, x: Tensor) -> Tensor:
        """Compute the output."""
        for layer in self.hidden:
            x = layer(x)
        y: Tensor = self.last(x)
        return y


class RowRNN(nn.Module):
    """A recurrent network with ReLU that reads an image row by row.

    Shape:
        input: `(N, 1, 28, 28)`.
        output: `(N, 10)`.

    Args:
        gain: factor on the recurrent weights, which are orthogonal; 1 is right.
    """

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.rnn = torch.nn.RNN(28, 64, nonlinearity="relu", batch_first=True)
        torch.nn.init.orthogonal_(self.rnn.get_parameter("weight_hh_l0"), gain)
        self.last = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the output after the last row."""
        y: Tensor = self.last(self.rnn(x.squeeze(1))[0][:, -1])
        return y


class LogOfSoftmax(nn.Module):
    """The logarithm of a softmax written by hand, of 50 times the logits: a probability of 0 has none."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the mean loss."""
        p = (50 * logits).softmax(1)
        return -p.gather(1, target[:, None]).log().mean()


class NegativeCrossEntropy(nn.CrossEntropyLoss):
    """The cross-entropy with the wrong sign."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the negative mean loss."""
        loss: Tensor = super().forward(logits, target)
        return -loss


class NeverZeroedClassifier(Classifier):
    """A classifier that adds up the gradients of all steps. The arguments are those of `Classifier`."""

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Keep the gradients, which is wrong."""


class EvaluatingClassifier(Classifier):
    """A classifier that trains in evaluation mode. The arguments are those of `Classifier`."""

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Compute the loss in evaluation mode, which is wrong."""
        self.eval()
        return super().training_step(batch, batch_idx)
