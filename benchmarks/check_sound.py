"""Run `nnfoundations check` on sound networks of many kinds, on real data: no check may fail one of them.

python benchmarks/check_sound.py [FILE.csv]: one row per network, one column per check; a row is written once
it is known. MNIST is read from NNFOUNDATIONS_DATA.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from check_broken import row_of, write
from sound import SOUND  # the networks of the tests


def main() -> None:
    rows = []
    for name, case in SOUND.items():
        rows.append(row_of(name, case.build, case.data and case.data()))
        if len(sys.argv) > 1:
            write(rows, sys.argv[1])


if __name__ == "__main__":
    main()
