"""The book beside its earlier versions: a folder to open, or for any web server.

python book/publish.py             put together _build/site
python book/publish.py --earlier   fetch the books of earlier releases before
python book/publish.py --release   publish this version on GitHub
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

from footer import ROOT, project
from paper import DOWNLOADS, HTML

BUILD = ROOT / "_build"
SITE = BUILD / "site"
EARLIER = BUILD / "earlier"
BOOK = "crl_mini-book-{}.zip"
NAMES = {
    "As PDF": "crl_mini.pdf",
    "As EPUB": "crl_mini.epub",
    "For lecturers: slides, figures, exam": "crl_mini-lecturers.zip",
}
WITH_BOOK = (
    '.[] | select(any(.assets[]; .name | startswith("crl_mini-book-"))).tag_name'
)


def ordered(names: list[str]) -> list[str]:
    """Versions, the newest first."""
    return sorted(names, key=lambda name: [*map(int, name.split("."))], reverse=True)


def tell(folder: Path, versions: list[dict]) -> None:
    """Tell the pages of a book what lies beside them."""
    files = {name: f"downloads/{file}" for name, file in NAMES.items()}
    there = {name: file for name, file in files.items() if (folder / file).exists()}
    beside = json.dumps({"downloads": there, "versions": versions}, indent=1)
    script = folder / "_static" / "versions.js"
    script.write_text(f"globalThis.beside = {beside};\n")


def pages(folder: Path) -> list[str]:
    """The pages of a book that lies alone in its folder."""
    found = folder.rglob("*.html")
    return sorted(path.relative_to(folder).as_posix() for path in found)


def put_together(html: Path, downloads: Path, earlier: Path, site: Path) -> None:
    """Make the site: the book of `html`, and each earlier one in its own folder."""
    shutil.rmtree(site, ignore_errors=True)
    shutil.copytree(html, site)
    if downloads.exists():
        shutil.copytree(downloads, site / "downloads")
    newest = {"name": "the newest", "path": "", "pages": pages(site)}
    pattern = re.compile(BOOK.format(r"(\d+(?:\.\d+)*)"))
    found = {m[1]: m[0] for m in map(pattern.fullmatch, names(earlier)) if m}
    versions = []
    for version in ordered(list(found)):
        with zipfile.ZipFile(earlier / found[version]) as book:
            book.extractall(site / version)
        here = {"name": version, "path": f"{version}/", "pages": pages(site / version)}
        versions.append(here)
    tell(site, versions)
    for own in versions:
        others = [other for other in (newest, *versions) if other is not own]
        up = [other | {"path": f"../{other['path']}"} for other in others]
        tell(site / own["name"], up)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*")]


def gh(*arguments: str) -> str:
    """What GitHub's command says; it stops at an error."""
    done = subprocess.run(
        ["gh", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def fetch() -> None:
    """Download the book of each release that has one."""
    shutil.rmtree(EARLIER, ignore_errors=True)
    tags = gh("api", "--paginate", "repos/{owner}/{repo}/releases", "--jq", WITH_BOOK)
    for tag in tags.split():
        gh("release", "download", tag, "-p", BOOK.format("*"), "-D", str(EARLIER))


def changes(version: str) -> str:
    """What the changelog says of a version."""
    text = (ROOT / "CHANGELOG.md").read_text()
    heading = rf"^## {re.escape(version)}\b[^\n]*\n(.*?)(?=^## |\Z)"
    if not (section := re.search(heading, text, re.M | re.S)):
        raise SystemExit(f"CHANGELOG.md has no section of {version}")
    return section[1].strip()


def release() -> None:
    """Publish the version that pyproject.toml names, which has a tag already."""
    version = project()["version"]
    notes = changes(version)
    put_together(HTML, DOWNLOADS, Path("nowhere"), SITE)
    made = [DOWNLOADS / file for file in NAMES.values()]
    book = BUILD / BOOK.format(version).removesuffix(".zip")
    made.append(Path(shutil.make_archive(str(book), "zip", SITE)))
    files = [str(file) for file in made]
    tag = f"v{version}"
    gh("release", "create", tag, *files, "--verify-tag", "-t", version, "-n", notes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--earlier", action="store_true", help="fetch earlier books")
    parser.add_argument("--release", action="store_true", help="publish this version")
    args = parser.parse_args()
    if args.earlier:
        return fetch()
    if not (HTML / "index.html").exists():
        raise SystemExit("The book is not built: run `make book` first.")
    if args.release:
        return release()
    put_together(HTML, DOWNLOADS, EARLIER, SITE)
    print(f"The site is ready: {SITE / 'index.html'}")


if __name__ == "__main__":
    main()
