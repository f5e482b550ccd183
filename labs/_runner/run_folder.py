"""Reads the files that `fit` leaves in the folder of a run."""

import json
from pathlib import Path
from typing import Any

__all__ = ["read_config", "read_findings"]


def read_config(folder: Path) -> dict[str, Any]:
    """Read the options of a run.

    Args:
        folder: of the run.

    Returns:
        The content of `config.yaml`.
    """
    import yaml

    config: dict[str, Any] = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    return config


def read_findings(folder: Path) -> list[dict[str, Any]]:
    """Read what Diagnostics said, also what was resolved later.

    Args:
        folder: of the run.

    Returns:
        A line of `findings.jsonl` each, in order; none if there is no such file.
    """
    file = folder / "findings.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [json.loads(line) for line in lines]
