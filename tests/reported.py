"""A finding, an engine and their printed text, for tests of the output. Nothing here is a test."""

import types

from nnfoundations.diagnostics import Finding, History, Severity

RATE = Finding(
    "learning-rate-too-high",
    Severity.ERROR,
    0,
    12,
    ("net.0.weight",),
    "In the first steps each update changes the weights by 1.4 times their size "
    "(healthy updates: 0.001 to 0.02).",
    "The learning rate 0.3 is too high for this network.",
    "Set lr=0.0042 (now 0.3): each update is then 0.02 of the weights.",
    numbers={"update_ratio": 1.4, "spread": float("inf")},
)


def changed(finding, **fields):
    return Finding(**{**vars(finding), **fields})


def engine(*findings, not_run=None, mute=(), failure=None):
    judge = types.SimpleNamespace(findings=list(findings), mute=mute, not_run=lambda history: not_run or {})
    schedule = types.SimpleNamespace(steps=1234, spent=0.123, trained=20.0)
    return types.SimpleNamespace(
        findings=list(findings), judge=judge, schedule=schedule, history=History(), step=99, failure=failure
    )


def text(lines):
    return "\n".join(line for _, line in lines)
