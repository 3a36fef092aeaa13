"""Sphinx extension: the version in the footer, and comments if somebody wants them."""

from __future__ import annotations

import html
import tomllib
from pathlib import Path

import yaml
from sphinx.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
GISCUS = ("repo", "repo-id", "category", "category-id")
COMMENTS = """
<section class="comments d-print-none" aria-label="Comments"><script
src="https://giscus.app/client.js" {attributes} crossorigin="anonymous" async></script>
</section>
"""


def project() -> dict:
    """The project's table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def config() -> dict:
    """The book's configuration."""
    return yaml.safe_load((ROOT / "_config.yml").read_text())


def pages() -> str:
    """The address of the published book, by the rules of GitHub Pages."""
    owner, name = project()["urls"]["Repository"].rsplit("/", 2)[1:]
    return f"https://{owner}.github.io/{name}/"


def add_version(app, config) -> None:
    """Tell Sphinx the version; book.js makes a switch of the line in the footer."""
    config.version = config.release = project()["version"]
    line = f'<div class="version">Version {config.release}</div>'
    config.html_theme_options["extra_footer"] = line


def add_comments(app, page, template, context, doctree):
    """End a page with its thread on giscus.app, if _config.yml names a repository."""
    wanted = app.config.giscus
    if doctree is None or not wanted or app.builder.name != "html":
        return
    if set(wanted) != set(GISCUS):
        raise ConfigError(f"giscus in _config.yml needs {', '.join(GISCUS)}")
    wanted = wanted | {"mapping": "pathname", "theme": "preferred_color_scheme"}
    attributes = [f'data-{k}="{html.escape(str(v))}"' for k, v in wanted.items()]
    context["body"] += COMMENTS.format(attributes=" ".join(attributes))


def setup(app):
    app.add_config_value("giscus", {}, "html")
    app.connect("config-inited", add_version)
    app.connect("html-page-context", add_comments)
    return {"parallel_read_safe": True}
