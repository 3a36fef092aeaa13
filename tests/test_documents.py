"""README, CONTRIBUTING, DECISIONS: what they name is there, and imports go one way."""

import ast
import re
from pathlib import Path
from pkgutil import resolve_name

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "crl_mini"
TEXTS = sorted(ROOT.glob("*.md"))
FOLDERS = "crl_mini|book|tests|benchmarks|results"
EXAMPLE = r"\bNN-|mine\b"  # names that a reader chooses


def rows() -> list[list[str]]:
    """Modules of each row of README's table."""
    _, table = (ROOT / "README.md").read_text().split("| module | what it holds |\n")
    lines = table.partition("\n\n")[0].splitlines()[1:]
    return [re.findall(r"`(\w+)`", line.split("|")[1]) for line in lines]


def imported(path: Path) -> set[str]:
    """Modules directly below crl_mini that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("crl_mini.")}


def test_readme_lists_every_module_once():
    files = [path.stem for path in PACKAGE.glob("*.py")]
    packages = [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
    there = {*files, *packages} - {"__init__", "__main__"}
    assert sorted(name for row in rows() for name in row) == sorted(there)


def test_imports_go_one_way():
    above = set()
    for row in rows():
        above |= set(row)
        for name in row:
            one = PACKAGE / f"{name}.py"
            for path in [one] if one.exists() else (PACKAGE / name).rglob("*.py"):
                below = imported(path) - above
                assert not below, f"{path.relative_to(ROOT)} imports {below}"


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_files_named_in_the_documents_exist(path):
    text = path.read_text()
    targets = re.findall(r"\]\(((?!http)[^)#]+)", re.sub(r"`[^`\n]*`", "", text))
    named = re.findall(rf"`((?:{FOLDERS})/[\w./-]+)`", text)
    for file in [*targets, *named]:
        example = re.search(EXAMPLE, file)
        assert example or (ROOT / file).exists(), f"{path.name} names {file}"
    for name in re.findall(r"`(crl_mini(?:\.\w+)+)`", text):
        assert resolve_name(name)
