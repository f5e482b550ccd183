# %% [markdown]
# # Perceptron
#
# Rosenblatt's rule of 1958 is the first learning algorithm for a neuron. It has one neuron, no gradient and
# no learning rate, and it changes its weights only when it makes a mistake:
#
# > for a sample x with s = 1 for class 1 and s = -1 for class 0: if s (w x + b) ≤ 0, then w ← w + s x and b
# > ← b + s.

# %% tags=["page"]
# In Colab: install the package first (untested there), then run `!nnfoundations lab perceptron`.
import sys

if "google.colab" in sys.modules:
    import subprocess

    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "nnfoundations[labs]"], check=True)

import numpy as np

from nnfoundations.labs import Page
from nnfoundations.labs.perceptron import checks
from nnfoundations.labs.perceptron.flowers import flowers

page = Page("perceptron")

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
# Each point is one order of the flowers, the bar is the median. The scale is logarithmic.

# %% tags=["page"]
page.figure("updates", "Updates until no mistake is left, for five scalings of the same flowers")

# %% [markdown]
# **How one update moves the boundary.** The same order of the same flowers, in centimetres (above) and
# standardized (below). Setosa are the triangles; the perceptron calls the shaded side setosa. In
# centimetres all flowers lie far from zero in the same direction. An update w + s x therefore changes the
# score of all of them alike: the first updates flip between "all are setosa" and "none is". Standardized
# flowers lie around zero, and an update raises the score on one side and lowers it on the other.

# %% tags=["page"]
page.figure("boundaries", "The boundary after 1, 3, 10, 30 updates and at the end, raw and standardized")

# %% tags=["page"]
page.animation("boundary", "The same boundaries, animated")

# %% [markdown]
# **Mistakes per epoch.** Every order is a line, the dot marks the epoch without a mistake.

# %% tags=["page"]
page.figure("mistakes", "Mistakes per epoch on raw, standardized and min-max scaled sepals")

# %% [markdown]
# **Novikoff's bound.** Write every sample as (x, 1), the constant 1 being the input of the bias. Let R be the
# length of the longest sample and γ the distance of the nearest one from a plane that separates the classes.
# Each update adds at least γ to the projection of (w, b) on the normal of that plane, so after k updates
# (w, b) is at least kγ long. But each update is made at a mistake, and therefore adds at most R² to the
# squared length, so (w, b) is at most √k R long. Both can only be true while k ≤ (R/γ)².

# %% tags=["page"]
page.figure(
    "bound", "Updates against Novikoff's bound on logarithmic axes; all points lie below the diagonal"
)

# %% [markdown]
# **No line separates versicolor.** Its mistakes never end. The pocket keeps the weights with the fewest
# errors among those at the ends of epochs.

# %% tags=["page"]
page.figure("pocket", "Mistakes per epoch on versicolor, and errors of the last weights and of the pocket")

# %% [markdown]
# ## Results

# %% tags=["page"]
page.table()

# %% [markdown]
# Differences with 95 % intervals, paired by order:

# %% tags=["page"]
page.differences("updates")

# %% [markdown]
# ## Verdict
#
# Claims and rules were written before the runs; the verdicts are computed. In brackets: the 95 % interval,
# for "each" the smallest and largest value.

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
# ### 1. The rule
#
# Write one update: it takes w, b, a sample x and its class y (0 or 1), and returns the new w and b.


# %% tags=["task"]
def update(w, b, x, y):
    raise NotImplementedError("write the rule")


# %% tags=["solution"]
def update(w, b, x, y):
    s = 1 if y == 1 else -1
    if s * (w @ x + b) <= 0:
        return w + s * x, b + s
    return w, b


# %%
checks.check_update(update)

# %% [markdown]
# ### 2. The training
#
# Go through all samples in a new random order per epoch, `generator.permutation(len(y))`, until an epoch
# has no mistake or `epochs` epochs are over. Return w, b and the list of mistakes per epoch.


# %% tags=["task"]
def train(x, y, generator, epochs):
    raise NotImplementedError("write the loop")


# %% tags=["solution"]
def train(x, y, generator, epochs):
    w, b, mistakes = np.zeros(x.shape[1]), 0.0, []
    for _ in range(epochs):
        mistakes.append(0)
        for row in generator.permutation(len(y)):
            new_w, new_b = update(w, b, x[row], y[row])
            mistakes[-1] += new_b != b
            w, b = new_w, new_b
        if mistakes[-1] == 0:
            break
    return w, b, mistakes


# %%
checks.check_train(train)

# %% [markdown]
# It learns before your eyes, on the standardized sepals:

# %%
x, y = flowers(scaling="standard")
for epochs in range(1, 6):
    w, b, mistakes = train(x, y, np.random.default_rng(0), epochs)
    print(f"after epoch {epochs}: {mistakes[-1]:3} mistakes, w = {w.round(2)}, b = {b:.0f}")

# %% [markdown]
# ### 3. One factor for all inputs
#
# "The perceptron does not depend on scale." Is that right? Append the constant 1, the input of the bias, to
# x as a third column. Multiply all three columns by `factor`. Train without a separate bias: call
# `update(w, 0.0, sample, y)` and drop the bias that it returns. Return the number of updates until an epoch
# has none. Why does the same argument not hold for standardizing?


# %% tags=["task"]
def updates_at(factor):
    raise NotImplementedError("scale the samples (x, 1), and count the updates")


# %% tags=["solution"]
def updates_at(factor):
    samples = factor * np.column_stack((x, np.ones(len(x))))
    w, count, generator = np.zeros(3), 0, np.random.default_rng(0)
    while True:
        before = count
        for row in generator.permutation(len(y)):
            new_w, _ = update(w, 0.0, samples[row], y[row])
            count += not np.array_equal(new_w, w)
            w = new_w
        if count == before:
            return count


# %%
checks.check_scale(64.0, updates_at)

# %% [markdown]
# ### 4. The pocket
#
# Given the errors at the end of each epoch, return the index of the epoch whose weights the pocket keeps.


# %% tags=["task"]
def pocket(errors):
    raise NotImplementedError("choose an epoch")


# %% tags=["solution"]
def pocket(errors):
    return errors.index(min(errors))


# %%
checks.check_pocket(pocket)

# %% [markdown]
# ### 5. Questions
#
# 1. A learning rate of 0.1 instead of 1 would change no decision. Why?
# 2. Why does standardizing change decisions, although one factor for all inputs does not?
# 3. Min-max scaling moves all flowers into one quadrant. Which of R and γ does that make worse?
# 4. Versicolor has 50 of the 150 flowers. How many errors does a rule make that calls no flower versicolor?
#    What does that say about the pocket?

# %% [markdown] tags=["solution"]
# **Answers**
#
# 1. With zero initial weights, w and b are sums of s x and s over all mistakes. A rate multiplies both, and
#    the sign of w x + b stays.
# 2. It moves the origin and gives each feature its own factor, but the input of the bias stays 1. That
#    changes the angles between the samples (x, 1), so other samples become mistakes.
# 3. γ. The margin shrinks with the range of the inputs, while the constant 1 keeps R above 1.
# 4. 50 errors. The pocket has fewer, but not by much: no straight line through the sepals can tell versicolor
#    from both of its neighbours.
