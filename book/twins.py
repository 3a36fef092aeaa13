"""Make the Colab twin (.ipynb, without outputs) of each chapter: `make notebooks`.

Colab knows neither MyST's directives nor its roles: they become plain Markdown, HTML's
<details>, and \\tag{} numbers that agree with the book's. A twin says when its code
last ran in Colab's image; `book/colab.py --record` writes that into colab-green.json.
README, the front page and pyproject.toml get the address in _config.yml, too.

    python book/twins.py            write the twins
    python book/twins.py --check    exit with 1 where something is not as it would be
    python book/twins.py --format   let ruff format the code cells of the chapters
"""

from __future__ import annotations

import argparse
import hashlib
import json
import posixpath
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import jupytext
import nbformat
import shape
import yaml
from pybtex.database import parse_file

BOOK = Path(__file__).resolve().parent
ROOT = BOOK.parent
CHAPTERS = BOOK / "chapters"
README = ROOT / "README.md"
INTRO = BOOK / "intro.md"
PROJECT = ROOT / "pyproject.toml"
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
REPOSITORY = CONFIG["repository"]["url"]
BRANCH = CONFIG["repository"]["branch"]
COLAB = REPOSITORY.replace(
    "https://github.com", CONFIG["launch_buttons"]["colab_url"] + "/github"
)

SETUP = f"""\
# @title Set-up: Colab needs this cell, your own machine does not
import importlib.util
import os
import sys

if importlib.util.find_spec("crl_mini") is None:
    %pip install --quiet "crl_mini @ git+{REPOSITORY}"
if "google.colab" in sys.modules:
    from google.colab import output

    output.enable_custom_widget_manager()

from crl_mini.devices import CACHE, device, unseen, use_compilation_cache

# A folder that keeps compiled programs for the next visit; empty: none. On your Drive:
# /content/drive/MyDrive/crl_mini
KEEP = ""  # @param {{type: "string"}}
if KEEP.startswith("/content/drive"):
    from google.colab import drive

    drive.mount("/content/drive")
if KEEP:
    os.environ[CACHE] = KEEP
    print("Compiled programs are kept in:", use_compilation_cache() or "no folder")
print("Device:", device() + unseen())
print("Time on two CPU cores: {{time}}.")
{{green}}"""
NOT_GREEN = 'print("Its code has not run in Colab\'s image as it is now.")'
FOLDED = {"cellView": "form", "jupyter": {"source_hidden": True}}

ADMONITIONS = ("note", "tip", "hint", "important", "warning", "seealso")
DIRECTIVE = re.compile(r"^(`{3,}|:{3,})\{([\w-]+)\} *(.*)$")
OPTION = re.compile(r"^:([\w-]+): *(.*)$")
MATH_END = re.compile(r"^(.*?)\$\$ *(?:\(([\w-]+)\))? *$")
BLOCK = re.compile(r"```|:::|\$\$|%|\([\w-]+\)=$")
EXERCISE = re.compile(r"^[`:]{3,}\{exercise\}.*\n(?::.*\n)*?:label: *(\S+)", re.M)
TARGET = re.compile(r"^\(([\w-]+)\)=$")
# In prose: a role, code or mathematics that stay as they are, or a link.
ROLE = r"\{(?P<role>[a-z:]+)\}`(?P<content>[^`]+)`"
LEAVE = r"(`+).+?(?<!`)\3(?!`)|\$[^$]+\$"
LINK = r"(?P<bang>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)"
INLINE = re.compile(f"{ROLE}|{LEAVE}|{LINK}", re.S)
STRAY = re.compile(r"^.*[`:]{3,}\{.*$", re.M)
CODE_CELL = re.compile(
    r"^(```\{code-cell\}[^\n]*\n(?::[^\n]*\n)*\n*)(.*?)^```$", re.M | re.S
)


class Labels:
    """Chapter of each label of the book, and the text of a reference to it."""

    def __init__(self, chapters: list[Path]):
        self.equations: dict[str, tuple[str, str]] = {}
        self.texts: dict[str, tuple[str, str]] = {}
        for path in chapters:
            self._scan(path.stem, path.read_text())
        self.sources = parse_file(BOOK / "references.bib").entries

    def _scan(self, stem: str, text: str) -> None:
        chapter = int(stem[:2])
        prefix = f"{chapter}." if chapter else ""
        for k, label in enumerate(re.findall(r"\$\$ *\(([\w-]+)\) *$", text, re.M), 1):
            self.equations[label] = stem, f"{prefix}{k}"
        for k, label in enumerate(EXERCISE.findall(text), 1):
            self.texts[label] = stem, f"Exercise {prefix}{k}"
        for label, title in re.findall(r"^\(([\w-]+)\)=\n+#+ +(.+)$", text, re.M):
            self.texts[label] = stem, title
        self.texts[stem] = stem, re.search(r"^# +(.+)$", text, re.M)[1]

    def cite(self, key: str, parentheses: bool) -> str:
        """Author and year, linked to arXiv where the source has a number there."""
        entry = self.sources[key]
        people = entry.persons["author"]
        names = [
            " ".join(map(str, [*p.prelast_names, *p.rich_last_names])) for p in people
        ]
        authors = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
        year = entry.fields["year"]
        text = f"{authors}, {year}" if parentheses else f"{authors} ({year})"
        eprint = entry.fields.get("eprint")
        return f"[{text}](https://arxiv.org/abs/{eprint})" if eprint else text


class Twin:
    """Turns one chapter's MyST into Markdown that every notebook program reads."""

    def __init__(self, path: Path, labels: Labels):
        self.path, self.stem, self.labels = path, path.stem, labels
        self.solution: str | None = None  # the exercise whose solution is open

    def fail(self, problem: str):
        raise SystemExit(f"{self.path}: {problem}")

    def notebook(self) -> nbformat.NotebookNode:
        source = jupytext.read(self.path, fmt="md:myst")
        cells = []
        for cell in source.cells:
            if cell.cell_type == "code":
                cells.append(self.chapter_code(cell))
            else:
                text = self.markdown(cell.source)
                cells += [nbformat.v4.new_markdown_cell(text)] if text else []
        if self.solution:
            self.fail(f"the solution to {self.solution} has no {{solution-end}}")
        setup = SETUP.replace("{time}", shape.running(self.stem))
        setup = setup.replace("{green}", green(self.stem, digest(cells)))
        cells.insert(0, self.code(setup, FOLDED))
        seen: dict[str, int] = {}
        for cell in cells:  # ids from the content: equal chapters give equal bytes
            key = hashlib.sha256(cell.source.encode()).hexdigest()[:8]
            seen[key] = seen.get(key, 0) + 1
            cell.id = f"{key}-{seen[key]}"
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
        metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
        return nbformat.v4.new_notebook(cells=cells, metadata=metadata)

    def code(self, source: str, metadata: dict) -> nbformat.NotebookNode:
        return nbformat.v4.new_code_cell(source, metadata=metadata)

    def chapter_code(self, cell) -> nbformat.NotebookNode:
        tags = cell.metadata.get("tags", [])
        metadata = {"tags": tags} if tags else {}
        if self.solution:
            return self.code(
                f"# @title Solution to {self.solution}\n{cell.source}",
                metadata | FOLDED,
            )
        folded = FOLDED if shape.FOLDING_TAGS & set(tags) else {}
        return self.code(cell.source, metadata | folded)

    def markdown(self, source: str) -> str:
        """One Markdown cell; text inside an open solution is folded."""
        out = []
        for part in re.split(
            r"(^[`:]{3,}\{solution-(?:start|end)\}[^`:]*(?:\n:.*)*"
            r"\n[`:]{3,}$)",
            source,
            flags=re.M,
        ):
            start = re.match(r"[`:]+\{solution-start\} *(\S+)", part)
            if start:
                self.solution = self.reference(start[1])[1].lower()
            elif re.match(r"[`:]+\{solution-end\}", part):
                self.solution = None
            elif text := self.blocks(part.splitlines()):
                summary = f"Solution to {self.solution}"
                out.append(details(summary, text) if self.solution else text)
        return "\n\n".join(out)

    def blocks(self, lines: list[str]) -> str:
        out, prose = [], []
        rest = list(lines)

        def flush():
            out.extend([self.inline("\n".join(prose))] if prose else [])
            prose.clear()

        while rest:
            line = rest.pop(0)
            if BLOCK.match(line):
                flush()
            directive = DIRECTIVE.match(line)
            if directive:
                body = self.until_close(rest, directive[1])
                text = self.directive(directive[2], directive[3], body)
                out += [*([""] if out and out[-1] else []), text]
                out += [""] if rest and rest[0] else []
            elif line.startswith("```"):
                out += [line, *self.until_close(rest, "```"), "```"]
            elif line.startswith("$$"):
                out.append(self.display_math(line, rest))
            elif target := TARGET.match(line):
                out.append(f'<a id="{target[1]}"></a>\n')
            elif not line.startswith("%"):  # a comment
                prose.append(line)
        flush()
        return "\n".join(out).strip()

    def until_close(self, rest: list[str], fence: str) -> list[str]:
        body = []
        while rest:
            line = rest.pop(0)
            if re.fullmatch(f"{fence}{fence[0]}* *", line):
                return body
            body.append(line)
        return self.fail(f"{fence} is not closed: {body[:1]}")

    def display_math(self, line: str, rest: list[str]) -> str:
        body = []
        line = line[2:]
        while not (end := MATH_END.match(line)):
            body.append(line)
            if not rest:
                self.fail(f"$$ is not closed: {body[:2]}")
            line = rest.pop(0)
        text = "\n".join([*body, end[1]]).strip()
        if end[2]:
            text += f"\n\\tag{{{self.equation(end[2])[1]}}}"
        return f"$$\n{text}\n$$"

    def directive(self, name: str, argument: str, body: list[str]) -> str:
        options = {}
        while body and (option := OPTION.match(body[0])):
            options[option[1]] = option[2]
            body.pop(0)
        if name == "predict":
            return self.predict(argument, body)
        text = self.blocks(body)
        argument = self.inline(argument)
        if name == "dropdown" or "dropdown" in options.get("class", ""):
            if name == "solution":
                argument = f"Solution to {self.reference(argument)[1].lower()}"
            return details(argument or name.title(), text)
        if name == "exercise":
            number = self.reference(options["label"])[1]
            title = f"{number} ({argument})" if argument else number
            return f'<a id="{options["label"]}"></a>\n\n**{title}**\n\n{text}'
        if name in ("figure", "image"):
            image = f"![{options['alt']}]({self.raw(argument)})"
            return f"{image}\n\n{text}".strip()
        if name == "admonition":
            return quote(f"**{argument}**\n\n{text}")
        if name in ADMONITIONS:
            return quote(
                f"**{'See also' if name == 'seealso' else name.title()}**\n\n{text}"
            )
        return self.fail(f"twins.py does not know the directive {{{name}}}")

    def predict(self, title: str, body: list[str]) -> str:
        """A question, and each choice as a fold that says whether it is right."""
        question, choices = shape.choices(body)
        out = [f"**{title or shape.PREDICT}**", self.blocks(question)]
        for right, choice, words in choices:
            verdict = self.blocks([f"**{shape.VERDICTS[right]}** ", *words])
            choice = re.sub(r"`([^`]+)`", r"<code>\1</code>", choice)
            out.append(details(choice, verdict))
        return "\n\n".join(out)

    def inline(self, text: str) -> str:
        if stray := STRAY.search(text):
            self.fail(
                f"directives start at the margin, without indentation: {stray[0]}"
            )
        return INLINE.sub(self.replace, text)

    def replace(self, match: re.Match) -> str:
        if match["role"]:
            return self.role(match["role"], " ".join(match["content"].split()))
        if match["target"]:
            return self.link(match[0], match["bang"], match["text"], match["target"])
        return match[0]

    def role(self, name: str, content: str) -> str:
        titled = re.fullmatch(r"(.+?) *<(.+)>", content, re.S)
        text, target = (titled[1], titled[2]) if titled else ("", content)
        if name == "eq":
            stem, number = self.equation(target)
            link = "" if stem == self.stem else f"({self.colab(stem)})"
            return f"[({number})]{link}" if link else f"({number})"
        if name == "doc" and target.startswith("../"):
            return self.link("", "", text or target[3:], f"{target}.md")
        if name in ("ref", "numref", "doc"):
            stem, title = self.reference(target.rsplit("/", 1)[-1])
            local = stem == self.stem
            return f"[{text or title}]({f'#{target}' if local else self.colab(stem)})"
        if name == "term":
            return f"[{text or target}]({self.github('appendix/glossary.md')})"
        if name.startswith("py:"):
            short = target.rsplit(".", 1)[-1] if target[0] == "~" else target
            call = "()" if name in ("py:func", "py:meth") else ""
            return f"`{text or short + call}`"
        if name.startswith("cite"):
            parentheses = name != "cite:t"
            keys = [k.strip() for k in target.split(",")]
            cited = "; ".join(self.labels.cite(k, parentheses) for k in keys)
            return f"({cited})" if parentheses else cited
        if name == "math":
            return f"${content}$"
        if name == "running":
            return shape.running(self.stem, content)
        if name == "reading":
            return f"{shape.minutes(self.path.read_text())} {content}"
        return self.fail(f"twins.py does not know the role {{{name}}}`{content}`")

    def link(self, whole: str, bang: str, text: str, target: str) -> str:
        if bang:
            return f"![{text}]({self.raw(target)})"
        if re.match(r"[a-z]+:|#", target):
            return whole
        path, _, anchor = target.partition("#")
        if (CHAPTERS / path).parent == CHAPTERS and path.endswith(".md"):
            return f"[{text}]({self.colab(path[:-3])})"
        page = posixpath.normpath(f"chapters/{path}")
        return f"[{text}]({self.github(page)}{'#' if anchor else ''}{anchor})"

    def equation(self, label: str) -> tuple[str, str]:
        if label not in self.labels.equations:
            self.fail(f"no equation is labelled {label!r}")
        return self.labels.equations[label]

    def reference(self, label: str) -> tuple[str, str]:
        if label not in self.labels.texts:
            self.fail(f"no exercise, heading or chapter is labelled {label!r}")
        return self.labels.texts[label]

    def colab(self, stem: str) -> str:
        return colab(stem)

    def github(self, page: str) -> str:
        return f"{REPOSITORY}/blob/{BRANCH}/book/{page}"

    def raw(self, image: str) -> str:
        page = posixpath.normpath(f"book/chapters/{image}")
        return f"{REPOSITORY}/raw/{BRANCH}/{page}"


def colab(stem: str) -> str:
    """Where Colab opens a twin."""
    return f"{COLAB}/blob/{BRANCH}/book/chapters/{stem}.ipynb"


def digest(cells: list[nbformat.NotebookNode]) -> str:
    """What tells whether a twin's code, all but the set-up, is still the same."""
    code = "\0".join(cell.source for cell in cells if cell.cell_type == "code")
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def green(stem: str, code: str) -> str:
    """The lines that say when a twin with this `digest` last ran without an error."""
    runs = json.loads(shape.GREEN.read_text()) if shape.GREEN.exists() else {}
    run = runs.get(stem, {})
    if run.get("code") != code:
        return NOT_GREEN
    date, image, versions = (run[k] for k in ("date", "image", "versions"))
    said = [f"Its code last ran on {date}, in Colab's image of {image}:"]
    said += textwrap.wrap(f"{versions}.", 70)
    return "\n".join(f'print("{line}")' for line in said)


def details(summary: str, text: str) -> str:
    return f"<details>\n<summary>{summary}</summary>\n\n{text}\n\n</details>"


def quote(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def chapters() -> list[Path]:
    return sorted(CHAPTERS.glob("[0-9][0-9]-*.md"))


def twins() -> dict[Path, str]:
    """The text of each twin, by its path."""
    labels = Labels(chapters())
    return {
        path.with_suffix(".ipynb"): nbformat.writes(Twin(path, labels).notebook())
        + "\n"
        for path in chapters()
    }


def addressed() -> dict[Path, str]:
    """The pages that name the repository, with _config.yml's address, by path."""
    badge, line = r"\]\(https:[^()]*/(\d\d-[\w-]+)\.ipynb\)", '^Repository = ".*"$'
    project = f'Repository = "{REPOSITORY}"'
    pages = {
        path: re.sub(badge, lambda m: f"]({colab(m[1])})", path.read_text())
        for path in (README, INTRO)
    }
    return pages | {
        PROJECT: re.sub(line, project, PROJECT.read_text(), flags=re.M),
    }


def write() -> None:
    """Write the twins, and the address where it depends on _config.yml."""
    for path, text in (twins() | addressed()).items():
        path.write_text(text)


def stale() -> list[str]:
    """Problems of what `write` writes, one line each."""
    wanted = twins()
    strays = set(CHAPTERS.glob("*.ipynb")) - set(wanted)
    return (
        [f"{path.name} has no chapter" for path in sorted(strays)]
        + [
            f"{path.name} does not agree with its chapter"
            for path, text in wanted.items()
            if not path.exists() or path.read_text() != text
        ]
        + [
            f"{path.name} does not have the address of _config.yml"
            for path, text in addressed().items()
            if path.read_text() != text
        ]
    )


def format_cell(match: re.Match) -> str:
    """The same cell with sorted imports, in ruff's format."""
    code = match[2]
    for task in (["check", "--select=I", "--fix", "--quiet"], ["format"]):
        ruff = [str(Path(sys.executable).with_name("ruff")), *task, "-"]
        done = subprocess.run(ruff, input=code, capture_output=True, text=True)
        if done.returncode:  # a cell with a magic, say: leave it as it is
            return match[0]
        code = done.stdout
    return f"{match[1]}{code}```"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--format", action="store_true", help="format the chapters")
    args = parser.parse_args()
    if args.format:
        for path in chapters():
            path.write_text(CODE_CELL.sub(format_cell, path.read_text()))
    elif args.check:
        problems = stale()
        print("\n".join(problems) or "The twins agree with their chapters.")
        if problems:
            print("Run `make notebooks`.", file=sys.stderr)
        return bool(problems)
    else:
        write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
