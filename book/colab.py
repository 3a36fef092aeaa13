"""Run the Colab twins as Colab does, with the built wheel: `make colab-test`.

    python book/colab.py                    all twins
    python book/colab.py 01-reach 04-pairs  some of them
    python book/colab.py --record           and write into the twins when they last ran
    python book/colab.py --twice            each cell twice in a row, then all again

A fresh virtual environment gets the packages of Colab's image (colab-image.txt), the
wheel and a kernel. pip must not replace any package there. Before the twins, an agent
that sees pixels is trained for seconds. Each twin runs in a folder of its own that
holds nothing else; Python cannot import the checkout there.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import nbformat
import shape
import twins
from twins import CHAPTERS, ROOT

IMAGE = ROOT / "book" / "colab-image.txt"
PRINT_ORIGIN = "import crl_mini; print(crl_mini.__file__)"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
SEEING = ["--task", "Reach", "--obs", "pixels", "--data", "play"]
SHORT = ["--set", "steps=4", "every=4", "tests=4", "episodes=4"]
TRAINING = [*SEEING, "--preset", "smoke", *SHORT, "--out", "run"]
#: What a twin says of the versions that it ran with.
SAID = ("jax", "flax", "numpy", "mujoco", "ipywidgets")


def pinned() -> list[str]:
    """Packages of the image, but the CUDA plugin: it reports an error without a GPU."""
    lines = IMAGE.read_text().splitlines()
    return [x for x in lines if "==" in x and not x.startswith("jax-cuda")]


def install(python: Path, *what: str | Path) -> None:
    """Install with uv, which takes half of pip's time; where uv fails, with pip."""
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python]
    pip = [*PIP, "--quiet", "--python", python, "install", "--no-compile"]
    if subprocess.run([*uv, *what]).returncode:
        subprocess.run([*pip, *what], check=True)


def installed(python: Path) -> dict[str, str]:
    """Version of each package there, by its name."""
    pip = [*PIP, "--python", python, "list", "--format", "json"]
    return {x["name"]: x["version"] for x in json.loads(subprocess.check_output(pip))}


def plan(python: Path, wheel: Path) -> tuple[list[str], list[str]]:
    """What pip would add there to install the wheel, and what it would replace."""
    pip = [*PIP, "--quiet", "--python", python, "install", "--dry-run"]
    pip += ["--report", "-", wheel]
    report = json.loads(subprocess.check_output(pip))
    there = {plain(name): version for name, version in installed(python).items()}
    new, replaced = [], []
    for package in report["install"]:
        name, version = (package["metadata"][k] for k in ("name", "version"))
        if old := there.get(plain(name)):
            replaced.append(f"{name} {old} by {version}")
        else:
            new.append(f"{name} {version}")
    return sorted(new), sorted(replaced)


def plain(name: str) -> str:
    """The one way to write a package's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def environment(folder: Path) -> Path:
    """Folder of programs of a new environment: Colab's image, then the wheel."""
    wheels = [*PIP, "--quiet", "wheel", "--no-deps", "-w", folder, ROOT]
    subprocess.run(wheels, check=True)
    wheel = next(folder.glob("*.whl"))
    venv.create(folder / "venv")
    programs = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = programs / "python"
    install(python, *pinned(), "nbclient")
    new, replaced = plan(python, wheel)
    print("pip adds:", ", ".join(new))
    print("pip replaces:", ", ".join(replaced) or "nothing", flush=True)
    if replaced:
        sys.exit("In Colab the packages of the image must stay: lower the bounds.")
    install(python, wheel)
    return programs


def clean() -> dict[str, str]:
    """The environment variables, without a way to the checkout or to other kernels."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    alone = dict.fromkeys(("OPENBLAS_NUM_THREADS", "PJRT_NPROC"), "1")  # as in `make`
    return kept | {"JUPYTER_PREFER_ENV_PATH": "1"} | alone


def twice(twin: Path) -> None:
    """Change a twin: each cell twice in a row, and then all of them again."""
    book = json.loads(twin.read_text())
    cells = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    cells = [cell for cell in cells for _ in range(2)] + cells
    book["cells"] = [cell | {"id": f"cell-{i}"} for i, cell in enumerate(cells)]
    twin.write_text(json.dumps(book))


def timed(command: list[str | Path], folder: Path) -> float:
    """Run a command there, as in Colab; the seconds that it took."""
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=clean(), check=True)
    return time.perf_counter() - start


def run(stem: str, programs: Path, folder: Path, change=None) -> float:
    """Execute a twin from top to bottom; returns the seconds that it took."""
    folder.mkdir()
    shutil.copy(CHAPTERS / f"{stem}.ipynb", folder)
    if change:
        change(folder / f"{stem}.ipynb")
    return timed([programs / "jupyter", "execute", f"{stem}.ipynb"], folder)


def record(took: dict[str, float], python: Path) -> None:
    """Note when twins ran, how long and with what; write all twins again."""
    number = ["-c", "import platform; print(platform.python_version())"]
    number = subprocess.check_output([python, *number], text=True).strip()
    there = installed(python)
    versions = [f"Python {number}", *(f"{name} {there[name]}" for name in SAID)]
    runs = json.loads(shape.GREEN.read_text()) if shape.GREEN.exists() else {}
    for stem, seconds in took.items():
        cells = nbformat.read(CHAPTERS / f"{stem}.ipynb", as_version=4).cells
        runs[stem] = {
            "code": twins.digest(cells[1:]),
            "date": str(datetime.date.today()),
            "image": re.search(r"\d{4}-\d\d-\d\d", IMAGE.read_text())[0],
            "seconds": round(seconds),
            "versions": ", ".join(versions),
        }
    shape.GREEN.write_text(json.dumps(runs, indent=1, sort_keys=True) + "\n")
    twins.write()


def main() -> int:
    stems = [path.stem for path in sorted(CHAPTERS.glob("*.ipynb"))]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stems", nargs="*", metavar="STEM", help=", ".join(stems))
    parser.add_argument("--record", action="store_true", help="say so in the twins")
    parser.add_argument("--twice", action="store_true", help="run every cell twice")
    args = parser.parse_args()
    change = twice if args.twice else None
    if unknown := set(args.stems) - set(stems):
        parser.error(f"no twin is called {min(unknown)}; there are {', '.join(stems)}")
    green, failed = {}, []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        programs = environment(folder)
        python = programs / "python"
        command = [python, "-c", PRINT_ORIGIN]
        origin = subprocess.check_output(command, cwd=folder, env=clean(), text=True)
        if not Path(origin.strip()).is_relative_to(folder.resolve()):
            sys.exit(f"crl_mini was imported from {origin.strip()}, not from the wheel")
        seconds = timed([python, "-m", "crl_mini", "train", *TRAINING], folder)
        print(f"a training from pixels: {seconds:.0f} s", flush=True)
        for stem in args.stems or stems:
            try:
                green[stem] = run(stem, programs, folder / stem, change)
                print(f"{stem}: {green[stem]:.0f} s", flush=True)
            except subprocess.CalledProcessError:
                failed.append(stem)
                print(f"{stem}: FAILED", flush=True)
        if args.record:
            record(green, python)
    return len(failed) > 0


if __name__ == "__main__":
    sys.exit(main())
