"""What a test run prints: which tier runs, then one line for each file as it is finished."""

import os
import time
from collections import Counter

import pytest


def tier_lines(config):
    """The lines above the tests: what runs, how to run the rest, where real data is read."""
    chosen = config.option.markexpr
    tier = "fast" if chosen in config.getini("addopts") else chosen or "all"
    workers = getattr(config.option, "numprocesses", 0) or 1
    root = os.environ.get("NNFOUNDATIONS_DATA")
    return [
        f"tests: {tier}, {workers} at a time (-n sets how many)",
        "other tiers: -m slow, -m data, -m weekly, -m gpu; .ci/run runs fast, slow and data",
        f"real data: {root or 'the cache folder of this platform; NNFOUNDATIONS_DATA is not set'}",
    ]


class FileProgress:
    """With several workers, prints a line for each finished file instead of dots.

    A test that fails is named at once. A file that takes long gets a line every 20 seconds.
    """

    def __init__(self, config):
        self.plugins = config.pluginmanager
        self.left, self.results, self.seconds = Counter(), {}, Counter()
        self.total = self.done = 0
        self.printed = time.monotonic()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_setupnodes(self):
        self._print("importing torch and collecting the tests: 10 to 20 seconds")

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids):
        if not self.total:
            self.total = len(ids)
            self.left = Counter(test.partition("::")[0] for test in ids)
            self._print(f"{len(ids)} tests in {len(self.left)} files")

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(self):
        """Count the test as usual and print no dot for it."""
        category, _, word = yield
        return category, "", word

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report):
        file = report.nodeid.partition("::")[0]
        results = self.results.setdefault(file, Counter())
        self.seconds[file] += report.duration
        if report.when == "call" or report.outcome != "passed":
            results[report.outcome] += 1
        if report.failed:
            self._print(f"FAILED {report.nodeid}")
        if report.when == "teardown":
            self.left[file] -= 1
            self.done += 1
            if not self.left[file]:
                self._print(self._line(file))
            elif time.monotonic() - self.printed > 20:
                self._print(f"{self._line(file)}, {self.left[file]} left")

    def _line(self, file):
        results = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.results[file].items()))
        return f"[{self.done / self.total:4.0%}] {file}: {results} in {self.seconds[file]:.1f} s"

    def _print(self, line):
        self.plugins.get_plugin("terminalreporter").write_line(line)
        self.printed = time.monotonic()
