# %% [markdown]
# # Speed
#
# The network that was written by hand in NumPy, on torch and on a GPU. This lab times one training step in
# many ways, finds the batch size from which more does not help, and the width from which a GPU wins. Then it
# asks what a larger batch and half precision cost in accuracy, and what to do when memory runs out.

# %% tags=["page"]
# In Colab: install the package first (untested there), then run `!nnfoundations lab gpu`.
import sys

if "google.colab" in sys.modules:
    import subprocess

    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "nnfoundations[labs]"], check=True)

import math

import numpy as np

from nnfoundations.labs import Page
from nnfoundations.labs.gpu import checks
from nnfoundations.labs.gpu.tables import (
    best_batches,
    machine_text,
    memory_advice,
    not_measured,
    speed_table,
    target_table,
    width_text,
)

page = Page("gpu")

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

# %% tags=["page"]
machine_text(page.results)

# %% tags=["page"]
not_measured(page.results)

# %% [markdown]
# ## Main figure
#
# The time of one training step with batches of 64, for each kind that ran here. Points are rounds, the bar
# spans the quartiles, the circle is the median. Right: the accuracy that the same kind of step reached.

# %% tags=["page"]
page.figure("steps", "Time per step and accuracy of each kind of training step")

# %% tags=["page"]
speed_table(page.results)

# %% [markdown]
# **Batch size.** A step has fixed costs: calls from Python, and on a GPU the launch of each kernel. A larger
# batch shares them among more images, until the arithmetic takes all of the time.

# %% tags=["page"]
page.figure("throughput", "Images per second against the batch size")

# %% tags=["page"]
best_batches(page.results)

# %% [markdown]
# **Time to an accuracy.** More images per second are of no use if more epochs are needed.

# %% tags=["page"]
target_table(page.results)

# %% tags=["page"]
page.figure("accuracy", "Validation accuracy against the batch size, at a scaled and at a fixed rate")

# %% [markdown]
# **Width.** The speed of each kind, as a multiple of that of NumPy on one core.

# %% tags=["page"]
page.figure("speedup", "Speed against the width, relative to NumPy")

# %% tags=["page"]
width_text(page.results)

# %% [markdown]
# **Memory.** The peak of one step of a deep network, in which activations need more than weights.

# %% tags=["page"]
memory_advice(page.results)

# %% [markdown]
# **DGX Spark.** CPU and GPU share one memory there, and the CPU is an ARM. The page cache of the system
# counts against the GPU, so this lab advises 70 % of the free memory and not all of it. Shared memory does
# not make copies free: keep batches on the device, or in pinned memory. A warning that capability 12.1 is not
# supported may come although everything runs. The tables above show what was measured, on the machine that
# is named there, and nothing else.

# %% [markdown]
# ## Results

# %% tags=["page"]
page.table()

# %% [markdown]
# Differences of validation accuracy with 95 % intervals, in points, paired by seed:

# %% tags=["page"]
page.differences("accuracy")

# %% [markdown]
# ## Verdict
#
# Claims and rules were written before the runs; the verdicts are computed. In brackets: the 95 % interval,
# for "each" the smallest and largest value. A claim about a kind that was not measured is not shown.

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
# The first line repeats the lab, the second one run alone. Times need an idle machine: give `--jobs 1`.

# %% tags=["page"]
page.command(jobs=1)

# %% [markdown]
# ## Tasks
#
# ### 1. Time a step
#
# A GPU computes later than it is told: a step returns at once, and `synchronize()` waits until all is done.
# The first steps compile and warm up. Make 10 steps that do not count, then time `count` steps with
# `clock()`. Return the time per step.


# %% tags=["task"]
def time_steps(step, synchronize, clock, count):
    raise NotImplementedError("wait before both readings of the clock")


# %% tags=["solution"]
def time_steps(step, synchronize, clock, count):
    for _ in range(10):
        step()
    synchronize()
    start = clock()
    for _ in range(count):
        step()
    synchronize()
    return (clock() - start) / count


# %%
checks.check_time_steps(time_steps)

# %% [markdown]
# ### 2. Accumulate gradients
#
# `gradient(x, y)` is the gradient of the mean loss of some rows. Compute that of all rows, but never give it
# more than `most` rows. The last part may be smaller.


# %% tags=["task"]
def accumulate(gradient, x, y, most):
    raise NotImplementedError("weight each part by its share of the rows")


# %% tags=["solution"]
def accumulate(gradient, x, y, most):
    total = 0.0
    for start in range(0, len(x), most):
        rows = slice(start, start + most)
        total = total + gradient(x[rows], y[rows]) * len(x[rows]) / len(x)
    return total


# %%
checks.check_accumulate(accumulate)

# %% [markdown]
# ### 3. The best batch
#
# `times` has the seconds of a step by batch size. Return the smallest batch whose images per second are at
# least 95 % of the most.


# %% tags=["task"]
def best_batch(times):
    raise NotImplementedError("compare images per second")


# %% tags=["solution"]
def best_batch(times):
    speed = {batch: batch / seconds for batch, seconds in times.items()}
    return min(batch for batch in speed if speed[batch] >= 0.95 * max(speed.values()))


# %%
checks.check_best_batch(best_batch)

# %% [markdown]
# ### 4. The largest batch
#
# A step needs memory for the weights, whatever the batch, and as much again for each image. From the peaks
# with batches of 64 and of 1,024, find the largest power of two that fits into 70 % of the free memory.


# %% tags=["task"]
def largest_batch(free, peak_64, peak_1024):
    raise NotImplementedError("two peaks make a line")


# %% tags=["solution"]
def largest_batch(free, peak_64, peak_1024):
    per_image = (peak_1024 - peak_64) / (1024 - 64)
    fixed = peak_64 - 64 * per_image
    return 2 ** math.floor(math.log2((0.7 * free - fixed) / per_image))


# %%
checks.check_largest_batch(largest_batch)

# %% [markdown]
# NumPy computes in float64 more often than one thinks: a float32 array times a NumPy number of float64 is
# float64, and all that follows from it.

# %%
weights = np.ones((2, 2), np.float32)
print((weights * math.sqrt(2 / 784)).dtype, (weights * np.sqrt(2 / 784)).dtype)

# %% [markdown]
# ### 5. Questions
#
# 1. Suppose that a step launches 40 kernels, and that each launch takes longer than its arithmetic. Which
#    of these make it faster: half the width, bfloat16, a CUDA graph, twice the batch?
# 2. Why are kinds timed in turn, and not one after the other?
# 3. Why does float16 need loss scaling, and bfloat16 not?
# 4. A batch of 4,096 has 10 times the images per second. Is training faster?

# %% [markdown] tags=["solution"]
# **Answers**
#
# 1. The CUDA graph: it launches all of them at once. Width and precision only shorten the arithmetic, which
#    the launches hide. Twice the batch takes as long, so it doubles the images per second.
# 2. Clock rate, heat and other programs change while one measures. In turn they meet all kinds alike.
# 3. The smallest number of float16 above 0 is 6e-8, and many gradients are smaller. bfloat16 has the
#    exponents of float32.
# 4. Only if the accuracy is reached in less than 10 times the epochs: the table of the time to 98 % says so.
