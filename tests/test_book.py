"""The chapters' sources, their Colab twins, and the built pages in a real browser."""

import itertools
import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
import yaml
from folders import first_is_quick

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
sys.path.insert(0, str(BOOK))

import shape  # noqa: E402

CHAPTERS = sorted((BOOK / "chapters").glob("[0-9][0-9]-*.md"))
PAGES = sorted(
    path
    for path in BOOK.rglob("*.md")
    if not path.is_relative_to(BOOK / "assets") and ".ipynb" not in str(path)
)
FRONT_MATTER = {
    "jupytext": {"text_representation": {"extension": ".md", "format_name": "myst"}},
    "kernelspec": {"display_name": "Python 3", "name": "python3"},
}
chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
DEEPER = [path for path in CHAPTERS if path.stem.endswith("-deeper")]
LESSONS = [p for p in CHAPTERS if not p.stem.startswith("00") and p not in DEEPER]
lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


# The sources


def test_table_of_contents_lists_every_page_once():
    toc = yaml.safe_load((BOOK / "_toc.yml").read_text())
    listed = [toc["root"]]
    pages = [page for part in toc["parts"] for page in part["chapters"]]
    listed += [page["file"] for page in pages]
    listed += [deeper["file"] for page in pages for deeper in page.get("sections", ())]
    assert sorted(listed) == sorted(
        str(path.relative_to(BOOK).with_suffix("")) for path in PAGES
    )


@chapter
def test_front_matter_is_what_colab_and_the_book_understand(path):
    _, front, _ = path.read_text().split("---\n", 2)
    assert yaml.safe_load(front) == FRONT_MATTER


@chapter
def test_chapter_has_one_title_without_a_number(path):
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.M | re.S)
    (title,) = re.findall(r"^# +(.+)$", text, re.M)
    assert not re.match(r"\d|Chapter", title), "the book numbers its chapters itself"


ANATOMY = {
    "the question": r"\*\*The question[.?:]?\*\*|^## The question",
    "time to read": r"\{reading\}`minutes` to\s+read",
    "time to run": r"\{running\}`to run on two\s+cores`",
    "a derivation": r"^## .*[Dd]eriv|^## The (?:proof|mathematics)",
    "its assumptions": r"[Aa]ssum",
    "code shown from the library": r"^(?:crl_mini\.)?show\(",
    "a widget": r"crl_mini(?:\.| import )widgets|widgets\.[A-Z]\w+\(",
    "a prediction before a result": r"^:class: predict$|^:::\{predict\}",
    "exercises": r"^## Exercises$",
    "a self-check": r"^assert ",
    "what to remember": r"^## What to remember$",
    "sources": r"^## Sources$",
    "a citation": r"\{cite",
}


@lesson
@pytest.mark.parametrize("part", ANATOMY)
def test_chapter_has_the_full_anatomy(path, part):
    assert re.search(ANATOMY[part], path.read_text(), re.M), f"{path.stem} lacks {part}"


@lesson
def test_each_of_three_to_five_exercises_has_an_executed_solution(path):
    text = path.read_text()
    exercises = re.findall(r"\{exercise\}.*\n(?::.*\n)*?:label: *(\S+)", text)
    solution = r"\{solution-start\} *(\S+)\n:class: dropdown\n(.*?)\{solution-end\}"
    solutions = re.findall(solution, text, re.S)
    assert 3 <= len(exercises) <= 5
    assert exercises == [label for label, _ in solutions]
    for label, body in solutions:
        assert "```{code-cell}" in body, f"the solution to {label} runs nothing"


@chapter
def test_chapter_shows_little_code_and_something_that_moves_first(path):
    text = path.read_text()
    seen = [cell.lines for cell in shape.cells(shape.unfolded(text))]
    seen += shape.listings(text)
    assert max(seen) < 25
    if path not in DEEPER:
        assert sum(seen) <= 120
        assert shape.first_move(text) < 0.2


@chapter
def test_chapter_takes_25_minutes_at_most(path):
    assert shape.minutes(path.read_text()) <= 25


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_no_empty_links_and_every_linked_file_exists(path):
    for text, target in re.findall(r"\[([^\]]*)\]\(([^)]*)\)", path.read_text()):
        file, _ = urldefrag(target)
        if re.match(r"[\w./-]+\.(?:md|png|svg)$", file):
            assert (path.parent / file).exists(), f"{path.name} links to {target}"
            assert text.strip(), f"{path.name}: a link to {target} without words"
        assert target.strip(), f"{path.name}: [{text}] leads nowhere"


# The Colab twins


def test_twins_agree_with_their_chapters():
    command = [sys.executable, str(BOOK / "twins.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@chapter
def test_twin_holds_no_outputs_and_no_myst(path):
    notebook = json.loads(path.with_suffix(".ipynb").read_text())
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
        else:
            assert not re.search(r"\{[\w:-]+\}`|^[`:]{3,}\{|^\(\S+\)=$", source, re.M)
            assert "$$ (" not in source
    assert "pip install" in "".join(notebook["cells"][0]["source"])


def test_repository_is_the_same_everywhere():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert pyproject()["urls"]["Repository"] == config["repository"]["url"]


def test_extras_named_in_the_documents_exist():
    extras = set(pyproject()["optional-dependencies"])
    texts = [*ROOT.glob("*.md"), *PAGES, ROOT / "environment.yml", ROOT / "Makefile"]
    pattern = r"(?:crl_mini|-e [\"']?\.)\[([\w,]+)\]"
    named = [name for path in texts for name in re.findall(pattern, path.read_text())]
    assert named, "the set-up names its extras"
    assert {extra for name in named for extra in name.split(",")} <= extras


# The built pages


class Page(HTMLParser):
    """The ids and links of one page."""

    def __init__(self, path: Path):
        super().__init__()
        self.ids, self.links = {"top", ""}, []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids.add(attrs.get("id") or "")
        for name in ("href", "src"):
            if attrs.get(name):
                self.links.append(attrs[name])


@cache
def parsed(path: Path) -> Page:
    return Page(path)


def built(html: Path) -> list[Path]:
    return [html / path.relative_to(BOOK).with_suffix(".html") for path in PAGES]


def test_every_link_inside_the_book_arrives(book):
    broken = []
    for path in built(book):
        for link in parsed(path).links:
            file, anchor = urldefrag(unquote(link))
            if re.match(r"[a-z]+:", link):
                continue
            target = (path.parent / file.partition("?")[0]).resolve() if file else path
            if not target.exists():
                broken.append((path.name, link))
            elif target.suffix == ".html" and "_modules" not in target.parts:
                broken += [(path.name, link)] * (anchor not in parsed(target).ids)
    assert broken == []


def test_deeper_pages_stand_below_their_chapter_and_number_nothing():
    toc = (BOOK / "_toc.yml").read_text()
    for path in DEEPER:
        (above,) = (p for p in LESSONS if path.stem.startswith(p.stem))
        assert f"chapters/{above.stem}\n        sections:\n" in toc
        assert f"({path.name})" in above.read_text()
        numbered = r"\$\$ *\([\w-]+\) *$|\{exercise\}"
        assert not re.search(numbered, path.read_text(), re.M)


@chapter
def test_equation_numbers_of_twin_and_page_agree(path, book):
    page = (book / "chapters" / f"{path.stem}.html").read_text()
    twin = path.with_suffix(".ipynb").read_text()
    numbers = re.findall(r'<span class="eqno">\(([\d.]+)\)', page)
    assert re.findall(r"\\\\tag\{([\d.]+)\}", twin) == numbers


page_of_the_book = pytest.mark.parametrize(
    "page", [str(p.relative_to(BOOK).with_suffix(".html")) for p in PAGES]
)


#: Words of a page that are still TeX: maths that Markdown took for something else.
RAW_MATHS = r"""() => {
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (words.nextNode()) {
    const { data, parentElement } = words.currentNode;
    const other = parentElement.closest("pre, code, script, style, mjx-container, svg");
    if (!other && /\\[a-zA-Z(\[]|\$\\?\w/.test(data)) found.push(data.slice(0, 80));
  }
  return found;
}"""


#: Code and outputs that are wider than their box.
CUT = """() => [...document.querySelectorAll(".bd-article pre")]
  .filter(e => e.offsetParent && e.scrollWidth > e.clientWidth + 1)
  .map(e => e.textContent.slice(0, 80))"""


@pytest.mark.browser
@page_of_the_book
@pytest.mark.parametrize(
    ("origin", "scheme", "width"),
    first_is_quick([("http", "light", 375), ("file", "dark", 375)]),
)
def test_page_fits_is_quiet_self_contained_and_accessible(
    page, origin, scheme, width, book, serve, page_factory
):
    address = serve(book) if origin == "http" else book.as_uri()
    tab = page_factory(f"{address}/{page}", width=width, color_scheme=scheme)
    settle(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.emulate_media(media="print")
    assert [tab.evaluate(FOLDS), tab.evaluate(BUTTONS)] == [0, 0]
    tab.emulate_media(media="screen")
    tab.set_viewport_size({"width": 1280, "height": 900})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 1280
    assert tab.evaluate(CUT) == []
    tab.wait_for_timeout(100)  # the margins appear, and axe looks at them, too
    assert tab.evaluate(RAW_MATHS) == []
    assert tab.errors == []
    assert tab.external == []
    # In the dark only the colours are other ones.
    assert violations(tab, *["color-contrast"] * (scheme == "dark")) == []


def symbols(tab, part: str) -> list[str]:
    """The first column of the notation's rows in `part` of the page."""
    rows = f"[...document.querySelectorAll('{part} tr:has(td)')]"
    return tab.evaluate(f"{rows}.map(row => row.cells[1].textContent)")


@pytest.mark.browser
def test_notation_is_within_reach_on_every_page(book, page_factory):
    tab = page_factory(f"{book.as_uri()}/chapters/03-q-function.html")
    settle(tab)
    card = symbols(tab, ".notation-card")
    text = (BOOK / "appendix" / "notation.md").read_text()
    assert len(card) == len(re.findall(r"^\| \$", text, re.M))
    tab.focus(".notation-card summary")
    tab.keyboard.press("Escape")
    assert not tab.is_visible(".notation-card table")
    tab.keyboard.press("Enter")
    assert tab.is_visible(".notation-card table")
    for page in built(book):
        cards = page.read_text().count('<details class="notation-card"')
        assert cards == (page.stem != "notation"), page.name


#: Boxes of the header's buttons, and of the notation's.
BUTTON_BOXES = """() => [...document.querySelectorAll(
  ".bd-header-article :is(.btn, button), .notation-card summary")]
  .filter(e => e.offsetParent).map(e => e.getBoundingClientRect().toJSON())"""


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 375, 768, 991, 1000, 1150])
def test_without_a_margin_the_notation_stands_in_the_header(width, book, page_factory):
    tab = page_factory(f"{book.as_uri()}/chapters/04-pairs.html", width=width)
    tab.wait_for_selector(".bd-header-article svg")  # icons come late
    tab.evaluate("scrollTo(0, 900)")
    header = tab.locator(".bd-header-article").bounding_box()
    boxes = sorted(tab.evaluate(BUTTON_BOXES), key=lambda box: box["left"])
    assert len(boxes) > 6
    for box, after in itertools.pairwise(boxes):
        assert box["top"] >= 0
        assert box["left"] >= header["x"]
        assert box["bottom"] <= header["y"] + header["height"]
        assert box["right"] <= after["left"] + 4
    tab.locator(".notation-card summary").click()
    opened = tab.locator(".notation-card > div").bounding_box()
    assert opened["y"] >= header["y"] + header["height"] - 1
    assert opened["x"] >= 0
    assert opened["x"] + opened["width"] <= width


@pytest.mark.browser
def test_on_a_phone_what_a_table_is_about_can_be_read_whole(book, page_factory):
    page = f"{book.as_uri()}/chapters/12-missing-told-deeper.html"
    lines = page_factory(page, width=375).locator(".cell_output:has(table) .stream pre")
    widths = "all => all.map(e => [e.scrollWidth, e.clientWidth])"
    shown = [pair for pair in lines.evaluate_all(widths) if pair[1]]  # others wait
    assert len(shown) > 3
    assert all(whole <= seen for whole, seen in shown)


@pytest.mark.browser
def test_on_a_phone_a_tap_enlarges_a_figure(book, page_factory):
    tab = page_factory(f"{book.as_uri()}/chapters/04-pairs.html", width=375)
    figure = tab.locator(".cell_output > img").first
    small = figure.bounding_box()["width"]
    figure.click()
    assert figure.bounding_box()["width"] > 1.8 * small
    assert tab.evaluate("document.documentElement.scrollWidth") == 375
    figure.click()
    assert figure.bounding_box()["width"] == small


@pytest.mark.browser
@pytest.mark.parametrize("scripts", [True, False])
def test_a_phone_offers_a_tap_only_where_it_does_something(scripts, book, page_factory):
    page = f"{book.as_uri()}/chapters/04-pairs.html"
    tab = page_factory(page, width=375, java_script_enabled=scripts)
    box = tab.locator(".cell:not(.waits) > .cell_output:has(> img)").first
    hint = box.evaluate("e => getComputedStyle(e, '::after').content")
    assert (hint != "none") == scripts


@pytest.mark.browser
def test_a_symbol_of_an_equation_says_what_it_means(book, page_factory):
    tab = page_factory(f"{book.as_uri()}/chapters/05-build.html")
    settle(tab)
    glyphs = {"f": "1D453", "psi": "1D713", "pi": "1D70B", "a": "1D44E"}
    said = {}
    for name, code in glyphs.items():
        symbol = tab.locator(f"mjx-container[display] mjx-mi:has(> .mjx-c{code})")
        symbol.first.hover()
        said[name] = symbols(tab, ".notation-tip")
    assert said == {
        "f": ["logits"],
        "psi": ["psi"],
        "pi": ["pi", "actor"],
        "a": ["s, a, g"],
    }
    tab.keyboard.press("Escape")
    assert not tab.is_visible(".notation-tip")


@pytest.mark.browser
def test_a_choice_says_whether_it_is_right_and_uncovers_the_result(book, page_factory):
    tab = page_factory(f"{book.as_uri()}/chapters/01-reach.html")
    box = tab.locator(".predict").first
    result = tab.locator(".predict + .cell .cell_output > *").first
    assert not box.locator(".choice p").first.is_visible()
    assert not result.is_visible()
    box.locator(".wrong summary").first.focus()
    tab.keyboard.press("Enter")
    assert box.locator(".wrong p").first.inner_text().startswith("No.")
    assert not box.locator(".right p").is_visible()
    result.wait_for(state="visible")  # browsers tell of an opened fold a moment later
    box.locator(".right summary").click()
    assert box.locator(".right p").inner_text().startswith("Yes.")


@pytest.mark.browser
def test_a_result_that_waits_leaves_no_screen_empty(book, page_factory):
    tab = page_factory(f"{book.as_uri()}/chapters/12-missing-told-deeper.html")
    waits = tab.locator(".cell.waits > .cell_output")
    heights = "boxes => boxes.map(box => [box.clientHeight, box.scrollHeight])"
    shown, whole = zip(*waits.evaluate_all(heights), strict=True)
    assert max(shown) <= 480 < max(whole)
    tall = waits.nth(whole.index(max(whole)))
    cell = tall.locator("xpath=..").element_handle()
    choice = "cell => cell.previousElementSibling.querySelector('summary')"
    cell.evaluate_handle(choice).as_element().click()
    cell.wait_for_selector(".cell_output > *", state="visible")
    assert cell.evaluate("cell => cell.lastElementChild.clientHeight") > 480


@pytest.mark.browser
def test_without_scripts_results_and_choices_are_there(book, page_factory):
    page = f"{book.as_uri()}/chapters/01-reach.html"
    tab = page_factory(page, java_script_enabled=False)
    assert tab.locator(".predict + .cell .cell_output > *").first.is_visible()
    tab.locator(".choice.right summary").first.click()
    assert tab.locator(".choice.right p").first.is_visible()


@pytest.mark.browser
def test_an_assertion_is_behind_a_mark(book, page_factory):
    tab = page_factory(f"{book.as_uri()}/chapters/01-reach.html")
    fold = tab.locator(".tag_checked details").first
    assert fold.locator("summary").inner_text() == "checked"
    assert not fold.locator("pre").is_visible()
    fold.locator("summary").click()
    assert "assert" in fold.locator("pre").inner_text()


@pytest.mark.browser
def test_terms_sources_and_symbols_of_the_text_say_what_they_are(book, page_factory):
    tab = page_factory(f"{book.as_uri()}/appendix/refresher.html")
    settle(tab)
    term = tab.locator("a[href$='#term-behavioural-cloning']").first
    term.focus()  # the keyboard gets there, too
    tip = tab.locator(".notation-tip")
    assert "Learning to repeat the actions in the data" in tip.inner_text()
    assert term.get_attribute("aria-describedby") == tip.get_attribute("id")
    tab.keyboard.press("Escape")
    assert not tip.is_visible()
    tab.locator("a[href$='#term-discount']").first.hover()
    tip.locator("mjx-container").first.wait_for()  # its mathematics is set
    assert tab.evaluate(RAW_MATHS) == []
    tip.hover()
    assert "between 0 and 1" in tip.inner_text()  # it stays under the pointer
    source = tab.locator("a[href*='references.html#']").first
    source.hover()
    assert "Scott Fujimoto" in tip.inner_text()
    assert source.get_attribute("title") is None  # or the browser would show it, too
    tab.locator("p mjx-container mjx-mi:has(> .mjx-c1D6FE)").first.hover()  # gamma
    assert symbols(tab, ".notation-tip") == ["gamma"]
    assert tab.errors == []


@pytest.mark.browser
def test_every_link_to_the_glossary_has_its_entry_in_the_page(book):
    for path in built(book):
        text = path.read_text()
        entries = re.findall(r'<template data-term="([^"]+)"', text)
        templates = re.compile(r"<template.*?</template>", re.S)
        links = re.findall(r'href="[^"#]*#(term-[^"]+)"', templates.sub("", text))
        assert sorted(entries) == sorted(set(links))
        assert sum(map(len, templates.findall(text))) < 20_000, path.name


FOLDS = """() => document.querySelectorAll(
  "details:not([open], .notation-card), .toggle-hidden").length"""
BUTTONS = """() => [...document.querySelectorAll(
  ".toggle-button, details.hide > summary")].filter(e => e.offsetParent).length"""


@pytest.mark.browser
def test_a_printed_page_has_its_folds_open_and_then_closed(book, page_factory):
    tab = page_factory((book / "chapters" / "04-pairs.html").as_uri())
    folds = tab.evaluate(FOLDS)
    tab.evaluate(f"addEventListener('beforeprint', () => window.left = ({FOLDS})())")
    tab.pdf()
    assert folds > 3
    assert tab.evaluate("window.left") == 0
    assert tab.evaluate(FOLDS) == folds


def settle(tab) -> None:
    """Wait for the mathematics and the widgets; open what is folded, as for paper."""
    tab.wait_for_function("!window.MathJax || MathJax.startup?.promise")
    tab.evaluate("window.MathJax?.startup?.promise")
    tab.wait_for_function(
        "[...document.querySelectorAll('.static-widget')]"
        ".every(e => e.childNodes.length)"
    )
    tab.add_style_tag(
        content="* {transition: none !important; animation: none !important}"
    )
    tab.evaluate(
        "document.querySelector('.notation-card')?.setAttribute('open', '');"
        "dispatchEvent(new Event('beforeprint'));"
    )
    tab.wait_for_timeout(600)  # the theme waits for the size to settle, too


# Not our markup: Docutils writes lists of sources as role="list" around entries with a
# role of their own.
NOT_OURS = (("aria-required-children", 'class="citation-list"'),)


# Axe spends most of its time on the contrast of each element. What it finds depends on
# colours and letters alone: three elements of each look are enough.
THREE_OF_EACH_LOOK = """() => {
  const above = new Map([[null, ""]]), seen = new Map();
  for (const element of document.querySelectorAll("*")) {
    const {backgroundColor, backgroundImage, opacity, color, fontSize, fontWeight} =
      getComputedStyle(element);
    const ground = [backgroundColor, backgroundImage, opacity].join();
    above.set(element, `${above.get(element.parentElement)}/${ground}`);
    const texts = [...element.childNodes].filter(node => node.nodeType === 3);
    const says = texts.some(node => node.data.trim()) ||
      element.matches("input, select, textarea");
    if (!says || !element.checkVisibility()) continue;
    const look = [above.get(element), color, fontSize, fontWeight].join();
    seen.set(look, (seen.get(look) ?? 0) + 1);
    if (seen.get(look) <= 3) element.dataset.look = "";
  }
  axe.configure({rules: [{id: "color-contrast", selector: "[data-look]"}]});
  return seen.size;
}"""


def violations(tab, *rules: str) -> list[str]:
    """Axe's serious and critical findings in our own markup, by all rules or some."""
    from axe_playwright_python.sync_playwright import Axe

    tab.evaluate(Axe().axe_script)
    assert tab.evaluate(THREE_OF_EACH_LOOK) > 1
    options = {"resultTypes": ["violations"]}
    options |= {"runOnly": rules} if rules else {}
    found = tab.evaluate("options => axe.run(options)", options)["violations"]
    return [
        f"{rule['id']}: {node['html'][:200]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
        if not any(
            rule["id"] == name and part in node["html"] for name, part in NOT_OURS
        )
    ]
