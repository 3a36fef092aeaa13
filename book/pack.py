"""The lecturer's pack: `make pack` writes one file with slides, figures and the exam.

Everything is taken from the built book: a slide for each figure and each widget, with
its description, and the exam questions with and without their answers.
"""

from __future__ import annotations

import base64
import html
import shutil
import zipfile
from pathlib import Path
from urllib.parse import unquote

from footer import ROOT, config, pages, project
from paper import DOWNLOADS, HTML, article, chromium, listed, printed

FOLDER = ROOT / "_build" / "paper" / "pack"
LECTURERS = "appendix/lecturers"
FIRST = """<section class="slide"><h1>{title}</h1><p>{count} figures of the book,
version {version}: <a href="{address}">{address}</a></p></section>"""
SLIDE = """<section class="slide"><h2>{title}</h2><img src="{source}" alt="{alt}">
<p>{alt}</p><p class="play"><a href="{address}">{chapter}</a> · figures/{file}</p>
</section>"""
README = """The lecturer's pack of crl_mini {version}, {address}

slides.pdf              a slide for each figure and each interactive figure
figures/                the same figures as files, for slides of your own
exam.pdf                exam questions
exam-with-answers.pdf   the same with answers

Plans of one lecture, two weeks and six weeks: {address}{lecturers}.html
MIT licence: use and change what you like; keep the licence's text with the files.

"""


def figures() -> list[dict[str, str]]:
    """Every figure of the chapters: its file, title, picture, words and address."""
    found = []
    for page in (file for _, files in listed() for file in files):
        if not page.startswith("chapters/"):
            continue
        content = article(page, set())
        for k, image in enumerate(content.select(".cell_output img"), 1):
            source = image["src"]
            kind = source[11:14] if source.startswith("data:") else source[-3:]
            found.append({
                "file": f"{Path(page).name}-{k}.{kind}",
                "title": image.find_previous(["h1", "h2"]).text,
                "chapter": content.h1.text,
                "source": source,
                "alt": html.escape(image.get("alt", "")),
                "address": f"{pages()}{page}.html",
            })  # fmt: skip
    return found


def write_figure(source: str, path: Path) -> None:
    """Write a picture of a page to a file."""
    if source.startswith("data:"):
        path.write_bytes(base64.b64decode(source.partition(",")[2]))
    else:
        shutil.copy(HTML / unquote(source).removeprefix("../html/"), path)


def exam() -> tuple[str, str]:
    """The exam questions of the lecturers' page, without and with answers."""
    content = article(LECTURERS, set())
    questions = content.select_one(f"#{LECTURERS.replace('/', '-')}--exam-questions")
    questions.h2.name = "h1"
    answered = str(questions)
    for answer in questions.select("details"):
        answer.decompose()
    return str(questions), answered


def slides(shown: list[dict[str, str]]) -> list[str]:
    """The slides as parts of a page."""
    known = {"version": project()["version"], "address": pages()}
    first = FIRST.format(title=config()["title"], count=len(shown), **known)
    return [first, *(SLIDE.format(**figure) for figure in shown)]


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    (FOLDER / "figures").mkdir(parents=True)
    DOWNLOADS.mkdir(exist_ok=True)
    shown, (questions, answered) = figures(), exam()
    for figure in shown:
        write_figure(figure["source"], FOLDER / "figures" / figure["file"])
    with chromium() as tab:
        printed(tab, FOLDER / "slides.pdf", slides(shown))
        printed(tab, FOLDER / "exam.pdf", [questions])
        printed(tab, FOLDER / "exam-with-answers.pdf", [answered])
    words = README.format(
        version=project()["version"], address=pages(), lecturers=LECTURERS
    )
    words += "".join(f"{f['file']}: {html.unescape(f['alt'])}\n" for f in shown)
    (FOLDER / "README.txt").write_text(words)
    shutil.copy(ROOT / "LICENSE", FOLDER)
    pack = DOWNLOADS / "crl_mini-lecturers.zip"
    with zipfile.ZipFile(pack, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(path for path in FOLDER.rglob("*") if path.is_file()):
            file.write(path, path.relative_to(FOLDER))
    print(f"{pack}: {pack.stat().st_size / 1e6:.1f} MB, {len(shown)} figures")


if __name__ == "__main__":
    main()
