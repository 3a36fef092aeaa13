"""book/twins.py turns MyST into what Colab understands."""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book"))

import colab  # noqa: E402
import twins  # noqa: E402

FRONT = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  name: python3
---

% 5 seconds to run on two cores
"""
FIRST = "# First\n\n$$\na\n$$ (alpha)\n\n$$ b $$ (beta)\n\n(here)=\n## Here\n"


@pytest.fixture
def convert(tmp_path):
    """The cells of a second chapter with the given text, after the set-up cell."""

    def run(text: str, chapter: str = "02-second"):
        (tmp_path / "01-first.md").write_text(FRONT + FIRST)
        path = tmp_path / f"{chapter}.md"
        path.write_text(f"{FRONT}# Second\n\n{text}\n")
        labels = twins.Labels([tmp_path / "01-first.md", path])
        return twins.Twin(path, labels).notebook().cells[1:]

    return run


REPO = twins.REPOSITORY
COLAB = f"{twins.COLAB}/blob/main/book/chapters/01-first.ipynb"


@pytest.mark.parametrize(
    ("myst", "plain"),
    [
        ("$$\nx\n$$ (gamma)", "$$\nx\n\\tag{2.1}\n$$"),
        ("$$ x $$ (gamma)", "$$\nx\n\\tag{2.1}\n$$"),
        ("$$ x $$", "$$\nx\n$$"),
        ("{eq}`beta`", f"[(1.2)]({COLAB})"),
        ("{doc}`01-first`", f"[First]({COLAB})"),
        ("{doc}`the list <../appendix/api>`", f"[the list]({REPO}/blob/main/book"),
        ("{ref}`here`", f"[Here]({COLAB})"),
        ("[one](01-first.md)", f"[one]({COLAB})"),
        ("[n](../appendix/notation.md)", f"[n]({REPO}/blob/main/book/appendix/n"),
        ("[two\nlines](https://a.b)", "[two\nlines](https://a.b)"),
        ("{term}`occupancy\nmeasure`", "[occupancy measure](" + REPO),
        ("{term}`of it <occupancy measure>`", "[of it](" + REPO),
        ("{py:func}`crl_mini.losses.infonce`", "`crl_mini.losses.infonce()`"),
        ("{py:class}`~crl_mini.critic.Critic`", "`Critic`"),
        ("{cite:t}`gutmann2010nce`", "Gutmann and Hyvärinen (2010)"),
        (
            "{cite:p}`oord2018cpc`",
            "([van den Oord et al., 2018](https://arxiv.org/abs/",
        ),
        ("{math}`x`", "$x$"),
        ("`M[s, a](x)` and $[a](b)$", "`M[s, a](x)` and $[a](b)$"),
        (":::{note}\nBody.\n:::", "> **Note**\n>\n> Body."),
        (
            ":::{admonition} T\n:class: predict\nB {eq}`alpha`\n:::",
            "> **T**\n>\n> B [(",
        ),
        (
            "::::{dropdown} T\n:::{tip}\nB\n:::\n::::",
            "<summary>T</summary>\n\n> **Tip**",
        ),
        (
            "```{figure} ../a.png\n:alt: An a\nWords\n```",
            f"![An a]({REPO}/raw/main/book",
        ),
        ("```python\n{eq}`kept`\n```", "```python\n{eq}`kept`\n```"),
        ("a\n% not said\nb", "a\nb"),
    ],
)
def test_markdown(convert, myst, plain):
    (cell,) = convert(myst)
    assert plain in cell.source


EXERCISE = """
```{exercise} Name
:label: ex
Do it.
```

```{solution-start} ex
:class: dropdown
```

Like so.

```{code-cell} ipython3
assert True
```

```{solution-end}
```

After, see {ref}`ex`.

```{code-cell} ipython3
:tags: [hide-input]
2
```
"""


def test_solutions_are_folded_and_nothing_else_is(convert):
    text, solution, after, hidden = convert(EXERCISE)
    assert "**Exercise 2.1 (Name)**\n\nDo it." in text.source
    folded = "<details>\n<summary>Solution to exercise 2.1</summary>\n\nLike so.\n\n"
    assert text.source.endswith(folded + "</details>")
    assert solution.source == "# @title Solution to exercise 2.1\nassert True"
    assert solution.metadata["cellView"] == "form"
    assert after.source == "After, see [Exercise 2.1](#ex)."
    assert hidden.source == "2"
    assert hidden.metadata["jupyter"] == {"source_hidden": True}


def test_same_chapter_same_bytes(convert):
    ids = [cell.id for cell in convert(EXERCISE)]
    assert ids == [cell.id for cell in convert(EXERCISE)]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("myst", "problem"),
    [
        ("{eq}`nowhere`", "no equation is labelled 'nowhere'"),
        ("{ref}`nowhere`", "no exercise, heading or chapter is labelled 'nowhere'"),
        ("{kbd}`x`", "does not know the role {kbd}"),
        (":::{margin}\nx\n:::", "does not know the directive {margin}"),
        ("* a\n  :::{note}\n  x\n  :::", "start at the margin"),
        (":::{note}\nx", "::: is not closed"),
        ("$$\nx", "$$ is not closed"),
        (EXERCISE.replace("```{solution-end}\n```", ""), "has no {solution-end}"),
    ],
)
def test_what_cannot_be_converted_is_named(convert, myst, problem):
    with pytest.raises(SystemExit) as stop:
        convert(myst)
    assert problem in str(stop.value)
    assert "02-second.md" in str(stop.value)


def test_the_first_cell_says_where_it_runs_and_for_how_long(tmp_path):
    path = tmp_path / "01-first.md"
    path.write_text(FRONT + FIRST)
    setup = twins.Twin(path, twins.Labels([path])).notebook().cells[0].source
    assert f"git+{twins.REPOSITORY}" in setup
    assert setup.endswith('notebook runs for about 5 seconds.")')
    path.write_text((FRONT + FIRST).replace("seconds to run", "s"))
    with pytest.raises(SystemExit, match="the chapter must say: N seconds to run"):
        twins.Twin(path, twins.Labels([path])).notebook()


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """An environment with the wheel, that takes all other packages from this one."""

    def environment(folder):
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        subprocess.run([*pip, "wheel", "--no-deps", "-w", folder, ROOT], check=True)
        venv.create(folder / "venv")
        (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
        (site / "others.pth").write_text(sysconfig.get_path("purelib"))
        pip += ["--python", folder / "venv" / "bin" / "python", "install", "--no-deps"]
        subprocess.run([*pip, *folder.glob("*.whl")], check=True)
        kernel = ["-m", "ipykernel", "install", "--prefix", folder / "venv"]
        subprocess.run([folder / "venv" / "bin" / "python", *kernel], check=True)
        jupyter = folder / "venv" / "bin" / "jupyter"
        execute = "import sys; from nbclient.cli import main; sys.argv.pop(1); main()"
        jupyter.write_text(f"#!{folder}/venv/bin/python\n{execute}\n")
        jupyter.chmod(0o755)
        return jupyter.parent

    monkeypatch.setattr(colab, "environment", environment)


def test_a_chapter_runs_with_the_wheel_alone_and_a_failure_is_seen(
    beside, tmp_path, monkeypatch, capfd
):
    twin = json.loads((colab.CHAPTERS / "01-reach.ipynb").read_text())
    shutil.copy(colab.CHAPTERS / "01-reach.ipynb", tmp_path)
    for cell in twin["cells"][1:]:
        cell["source"] = "1 / 0"
    (tmp_path / "99-broken.ipynb").write_text(json.dumps(twin))
    monkeypatch.setattr(colab, "CHAPTERS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["colab.py", "99-broken", "01-reach"])
    assert colab.main() == 1
    said = capfd.readouterr()
    assert re.search(r"99-broken: FAILED\n01-reach: \d+ s\n$", said.out)
    assert "ZeroDivisionError" in said.err


def test_colab_names_the_twins_it_has():
    command = [sys.executable, ROOT / "book" / "colab.py", "01-reach", "no-such"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no twin is called no-such; there are 00-start, 01-reach" in done.stderr
