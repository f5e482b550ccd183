from typing import Any
TOOLS: dict[str, Any] = {"none": None}
def rival(tool: str, key: Any) -> dict[str, Any]:
    return {}
