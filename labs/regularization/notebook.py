# %% [markdown]
# # Regularization
#
# A network with more weights than training images can learn the images by heart. A regularizer keeps it from
# that, or makes the images many: a penalty on the weights (L2, L1), noise in the layers (dropout), a limit on
# the weights (max-norm), an earlier end (early stopping), changed images (augmentation).
#
# Each has a strength. Too weak, and the network over-fits; too strong, and it may not even learn the
# training images. This lab measures both sides, and what two remedies do together.

# %% tags=["page"]
# In Colab: install the package first (untested there), then run `!nnfoundations lab regularization`.
import sys

if "google.colab" in sys.modules:
    import subprocess

    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "nnfoundations[labs]"], check=True)

import numpy as np

from nnfoundations.labs import Page
from nnfoundations.labs.regularization import checks
from nnfoundations.labs.regularization.digits import few_digits, softmax_gradient
from nnfoundations.labs.regularization.sweeps import regions_table

page = Page("regularization")

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
# The same network and images with a strong, a middle and no L2 penalty. Thin lines are seeds, the thick one
# is their mean. The names follow from the numbers: the smallest validation loss is the best; an arm with a
# larger training loss than the best is under-fit, one with a smaller is over-fit. Both losses are the data
# term, without the penalty, on clean images. The middle row shows the validation loss alone. With L2 the
# training loss rises again after some epochs: all images are right already, and the weights go on shrinking.

# %% tags=["page"]
page.figure("three_fits", "Loss and accuracy on training and validation images: under-fit, best and over-fit")

# %% [markdown]
# **Which strength?** Each point is a seed. The shaded strengths are the flat region: the best one by
# validation accuracy, and those whose paired difference from it has a 95 % interval that reaches 0. With
# max-norm a smaller limit is stronger, so its axis is reversed: in all panels the remedy is strongest on the
# right.

# %% tags=["page"]
page.figure("strengths", "Accuracy and loss by the strength of L2, L1, dropout and max-norm")

# %% tags=["page"]
regions_table(page.results)

# %% [markdown]
# The best of several arms is chosen by the same numbers that it is judged by, so the gains in this table are
# probably too large. The best L2 and the best dropout are tested below. The smallest loss and the largest
# accuracy need not be at the same strength. Where the weakest strength is the best, a weaker one might be
# better still.

# %% [markdown]
# **What does each remedy gain?** Small points are seeds, diamonds their mean, bars the 95 % intervals of the
# paired differences, without correction for their number (the table below has Holm's).

# %% tags=["page"]
page.figure("gains", "Validation accuracy of each arm minus that of none, with intervals")

# %% [markdown]
# **Do two gains add up?** Left: the accuracy for each pair of L2 and dropout. Right: by how much it differs
# from that of none plus the two gains. 0 would mean that they add up. A star marks a difference whose 95 %
# interval does not contain 0.

# %% tags=["page"]
page.figure("heat_map", "Validation accuracy for pairs of L2 and dropout, and the deviation from a sum")

# %% [markdown]
# **What happens to the weights?** Left: the norm of all weight matrices. Right: the parts of the training
# loss by the strength of L2. A validation loss with the penalty in it would not be comparable between
# strengths.

# %% tags=["page"]
page.figure("weights", "Norm of the weights by epoch, and data term and penalty by strength")

# %% [markdown]
# **More images.** The same comparison with 300 and 3,000 training images, for about as many steps. In our
# full run two of the five runs with 300 images and no remedy are unstable near the end; they make up most of
# what L2 gains there.

# %% tags=["page"]
page.figure("sizes", "Validation accuracy by the number of training images, for three arms")

# %% [markdown]
# **Random labels.** Each training label is drawn again at random from all ten classes, so nothing can be
# learnt for the validation images, whose labels are true.

# %% tags=["page"]
page.figure("memorized", "Training and validation accuracy on true and on random labels")

# %% [markdown]
# ## Results

# %% tags=["page"]
page.table()

# %% [markdown]
# Differences with 95 % intervals, paired by seed:

# %% tags=["page"]
page.differences("accuracy")

# %% [markdown]
# The chosen arms on the test data, and the arm without a remedy for comparison. These are fractions, not
# percent:

# %% tags=["page"]
page.tested(["accuracy", "loss"])

# %% tags=["page"]
page.tested_differences("accuracy", "none")

# %% [markdown]
# ## Verdict
#
# Claims and rules were written before the runs; the verdicts are computed. In brackets: the 95 % interval,
# for "each" the smallest and largest value. Srivastava et al. 2014 had all 60,000 images of MNIST, longer
# training and larger networks, and Zhang et al. 2017 CIFAR-10. A verdict here says what holds for 1,000
# images. Diagnostics is the callback of this library that looks for faults while a network trains.

# %% tags=["page"]
page.verdicts()

# %% [markdown]
# The prediction:

# %% tags=["page"]
page.answers()

# %% [markdown]
# **In our full run** only augmentation clearly gains accuracy, about three points. Dropout of 0.2 gains about
# half a point, which only the test data show. L2, L1 and max-norm gain nothing that matters. L2 still has a
# smaller validation loss: the network is less sure of its mistakes. Early stopping gets this too, but stops
# before the accuracy has its last point. The verdicts on early stopping and on the time after the best epoch
# rest on the same five curves. L2 of 0.001 and dropout of 0.5 gain nothing alone, so the verdict "gains do
# not add up" says little about gains.

# %% [markdown]
# ## What failed

# %% tags=["page"]
page.failed()

# %% [markdown]
# The learning rate is the same for all arms; Srivastava et al. raise it for dropout and max-norm, and drop a
# fifth of the inputs. A remedy with a rate of its own could gain more than it does here.

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
# ### 1. The gradient of a penalty
#
# Return the gradient of l1 Σ|w| + l2 / 2 Σw² with respect to the array w. At w = 0 take 0 for the first part.


# %% tags=["task"]
def penalty_gradient(w, l1, l2):
    raise NotImplementedError("differentiate the penalty")


# %% tags=["solution"]
def penalty_gradient(w, l1, l2):
    return l1 * np.sign(w) + l2 * w


# %%
checks.check_penalty_gradient(penalty_gradient)

# %% [markdown]
# The next cell uses it: one layer of softmax on 100 digits of 8x8 pixels, 300 steps of gradient descent at
# each strength. The norm shrinks with the strength. This layer over-fits as well, but L2 hardly helps here,
# and a strong penalty under-fits.

# %%
x, y, other_x, other_y = few_digits()
for l2 in (0, 0.003, 0.03, 0.3, 3):
    w = np.zeros((10, 64))
    for _ in range(300):
        w -= 0.3 * (softmax_gradient(w, x, y) + penalty_gradient(w, 0, l2))
    right, right_others = ((a @ w.T).argmax(1) == b for a, b in ((x, y), (other_x, other_y)))
    print(f"L2 {l2:5}: norm {np.linalg.norm(w):5.2f}, training {right.mean():.0%}, "
          f"others {right_others.mean():.1%}")  # fmt: skip

# %% [markdown]
# ### 2. Dropout
#
# In training set each value of x to zero with probability p, and divide the others by 1 - p. In evaluation
# change nothing. Return two arrays: y, and the factors by which the backward pass multiplies the gradient,
# which are ones in evaluation. Draw one number per value, with `generator.random(x.shape)`, and do not change
# x itself.


# %% tags=["task"]
def dropout(x, p, training, generator):
    raise NotImplementedError("write forward pass and factors")


# %% tags=["solution"]
def dropout(x, p, training, generator):
    if not training:
        return x, np.ones_like(x)
    factors = (generator.random(x.shape) >= p) / (1 - p)
    return x * factors, factors


# %%
checks.check_dropout(dropout)

# %% [markdown]
# ### 3. Max-norm
#
# `weight` is (outputs, inputs): a row holds the weights that enter one unit. Scale each row whose norm is
# larger than c to the norm c, and leave the others.


# %% tags=["task"]
def limit(weight, c):
    raise NotImplementedError("scale long rows")


# %% tags=["solution"]
def limit(weight, c):
    norms = np.linalg.norm(weight, axis=1, keepdims=True)
    return weight * np.minimum(1, c / np.maximum(norms, 1e-12))


# %%
checks.check_max_norm(limit)

# %% [markdown]
# ### 4. Early stopping
#
# Given the validation loss of each epoch, stop after `patience` epochs without a smaller loss than the
# smallest so far. Return two numbers: the index of the last epoch that is trained, and that of the epoch
# whose weights are kept.


# %% tags=["task"]
def stop(losses, patience):
    raise NotImplementedError("count the epochs without a better loss")


# %% tags=["solution"]
def stop(losses, patience):
    best = 0
    for epoch, loss in enumerate(losses):
        if loss < losses[best]:
            best = epoch
        if epoch - best >= patience:
            return epoch, best
    return len(losses) - 1, best


# %%
checks.check_stopping(stop)

# %% [markdown]
# ### 5. Questions
#
# 1. The validation loss rises while the accuracy does not fall. How can both be true?
# 2. `train/loss` of a run with dropout lies above `val/loss`. Is that a mistake?
# 3. Why is the penalty left out of the validation loss?
# 4. An L2 penalty of λ/2 Σw² and SGD's weight_decay=λ are the same. Are they also the same for Adam?
# 5. Thirty arms are compared on 2,000 validation images each. Why is the best one tested on other images?

# %% [markdown] tags=["solution"]
# **Answers**
#
# 1. The class with the largest score stays the same for nearly all images, but the network becomes more sure,
#    also of its mistakes. The loss of a mistake grows without a limit; in the accuracy it counts as one.
# 2. No. `train/loss` is measured with units dropped, `val/loss` with all of them. For a comparison the
#    training images must be evaluated without dropout, as in the figures here.
# 3. It depends on λ and on the weights, not on the images. With it, a larger λ would look worse by itself.
# 4. No. Adam divides the gradient, with the penalty in it, by its own size, so that weights with large
#    gradients are shrunk less. AdamW applies the decay outside of this division.
# 5. The largest of thirty noisy numbers is too large on average. On images that had no part in the choice it
#    is not.
