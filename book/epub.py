"""Sphinx extension: Sphinx's own EPUB, with formulas as MathML and widgets as pictures.

MathJax writes the MathML in a Chromium, once for the whole book. Loaded by every build,
it does something in `make epub` only.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from bs4 import BeautifulSoup
from sphinx.builders.epub3 import Epub3Builder

BOOK = Path(__file__).resolve().parent
sys.path.insert(0, str(BOOK))

import build  # noqa: E402
from footer import project  # noqa: E402
from paper import DOWNLOADS, chromium, stills  # noqa: E402

# They write what only a page on a screen has: themes, buttons, the notation card.
ON_SCREEN = ("sphinx_book_theme", "pydata_sphinx_theme", "jupyter_book", "notation")
TO_MATHML = """formulas => MathJax.startup.promise.then(() => formulas.map(
  ([tex, display]) => MathJax.tex2mml(tex, {display})))"""


class Epub(Epub3Builder):
    """Sphinx's builder, whose pages are made fit for readers without scripts."""

    name = "epub"

    def init(self) -> None:
        listeners = self.app.events.listeners["html-page-context"]
        listeners[:] = [
            one for one in listeners if not one.handler.__module__.startswith(ON_SCREEN)
        ]
        self.config.html_domain_indices = False
        super().init()

    def copy_static_files(self) -> None:
        """The two style sheets; the rest is for screens."""
        static = Path(self.outdir) / "_static"
        shutil.rmtree(static, ignore_errors=True)
        static.mkdir()
        shutil.copy(BOOK / "assets" / "epub.css", static)
        self.create_pygments_style_file()

    def build_content(self) -> None:
        """Mend the pages before their list is written, and say which hold MathML."""
        pages = sorted(Path(self.outdir).rglob("*.xhtml"))
        soups = {page: BeautifulSoup(page.read_text(), "html.parser") for page in pages}
        write_mathml([*soups.values()])
        for page, soup in soups.items():
            for_readers(soup)
            page.write_text(str(soup))
        super().build_content()
        content = Path(self.outdir) / "content.opf"
        listed = content.read_text()
        for page in (page for page, soup in soups.items() if soup.math):
            item = f'href="{page.relative_to(self.outdir).as_posix()}" media-type'
            listed = listed.replace(item, f'properties="mathml" {item}')
        content.write_text(listed)


def formula(node) -> list:
    """The TeX of a formula as MathJax wants it, and whether it is displayed."""
    tex = node.get_text().strip()
    number = node.find(class_="eqno")
    if number:
        tex = tex.removeprefix(number.get_text()).strip()
    return [tex[2:-2], node.name == "div"]


def write_mathml(soups: list[BeautifulSoup]) -> None:
    """Replace the TeX of all pages by what MathJax makes of it."""
    nodes = [node for soup in soups for node in soup.select(".math")]
    with chromium() as tab:
        script = BOOK / "assets" / "vendor" / "mathjax" / "es5" / "tex-mml-chtml.js"
        tab.goto("about:blank")
        tab.add_script_tag(path=script)
        written = tab.evaluate(TO_MATHML, [formula(node) for node in nodes])
    for node, mathml in zip(nodes, written, strict=True):
        number = node.find(class_="eqno")
        node.clear()
        if number:
            node.append(number)
        node.append(BeautifulSoup(mathml, "html.parser"))


def for_readers(soup: BeautifulSoup) -> None:
    """Widgets as pictures, and only what an EPUB may have."""
    stills(soup)
    for node in soup.select("script, svg, .headerlink"):
        node.decompose()
    for sheet in soup.select("link[rel=stylesheet]"):
        if not sheet["href"].endswith(("/epub.css", "/pygments.css")):
            sheet.decompose()
    styles = {str(node): node.extract() for node in soup.select("body style")}
    for style in styles.values():  # each call of show() brings the same one
        soup.head.append(style)
    for summary in soup.select("details.hide > summary"):
        summary.string = summary.text.strip()
    for table in soup.select("table:has(th:nth-of-type(6))"):
        table["class"] = [*table.get("class", []), "wide"]
    for node in soup.select("[role=doc-biblioentry]"):  # no longer a role of EPUB
        del node["role"]
    for node in soup.select("#exercise-content, #solution-content"):
        del node["id"]  # sphinx-exercise gives all of a page the same
    for link in soup.select("a[href]"):  # of show() and of Markdown made by cells
        if not re.match("[a-z]+:", link["href"]):
            link["href"] = re.sub(r"\.html(?=#|$)", ".xhtml", link["href"])


def describe(app, config) -> None:
    """What the reader's shelf shows, from pyproject.toml and _config.yml."""
    config.epub_basename = "crl_mini"
    config.epub_title = config.html_title
    config.epub_author = config.epub_publisher = config.author
    config.epub_contributor = config.author  # Sphinx warns where it is empty
    config.epub_description = project()["description"]
    config.epub_identifier = config.epub_uid = project()["name"]
    config.epub_tocscope = "includehidden"
    config.epub_tocdepth = 2
    config.epub_show_urls = "no"
    config.epub_use_index = False


def main() -> int:
    """Build the EPUB from what `make book` has executed; the exit status."""
    if not build.INDEX.exists():
        raise SystemExit("The book is not built: run `make book` first.")
    folder = build.BUILD / "epub"
    shutil.rmtree(folder, ignore_errors=True)
    with build.LOCK.open("w") as lock:
        build.lock(lock)
        if code := build.jupyter_book(
            "--builder", "custom", "--custom-builder", "epub"
        ):
            return code
    DOWNLOADS.mkdir(exist_ok=True)
    book = shutil.move(next(folder.glob("*.epub")), DOWNLOADS / "crl_mini.epub")
    print(f"{book}: {book.stat().st_size / 1e6:.1f} MB")
    return 0


def setup(app):
    app.add_builder(Epub, override=True)
    app.connect("config-inited", describe)
    return {"parallel_read_safe": True}


if __name__ == "__main__":
    sys.exit(main())
