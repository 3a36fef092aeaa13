"""Sphinx extension: what the robot laboratory loads when its reader starts it.

Each part is a script beside the pages: those can be loaded from file://, too.
"""

import base64
from pathlib import Path

from crl_mini.widgets.robot_lab.widget import BESIDE, part, parts

SCRIPT = '(globalThis.crlParts ??= {{}})["{name}"] = "{bytes}";\n'


def write_parts(app, error):
    """Write the scripts."""
    if error or app.builder.name != "html":
        return
    folder = Path(app.outdir) / BESIDE
    folder.mkdir(parents=True, exist_ok=True)
    for name in parts():
        text = base64.b64encode(part(name)).decode()
        (folder / f"{name}.js").write_text(SCRIPT.format(name=name, bytes=text))


def setup(app):
    app.connect("build-finished", write_parts)
    return {"parallel_read_safe": True}
