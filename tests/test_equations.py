"""Every numbered equation names its function, every function names its equation."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import crl_mini
from crl_mini import widgets
from crl_mini.agents import AGENTS
from crl_mini.figures.show import EQUATIONS

CHAPTERS = Path(__file__).resolve().parents[1] / "book" / "chapters"
NUMBERED = re.compile(r"\$\$ *\(([\w-]+)\) *$", re.M)
FUNCTION = re.compile(r"\{py:(?:func|class|meth)\}`~?(crl_mini\.[\w.]+)`")
NAMED = re.compile(r":eq:`([\w-]+)`")

# Modules whose public functions all compute something that a chapter derives.
DERIVED = ("occupancy", "losses", "critic", "replay", "actor")


def equations() -> dict[str, tuple[str, list[str]]]:
    """label -> (chapter, the functions named before the next numbered equation)."""
    found = {}
    for path in sorted(CHAPTERS.glob("[0-9][0-9]-*.md")):
        _, *pairs = NUMBERED.split(path.read_text())
        for label, text in zip(pairs[::2], pairs[1::2], strict=True):
            paragraphs = "\n\n".join(text.strip().split("\n\n")[:2])
            found[label] = path.stem, FUNCTION.findall(paragraphs)
    return found


def lookup(dotted: str):
    parts = dotted.split(".")
    for k in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:k]))
        except ModuleNotFoundError:
            continue
        for name in parts[k:]:
            found = getattr(found, name)
        return found
    raise AssertionError(f"{dotted} does not exist")


def documented() -> dict[str, str]:
    """The docstring of each public function, class and method of the library."""
    found = {}
    for info in pkgutil.walk_packages(crl_mini.__path__, "crl_mini."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        for name, obj in vars(module).items():
            if name[0] == "_" or getattr(obj, "__module__", None) != module.__name__:
                continue
            found[f"{module.__name__}.{name}"] = inspect.getdoc(obj) or ""
            if inspect.isclass(obj):
                for method, member in vars(obj).items():
                    member = getattr(member, "__func__", member)
                    if method[0] != "_" and callable(member):
                        doc = inspect.getdoc(member) or ""
                        found[f"{module.__name__}.{name}.{method}"] = doc
    return found


BOOK = equations()
DOCS = documented()


def test_there_are_equations_and_functions():
    assert len(BOOK) > 20
    assert len(DOCS) > 40


def test_no_label_is_used_twice():
    text = "\n".join(p.read_text() for p in CHAPTERS.glob("[0-9][0-9]-*.md"))
    labels = NUMBERED.findall(text)
    assert sorted(labels) == sorted(set(labels))


@pytest.mark.parametrize("label", BOOK)
def test_equation_names_a_function_that_names_it_back(label):
    chapter, functions = BOOK[label]
    assert functions, f"{chapter}: say below ({label}) which function computes it"
    for dotted in functions:
        lookup(dotted)
    docs = {
        name: NAMED.findall(inspect.getdoc(lookup(name)) or "") for name in functions
    }
    assert any(label in named for named in docs.values()), (
        f"none of {functions} says :eq:`{label}` in its docstring"
    )


@pytest.mark.parametrize("name", DOCS)
def test_equations_named_by_the_library_exist(name):
    missing = set(NAMED.findall(DOCS[name])) - set(BOOK)
    assert not missing, f"{name} names equations that no chapter numbers: {missing}"


@pytest.mark.parametrize(
    "name", [name for name in DOCS if {*name.split(".")} & {*DERIVED}]
)
def test_what_a_chapter_derives_names_its_equation(name):
    obj = lookup(name)
    if inspect.isfunction(inspect.unwrap(obj)) and "." not in obj.__qualname__:
        assert NAMED.search(DOCS[name]), f"{name}: end with Source: :eq:`...`"


def test_library_reference_holds_every_module_and_widget():
    page = (CHAPTERS.parent / "appendix" / "api.md").read_text()
    found = pkgutil.walk_packages(crl_mini.__path__, "crl_mini.")
    names = [info.name for info in found if not info.name.endswith("__main__")]
    modules = {*names} & {doc.rsplit(".", 1)[0] for doc in DOCS}
    assert ".. agents::" in page
    modules -= {recipe.agent.__module__ for recipe in AGENTS.values()}
    missing = [
        name
        for name in sorted(modules) + [f"crl_mini.widgets.{w}" for w in widgets.__all__]
        if not re.search(rf"auto(module|class):: {re.escape(name)}$", page, re.M)
        and not (name in modules and name.startswith("crl_mini.widgets"))
    ]
    assert missing == []


def test_show_links_each_equation_to_its_chapter():
    assert {label: chapter for label, (chapter, _) in BOOK.items()} == EQUATIONS
