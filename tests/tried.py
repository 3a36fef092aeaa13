"""What the tests try to break: `pytest --tried` counts it for the book's appendix."""

import csv
from pathlib import Path

TRIED = Path(__file__).resolve().parents[1] / "results" / "tried.csv"
#: Kind: what is tried, and what must happen.
KINDS = {
    "spaces": (
        "Observations of any type and rank; bounds that are wide, infinite, equal, "
        "wrong",
        "Finite features; values that differ in the data stay apart",
    ),
    "actions": (
        "Action spaces of any type, bounds and shape",
        "Every action is a member of its space",
    ),
    "ends": (
        "Episodes that end early, in every way to reset",
        "Only real steps are counted and learned from",
    ),
    "arrays": (
        "Environments and policies that use their arrays again",
        "Everything is copied",
    ),
    "finite": (
        "Trainings that become NaN",
        "One line; the last good checkpoint stays; nothing is recorded",
    ),
    "data": (
        "Data of others, and files with missing, wrong and misshapen fields",
        "They are read, or one line names the file and the field",
    ),
    "files": (
        "Checkpoints, data, settings and results that are cut off, flipped, forged",
        "They are read, or one line names the file; nothing in them is executed",
    ),
    "kills": (
        "Kills at any moment, and full disks",
        "Whole files; the run goes on to the same result",
    ),
    "folders": (
        "Two processes in one folder or file; places where nothing can be written",
        "One goes on, the other gets one line; nothing is computed in vain",
    ),
    "flags": (
        "Switches of JAX and Python, also between training and evaluating",
        "The same results, or one line",
    ),
    "sizes": ("Sizes beyond any machine", "One line"),
    "copies": (
        "Environments that are copied, pickled, or stepped before a reset",
        "The copy goes on alike; one line",
    ),
    "arguments": ("Wrong words on the command line", "One line, exit status 2"),
    "text": ("HTML and scripts in the texts of widgets", "They are shown as text"),
}


def counted(items) -> None:
    """Let each test's report say what the test tries."""
    for item in items:
        for mark in item.iter_markers("tried"):
            (kind,), cases = mark.args, mark.kwargs.get("cases", 1)
            item.user_properties.append(("tried", [kind, cases]))


class Count:
    """Adds up what was tried, and keeps it in a file if all tests passed."""

    def __init__(self):
        self.tests, self.cases = (dict.fromkeys(KINDS, 0) for _ in range(2))

    def pytest_runtest_logreport(self, report) -> None:
        if report.when != "call" or not report.passed:
            return
        for name, value in report.user_properties:
            if name == "tried":
                kind, cases = value
                self.tests[kind] += 1
                self.cases[kind] += cases

    def pytest_sessionfinish(self, session, exitstatus) -> None:
        if exitstatus or hasattr(session.config, "workerinput"):
            return
        with TRIED.open("w", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["tried", "happens", "tests", "cases"])
            for kind, words in KINDS.items():
                rows.writerow([*words, self.tests[kind], self.cases[kind]])
