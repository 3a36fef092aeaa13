"""Sphinx extension: the table of the notation page, within reach on every page."""

from docutils import nodes
from sphinx import addnodes

PAGE = "appendix/notation"
CARD = """
<details class="notation-card"><summary>Notation</summary>
<div tabindex="0" role="region" aria-label="Notation">{table}</div></details>
"""


def add_card(app, page, template, context, doctree):
    """Put the table, its links made for this page, at the end of the page."""
    if doctree is None or page == PAGE:
        return
    table = next(app.env.get_doctree(PAGE).findall(nodes.table))
    card = doctree.copy()
    card.append(table.deepcopy())
    for link in card.findall(addnodes.pending_xref):
        link["refdoc"] = page
    app.env.resolve_references(card, page, app.builder)
    html = app.builder.render_partial(card[0])["fragment"]
    context["body"] += CARD.format(table=html)


def setup(app):
    app.connect("html-page-context", add_card)
    return {"parallel_read_safe": True}
