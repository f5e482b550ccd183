"""Models with one fault each, and two sound ones: mistakes of published code, rewritten for Lightning.

The docstring of each class names its fault.
"""

import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.autograd import Function
from torch.nn import functional


class Sound(LightningModule):
    """64-48-10 with ReLU, plain SGD with momentum."""

    def __init__(self, hidden=None, last=None, lr=0.05):
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 48), hidden or nn.ReLU(), last or nn.Linear(48, 10)
        )

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return functional.cross_entropy(self(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


def layer(function):
    """Make a module of an autograd.Function without parameters."""

    class Layer(nn.Module):
        def forward(self, x):
            return function.apply(x)

    return Layer()


class LinearFunction(Function):
    """Correct; its subclasses have wrong gradients."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return x @ weight.T + bias

    @classmethod
    def gradients(cls, ctx, grad):
        x, weight = ctx.saved_tensors
        return grad @ weight, grad.T @ x, grad.sum(0)

    @staticmethod
    def backward(ctx, grad):
        return LinearFunction.gradients(ctx, grad)


class OwnLinear(nn.Linear):
    function = LinearFunction

    def forward(self, x):
        return self.function.apply(x, self.weight, self.bias)


class DividedTwice(LinearFunction):
    """Divides the gradients of weight and bias by the batch size, which the loss has done already."""

    @staticmethod
    def backward(ctx, grad):
        x, weight, bias = LinearFunction.gradients(ctx, grad)
        return x, weight / len(grad), bias / len(grad)


class UpdatedFirst(LinearFunction):
    """Changes the weight before the gradient of the input is computed with it."""

    @staticmethod
    def backward(ctx, grad):
        _, weight = ctx.saved_tensors
        weight_grad = LinearFunction.gradients(ctx, grad)[1]
        weight.data.sub_(0.05 * weight_grad)
        x, _, bias = LinearFunction.gradients(ctx, grad)
        return x, torch.zeros_like(weight), bias


class NormThenReLU(Function):
    """Standardize, then ReLU; backward takes the mask of the values before the norm."""

    @staticmethod
    def forward(ctx, x):
        r = (x.var(0, correction=0) + 1e-5).rsqrt()
        n = (x - x.mean(0)) * r
        ctx.save_for_backward(x, n, r)
        return n.relu()

    @staticmethod
    def backward(ctx, grad):
        x, n, r = ctx.saved_tensors
        grad = grad * (x > 0)  # n > 0 is right
        return r * (grad - grad.mean(0) - n * (grad * n).mean(0))


class TanhGELU(Function):
    """The tanh form forward, the derivative of the erf form: wrong by 0.1 %."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return functional.gelu(x, approximate="tanh")

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        normal = torch.distributions.Normal(0.0, 1.0)
        return grad * (normal.cdf(x) + x * normal.log_prob(x).exp())


class NoMask(Function):
    """ReLU whose backward passes every gradient on."""

    @staticmethod
    def forward(ctx, x):
        return x.relu()

    @staticmethod
    def backward(ctx, grad):
        return grad


class AlwaysDropout(nn.Module):
    """Dropout that evaluation mode does not turn off."""

    def forward(self, x):
        return functional.dropout(x.relu(), 0.5, training=True)


class UnscaledDropout(nn.Module):
    """Dropout that does not divide by the share it keeps."""

    def forward(self, x):
        return x * (torch.rand_like(x) > 0.5) if self.training else x


class BiasedStatistics(nn.BatchNorm1d):
    """Its running variance is the biased one."""

    def forward(self, x):
        out = super().forward(x)
        if self.training:
            self.running_var = self.running_var - self.momentum * x.detach().var(0) / len(x)
        return out


class LeftOut(Sound):
    """The gain and shift of its norm are in no optimizer."""

    def __init__(self):
        super().__init__(nn.Sequential(nn.BatchNorm1d(48), nn.ReLU()))

    def configure_optimizers(self):
        kept = [value for value in self.parameters() if value.ndim > 1]
        kept += [self.net[1].bias, self.net[3].bias]
        return torch.optim.SGD(kept, lr=self.lr, momentum=0.9)


class Probabilities(Sound):
    """Its cross-entropy applies a second softmax."""

    def forward(self, x):
        return super().forward(x).softmax(1)


class ClippedByLayer(Sound):
    """Clips each weight matrix by its own norm, and no bias."""

    def on_before_optimizer_step(self, optimizer):
        for value in self.parameters():
            if value.ndim > 1:
                nn.utils.clip_grad_norm_(value, 0.1)


class TwiceHuber(Function):
    """The Huber loss of a residual; its backward applies the chain rule twice."""

    @staticmethod
    def forward(ctx, r):
        ctx.save_for_backward(r)
        return torch.where(r.abs() < 1, 0.5 * r * r, r.abs() - 0.5).mean()

    @staticmethod
    def backward(ctx, grad):
        (r,) = ctx.saved_tensors
        once = r.clamp(-1, 1)
        return grad * once * once / r.numel()


class HuberTwice(Sound):
    """Regression on one-hot labels."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        return TwiceHuber.apply(self(x) - functional.one_hot(y, 10))


class NeverZeroed(Sound):
    """Adds each gradient to all earlier ones."""

    def optimizer_zero_grad(self, *args, **kwargs):
        pass


class ShuffledLabels(Sound):
    """Its labels belong to other rows, drawn again for each batch."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        generator = torch.Generator().manual_seed(int(x.sum() * 1000) % 1_000_003)
        return functional.cross_entropy(self(x), y[torch.randperm(len(y), generator=generator)])


class Mixed(Sound):
    """Softmax over the batch axis."""

    def forward(self, x):
        out = super().forward(x)
        return out * (1 + out.softmax(0))


class OneOutput(Sound):
    """Cross-entropy over a single output, which is always 0."""

    def __init__(self):
        super().__init__(last=nn.Linear(48, 1))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return functional.cross_entropy(self(x), (y > 4).float()[:, None])


class Broadcast(Sound):
    """Predictions of shape (N, 1) against targets of shape (N,)."""

    def __init__(self, loss=functional.mse_loss):
        super().__init__(last=nn.Linear(48, 1), lr=0.01)
        self.loss = loss

    def training_step(self, batch, batch_idx):
        x, y = batch
        return self.loss(self(x), (y - 4.5) / 2.9)


class RawTargets(Sound):
    """Regression on targets of mean 150 and standard deviation 77, as those of the diabetes data."""

    def __init__(self, lr=1e-3):
        super().__init__(last=nn.Linear(48, 1), lr=lr)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return functional.mse_loss(self(x), 27 * y[:, None] + 30.0)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def own_linear(function):
    linear = OwnLinear(48, 10)
    linear.function = function
    return Sound(last=linear)


BROKEN = {
    "sound": Sound,
    "sound, batch norm and dropout": lambda: Sound(
        nn.Sequential(nn.BatchNorm1d(48), nn.ReLU(), nn.Dropout(0.2))
    ),
    "loss divided by the batch size twice": lambda: own_linear(DividedTwice),
    "ReLU mask computed before the normalization": lambda: Sound(layer(NormThenReLU)),
    "updated before backpropagation": lambda: own_linear(UpdatedFirst),
    "derivative of another GELU": lambda: Sound(layer(TanhGELU)),
    "dropout in evaluation": lambda: Sound(AlwaysDropout()),
    "dropout not rescaled": lambda: Sound(nn.Sequential(nn.ReLU(), UnscaledDropout())),
    "softmax twice": Probabilities,
    "gains left out of the optimizer": LeftOut,
    "biased running variance": lambda: Sound(nn.Sequential(BiasedStatistics(48), nn.ReLU())),
    "clipped layer by layer": ClippedByLayer,
    "chain rule twice in Huber": HuberTwice,
    "ReLU without its mask": lambda: Sound(layer(NoMask)),
    "gradients never zeroed": NeverZeroed,
    "labels in another order than the inputs": ShuffledLabels,
    "samples mixed by a softmax": Mixed,
    "one output under cross-entropy": OneOutput,
    "predictions broadcast against targets": Broadcast,
    "raw targets": RawTargets,
}
