"""`make book` executes every chapter once, several at a time."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHAPTER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  name: python3
---

# A chapter

```{{code-cell}} ipython3
:tags: [hide-input]

import os
from pathlib import Path

log = Path("ran-{0}.txt")
log.write_text(log.read_text() + "ran" if log.exists() else "ran")
print("one and", os.environ["CRL_MINI_BOOK"], Path.cwd().name)
{1}
```
"""
CONFIG = """
title: Small
execute: {execute_notebooks: cache, timeout: 60, raise_on_error: true}
"""


@pytest.fixture
def build(tmp_path):
    """`build(a=code, b=code)` writes chapters that end with the code; builds them."""
    (tmp_path / "book" / "chapters").mkdir(parents=True)
    shutil.copy(ROOT / "book" / "build.py", tmp_path / "book")
    (tmp_path / "_config.yml").write_text(CONFIG)
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "book" / "intro.md").write_text("# Begin\n")

    def run(**chapters: str):
        toc = "format: jb-book\nroot: intro\nchapters:\n"
        for name, code in chapters.items():
            path = tmp_path / "book" / "chapters" / f"{name}.md"
            path.write_text(CHAPTER.format(name, code))
            toc += f"- file: chapters/{name}\n"
        (tmp_path / "book" / "_toc.yml").write_text(toc)
        command = [sys.executable, tmp_path / "book" / "build.py"]
        return subprocess.run(command, capture_output=True, text=True)

    return run


@pytest.mark.slow
def test_every_chapter_runs_once_and_a_failing_cell_fails_the_build(build, tmp_path):
    ran = [tmp_path / "book" / "chapters" / f"ran-{name}.txt" for name in "ab"]
    done = build(a="1 + 1", b="2 + 2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "a: executed in" in done.stdout
    page = (tmp_path / "_build" / "html" / "chapters" / "a.html").read_text()
    assert "one and 1 chapters" in page
    assert [path.read_text() for path in ran] == ["ran", "ran"]  # Sphinx ran nothing

    done = build(a="1 + 1", b="1 / 0")
    assert done.returncode == 1
    assert "a: unchanged\n" in done.stdout
    assert "b: FAILED\n" in done.stdout
    assert "ZeroDivisionError" in done.stdout
    assert f"{tmp_path}/book/chapters/b.md" in done.stdout
    assert not (tmp_path / "_build" / "html").exists()
    assert [path.read_text() for path in ran] == ["ran", "ranran"]

    (tmp_path / "pyproject.toml").write_text("[new]")  # the cache knows nothing of it
    done = build(a="1 + 1", b="os._exit(1)")
    assert done.returncode == 1
    assert "a: executed in" in done.stdout
    assert "DeadKernelError" in done.stderr
    assert [path.read_text() for path in ran] == ["ranran", "ranranran"]
