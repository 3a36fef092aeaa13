"""Sphinx extension: a copy of the notation page's table at the end of every page."""

from docutils import nodes
from sphinx import addnodes

PAGE = "appendix/notation"
CARD = """
<details class="notation-card"><summary>Notation</summary>
<div tabindex="0" role="region" aria-label="Notation">{notation}</div></details>
"""


def add_card(app, page, template, context, doctree):
    """Add the notation table to a page, with links relative to this page."""
    if doctree is None or page == PAGE:
        return
    notation = next(app.env.get_doctree(PAGE).findall(nodes.table))
    card = doctree.copy()
    card.append(notation.deepcopy())
    for link in card.findall(addnodes.pending_xref):
        link["refdoc"] = page
    app.env.resolve_references(card, page, app.builder)
    html = app.builder.render_partial(card[0])["fragment"]
    context["body"] += CARD.format(notation=html)


def setup(app):
    app.set_html_assets_policy("always")  # MathJax comes to pages of words, too
    app.connect("html-page-context", add_card)
    return {"parallel_read_safe": True}
