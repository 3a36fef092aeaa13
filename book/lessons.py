"""Sphinx extension: questions with choices, minutes to read, and names for folds."""

import html
from pathlib import Path

import shape
from docutils import nodes
from docutils.statemachine import StringList
from myst_nb.sphinx_ import HideCodeCellNode, depart_HideCellInput
from sphinx.util.docutils import SphinxDirective

FOLDS = {"input": "code", "output": "listing", "all": "code and what it prints"}


class Choice(nodes.General, nodes.Element):
    """One answer to choose; opening it says whether it is right, and why."""


class Chosen(nodes.General, nodes.TextElement):
    """The words of a choice, always seen."""


class Predict(SphinxDirective):
    """``{predict}``: a question and its choices, as `shape.choices` reads them."""

    has_content = True
    optional_arguments = 1
    final_argument_whitespace = True

    def run(self):
        question, choices = shape.choices(list(self.content))
        if choices and sum(right for right, *_ in choices) != 1:
            raise self.error("one choice, and one only, is right: - [x]")
        title = self.arguments[0] if self.arguments else shape.PREDICT
        box = nodes.admonition("", nodes.title("", title), classes=["predict"])
        self.parse(question, box)
        for right, text, words in choices:
            choice = Choice(classes=["choice", "right" if right else "wrong"])
            label, _ = self.state.inline_text(text, self.lineno)
            choice += Chosen("", "", *label)
            self.parse([f"**{shape.VERDICTS[right]}** ", *words], choice)
            box += choice
        return [box]

    def parse(self, lines, parent):
        source, _ = self.get_source_info()
        self.state.nested_parse(StringList(lines, source), self.content_offset, parent)


def visit_choice(self, node):
    self.body.append(f'<details class="{" ".join(node["classes"])}">')


def depart_choice(self, node):
    self.body.append("</details>")


def visit_chosen(self, node):
    """The head of a fold; one of nothing but maths is named by its source."""
    texts = node.findall(nodes.Text)
    words = (x for x in texts if not isinstance(x.parent, nodes.math))
    only_maths = not "".join(words).strip()
    name = f' aria-label="{html.escape(node.astext())}"' if only_maths else ""
    self.body.append(f"<summary{name}>")


def depart_chosen(self, node):
    self.body.append("</summary>")


def visit_fold(self, node):
    """A fold whose summary says what is in it, to the eye and to a screen reader."""
    classes = " ".join(["admonition hide", *node["classes"]])
    title = f'<p class="admonition-title">{html.escape(node["prompt_show"])}</p>'
    self.body.append(f'<details class="{classes}"><summary>{title}</summary>')


def name_folds(app, doctree):
    """Folds of cells tagged `checked` say so, others say what they hold."""
    for cell in doctree.findall(nodes.container):
        if mode := cell.get("hide_mode"):
            tags = cell["cell_metadata"].get("tags", [])
            cell["prompt_show"] = "checked" if "checked" in tags else FOLDS[mode]


def reading(name, rawtext, text, lineno, inliner, options=None, content=()):
    """``{reading}`minutes```: the minutes that the page takes to read."""
    env = inliner.document.settings.env
    minutes = shape.minutes(Path(env.doc2path(env.docname)).read_text())
    return [nodes.Text(f"{minutes} {text}")], []


def running(name, rawtext, text, lineno, inliner, options=None, content=()):
    """``{running}`to run```: the seconds or minutes that the page takes to run."""
    stem = Path(inliner.document.settings.env.docname).name
    return [nodes.Text(shape.running(stem, text))], []


def setup(app):
    app.add_directive("predict", Predict)
    app.add_role("reading", reading)
    app.add_role("running", running)
    app.add_node(Choice, html=(visit_choice, depart_choice))
    app.add_node(Chosen, html=(visit_chosen, depart_chosen))
    fold = (visit_fold, depart_HideCellInput)
    app.add_node(HideCodeCellNode, override=True, html=fold)
    app.connect("doctree-read", name_folds)
    return {"parallel_read_safe": True}
