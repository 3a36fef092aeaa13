"""Sphinx extension: what a reader wants to look up, within reach on every page.

At the end of a page stand a copy of the notation page's table and, for the hover cards
of book.js, the glossary's entries of the terms that the page links to.
"""

import re

from docutils import nodes
from sphinx import addnodes

PAGE, GLOSSARY = "appendix/notation", "appendix/glossary"
CARD = """
<details class="notation-card"><summary>Notation</summary>
<div tabindex="0" role="region" aria-label="Notation">{notation}</div></details>
"""
ENTRY = '<template data-term="{name}">{entry}</template>\n'
TERM = re.compile(r'href="[^"#]*#(term-[^"]+)"')


def fragment(app, page, doctree, node):
    """HTML of a node from another page, with links relative to this page."""
    card = doctree.copy()
    card.append(node.deepcopy())
    for link in card.findall(addnodes.pending_xref):
        link["refdoc"] = page
    app.env.resolve_references(card, page, app.builder)
    return app.builder.render_partial(card[0])["fragment"]


def add_card(app, page, template, context, doctree):
    """Add the notation table to a page."""
    if doctree is None or page == PAGE:
        return
    notation = next(app.env.get_doctree(PAGE).findall(nodes.table))
    context["body"] += CARD.format(notation=fragment(app, page, doctree, notation))


def add_entries(app, page, template, context, doctree):
    """Add the glossary's entries of the terms that a page, or its card, links to."""
    used = set(TERM.findall(context.get("body", "")))
    if doctree is None or not used:
        return
    for item in app.env.get_doctree(GLOSSARY).findall(nodes.definition_list_item):
        names = [name for term in item.findall(nodes.term) for name in term["ids"]]
        for name in used.intersection(names):
            (entry,) = item.findall(nodes.definition)
            entry = nodes.container("", *(part.deepcopy() for part in entry))
            entry = fragment(app, page, doctree, entry)
            context["body"] += ENTRY.format(name=name, entry=entry)


def setup(app):
    app.set_html_assets_policy("always")  # MathJax comes to pages of words, too
    app.connect("html-page-context", add_card)
    app.connect("html-page-context", add_entries, priority=501)  # after the card
    return {"parallel_read_safe": True}
