"""Run the Colab twins as Colab does, with the built wheel: `make colab-test`.

    python book/colab.py                    all twins
    python book/colab.py 01-reach 04-pairs  some of them
    python book/colab.py --twice            each cell twice in a row, then all again

A fresh virtual environment gets the wheel and a kernel. Each twin runs in a folder of
its own that holds nothing else; Python cannot import the checkout there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from twins import CHAPTERS, ROOT

PRINT_ORIGIN = "import crl_mini; print(crl_mini.__file__)"


def environment(folder: Path) -> Path:
    """Folder of programs of a new virtual environment with this checkout's wheel."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", folder, ROOT], check=True)
    wheel = next(folder.glob("*.whl"))
    venv.create(folder / "venv")
    programs = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    pip += ["--python", programs / "python", "install", "--no-compile"]
    subprocess.run([*pip, wheel, "ipykernel", "nbclient"], check=True)
    return programs


def clean() -> dict[str, str]:
    """The environment variables, without a way to the checkout or to other kernels."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return kept | {"JUPYTER_PREFER_ENV_PATH": "1", "OPENBLAS_NUM_THREADS": "1"}


def twice(twin: Path) -> None:
    """Change a twin: each cell twice in a row, and then all of them again."""
    book = json.loads(twin.read_text())
    cells = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    cells = [cell for cell in cells for _ in range(2)] + cells
    book["cells"] = [cell | {"id": f"cell-{i}"} for i, cell in enumerate(cells)]
    twin.write_text(json.dumps(book))


def run(stem: str, programs: Path, folder: Path, change=None) -> float:
    """Execute a twin from top to bottom; returns the seconds that it took."""
    folder.mkdir()
    shutil.copy(CHAPTERS / f"{stem}.ipynb", folder)
    if change:
        change(folder / f"{stem}.ipynb")
    start = time.perf_counter()
    command = [programs / "jupyter", "execute", f"{stem}.ipynb"]
    subprocess.run(command, cwd=folder, env=clean(), check=True)
    return time.perf_counter() - start


def main() -> int:
    stems = [path.stem for path in sorted(CHAPTERS.glob("*.ipynb"))]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stems", nargs="*", metavar="STEM", help=", ".join(stems))
    parser.add_argument("--twice", action="store_true", help="run every cell twice")
    args = parser.parse_args()
    change = twice if args.twice else None
    if unknown := set(args.stems) - set(stems):
        parser.error(f"no twin is called {min(unknown)}; there are {', '.join(stems)}")
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        programs = environment(Path(folder))
        command = [programs / "python", "-c", PRINT_ORIGIN]
        origin = subprocess.check_output(command, cwd=folder, env=clean(), text=True)
        if not Path(origin.strip()).is_relative_to(Path(folder).resolve()):
            sys.exit(f"crl_mini was imported from {origin.strip()}, not from the wheel")
        for stem in args.stems or stems:
            try:
                seconds = run(stem, programs, Path(folder) / stem, change)
                print(f"{stem}: {seconds:.0f} s", flush=True)
            except subprocess.CalledProcessError:
                failed.append(stem)
                print(f"{stem}: FAILED", flush=True)
    return len(failed) > 0


if __name__ == "__main__":
    sys.exit(main())
