"""book/twins.py turns MyST into what Colab understands."""

import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import jax
import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from packaging.requirements import Requirement

from crl_mini import devices

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
            ":::{predict}\nQ?\n\n- [ ] `a`\n  Not $a$.\n- [x] b\n:::",
            "**Predict, then look**\n\nQ?\n\n<details>\n"
            "<summary><code>a</code></summary>\n\n**No.** \nNot $a$.\n\n</details>\n\n"
            "<details>\n<summary>b</summary>",
        ),
        (":::{predict} Check\nQ?\n\n- [x] b\n:::", "**Check**\n\nQ?"),
        ("{reading}`minutes`", "1 minutes"),
        ("{running}`to run`", "not timed yet"),
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
    assert 'print("Time on two CPU cores: not timed yet.")' in setup


@pytest.fixture
def setup_of(tmp_path, monkeypatch):
    """The set-up cell of a chapter, given what colab-green.json holds."""

    def run(green: dict) -> str:
        monkeypatch.setattr(twins.shape, "GREEN", tmp_path / "green.json")
        twins.shape.GREEN.write_text(json.dumps(green))
        path = tmp_path / "01-first.md"
        path.write_text(FRONT + FIRST + "\n```{code-cell} ipython3\n1\n```\n")
        return twins.Twin(path, twins.Labels([path])).notebook().cells[0].source

    return run


@pytest.mark.parametrize(
    ("gpu", "backend", "platforms", "advice"),
    [
        (False, "cpu", None, False),
        (True, "gpu", None, False),
        (True, "cpu", "cpu", False),  # somebody wants it so
        (True, "cpu", None, True),
    ],
)
def test_the_first_cell_says_in_one_line_what_device_it_found(
    setup_of, gpu, backend, platforms, advice, tmp_path, monkeypatch, capsys
):
    fake = SimpleNamespace(
        config=SimpleNamespace(jax_platforms=platforms),
        default_backend=lambda: backend,
        device_count=lambda: 1,
        devices=lambda: [SimpleNamespace(device_kind="Tesla T4")],
    )
    monkeypatch.setattr(devices, "jax", fake)
    monkeypatch.setattr(devices, "usable_cores", lambda: 2)
    monkeypatch.setattr(devices, "GPUS", str(tmp_path / "nvidia[0-9]*"))
    if gpu:
        (tmp_path / "nvidia0").touch()
    exec(TransformerManager().transform_cell(setup_of({})), {})
    line, *_ = capsys.readouterr().out.splitlines()
    found = "2 CPU cores" if backend == "cpu" else "1 x Tesla T4"
    assert line.startswith(f"Device: {found}")
    assert ("JAX does not see this machine's GPU" in line) == advice
    assert ("Disconnect and delete runtime" in line) == advice


@pytest.mark.parametrize("folder", ["", "/tmp/kept", "/content/drive/MyDrive/kept"])
def test_the_first_cell_keeps_programs_where_it_is_told(folder, setup_of, monkeypatch):
    mounted, kept = [], []

    def keep():
        kept.append(os.environ[devices.CACHE])

    drive = SimpleNamespace(mount=mounted.append)
    monkeypatch.setitem(sys.modules, "google.colab.drive", drive)
    colab = SimpleNamespace(drive=drive, output=MagicMock())
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.setattr(devices, "use_compilation_cache", keep)
    monkeypatch.setenv(devices.CACHE, "")
    cell = setup_of({}).replace('KEEP = ""', f"KEEP = {folder!r}")
    exec(TransformerManager().transform_cell(cell), {})
    assert kept == ([folder] if folder else [])
    assert mounted == (["/content/drive"] if "drive" in folder else [])


RUN = {"date": "2026-01-02", "image": "2026-01-01", "versions": "jax 1, flax 2"}


def test_a_twin_says_when_its_code_last_ran(setup_of):
    code = twins.digest([nbformat.v4.new_code_cell("1")])
    setup = setup_of({"01-first": RUN | {"code": code}})
    assert "last ran on 2026-01-02, in Colab's image of 2026-01-01:" in setup
    assert 'print("jax 1, flax 2.")' in setup
    assert twins.NOT_GREEN not in setup


@pytest.mark.parametrize("runs", [{}, {"01-first": RUN | {"code": "of old code"}}])
def test_a_twin_says_that_its_code_has_not_run(setup_of, runs):
    setup = setup_of(runs)
    assert setup.endswith(twins.NOT_GREEN)
    assert RUN["date"] not in setup


def test_one_line_and_one_command_point_everything_at_a_fork(tmp_path):
    for name in ("_config.yml", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    files = ("twins.py", "shape.py", "intro.md", "references.bib", "colab-green.json")
    for name in (*files, "chapters"):
        copy = shutil.copytree if (ROOT / "book" / name).is_dir() else shutil.copy
        (tmp_path / "book").mkdir(exist_ok=True)
        copy(ROOT / "book" / name, tmp_path / "book" / name)
    config = tmp_path / "_config.yml"
    fork = "https://github.com/someone/course"
    config.write_text(config.read_text().replace(twins.REPOSITORY, fork))
    command = [sys.executable, tmp_path / "book" / "twins.py"]
    done = subprocess.run([*command, "--check"], capture_output=True, text=True)
    assert done.returncode == 1
    for name in ("README.md", "intro.md", "pyproject.toml"):
        assert f"{name} does not have the address of _config.yml" in done.stdout
    subprocess.run(command, check=True)
    texts = {path: path.read_text() for path in tmp_path.rglob("*.[imt]*")}
    old = twins.REPOSITORY.removeprefix("https://github.com/")
    assert not [path for path, text in texts.items() if old in text]
    badges = twins.COLAB.replace(old, "someone/course")
    for path in twins.chapters():
        stem = path.stem
        assert (
            f"]({badges}/blob/main/book/chapters/{stem}.ipynb)"
            in texts[tmp_path / "README.md"]
        )
        assert f"git+{fork}" in texts[tmp_path / "book" / "chapters" / f"{stem}.ipynb"]
    assert f'Repository = "{fork}"' in texts[tmp_path / "pyproject.toml"]


# Colab's image


def test_every_bound_holds_in_the_image():
    image = dict(line.split("==") for line in colab.pinned())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = [Requirement(text) for text in project["dependencies"]]
    own = {bound.name for bound in bounds} - set(image)
    assert own == {"jaxtyping", "mujoco"}
    for bound in bounds:
        if bound.name in image:
            assert bound.specifier.contains(image[bound.name]), bound


def wheel(folder: Path, name: str, version: str, *needs: str) -> Path:
    """An empty package that needs others."""
    info = f"{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {other}" for other in needs]
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
        kind = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        file.writestr(f"{info}/WHEEL", kind)
        file.writestr(f"{info}/RECORD", f"{info}/METADATA,,\n{info}/WHEEL,,\n")
    return path


def test_the_plan_says_what_is_new_and_what_would_be_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    old = [wheel(tmp_path, name, "1") for name in ("some_jax", "kept")]
    pip = [*colab.PIP, "--quiet", "--python", python, "install", "--no-deps", *old]
    subprocess.run(pip, check=True)
    for name, version in (("some_jax", "2"), ("kept", "2"), ("fresh", "3")):
        wheel(tmp_path, name, version)
    mine = wheel(tmp_path, "mine", "1", "some-jax>=2", "kept", "fresh")
    new, replaced = colab.plan(python, mine)
    assert new == ["fresh 3", "mine 1"]
    assert replaced == ["some_jax 1 by 2"]


def test_the_image_stops_the_run_where_pip_would_replace_some_of_it(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "mine.whl").touch()
    monkeypatch.setattr(colab.subprocess, "run", lambda *args, **kwargs: None)
    monkeypatch.setattr(colab, "install", lambda *args: None)
    monkeypatch.setattr(colab, "plan", lambda *args: (["a 1"], ["jax 0.7.2 by 0.10"]))
    with pytest.raises(SystemExit, match="must stay"):
        colab.environment(tmp_path)
    said = "pip adds: a 1\npip replaces: jax 0.7.2 by 0.10\n"
    assert capsys.readouterr().out == said


@pytest.fixture
def this(tmp_path, monkeypatch):
    """This environment in place of a fresh one; two twins, the first one fails."""

    def environment(folder):
        monkeypatch.setattr(colab, "PRINT_ORIGIN", f"print({str(folder)!r})")
        for name in ("python", "jupyter"):
            program = Path(sysconfig.get_path("scripts")) / name
            path = folder / name
            path.write_text(f'#!/bin/sh\nexec {program} "$@"\n')
            path.chmod(0o755)
        return folder

    twin = json.loads((colab.CHAPTERS / "01-reach.ipynb").read_text())
    for stem, code in (("01-reach", "1 / 1"), ("99-broken", "1 / 0")):
        for cell in twin["cells"]:
            cell["source"] = code
        (tmp_path / f"{stem}.ipynb").write_text(json.dumps(twin))
    monkeypatch.setattr(colab, "environment", environment)
    monkeypatch.setattr(colab, "CHAPTERS", tmp_path)
    monkeypatch.setattr(colab, "TRAINING", ["--help"])
    monkeypatch.setattr(colab.shape, "GREEN", tmp_path / "green.json")
    monkeypatch.setattr(colab.twins, "write", lambda: None)
    return tmp_path


@pytest.mark.slow
def test_a_failure_is_seen_and_what_was_green_is_recorded(this, monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["colab.py", "--record", "99-broken", "01-reach"])
    assert colab.main() == 1
    said = capfd.readouterr()
    assert re.search(r"99-broken: FAILED\n01-reach: \d+ s\n$", said.out)
    assert "ZeroDivisionError" in said.err
    (run,) = json.loads(colab.shape.GREEN.read_text()).items()
    cells = nbformat.read(this / "01-reach.ipynb", as_version=4).cells
    assert run[0] == "01-reach"
    assert run[1]["code"] == twins.digest(cells[1:])
    assert run[1]["date"] == str(datetime.date.today())
    assert run[1]["image"] == "2026-08-19"
    assert 0 < run[1]["seconds"] < 600
    assert f"jax {jax.__version__}, flax" in run[1]["versions"]


def test_without_being_asked_nothing_is_recorded(this, monkeypatch):
    monkeypatch.setattr(colab, "run", lambda *args: 1.0)
    monkeypatch.setattr(sys, "argv", ["colab.py", "01-reach"])
    assert colab.main() == 0
    assert not colab.shape.GREEN.exists()


def test_colab_names_the_twins_it_has():
    command = [sys.executable, ROOT / "book" / "colab.py", "01-reach", "no-such"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no twin is called no-such; there are 00-start, 01-reach" in done.stderr
