# %% [markdown]
# # Normalization
#
# A norm gives the sums of a layer mean 0 and variance 1, or only the mean square 1, before the activation.
# This lab compares four with none, each at its own learning rate: which accuracy they reach, which rates,
# depths and batch sizes they allow. Then it looks at what each makes equal, and at gradients that are
# wrong.

# %% tags=["page"]
# In Colab: install the package first (untested there), then run `!nnfoundations lab normalization`.
import sys

if "google.colab" in sys.modules:
    import subprocess

    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "nnfoundations[labs]"], check=True)

import numpy as np
import torch

from nnfoundations import nn
from nnfoundations.labs import Page
from nnfoundations.labs.normalization import checks
from nnfoundations.labs.normalization.tables import gradient_table, recommendations, smallest_batch_text

page = Page("normalization")

# %% [markdown]
# ## Question

# %% tags=["page"]
page.question()

# %% [markdown]
# ## Prediction

# %% tags=["page"]
page.prediction()

# %% tags=["student"]
my_prediction = ""  # a letter

# %% tags=["student"]
page.keep(my_prediction)  # the page goes on when you have chosen

# %% tags=["solution", "page"]
page.our_prediction()

# %% [markdown]
# ## Set-up

# %% tags=["page"]
page.setup()

# %% [markdown]
# ## Main figure
#
# Validation accuracy against the learning rate. Small markers are runs, the lines join their means. The large
# open marker is the mean of each norm at its own rate, which trials with another seed have chosen.

# %% tags=["page"]
page.figure("window", "Validation accuracy against the learning rate for four norms and none")

# %% [markdown]
# **Convergence.** The loss of a training batch, each norm at its own rate: the runs thin, their means thick.

# %% tags=["page"]
page.figure("loss", "Training loss against the step for four norms and none")

# %% [markdown]
# **What each makes equal.** The first norm of trained networks on 64 validation images, before its weight and
# bias: 64 features and 64 samples of each seed. BatchNorm gives each *feature* mean 0 and deviation 1 over
# the images. LayerNorm gives each *sample* mean 0 and deviation 1 over its features. RMSNorm divides by the
# root mean square, so it keeps the sign of the mean. GroupNorm does in groups of 16 features what LayerNorm
# does, so the sample as a whole has mean 0 and deviation 1 too. Values outside a panel are drawn at its end.

# %% tags=["page"]
page.figure("histograms", "Mean and standard deviation by feature and by sample, before and after each norm")

# %% [markdown]
# **Batch sizes.** Left: accuracy in evaluation mode. All runs have as many steps, so larger batches see more
# images; compare norms at one size. Right: how many validation images get another class in training mode,
# with batches of this size, than in evaluation mode. The other norms do the same in both modes. RMSNorm is
# left out; like LayerNorm it works on one sample.

# %% tags=["page"]
page.figure("batches", "Accuracy, and disagreement of the two modes, against the batch size")

# %% tags=["page"]
smallest_batch_text(page.results)

# %% [markdown]
# With two images a feature has two values, a and b. Their mean is (a + b) / 2, their deviation |a - b| / 2.
# So the normalized values are 1 and -1, whatever a and b are: only the sign of the difference is left.

# %% tags=["page"]
x = torch.tensor([[0.2, -3.0, 5.0], [0.3, 4.0, -1.0]])
print(nn.BatchNorm1d(3, eps=1e-12)(x).detach().numpy().round(3))

# %% [markdown]
# **Batches of 1.** One value has the deviation 0, so nothing would be left. PyTorch and this library stop
# with an error in training mode. In evaluation mode, and with the other norms, one image is enough. The
# usual case is a last batch of one image; `drop_last=True` of a `DataLoader` leaves it out.

# %% tags=["page"]
one_image = torch.ones(1, 64)
for library, module in (("torch", torch.nn), ("nnfoundations", nn)):
    for mode in ("train", "eval"):
        norm = getattr(module.BatchNorm1d(64), mode)()
        try:
            print(f"{library}, {mode}(): output {tuple(norm(one_image).shape)}")
        except ValueError as error:
            print(f"{library}, {mode}(): {type(error).__name__}: {error}")

# %% [markdown]
# **Depth.** Each at its own rate.

# %% tags=["page"]
page.figure("depth", "Validation accuracy against the number of hidden layers")

# %% [markdown]
# **Gradients.** Mean and variance depend on all values that they are computed from, so the gradient of a
# norm has three terms. Published code leaves some out, or takes ReLU's mask from before the norm. The table
# has the cosine between the right gradient of the first weight and such wrong ones, in trained networks. With
# a cosine of 1 nobody can see the fault. RMSNorm keeps the signs, so its mask is the same before and after.

# %% tags=["page"]
gradient_table(page.results)

# %% [markdown]
# ## Results

# %% tags=["page"]
page.table()

# %% [markdown]
# Differences of validation accuracy with 95 % intervals, in points, paired by seed:

# %% tags=["page"]
page.differences("accuracy")

# %% [markdown]
# BatchNorm minus GroupNorm by batch size, norms minus none in 12 layers, and the wrong mask minus the right:

# %% tags=["page"]
page.differences(
    "accuracy",
    [
        *((f"batch_{size}_batch", f"batch_{size}_group") for size in (2, 4, 8, 16, 512)),
        *((f"deep_12_{norm}", "deep_12_none") for norm in ("batch", "layer", "rms", "group")),
        *((f"mask_{norm}", f"net_{norm}") for norm in ("batch", "layer")),
    ],
)

# %% [markdown]
# **When to use which.** Computed from these results, for this network and these data. Half a point counts
# as a difference, 2 points as a rate, a depth or a batch size that matters. The intervals are not corrected
# for their number; those of the verdicts are.

# %% tags=["page"]
recommendations(page.results)

# %% [markdown]
# The best one on validation data was tested once:

# %% tags=["page"]
page.tested(["accuracy", "loss"])

# %% [markdown]
# ## Verdict
#
# Claims and rules were written before the runs; the verdicts are computed. In brackets: the 95 % interval,
# for "each" the smallest and largest value. Diagnostics is the callback of this library that looks for faults
# while a network trains.

# %% tags=["page"]
page.verdicts()

# %% [markdown]
# The prediction:

# %% tags=["page"]
page.answers()

# %% [markdown]
# ## What failed

# %% tags=["page"]
page.failed()

# %% [markdown]
# ## Cost

# %% tags=["page"]
page.cost()

# %% [markdown]
# ## Command
#
# The first line repeats the lab, the second one run alone:

# %% tags=["page"]
page.command()

# %% [markdown]
# ## Tasks
#
# x has the shape (N, C): N samples, C features. All norms have eps = 1e-5 under the root.
#
# ### 1. BatchNorm forward
#
# In training, normalize each feature by the mean and the biased variance of the batch, then y = n · weight +
# bias. Each running statistic becomes 0.9 of itself and 0.1 of that of the batch. The running variance takes
# the unbiased one, which divides by N - 1. In evaluation, normalize by the running statistics. Return y and
# both running statistics.


# %% tags=["task"]
def batch_norm(x, weight, bias, running_mean, running_var, training):
    raise NotImplementedError("normalize each feature")


# %% tags=["solution"]
def batch_norm(x, weight, bias, running_mean, running_var, training):
    mean, var = running_mean, running_var
    if training:
        mean, var = x.mean(0), x.var(0)
        running_mean = 0.9 * running_mean + 0.1 * mean
        running_var = 0.9 * running_var + 0.1 * x.var(0, ddof=1)
    return (x - mean) / np.sqrt(var + 1e-5) * weight + bias, running_mean, running_var


# %%
checks.check_batch_norm(batch_norm)

# %% [markdown]
# ### 2. BatchNorm backward
#
# For the normalized n and g = grad · weight, the gradient of x is (g - mean(g) - n · mean(g · n)) / √(v +
# eps), with means over the batch. Derive it: the second term comes from the mean, the third from the
# variance. Return the gradients of x, weight and bias.


# %% tags=["task"]
def batch_norm_backward(grad, x, weight):
    raise NotImplementedError("three terms, and two sums")


# %% tags=["solution"]
def batch_norm_backward(grad, x, weight):
    scale = np.sqrt(x.var(0) + 1e-5)
    n, g = (x - x.mean(0)) / scale, grad * weight
    return (g - g.mean(0) - n * (g * n).mean(0)) / scale, (grad * n).sum(0), grad.sum(0)


# %%
checks.check_backward(batch_norm_backward)

# %% [markdown]
# ### 3. LayerNorm
#
# The same for each sample, over its features. There are no running statistics. Weight and bias still belong
# to the features.


# %% tags=["task"]
def layer_norm(x, weight, bias):
    raise NotImplementedError("normalize each sample")


def layer_norm_backward(grad, x, weight):
    raise NotImplementedError("return the gradients of x, weight and bias")


# %% tags=["solution"]
def layer_norm(x, weight, bias):
    mean, var = x.mean(1, keepdims=True), x.var(1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5) * weight + bias


def layer_norm_backward(grad, x, weight):
    scale = np.sqrt(x.var(1, keepdims=True) + 1e-5)
    n, g = (x - x.mean(1, keepdims=True)) / scale, grad * weight
    grad_x = (g - g.mean(1, keepdims=True) - n * (g * n).mean(1, keepdims=True)) / scale
    return grad_x, (grad * n).sum(0), grad.sum(0)


# %%
checks.check_layer_norm(layer_norm, layer_norm_backward)

# %% [markdown]
# ### 4. RMSNorm
#
# Divide each sample by the root of its mean square (plus eps), then multiply by the weight. Which of the
# three terms is left in the gradient? Return the gradients of x and weight.


# %% tags=["task"]
def rms_norm(x, weight):
    raise NotImplementedError("divide each sample")


def rms_norm_backward(grad, x, weight):
    raise NotImplementedError("return the gradients of x and weight")


# %% tags=["solution"]
def rms_norm(x, weight):
    return x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-5) * weight


def rms_norm_backward(grad, x, weight):
    scale = np.sqrt((x**2).mean(1, keepdims=True) + 1e-5)
    n, g = x / scale, grad * weight
    return (g - n * (g * n).mean(1, keepdims=True)) / scale, (grad * n).sum(0)


# %%
checks.check_rms_norm(rms_norm, rms_norm_backward)

# %% [markdown]
# ### 5. Norm and ReLU
#
# The gradient of relu(batch_norm(x)) arrives. Return that of x. Use your functions of tasks 1 and 2.


# %% tags=["task"]
def block_backward(grad, x, weight, bias):
    raise NotImplementedError("first through ReLU, then through the norm")


# %% tags=["solution"]
def block_backward(grad, x, weight, bias):
    y, _, _ = batch_norm(x, weight, bias, 0.0, 1.0, True)
    return batch_norm_backward(grad * (y > 0), x, weight)[0]


# %%
checks.check_block(block_backward)

# %% [markdown]
# What becomes of the gradient if the batch is 2? Nearly nothing: the output does not depend on the size of
# the difference.

# %%
generator = np.random.default_rng(0)
for size in (2, 4, 8, 64):
    x, grad = generator.standard_normal((2, size, 16))
    share = np.linalg.norm(batch_norm_backward(grad, x, np.ones(16))[0]) / np.linalg.norm(grad)
    print(f"batches of {size:2}: gradient of x over that of y {share:.3f}")

# %% [markdown]
# ### 6. Questions
#
# 1. Why does a bias in front of BatchNorm never learn?
# 2. Why does the running variance divide by N - 1, and the variance of the batch by N?
# 3. You multiply all weights in front of a norm by 10. What happens to its output, and to the gradient of the
#    weights? What does that mean for the learning rate?
# 4. A colleague compares BatchNorm with no norm at one learning rate. What does he measure?

# %% [markdown] tags=["solution"]
# **Answers**
#
# 1. The norm subtracts the mean of each feature, and with it the bias. Its gradient is exactly 0.
# 2. The running variance estimates that of all data; a batch varies less around its own mean than around
#    theirs. The batch is normalized by what it has, so that its variance becomes 1.
# 3. The output stays, and the gradient becomes a tenth. A step at the same rate changes such weights, for
#    their size, a hundredth as much. So weights that grow after too large a step make the next steps
#    smaller.
# 4. The norm and how well the rate suits it, mixed.
