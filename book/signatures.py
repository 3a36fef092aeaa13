"""Sphinx extension: arrays in the reference read as in the code; all agents are in."""

import re

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

from crl_mini.agents import AGENTS


def shorten(app, what, name, obj, options, signature, returns):
    """Write ``Array`` for JAX's private path to it."""
    texts = (signature, returns)
    return tuple(
        text and re.sub(r"~?jaxlib\._jax\.Array", "Array", text) for text in texts
    )


class Agents(Directive):
    """``.. agents::``: the module of every agent in `AGENTS`."""

    def run(self):
        lines, whole = StringList(), nodes.container()
        for recipe in AGENTS.values():
            module = f".. automodule:: {recipe.agent.__module__}"
            for line in (module, "   :members:", ""):
                lines.append(line, "agents")
        self.state.nested_parse(lines, self.content_offset, whole)
        return whole.children


def setup(app):
    app.connect("autodoc-process-signature", shorten)
    app.add_directive("agents", Agents)
    return {"parallel_read_safe": True}
