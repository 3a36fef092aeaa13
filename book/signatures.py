"""Sphinx extension: the library reference names arrays as the code does."""

import re


def shorten(app, what, name, obj, options, signature, returns):
    """Write ``Array`` for JAX's private path to it."""
    texts = (signature, returns)
    return tuple(
        text and re.sub(r"~?jaxlib\._jax\.Array", "Array", text) for text in texts
    )


def setup(app):
    app.connect("autodoc-process-signature", shorten)
    return {"parallel_read_safe": True}
