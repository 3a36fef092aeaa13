"""The shape of each chapter, from its source: `make shape` prints it.

Code that a reader sees without opening a fold, words, the minutes that they take, and
how far down the page the first widget or film stands. The printed times to read and to
run and the choices of a question are read here, too, for the pages and for the twins.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

CHAPTERS = Path(__file__).resolve().parent / "chapters"
GREEN = CHAPTERS.with_name("colab-green.json")  # when each twin last ran: see colab.py
FOLDING_TAGS = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
WORDS_A_MINUTE = 200
SECONDS_A_CELL = 20  # to look at what a cell shows, and at its code
MAX_LINES, MAX_CELL = 120, 24  # of code that is seen: in a chapter, in a cell

FRONT = re.compile(r"\A---\n.*?^---\n", re.M | re.S)
SOLUTION = re.compile(r"^[`:]{3,}\{solution-start\}(?s:.*?)\{solution-end\}", re.M)
DROPDOWN = re.compile(r"^(:{3,}|`{3,})\{dropdown\}.*?^\1$", re.M | re.S)
CELL = re.compile(
    r"^```\{code-cell\}[^\n]*\n((?::[^\n]*\n)*)\n*(.*?)^```$", re.M | re.S
)
TAGS = re.compile(r"^:tags: \[(.*)\]$", re.M)
NOT_WORDS = re.compile(
    r"^\$\$(?s:.*?)\$\$[^$\n]*$|^[:`]{3,}.*$|^:[\w-]+:.*$|^%.*$", re.M
)
MOVES = re.compile(r"\bwidgets\.[A-Z]\w+\(|\bVideo\(|\.(?:gif|mp4|webm)\b")
MARK = "\0"  # stands for a cell that shows a widget or a film
PREDICT = "Predict, then look"  # the title of a question
VERDICTS = {True: "Yes.", False: "No."}
CHOICE = re.compile(r"^- \[([ x])\] (.+)$")


@dataclass(frozen=True)
class Cell:
    """A code cell outside folded solutions, and where it begins in the text."""

    code: str
    tags: frozenset[str]
    start: int

    @property
    def lines(self) -> int:
        """Lines of code that are seen."""
        return 0 if self.tags & FOLDING_TAGS else len(self.code.strip().splitlines())


def unfolded(text: str) -> str:
    """A chapter without its front matter, folded solutions and dropdowns."""
    for fold in (FRONT, SOLUTION, DROPDOWN):
        text = fold.sub("", text)
    return text


def cells(text: str) -> list[Cell]:
    """The code cells of what `unfolded` leaves."""
    found = []
    for cell in CELL.finditer(text):
        tags = TAGS.search(cell[1])
        names = frozenset(tags[1].replace(" ", "").split(",")) if tags else frozenset()
        found.append(Cell(cell[2], names, cell.start()))
    return found


def words(text: str) -> int:
    """Words outside code and displayed equations."""
    prose = NOT_WORDS.sub("", CELL.sub("", text))
    return sum(any(map(str.isalnum, word)) for word in prose.split())


def minutes(text: str) -> int:
    """Minutes to read a chapter: 200 words in each, and 20 seconds for a cell."""
    text = unfolded(text)
    looked_at = [c for c in cells(text) if not c.tags & {"checked", "remove-cell"}]
    seconds = 60 * words(text) / WORDS_A_MINUTE + SECONDS_A_CELL * len(looked_at)
    return max(1, round(seconds / 60))


def seconds(stem: str) -> float | None:
    """Seconds that a chapter's twin took when it was last recorded."""
    runs = json.loads(GREEN.read_text()) if GREEN.exists() else {}
    return runs.get(stem, {}).get("seconds")


def running(stem: str, words: str = "") -> str:
    """The time that a chapter takes, rounded, and the words that follow it."""
    if not (taken := seconds(stem)):
        return "not timed yet"
    fives = 5 * max(1, round(taken / 5))
    time = f"{taken / 60:.0f} minutes" if taken > 99 else f"{fives} seconds"
    return f"{time} {words}".rstrip()


def listings(text: str) -> list[int]:
    """Lines of each listing of the library that `show` prints and no tag folds."""
    names, found = {}, []
    for cell in cells(unfolded(text)):
        if "show(" not in cell.code and "import" not in cell.code:
            continue
        for node in ast.parse(cell.code).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                exec(ast.unparse(node), names)
            elif "hide-output" in cell.tags:
                continue
            elif ast.unparse(node).startswith("show("):
                shown = eval(ast.unparse(node.value.args[0]), names)
                found.append(len(inspect.getsource(shown).splitlines()))
    return found


def first_move(text: str) -> float:
    """Where the first widget or film stands, as a share of what is seen; else 1."""

    def seen(match: re.Match) -> str:
        (cell,) = cells(match[0])
        moves = MARK if MOVES.search(cell.code) else ""
        return moves + (cell.code if cell.lines else "")

    text = CELL.sub(seen, unfolded(text))
    at = re.search(f"{MARK}|{MOVES.pattern}", text)
    return at.start() / len(text) if at else 1.0


def choices(lines: list[str]) -> tuple[list[str], list[tuple[bool, str, list[str]]]]:
    """A question, and its choices: is it right, what is chosen, what is said then.

    A choice is a line ``- [ ] text``, the right one ``- [x] text``; the indented lines
    below it are what the reader is told after choosing it.
    """
    question, found = [], []
    for line in lines:
        if choice := CHOICE.match(line):
            found.append((choice[1] == "x", choice[2], []))
        elif found:
            found[-1][2].append(line.removeprefix("  "))
        else:
            question.append(line)
    return question, found


def main() -> int:
    """Print the table; with names of chapters as arguments, of these alone."""
    print("chapter                lines cell words min first move")
    for path in sorted(CHAPTERS.glob("[0-9][0-9]-*.md")):
        if not sys.argv[1:] or any(name in path.stem for name in sys.argv[1:]):
            text = path.read_text()
            seen = [cell.lines for cell in cells(unfolded(text))] + listings(text)
            print(
                f"{path.stem:22} {sum(seen):5} {max(seen):4} {words(unfolded(text)):5} "
                f"{minutes(text):3} {first_move(text):10.0%}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
