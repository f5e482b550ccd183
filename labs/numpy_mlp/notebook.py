# %% [markdown]
# # A network by hand
#
# Two hidden layers, ReLU, softmax with cross-entropy and SGD, with every derivative written out, reach more
# than 95 % on MNIST in a few epochs. The first half of this page asks what each further step buys. The second
# half asks how one finds out that a derivative is wrong.

# %% tags=["page"]
# In Colab: install the package first (untested there), then run `!nnfoundations lab numpy-mlp`.
import sys

if "google.colab" in sys.modules:
    import subprocess

    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "nnfoundations[labs]"], check=True)

import numpy as np

from nnfoundations.labs import Page
from nnfoundations.labs.numpy_mlp import checks

page = Page("numpy_mlp")

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
# Each point is one seed, the bar is the median, lower is better. Left of the line: networks by hand, 10
# epochs; the first two differ in the scale of the pixels only. Right: the ladder, one change per rung, 15
# epochs each, every rung at its own rate.

# %% tags=["page"]
page.figure("ladder", "Validation error of the networks by hand and of each rung of the ladder")

# %% [markdown]
# **By epoch.** The line is 95 %. A loss that rises while the accuracy stays is what over-fitting looks like
# here: the network becomes more certain of the digits that it has wrong.

# %% tags=["page"]
page.figure("curves", "Validation accuracy by epoch of the networks by hand, and loss of each rung")

# %% [markdown]
# **How the rates were chosen.** Each trial is a whole run with one seed, which no run of this lab uses. The
# large dot is the best rate.

# %% tags=["page"]
page.figure("tuning", "Validation error against the learning rate, for each rung and for each size")

# %% [markdown]
# **Rate, width, depth**, on 10,000 images. Left: the network of the plain recipe at four rates; a cross is a
# run whose loss became NaN. Right: one hidden layer of some width, and some layers of 128 units, each at its
# own rate.

# %% tags=["page"]
page.figure("sizes", "Validation error against learning rate, width and depth")

# %% [markdown]
# **Predictions.** Each title has the predicted digit, the true one if it differs, and the probability.
# First row: right. The other two: the most certain errors of the plain network, and of the last rung.

# %% tags=["page"]
page.figure("gallery", "Digits with predictions: right, wrong by the plain network, wrong by the last rung")

# %% [markdown]
# **The museum.** Each row is a network with one fault, or a sound network (bold), with which the faults below
# it are compared. A cell says in which share of the seeds a check raised an alarm:
#
# - *one batch*: 400 steps must fit one batch;
# - *gradient*: the slope of the loss by differences;
# - *evaluation*: a row has one output, near its mean in training, and the running statistics are right;
# - *step*: the optimizer receives what the sound recipe makes of the gradient of this batch;
# - *large logits*: logits of 1e4 have a finite loss and a finite gradient;
# - *accuracy*: more than a point below the sound network after 4 epochs, which only a paired run shows.
#
# The one-batch check sees steps of a wrong size, and a loss that cannot become small. With a wrong direction
# a network can still fit 64 rows. For a sound network *step* and *accuracy* compare it with itself, so they
# cannot raise a false alarm.

# %% tags=["page"]
page.figure("museum", "Checks against faults, and the validation accuracy of each network")

# %% [markdown]
# **Outliers.** A tenth of the points is 3 too high. MSE follows the mean, L1 the median, Huber lies between.

# %% tags=["page"]
page.figure("outliers", "Fits of a curve with outliers by MSE, Huber and L1 loss, and their errors")

# %% [markdown]
# ## Results

# %% tags=["page"]
page.table()

# %% [markdown]
# Differences with 95 % intervals, paired by seed; a negative one is a gain:

# %% tags=["page"]
page.differences("error")

# %% [markdown]
# The test part is read after all runs, for the best network by hand and for the best rung. In our full run it
# was read twice. First, rates were tuned on trials of 5 epochs, which favour high rates, and images were
# interpolated twice under affine and elastic. Validation showed both; they were fixed, and the rungs that
# they changed ran again.

# %% tags=["page"]
page.tested(["accuracy", "loss"])

# %% [markdown]
# ## Verdict
#
# Claims and rules were written before the runs; the verdicts are computed. In brackets: the 95 % interval,
# for "each" the smallest and largest value. Seed 0 is not blind: while this lab was written, some arms and
# the checks of the museum were tried with it.

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
# ### 1. The linear layer
#
# y = x Wᵀ + b, for rows x `(N, in)`, weight `(out, in)`, bias `(out,)`. The backward takes the gradient of y.


# %% tags=["task"]
def linear(x, weight, bias):
    raise NotImplementedError("compute y")


def linear_backward(grad, x, weight):
    raise NotImplementedError("return the gradients of x, weight and bias")


# %% tags=["solution"]
def linear(x, weight, bias):
    return x @ weight.T + bias


def linear_backward(grad, x, weight):
    return grad @ weight, grad.T @ x, grad.sum(0)


# %%
checks.check_linear(linear, linear_backward)

# %% [markdown]
# ### 2. ReLU


# %% tags=["task"]
def relu(x):
    raise NotImplementedError("compute y")


def relu_backward(grad, x):
    raise NotImplementedError("return the gradient of x")


# %% tags=["solution"]
def relu(x):
    return np.maximum(x, 0)


def relu_backward(grad, x):
    return grad * (x > 0)


# %%
checks.check_relu(relu, relu_backward)

# %% [markdown]
# ### 3. Softmax and cross-entropy
#
# Return the mean loss of the rows, and its gradient with respect to the logits.


# %% tags=["task"]
def loss(logits, y):
    raise NotImplementedError("return the loss and the gradient")


# %% tags=["solution"]
def loss(logits, y):
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    rows = np.arange(len(y))
    gradient = np.exp(log_p)
    gradient[rows, y] -= 1
    return -log_p[rows, y].mean(), gradient / len(y)


# %%
checks.check_loss(loss)

# %% [markdown]
# ### 4. SGD


# %% tags=["task"]
def sgd(parameters, gradients, rate):
    raise NotImplementedError("change each parameter in place")


# %% tags=["solution"]
def sgd(parameters, gradients, rate):
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter -= rate * gradient


# %%
checks.check_sgd(sgd)

# %% [markdown]
# The next cell trains your network on the 8x8 digits of scikit-learn:

# %%
from nnfoundations.datamodules import DigitsDataModule

data = DigitsDataModule(batch_size=32, val_size=0.2, flatten=True, seed=0)
data.setup("fit")
r = np.random.default_rng(0)
w1, b1 = r.normal(0, np.sqrt(2 / 64), (32, 64)), np.zeros(32)
w2, b2 = r.normal(0, np.sqrt(1 / 32), (10, 32)), np.zeros(10)
for epoch in range(1, 11):
    for x, y in data.train_dataloader():
        x, y = x.numpy(), y.numpy()
        h = linear(x, w1, b1)
        value, grad = loss(linear(relu(h), w2, b2), y)
        grad, grad_w2, grad_b2 = linear_backward(grad, relu(h), w2)
        _, grad_w1, grad_b1 = linear_backward(relu_backward(grad, h), x, w1)
        sgd([w1, b1, w2, b2], [grad_w1, grad_b1, grad_w2, grad_b2], 0.1)
    right = [
        linear(relu(linear(x.numpy(), w1, b1)), w2, b2).argmax(1) == y.numpy()
        for x, y in data.val_dataloader()
    ]
    print(f"epoch {epoch:2}: {np.concatenate(right).mean():.1%} of the validation digits")

# %% [markdown]
# ### 5. Questions
#
# 1. The one-batch check passes and the accuracy is a point too low. Which checks are left?
# 2. Why does the gradient check not see a network that ends in a softmax before its cross-entropy?
# 3. Why does standardizing help, although a linear layer could learn to undo it?

# %% [markdown] tags=["solution"]
# **Answers**
#
# 1. Gradient, evaluation and step. With a wrong direction a large network can still fit 64 rows. Labels of
#    other rows pass all of them: look at images beside their labels.
# 2. Its gradient is right, for a loss that nobody wants: the softmax of probabilities is nearly uniform.
# 3. It could, but SGD has to find it. Pixels from 0 to 1 are small and all positive, so the gradients of all
#    weights of a unit have one sign per sample, and a rate of 0.01 is far below what would be stable.
