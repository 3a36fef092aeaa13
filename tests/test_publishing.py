"""The workflows, the book on paper, the lecturer's pack, and versions side by side."""

import json
import os
import re
import sys
import tomllib
import zipfile
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pikepdf
import pytest
import yaml
from bs4 import BeautifulSoup
from sphinx.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book"))

import epub  # noqa: E402
import footer  # noqa: E402
import pack  # noqa: E402
import paper  # noqa: E402
import publish  # noqa: E402

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def soup(text: str) -> BeautifulSoup:
    return BeautifulSoup(text, "html.parser")


# The workflows


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_commands_of_a_workflow_are_those_of_the_makefile(path):
    jobs = yaml.safe_load(path.read_text())["jobs"].values()
    commands = [s["run"] for job in jobs for s in job.get("steps", ()) if "run" in s]
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.M)
    assert commands, "a workflow without commands"
    for command in commands:
        assert command == ".ci/run" or command.split()[0] == "make"
        assert command == ".ci/run" or set(command.split()[1:]) <= set(targets)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_version_is_the_same_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    heading = re.search(r"^## (\d\S*) \((\S+)\)", read("CHANGELOG.md"), re.M)
    assert (version, version) == (citation["version"], heading[1])
    assert str(citation["date-released"]) == heading[2]


def read(name: str) -> str:
    return (ROOT / name).read_text()


# Comments


def test_comments_are_there_only_where_they_are_wanted():
    def body(giscus):
        app = SimpleNamespace(
            config=SimpleNamespace(giscus=giscus), builder=SimpleNamespace(name="html")
        )
        context = {"body": "text"}
        footer.add_comments(app, "intro", "page.html", context, doctree=object())
        return soup(context["body"])

    assert footer.config()["sphinx"]["config"]["giscus"] == {}
    assert str(body({})) == "text"
    script = body(dict.fromkeys(footer.GISCUS, 'a"b')).script
    assert script["src"] == "https://giscus.app/client.js"
    assert script["data-category-id"] == 'a"b'
    with pytest.raises(ConfigError, match="category-id"):
        body({"repo": "mine"})


# Paper


@pytest.mark.parametrize(
    ("address", "moved"),
    [
        ("#top", "#chapters-a--top"),
        ("b.html", "#chapters-b"),
        ("../chapters/b.html#x", "#chapters-b--x"),
        ("../appendix/c.html#x", f"{footer.pages()}appendix/c.html#x"),
        ("../_images/i.png", "../html/_images/i.png"),
        ("https://arxiv.org/abs/1#x", "https://arxiv.org/abs/1#x"),
        ("data:image/png;base64,AA", "data:image/png;base64,AA"),
    ],
)
def test_addresses_lead_to_the_same_places_in_one_page(address, moved):
    assert paper.moved("chapters/a", address, {"chapters/a", "chapters/b"}) == moved


def test_every_page_of_the_book_is_printed():
    listed = [page for _, files in paper.listed() for page in files]
    assert sorted(listed) == sorted(set(re.findall(PAGES, read("book/_toc.yml"))))


PAGES = r"(?m)(?:file|root): (\S+)"


def test_a_widget_is_a_picture_on_paper():
    page = soup(
        '<noscript class="crl-fallback"><img alt="It." src="i.png"></noscript>'
        '<video src="f.mp4" aria-label="It moves."></video>'
    )
    paper.stills(page, "https://there")
    assert page.video is None
    assert "Film: It moves." in page.text
    assert page.noscript is None
    assert page.select_one(".still img")["alt"] == "It."
    assert page.a["href"] == "https://there"


@pytest.mark.browser
def test_the_printed_book_has_its_pages_links_and_titles(
    book, browser, tmp_path, monkeypatch
):
    files = ["appendix/glossary", "appendix/notation"]
    monkeypatch.setattr(paper, "listed", lambda: [("", []), ("Part", files)])
    monkeypatch.setattr(paper, "WHOLE", paper.WHOLE.with_name("two.html"))
    paper.WHOLE.parent.mkdir(exist_ok=True)
    articles = {page: paper.article(page, set(files)) for page in files}
    tab, path = browser.new_page(), tmp_path / "book.pdf"
    text = [*map(str, articles.values())]
    paper.printed(tab, path, [paper.cover(), paper.contents(articles, {}), *text])
    ids = tab.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    targets = tab.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"]')].map(e => e.hash.slice(1))"
    )
    assert len(ids) == len(set(ids))
    assert {*files} == {slug.replace("-", "/", 1) for slug in targets[:2]}
    assert set(map(unquote, targets)) <= set(ids)
    with pikepdf.open(path) as pdf:
        starts = paper.starts(pdf)
        with pdf.open_outline() as outline:
            titles = [str(item.title) for item in outline.root]
    assert starts["appendix-glossary"] == 3  # after the cover and the contents
    assert starts["appendix-notation"] > 3
    assert titles[1:] == ["Contents", "Glossary", "Notation"]
    row = soup(paper.contents(articles, starts)).select("li")[2]
    assert row.span.text == str(starts["appendix-notation"])
    tab.close()


@pytest.mark.browser
def test_nothing_is_cut_at_the_margin_of_the_paper(book, browser, monkeypatch):
    """The page's text is 176 mm wide: 665 pixels."""
    pages = ["chapters/08-actor", "appendix/results", "appendix/claims"]
    monkeypatch.setattr(paper, "WHOLE", paper.WHOLE.with_name("wide.html"))
    paper.WHOLE.parent.mkdir(exist_ok=True)
    body = "".join(str(paper.article(page, set(pages))) for page in pages)
    page = paper.PAGE.format(title="", head=paper.head(pages[0]), body=body)
    paper.WHOLE.write_text(page)
    tab = browser.new_page(viewport={"width": 665, "height": 900})
    tab.emulate_media(media="print")
    tab.goto(paper.WHOLE.as_uri())
    tab.evaluate("MathJax.startup.promise.then(() => 0)")
    cut = tab.evaluate("""[...document.querySelectorAll("main *")].filter(
      e => e.getBoundingClientRect().right > 667 && !e.closest("mjx-assistive-mml")
    ).map(e => e.tagName + e.textContent.slice(0, 40))""")
    assert cut == []
    tab.close()


# The EPUB


@pytest.mark.browser
def test_formulas_become_mathml_and_keep_their_numbers(browser, monkeypatch):
    monkeypatch.setattr(epub, "chromium", lambda: nullcontext(browser.new_page()))
    page = soup(
        r'<p><span class="math">\(\frac{p}{q}\)</span></p>'
        r'<div class="math" id="equation-x"><span class="eqno">(2.1)'
        r'<a class="headerlink" href="#equation-x">#</a></span>'
        r"\[\begin{split}a &= b \\ &= c\end{split}\]</div>"
    )
    epub.write_mathml([page])
    inline, displayed = page.select("math")
    assert [part.text.strip() for part in inline.mfrac.find_all("mi")] == ["p", "q"]
    assert displayed["display"] == "block"
    assert len(displayed.find_all("mtr")) == 2
    assert page.select_one("div.math .eqno").text.startswith("(2.1)")
    assert not page.find_all(["merror"])
    assert "\\" not in page.text


def test_pages_of_the_epub_hold_only_what_it_may_have():
    page = soup(
        '<html><head><link rel="stylesheet" href="_static/epub.css">'
        '<link rel="stylesheet" href="_static/theme.css"></head><body>'
        "<style>.a {}</style><style>.a {}</style><script>1</script><svg></svg>"
        '<details class="hide"><summary><p>code</p></summary></details>'
        '<section id="exercise-content"></section>'
        '<a href="b.html#x">b</a><a href="https://b/c.html">c</a></body></html>'
    )
    epub.for_readers(page)
    assert not page.body.find_all(["style", "script", "svg"])
    assert len(page.head.find_all("style")) == 1
    assert [link["href"] for link in page.find_all("link")] == ["_static/epub.css"]
    assert str(page.summary) == "<summary>code</summary>"
    assert not page.section.has_attr("id")
    links = [link["href"] for link in page.find_all("a")]
    assert links == ["b.xhtml#x", "https://b/c.html"]


# The lecturer's pack


def test_the_exam_comes_with_and_without_its_answers(book):
    questions, answered = map(soup, pack.exam())
    numbers = re.findall(r"^\*\*(\d+)\.\*\*", read("book/appendix/lecturers.md"), re.M)
    assert len(numbers) > 10
    for text, count in ((questions, 0), (answered, len(numbers))):
        assert re.findall(r"(?m)^(\d+)\. ", text.text) == numbers
        assert len(text.select("details")) == count


def test_every_figure_of_the_chapters_is_in_the_pack(book, tmp_path):
    figures = pack.figures()
    files = [figure["file"] for figure in figures]
    widgets = [figure for figure in figures if figure["source"].startswith("data:")]
    assert len(files) == len(set(files)) > 60
    assert len(widgets) >= 12
    assert all(figure["alt"] and figure["title"] for figure in figures)
    for figure in (figures[0], widgets[0]):
        pack.write_figure(figure["source"], tmp_path / "it")
        assert (tmp_path / "it").read_bytes()[:4] in (b"\x89PNG", b"GIF8")


# Versions side by side

PAGE = """<!DOCTYPE html><html lang="en" data-content_root="{up}"><head>
<title>{name}</title><link rel="icon" href="data:,">
<script src="{up}_static/versions.js"></script>
<script src="{up}_static/book.js"></script></head>
<body><p>{name}</p><div class="version">Version {name}</div></body></html>"""


def write_book(folder: Path, name: str, *pages: str) -> Path:
    (folder / "_static").mkdir(parents=True)
    for script in ("versions.js", "book.js"):
        text = (ROOT / "book" / "assets" / script).read_text()
        (folder / "_static" / script).write_text(text)
    for page in ("index.html", *pages):
        (folder / page).parent.mkdir(exist_ok=True)
        up = "../" * page.count("/") or "./"
        (folder / page).write_text(PAGE.format(up=up, name=name))
    return folder


@pytest.fixture
def site(tmp_path) -> Path:
    """A site of three versions; the oldest has no chapter 2."""
    write_book(tmp_path / "html", "0.10", "chapters/1.html", "chapters/2.html")
    for version, *pages in (("0.2", "chapters/1.html"), ("0.9", "chapters/2.html")):
        folder = write_book(tmp_path / version, version, *pages)
        with zipfile.ZipFile(tmp_path / f"crl_mini-book-{version}.zip", "w") as file:
            for path in folder.rglob("*.*"):
                file.write(path, path.relative_to(folder))
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "crl_mini.pdf").write_text("PDF")
    publish.put_together(
        tmp_path / "html", tmp_path / "downloads", tmp_path, tmp_path / "site"
    )
    return tmp_path / "site"


def beside(folder: Path) -> dict:
    text = (folder / "_static" / "versions.js").read_text()
    return json.loads(text.removeprefix("globalThis.beside = ").removesuffix(";\n"))


def test_each_version_knows_the_others_and_its_files(site):
    told = beside(site)
    assert told["downloads"] == {"As PDF": "downloads/crl_mini.pdf"}
    assert [version["name"] for version in told["versions"]] == ["0.9", "0.2"]
    told = beside(site / "0.9")
    assert told["downloads"] == {}
    assert [version["path"] for version in told["versions"]] == ["../", "../0.2/"]


def footer_links(tab) -> dict[str, str]:
    links = "[...document.querySelectorAll('.version a')]"
    return dict(tab.evaluate(f"{links}.map(a => [a.textContent, a.href])"))


@pytest.mark.browser
@pytest.mark.parametrize("origin", ["file", "http"])
def test_the_switch_leads_to_the_same_page_of_another_version(
    origin, site, serve, page_factory
):
    address = site.as_uri() if origin == "file" else serve(site)
    tab = page_factory(f"{address}/chapters/2.html")
    tab.focus(".version summary")
    tab.keyboard.press("Enter")
    links = footer_links(tab)
    assert links["0.9"] == f"{address}/0.9/chapters/2.html"
    assert links["0.2"] == f"{address}/0.2/index.html"  # it has no such page
    assert links["As PDF"] == f"{address}/downloads/crl_mini.pdf"
    tab.click(".version a:text-is('0.9')")
    tab.wait_for_selector(".version a:text-is('the newest')", state="attached")
    assert tab.title() == "0.9"
    assert footer_links(tab)["the newest"] == f"{address}/chapters/2.html"
    assert tab.errors == tab.external == []


@pytest.mark.browser
def test_a_book_alone_says_its_version_and_asks_for_nothing(book, page_factory):
    tab = page_factory((book / "chapters" / "00-start.html").as_uri())
    assert tab.inner_text(".version") == f"Version {footer.project()['version']}"
    assert tab.query_selector(".version a") is None
    assert tab.errors == tab.external == []


GH = """#!/bin/sh
printf '%s\t' "$@" >> {log}
echo >> {log}
[ "$1" != api ] || printf 'v0.9\\nv0.2\\n'
"""


@pytest.fixture
def said(tmp_path, monkeypatch):
    """What was said to a stand-in for GitHub's command, one list a call."""
    log, command = tmp_path / "log", tmp_path / "bin" / "gh"
    command.parent.mkdir()
    command.write_text(GH.format(log=log))
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(publish, "EARLIER", tmp_path / "earlier")
    return lambda: [line.split("\t")[:-1] for line in log.read_text().splitlines()]


def test_the_book_of_each_earlier_release_is_fetched(said, tmp_path):
    publish.fetch()
    asked, *downloads = said()
    assert asked[-1] == publish.WITH_BOOK
    assert [call[2] for call in downloads] == ["v0.9", "v0.2"]
    options = ["-p", "crl_mini-book-*.zip", "-D", str(tmp_path / "earlier")]
    assert downloads[0] == ["release", "download", "v0.9", *options]


def test_a_release_has_the_book_its_files_and_what_has_changed(
    said, tmp_path, monkeypatch
):
    version = footer.project()["version"]
    html = write_book(tmp_path / "html", version)
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    for file in publish.NAMES.values():
        (downloads / file).write_text("made")
    for name, path in (("HTML", html), ("DOWNLOADS", downloads), ("BUILD", tmp_path)):
        monkeypatch.setattr(publish, name, path)
    monkeypatch.setattr(publish, "SITE", tmp_path / "site")
    monkeypatch.setattr(publish, "changes", lambda of: f"changes of {of}")
    publish.release()
    (call,) = said()
    assert call[:3] == ["release", "create", f"v{version}"]
    assert call[-5:] == ["--verify-tag", "-t", version, "-n", f"changes of {version}"]
    files = [Path(file) for file in call[3:-5]]
    assert [file.name for file in files[:-1]] == [*publish.NAMES.values()]
    with zipfile.ZipFile(files[-1]) as book:
        assert {"index.html", "downloads/crl_mini.pdf"} <= set(book.namelist())


def test_the_changelog_says_what_this_version_brought():
    assert len(publish.changes(footer.project()["version"])) > 100
    with pytest.raises(SystemExit, match="no section of 9.9"):
        publish.changes("9.9")
