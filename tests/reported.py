"""A finding, an engine and their words, for tests of what people see. Nothing here is a test."""

import types

from nnfoundations.diagnostics import Finding, History, Severity

RATE = Finding(
    "learning-rate-too-high",
    Severity.ERROR,
    0,
    12,
    ("net.0.weight",),
    "Within the first steps weights move by 1.4 of their size a step (about 0.001 to 0.02 is healthy).",
    "The learning rate 0.3 is too high for this network.",
    "Set lr=0.0042 (now 0.3): updates are then 0.02 of the weights.",
    numbers={"update_ratio": 1.4, "spread": float("inf")},
)


def changed(finding, **fields):
    return Finding(**{**vars(finding), **fields})


def engine(*findings, not_run=None, mute=()):
    judge = types.SimpleNamespace(mute=mute, not_run=lambda history: not_run or {})
    schedule = types.SimpleNamespace(steps=1234, spent=0.123, trained=20.0)
    return types.SimpleNamespace(
        findings=list(findings), judge=judge, schedule=schedule, history=History(), step=99
    )


def text(lines):
    return "\n".join(line for _, line in lines)
