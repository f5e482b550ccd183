# %% [markdown]
# # Diagnostics
#
# Sixteen faults, each made on purpose, in a network for MNIST. For each: what the curves show, what
# Diagnostics says while the network trains, the fix that it names, and the run after the fix. Then the checks
# of a debugging checklist: which finds which fault, and which sounds a false alarm. At the end a game: hidden
# faults that you name.

# %% tags=["page"]
# In Colab: install the package first (untested there), then run `!nnfoundations lab diagnostics`.
import sys

if "google.colab" in sys.modules:
    import subprocess

    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "nnfoundations[labs]"], check=True)

import numpy as np

from nnfoundations.labs import Page
from nnfoundations.labs.diagnostics import checks, game
from nnfoundations.labs.diagnostics.tables import checklist, fault_table, remedies, symptom_table

page = Page("diagnostics")

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
# Which check finds which fault: % of the runs in which it says that something is wrong. For Diagnostics only
# runs count whose root cause has the right name. Left of the line: the four checks of the course. The last
# row has the false alarms on sound networks.

# %% tags=["page"]
page.figure("catch", "Share of runs in which each check finds each fault, and false alarms on sound runs")

# %% [markdown]
# **The checklist.** Generated from these runs. First comes the check that finds most faults, then always the
# one that adds most. The four checks of the course alone:

# %% tags=["page"]
checklist(page.results, course=True)

# %% [markdown]
# All checks:

# %% tags=["page"]
checklist(page.results)

# %% [markdown]
# **Symptoms.** What a reader sees in the curves of loss and accuracy; the first that applies counts. Faults
# with the same symptom cannot be told apart by it, and some sound networks show one.

# %% tags=["page"]
page.figure("symptoms", "Share of runs with each symptom, by fault and by sound network")

# %% [markdown]
# **Symptom - cause - fix.** Generated from the broken runs:

# %% tags=["page"]
symptom_table(page.results)

# %% [markdown]
# **Fault by fault.** The numbers are means over the seeds; the step is the median. *Recovered* is the part of
# the lost accuracy that the fix brings back.

# %% tags=["page"]
fault_table(page.results)

# %% [markdown]
# The training losses. Dashed: the step at which Diagnostics named the cause. Grey: the loss of guessing.
# Losses above 4 or below -0.5 are drawn there; those that are not finite are left out.

# %% tags=["page"]
page.figure("curves", "Training loss of each fault: broken, fixed and sound")

# %% [markdown]
# Accuracy before and after:

# %% tags=["page"]
page.figure("fixes", "Validation accuracy of each fault: broken, fixed and sound")

# %% [markdown]
# What Diagnostics said, with the numbers of one run each:

# %% tags=["page"]
remedies(page.results)

# %% [markdown]
# **Updates and units.** A usual advice is an update of about 1e-3 of the weights (dashed). A unit is dead if
# it is 0 on each sample.

# %% tags=["page"]
page.figure("health", "Update over weight and share of dead units, broken and sound")

# %% [markdown]
# **Gradients by layer**, at the first step:

# %% tags=["page"]
page.figure("layers", "Gradient norm by layer at the first step")

# %% [markdown]
# ## Results

# %% tags=["page"]
page.table()

# %% [markdown]
# Accuracy, fixed minus broken, in points, with 95 % intervals, paired by seed:

# %% tags=["page"]
page.differences("accuracy")

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
# The first line repeats the lab, the second one run alone. Its findings appear while it trains:

# %% tags=["page"]
page.command()

# %% [markdown]
# ## Tasks
#
# ### 1. Read a loss curve
#
# Losses of a network for ten classes, by step. Return "nan" if one is not finite; "explodes" if the last
# five are on average above the first one; "flat" if they are above 0.9 times the loss of guessing, ln 10;
# else "falls".


# %% tags=["task"]
def symptom(losses):
    raise NotImplementedError("judge the end of the curve")


# %% tags=["solution"]
def symptom(losses):
    end = losses[-5:].mean()
    if not np.isfinite(losses).all():
        return "nan"
    if end > losses[0]:
        return "explodes"
    return "flat" if end > 0.9 * np.log(10) else "falls"


# %%
checks.check_symptom(symptom)

# %% [markdown]
# ### 2. Update over weight
#
# The norm of the change of a weight matrix in a step, divided by the norm of the matrix before it.


# %% tags=["task"]
def update_ratio(before, after):
    raise NotImplementedError("divide two norms")


# %% tags=["solution"]
def update_ratio(before, after):
    return np.linalg.norm(after - before) / np.linalg.norm(before)


# %%
checks.check_update_ratio(update_ratio)

# %% [markdown]
# ### 3. Dead units
#
# The outputs of a ReLU layer have the shape (N, units). Return the share of units that are 0 on each sample.


# %% tags=["task"]
def dead_share(outputs):
    raise NotImplementedError("one unit is one column")


# %% tags=["solution"]
def dead_share(outputs):
    return (outputs == 0).all(axis=0).mean()


# %%
checks.check_dead_share(dead_share)

# %% [markdown]
# ### 4. The game, from the curves
#
# Up to ten of the broken runs, drawn at random, without their names. Do not look at the figures above.
# Orange: validation, or the last layer.

# %%
game.show_curves(page.results)

# %%
game.labels()

# %% [markdown]
# Name the fault of each run, from the curves alone: `{1: "rate_high", 2: "softmax", ...}`. Wrong names are
# part of the game.


# %% tags=["task"]
def name_from_curves():
    raise NotImplementedError("return a dict: the number of each run, and a name")


# %% tags=["solution"]
def name_from_curves():
    return game.solution(page.results)  # what a reader says differs


# %%
checks.check_names(name_from_curves(), page.results)

# %%
game.show_names(page.results, name_from_curves())

# %% [markdown]
# ### 5. The game, from the findings
#
# Here is what Diagnostics said in the same runs. Which names do you change?

# %%
game.show_findings(page.results, name_from_curves())


# %% tags=["task"]
def name_from_findings():
    raise NotImplementedError("return a dict as before")


# %% tags=["solution"]
def name_from_findings():
    return game.solution(page.results)


# %%
checks.check_renamed(name_from_findings(), page.results)

# %% [markdown]
# ### 6. Questions
#
# 1. Why does a network whose labels belong to other images pass the one-batch test?
# 2. Why can the loss of a network whose rate is far too high end near ln 10, and not at infinity?
# 3. A colleague looks at the training loss alone. Which of the sixteen faults does he not see?

# %% tags=["solution", "page"]
game.show_findings(page.results, game.solution(page.results))

# %% [markdown] tags=["solution"]
# **Answers**
#
# 1. It learns the 64 wrong labels by heart. The test asks whether the network can fit, not whether there is
#    anything to learn. On real batches, whose images are new, the loss does not fall.
# 2. The first updates are so large that the ReLU units end below 0 for each image. Then only the output
#    biases learn, and the best that they can do is to predict the shares of the classes: a loss of ln 10.
# 3. Overfitting, where it looks best, and those that learn, only worse: see "none in the curves" above.
