"""Optimizers from the papers' update rules, in place of torch.optim's, and what is done to gradients first.

Schedules come from `torch.optim.lr_scheduler`: they take these optimizers too.
"""

from nnfoundations.optim._adam import Adam, AdamW
from nnfoundations.optim._clip import clip_grad_norm_, clip_grad_value_, normalize_grad_
from nnfoundations.optim._rmsprop import RMSprop
from nnfoundations.optim._schedule import WarmupCosineLR
from nnfoundations.optim._sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "RMSprop",
    "WarmupCosineLR",
    "clip_grad_norm_",
    "clip_grad_value_",
    "normalize_grad_",
]
