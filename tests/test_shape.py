"""book/shape.py counts what a reader sees of a chapter, and reads questions."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book"))

import shape  # noqa: E402

CELL = "```{{code-cell}} ipython3\n{}{}\n```\n"
SEEN = CELL.format("", "import numpy as np\n\nx = 1")
FOLDED = CELL.format(":tags: [hide-input]\n", "y = 1\nz = 2")
SOLUTION = (
    "```{solution-start} ex\n:class: dropdown\n```\nno words\n"
    + SEEN
    + "```{solution-end}\n```\n"
)
DROPDOWN = "::::{dropdown} Proof\nnot\n:::{tip}\ncounted\n:::\n::::\n"
EQUATION = "$$\na + b\n= c\n$$ (sum)\n"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (SEEN, [3]),
        (SEEN + FOLDED, [3, 0]),
        (SEEN + SOLUTION, [3]),
        (CELL.format(":tags: [remove-cell, x]\n:mystnb: {a: b}\n\n", "y = 1"), [0]),
    ],
)
def test_lines_that_are_seen(text, lines):
    assert [cell.lines for cell in shape.cells(shape.unfolded(text))] == lines


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("---\na: b\n---\nTwo words.\n", 2),
        ("Two\n" + EQUATION + "words, — with $x$ four.\n", 5),
        (SEEN + SOLUTION + DROPDOWN + "one", 1),
        (":::{predict} Title\nTwo words\n:::\n% none\n(none)=\n", 3),
    ],
)
def test_words_outside_code_equations_and_folds(text, words):
    assert shape.words(shape.unfolded(text)) == words


def test_minutes_grow_with_words_and_cells():
    assert shape.minutes("word " * 400) == 2
    assert shape.minutes("word " * 400 + "\n" + SEEN * 3) == 3
    checked = CELL.format(":tags: [hide-input, checked]\n", "assert x")
    assert shape.minutes("word " * 400 + "\n" + checked * 3) == 2


def test_listings_of_the_library_count_unless_they_are_folded():
    imports = CELL.format("", "from crl_mini import losses, show")
    shown = CELL.format("", "show(losses.binary_nce)")
    (lines,) = shape.listings(imports + shown)
    assert lines > 5
    folded = CELL.format(":tags: [hide-output]\n", "show(losses.binary_nce)")
    assert shape.listings(imports + folded) == []


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        (7, "5 seconds to run"),
        (93, "95 seconds to run"),
        (100, "2 minutes to run"),
        (205, "3 minutes to run"),
        (None, "not timed yet"),
    ],
)
def test_time_to_run_is_what_was_recorded(taken, said, tmp_path, monkeypatch):
    monkeypatch.setattr(shape, "GREEN", tmp_path / "green.json")
    if taken:
        shape.GREEN.write_text(json.dumps({"01-a": {"seconds": taken}}))
    assert shape.running("01-a", "to run") == said


def test_where_something_moves_first():
    widget = CELL.format(":tags: [hide-input]\n", "widgets.Planner(maze)")
    assert shape.first_move("word " * 100) == 1
    assert shape.first_move(widget + "word " * 100) == 0
    assert 0.4 < shape.first_move(f"{'a' * 100}\n{FOLDED}{widget}{'b' * 100}") < 0.6
    assert 0.4 < shape.first_move(f"{'a' * 100}\n![film](a.gif){'b' * 100}") < 0.6


def test_a_question_and_its_choices():
    lines = ["What?", "", "- [ ] this", "  No,", "  never.", "- [x] that"]
    question, choices = shape.choices(lines)
    assert question == ["What?", ""]
    assert choices == [(False, "this", ["No,", "never."]), (True, "that", [])]
