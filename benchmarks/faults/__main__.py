"""A benchmark of diagnostics on programs that no limit was set on.

    python benchmarks/faults check                 # without any tool: which runs train, which are harmed
    python benchmarks/faults judge                 # the same runs with Diagnostics
    python benchmarks/faults rivals --tool NAME    # the same runs with another tool
    python benchmarks/faults table                 # docs/benchmark.md from the rows

Each command appends a row per run to docs/results/faults_COMMAND.csv, and continues where it stopped. `judge`
must run on a clean tree, once, and does not add to rows of another revision.
"""

import argparse
from functools import partial
from pathlib import Path

from checking import check
from judging import judge
from page import write
from rivals import TOOLS, rival
from training import ROOT, keys, read, revision, work

RESULTS = ROOT / "docs" / "results"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("check", "judge", "rivals", "table"))
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the rows")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "benchmark.md")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--short", action="store_true", help="two steps per run, to try the benchmark")
    parser.add_argument("--only", nargs="*", default=[], metavar="PROGRAM")
    parser.add_argument("--seeds", type=int, default=4, help="runs of each program, at most")
    parser.add_argument("--tool", choices=sorted(TOOLS), nargs="*", default=sorted(TOOLS))
    return parser.parse_args()


def main() -> None:
    options, facts = arguments(), revision()
    runs = [key for key in keys(options.only) if key[2] < options.seeds]
    if options.command == "table":
        options.page.write_text(write(options.results), encoding="utf-8")
    elif options.command == "check":
        work(
            options.results / "faults_check.csv",
            runs,
            partial(check, short=options.short),
            options.jobs,
            {},
        )
    elif options.command == "judge":
        path = options.results / "faults_judge.csv"
        if any(row["revision"] != facts["revision"] for row in read(path)):
            raise SystemExit(
                f"{path} has rows of another revision. Move it away, or check that revision out."
            )
        work(path, runs, partial(judge, short=options.short), options.jobs, facts)
    else:
        for tool in options.tool:
            path = options.results / f"faults_{tool.replace('-', '_')}.csv"
            work(path, runs, partial(rival, tool, short=options.short), options.jobs, facts)


if __name__ == "__main__":
    main()
