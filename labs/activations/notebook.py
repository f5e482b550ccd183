# %% [markdown]
# # Activations
#
# Without an activation between them, linear layers are one linear layer. Which function is best there? This
# lab compares seven on the same network, each at its own learning rate: their accuracy and their cost. Then
# it goes deep: ten to fifty layers, and twenty layers that are not trained yet, from right and wrong initial
# weights.

# %% tags=["page"]
# In Colab: install the package first (untested there), then run `!nnfoundations lab activations`.
import sys

if "google.colab" in sys.modules:
    import subprocess

    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "nnfoundations[labs]"], check=True)

import numpy as np
import torch

from nnfoundations import nn
from nnfoundations.datamodules import DigitsDataModule
from nnfoundations.labs import Page
from nnfoundations.labs.activations import checks
from nnfoundations.labs.activations.network import EqualLayers
from nnfoundations.labs.activations.recommendations import recommendations

page = Page("activations")

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
# Validation accuracy on the digits against the number of hidden layers. Each point is a run, the line joins
# the means. Both activations start from He's initial weights, which keep the mean square of ReLU's outputs.
# SiLU's shrink (below). SiLU's own weights do not help at 30 layers: its signal grows instead. Add
# `--model.init_args.net.init_args.init own` to the command of such a run to see it.
#
# Even ReLU loses with depth. Its mean square is kept, but the images become more alike from layer to layer
# (below, left), and 340 steps at a low rate are few for 50 layers.

# %% tags=["page"]
page.figure("depth", "Validation accuracy against depth for ReLU and SiLU, and for Xavier's initial weights")

# %% [markdown]
# **The functions** and their derivatives. LeakyReLU is x above 0 and 0.01 x below; PReLU the same with a
# slope that is learned, 0.25 at first. GELU is x Φ(x), with the distribution function Φ of the standard
# normal distribution. SiLU, also called Swish, is x times the sigmoid of x. Back-propagation multiplies by
# the derivative once per layer. Sigmoid's is at most 1/4.

# %% tags=["page"]
page.figure("functions", "Seven activations and their derivatives from -6 to 6")

# %% [markdown]
# **The same network with each.** Left: accuracy on 5,000 images of clothes. Right: CPU time per step; it
# contains start, validation and diagnostics, which are the same for all. The bars are medians. Where the
# points of one activation differ more than the bars, no difference in time is shown.

# %% tags=["page"]
page.figure("nets", "Accuracy and CPU time per step of the same network with each activation")

# %% [markdown]
# **Each at its own rate.** The trials that chose the rates: one seed that no run uses. The open marker is the
# chosen rate. Trials that diverged have no marker. In the left panel the vertical axis begins at 60 %.

# %% tags=["page"]
page.figure("learning_rates", "Validation accuracy against the learning rate for each arm")

# %% [markdown]
# **Which vanish, and why?** Twenty layers of 64 units, not trained, each activation with the initial weights
# that keep its mean square. Left: how much the units differ from image to image. Right: the gradient of the
# weights. A layer multiplies the gradient, on average, by g √(E φ'(z)²), where g = 1 / √(E φ(z)²) is the gain
# of the own weights, and E is the mean over z from a standard normal distribution. For ReLU this is
# √2 · √(1/2) = 1. For sigmoid it is about 1.85 · 0.21 = 0.39, and 0.39 to the power of 19 is below 1e-7. The
# outputs of sigmoid also have a mean of 1/2, which is most of their mean square: the part that differs from
# image to image shrinks from layer to layer, and the last layers see the same input for every image.

# %% tags=["page"]
page.figure("layers", "Spread and gradient by layer at initialization, for seven activations")

# %% [markdown]
# SiLU shows a second fault. ReLU with gain √2 keeps any mean square. SiLU's gain keeps only the mean square
# 1, and not stably: a layer that gets a little more passes on more than that, because large inputs pass
# unchanged, and one that gets less passes on less. So its signal grows or dies with depth. GELU tends to the
# same, but hardly in 20 layers. Normalization between the layers prevents it; this lab has none.
#
# **From which depth?** Only sigmoid's gradient vanishes here: 0.39 per layer make less than a thousandth in 8
# layers. A gradient that is as large in the first layer as in the last does not yet mean that a network
# learns. With Xavier's weights the signal of ReLU dies on the way forward, all gradients are small alike, and
# all images look the same to the last layer.

# %% [markdown]
# **From other initial weights.** "Own" and He's are the same for ReLU. Zeros are not shown: all spreads and
# all gradients of hidden layers are exactly 0. Where a line ends, the next value is exactly 0 for some seed.
# Lines that leave the panel have vanished or exploded; sigmoid's end at 1e-8 is rounding. With constant
# weights, all 1/64, the units of a layer are equal, and they stay equal (task 4).

# %% tags=["page"]
page.figure("initial_weights", "Spread and gradient by layer from six kinds of initial weights")

# %% [markdown]
# ## Results

# %% tags=["page"]
page.table()

# %% [markdown]
# Differences of validation accuracy on clothes with 95 % intervals, in points, paired by seed:

# %% tags=["page"]
page.differences("accuracy")

# %% [markdown]
# SiLU minus ReLU by depth, and Xavier's minus He's initial weights:

# %% tags=["page"]
page.differences(
    "accuracy",
    [
        *((f"deep_{depth}_silu", f"deep_{depth}_relu") for depth in (10, 30, 50)),
        ("xavier_30", "deep_30_relu"),
    ],
)

# %% [markdown]
# **What to use.** Computed from these results, for this network and these data. Half a point counts as a
# difference, a first gradient below a thousandth of the last as vanished, a signal that grows more than
# fivefold in 20 layers as growing, and 10 % more time as a cost. The intervals are not corrected for their
# number; those of the verdicts are.

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
#
# The verdict on Diagnostics has a history. In our first full run it called each run from Xavier's initial
# weights `learning-rate-too-low`, and named the missing signal in two of five. Its rule for initial weights
# was extended, on other runs as well, and the deep runs were repeated. All other numbers came out the same.

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
# ### 1. Two activations and their slopes
#
# Sigmoid is 1 / (1 + exp(-x)). LeakyReLU is x above zero and 0.01 x below. Write both and their derivatives,
# each as a function of the array x. At 0 take the slope 0.01 for LeakyReLU.


# %% tags=["task"]
def sigmoid(x):
    raise NotImplementedError("write the function")


def sigmoid_slope(x):
    raise NotImplementedError("write its derivative")


def leaky(x):
    raise NotImplementedError("write the function")


def leaky_slope(x):
    raise NotImplementedError("write its derivative")


# %% tags=["solution"]
def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def sigmoid_slope(x):
    y = sigmoid(x)
    return y * (1 - y)


def leaky(x):
    return np.where(x > 0, x, 0.01 * x)


def leaky_slope(x):
    return np.where(x > 0, 1.0, 0.01)


# %%
checks.check_slopes(sigmoid, sigmoid_slope, leaky, leaky_slope)

# %% [markdown]
# ### 2. The gain
#
# The sums z of a layer have mean 0 and variance 1, so its outputs φ(z) have the mean square E φ(z)². The next
# layer has fan_in of these as inputs, and weights of variance g² / fan_in. Which g gives its sums the
# variance 1 again? Return 1 over the root of the mean of φ(z)², for z from a standard normal distribution:
# draw 100,000 numbers with `np.random.default_rng(0)`.


# %% tags=["task"]
def own_gain(function):
    raise NotImplementedError("draw, apply, average")


# %% tags=["solution"]
def own_gain(function):
    z = np.random.default_rng(0).standard_normal(100_000)
    return np.mean(function(z) ** 2) ** -0.5


# %%
checks.check_gain(own_gain)

# %% [markdown]
# ### 3. Through twenty layers
#
# Draw 100 inputs of 256 standard normal numbers. For each layer draw new weights (256, 256) of standard
# deviation `gain` / √256, multiply, and apply the function. Return the root mean square (the root of the mean
# of the squares) of the outputs of each layer.


# %% tags=["task"]
def spreads(function, gain, layers):
    raise NotImplementedError("a loop over the layers")


# %% tags=["solution"]
def spreads(function, gain, layers):
    generator = np.random.default_rng(0)
    x, found = generator.standard_normal((100, 256)), []
    for _ in range(layers):
        weight = generator.standard_normal((256, 256)) * gain / 16
        x = function(x @ weight.T)
        found.append(float(np.sqrt(np.mean(x**2))))
    return found


# %%
checks.check_spreads(spreads)

# %% [markdown]
# ### 4. Equal units
#
# How many different units does a layer have? Return the number of different rows of its weights, rounded to
# six decimals.


# %% tags=["task"]
def distinct(weight):
    raise NotImplementedError("count the different rows")


# %% tags=["solution"]
def distinct(weight):
    return len(np.unique(np.round(weight, 6), axis=0))


# %%
checks.check_distinct(distinct)

# %% [markdown]
# Compare three kinds of initial weights: 30 layers of ReLU on the digits, 120 steps. Equal weights let the
# output layer learn a little; from Xavier's nothing arrives there.

# %%
data = DigitsDataModule(batch_size=1000, seed=0)
data.setup("fit")
x, y = next(iter(data.train_dataloader()))
loss_of = nn.CrossEntropyLoss()
for init in ("he", "xavier", "constant"):
    torch.manual_seed(0)
    net = EqualLayers(30, "ReLU", init)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    losses = []
    for _ in range(120):
        rows = torch.randint(len(x), (64,))
        loss = loss_of(net(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    units = distinct(net.layers[3].weight.detach().numpy())
    print(f"{init:8}: loss {losses[0]:.2f}, at the end {np.mean(losses[-10:]):.2f}; different units: {units}")

# %% [markdown]
# ### 5. Questions
#
# 1. ReLU's slope is 1 where it is on. Why does its signal shrink all the same with Xavier's initial weights?
# 2. Sigmoid's slope is at most 1/4. Why do weights of four times the size not repair a deep sigmoid network?
# 3. Why do units that begin equal stay equal?
# 4. You compare two activations at one learning rate that was tuned for the first. What do you measure?

# %% [markdown] tags=["solution"]
# **Answers**
#
# 1. Half of the units are off, so the mean square of the outputs is half that of the sums. Xavier's variance
#    1 / fan_in keeps the sums as large as the inputs; He's factor 2 repairs the lost half.
# 2. Four times the weights make the sums larger, and where |z| is large the slope is far below 1/4.
# 3. They have the same output, and the next layer gives them the same gradient. Only different initial
#    weights, or random masks, make them different.
# 4. The activation and how well the rate suits it, mixed. Sigmoid needs a rate several times that of ReLU.
