"""Reject a commit message whose subject is longer than 72 characters or ends in a period."""

import sys
from pathlib import Path

subject = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()[0]
if len(subject) > 72 or subject.endswith("."):
    sys.exit(f"The subject has at most 72 characters and no period at its end; got {len(subject)}: {subject}")
