"""The built book as one page, and its print: `make pdf` writes the book as one PDF.

The page is put together from the pages of `make book`, so that numbers, links and
results are theirs. Chromium prints it twice: the first print says where chapters begin.
"""

from __future__ import annotations

import posixpath
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pikepdf
import yaml
from bs4 import BeautifulSoup
from footer import ROOT, config, pages, project

HTML = ROOT / "_build" / "html"
DOWNLOADS = ROOT / "_build" / "downloads"
WHOLE = ROOT / "_build" / "paper" / "whole.html"
ADDRESSES = ("href", "src")
PAGE = """<!DOCTYPE html>
<html lang="en" data-theme="light" data-mode="light"><head><meta charset="utf-8">
<title>{title}</title>{head}</head>
<body class="whole"><main class="bd-content">{body}</main></body></html>"""
COVER = """<section class="cover"><h1>{title}</h1><p>{author}</p><p>Version {version},
{day}</p><p><a href="{address}">{address}</a></p><p class="play">On paper the
interactive figures stand still, and code that only draws is left out. At the address
above the figures move, and every cell can be seen and run.</p></section>"""
PLAY = '<p class="play">It moves in <a href="{address}">the page on the web</a>.</p>'


@contextmanager
def chromium() -> Iterator:
    """A page in the Chromium of this machine, without a window; it has time."""
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        raise SystemExit("no Chromium on this machine (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_page()
        tab.set_default_timeout(600_000)  # milliseconds
        yield tab
        browser.close()


def listed() -> list[tuple[str, list[str]]]:
    """The parts of the book: caption, and pages in their order."""
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    parts = [
        (part.get("caption", ""), files(part["chapters"])) for part in toc["parts"]
    ]
    return [("", [toc["root"]]), *parts]


def files(entries: list[dict]) -> list[str]:
    """Pages of a table of contents, each before its own sections."""
    found = []
    for entry in entries:
        found += [entry["file"], *files(entry.get("sections", []))]
    return found


def stills(soup: BeautifulSoup, address: str = "") -> None:
    """Put the picture of each widget, and the words of each film, into its place."""
    for instead in soup.select(".robot-film"):  # the picture of the widget is there
        instead.decompose()
    for film in soup.select("video"):
        words = soup.new_tag("p", attrs={"class": "play"})
        shown = film.get("aria-label", "").removeprefix("Film of ")
        words.string = f"Film: {shown}"
        film.replace_with(words)
    for hidden in soup.select("noscript.crl-fallback"):
        still = soup.new_tag("div", attrs={"class": "still"})
        still.extend(list(hidden.children))
        if address:
            still.append(BeautifulSoup(PLAY.format(address=address), "html.parser"))
        hidden.replace_with(still)


def slug(page: str) -> str:
    return page.replace("/", "-")


def read(page: str) -> BeautifulSoup:
    return BeautifulSoup((HTML / f"{page}.html").read_text(), "html.parser")


def moved(page: str, address: str, inside: set[str]) -> str:
    """An address of a page, as it reads in the one page of all."""
    file, _, anchor = address.partition("#")
    if ":" in file or file.startswith("//"):
        return address
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), file))
    target = path.removesuffix(".html") if file else page
    if target in inside:
        return f"#{slug(target)}--{anchor}" if anchor else f"#{slug(target)}"
    if path.endswith(".html"):
        return f"{pages()}{path}#{anchor}"
    return f"../html/{path}"


def article(page: str, inside: set[str]) -> BeautifulSoup:
    """What a page shows, with ids and addresses that are valid among pages `inside`.

    Folded code is left out: it draws the figures. Proofs and solutions are open.
    """
    content = read(page).select_one("article.bd-article")
    stills(content, f"{pages()}{page}.html")
    for node in content.select("script, template, .headerlink, details.hide"):
        node.decompose()
    for fold in content.select("details"):
        fold["open"] = ""
    for node in content.find_all(True):
        if node.get("id"):
            node["id"] = f"{slug(page)}--{node['id']}"
        for name in ADDRESSES:
            if node.get(name):
                node[name] = moved(page, node[name], inside)
    content["id"] = slug(page)
    return content


def contents(articles: dict, starts: dict[str, int]) -> str:
    """The table of contents; `starts` gives the page where a chapter begins."""
    rows = []
    for caption, files in listed()[1:]:
        rows.append(f'<li class="part">{caption}</li>')
        for page in files:
            title = articles[page].select_one("h1").decode_contents()
            number = starts.get(slug(page), "")
            rows.append(f'<li><a href="#{slug(page)}">{title}</a><span>{number}</span>')
    return f'<nav class="contents"><h1>Contents</h1><ul>{"".join(rows)}</ul></nav>'


def head(page: str) -> str:
    """The styles of the book's pages, and MathJax."""
    parts = read(page).head.select("link[rel=stylesheet], script")
    kept = []
    for part in parts:
        for name in ADDRESSES:
            if part.get(name):
                part[name] = moved(page, part[name], set())
        maths = "mathjax" in part.get("src", "") or "window.MathJax" in part.text
        kept += [str(part)] * (part.name == "link" or maths)
    return "".join(kept)


def cover() -> str:
    """The first page, and the title of the book."""
    return COVER.format(
        title=config()["title"],
        author=config()["author"],
        version=project()["version"],
        day=f"{date.today():%-d %B %Y}",
        address=pages(),
    )


def printed(tab, path: Path, parts: list[str]) -> None:
    """Print what is given as one document, in the book's style."""
    title = BeautifulSoup(parts[0], "html.parser").h1.text
    any_page = listed()[-1][1][0]
    body = "".join(parts)
    WHOLE.write_text(PAGE.format(title=title, head=head(any_page), body=body))
    tab.goto(WHOLE.as_uri())
    tab.evaluate("MathJax.startup.promise.then(() => 0)")
    tab.pdf(path=path, prefer_css_page_size=True, outline=True, tagged=True)
    titles = tab.evaluate("[...document.querySelectorAll('h1')].map(h => h.innerText)")
    with pikepdf.open(path, allow_overwriting_input=True) as pdf:
        with pdf.open_outline() as outline:  # Chromium writes some titles twice
            for item, text in zip(outline.root, titles, strict=True):
                item.title = text
        packed = pikepdf.ObjectStreamMode.generate  # half the size
        pdf.save(path, object_stream_mode=packed)


def starts(pdf: pikepdf.Pdf) -> dict[str, int]:
    """The page of a PDF, counted from one, on which each named place lies."""
    numbers = {page.objgen: number for number, page in enumerate(pdf.pages, 1)}
    places = pdf.Root.Dests.items()
    return {name.lstrip("/"): numbers[place[0].objgen] for name, place in places}


def main() -> None:
    if not (HTML / "index.html").exists():
        raise SystemExit("The book is not built: run `make book` first.")
    for folder in (DOWNLOADS, WHOLE.parent):
        folder.mkdir(exist_ok=True)
    pdf = DOWNLOADS / "crl_mini.pdf"
    inside = {page for _, files in listed() for page in files}
    articles = {page: article(page, inside) for page in inside}
    text = [str(articles[page]) for _, files in listed() for page in files]
    with chromium() as tab:
        printed(tab, pdf, [cover(), contents(articles, {}), *text])
        with pikepdf.open(pdf) as first:
            known = starts(first)
        printed(tab, pdf, [cover(), contents(articles, known), *text])
    print(f"{pdf}: {pdf.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
