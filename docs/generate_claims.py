"""Writes docs/claims.md from the committed results of the labs.

Run `python docs/generate_claims.py` after a full run of a lab.
"""

import json
from collections import Counter
from pathlib import Path

from nnfoundations.labs import Lab, find_labs
from nnfoundations.labs._runner.markdown import claim_cells

HERE = Path(__file__).parent
PAGE = HERE / "claims.md"
VERDICTS = ("supported", "contradicted", "not shown")

HEAD = """# Claims

What textbooks, papers and courses say, and what the full runs of our [labs](labs.md) say. Each claim was
written with its number and rule before these runs. [How a claim is judged](labs.md#how-a-claim-is-judged) has
the rules. In brackets: the 95 % interval, or the range of all values if the claim is about each run.
Where runs were repeated later, the report says why.
`docs/generate_claims.py` writes this page.
"""


def section(lab: Lab) -> str:
    """The claims of a lab as a table."""
    content = json.loads((HERE / "labs" / lab.name / "claims.json").read_text(encoding="utf-8"))
    count = Counter(one["verdict"] for one in content["claims"])
    rows = ["| " + " | ".join(claim_cells(lab, one)) + " |" for one in content["claims"]]
    counts = ", ".join(f"{count[verdict]} {verdict}" for verdict in VERDICTS)
    head = f"## {lab.name}\n\n[Report](labs/{lab.name}/report.html): {counts}.\n"
    table = ["| claim and source | rule | measured | verdict |", "|---|---|---:|---|", *rows]
    return "\n".join([head, *table, ""])


def page() -> str:
    """The whole page, a section for each lab."""
    return "\n".join([HEAD, *(section(lab) for lab in find_labs().values())])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
