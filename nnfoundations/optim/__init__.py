"""Optimizers written from the papers' update rules, a schedule, and gradient clipping.

They replace those of torch.optim. The schedules of `torch.optim.lr_scheduler` work with them too.
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
