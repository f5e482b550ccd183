# %% [markdown]
# # Tiny

# %% tags=["page"]
from nnfoundations.labs import Page

page = Page("tiny")

# %% tags=["page"]
page.setup()

# %% tags=["page"]
page.figure("accuracy", "Accuracy")

# %% tags=["page"]
page.figure("middle", "Accuracy of the middle arm")

# %% tags=["page"]
page.animation("movie", "The same, moving")

# %% tags=["page"]
page.table()

# %% tags=["page"]
page.differences("accuracy")

# %% tags=["page"]
page.verdicts()
