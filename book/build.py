"""Execute every chapter and render the book: `make book`.

The execution cache knows only the chapters' own code. When the library, the recorded
results or the dependencies change, this script deletes everything built before.
Chapters are executed several at a time; Sphinx finds what they did in the cache.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import yaml
from jupyter_cache import get_cache
from jupyter_cache.executors import load_executor

try:
    import fcntl
except ImportError:  # Windows: nobody waits there
    fcntl = None

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "_build"
INDEX = BUILD / "html" / "index.html"
STAMP = BUILD / "sources.sha256"
LOCK = ROOT / ".cache" / "book.lock"  # held while the book is built
SOURCES = ("crl_mini", "results", "pyproject.toml")
# At a time: one more than there are cores, because they wait now and then. Each may
# take 2 GB of memory.
KERNELS = min((os.cpu_count() or 1) + 1, 4)
# show() links to the pages beside it instead of to the repository; compiled programs
# are kept for the other kernels and for the next time.
ENVIRONMENT = {
    "CRL_MINI_BOOK": "1",
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}


def source_hash() -> str:
    """A hash of everything that an executed cell can depend on."""
    files = []
    for path in (ROOT / name for name in SOURCES):
        files += [path] if path.is_file() else path.rglob("*")
    digest = hashlib.sha256()
    for file in sorted(f for f in files if f.is_file() and f.suffix != ".pyc"):
        digest.update(f"{file.relative_to(ROOT)}\0".encode())
        digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest()


def execute(path: str, timeout: int) -> tuple[str, str]:
    """Execute a chapter into the cache, unless it is there; what it did, and errors."""
    cache = get_cache(BUILD / ".jupyter_cache")
    how = {"name": "myst_nb_md", "type": "plugin"}
    record = cache.add_nb_to_project(path, read_data=how)
    only = {"filter_pks": [record.pk], "timeout": timeout}
    done = load_executor("local-serial", cache).run_and_cache(**only)
    if not done.all():
        return "unchanged", ""
    if done.succeeded:
        seconds = cache.get_cached_project_nb(path).data["execution_seconds"]
        return f"executed in {seconds:.0f} s", ""
    return "FAILED", cache.get_project_record(path).traceback or "it was not executed"


def execute_all() -> list[str]:
    """Execute all pages with code, several at a time; the errors."""
    pages = [p for p in (ROOT / "book").rglob("*.md") if "{code-cell}" in p.read_text()]
    timeout = yaml.safe_load((ROOT / "_config.yml").read_text())["execute"]["timeout"]
    get_cache(BUILD / ".jupyter_cache").list_project_records()  # makes its data base
    errors = []
    with ProcessPoolExecutor(KERNELS) as pool:
        # The last chapters take longest: they begin first.
        pages = sorted(map(str, pages))[::-1]
        jobs = {pool.submit(execute, page, timeout): page for page in pages}
        for job in as_completed(jobs):
            said, error = job.result()
            print(f"{Path(jobs[job]).stem}: {said}", flush=True)
            errors += [f"{jobs[job]}\n{error}"] * bool(error)
    return errors


def main() -> int:
    """Build the book, one process at a time; the exit status."""
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("w") as file:
        lock(file)
        return build()


def lock(file) -> None:
    """Wait until no other process builds the book; closing the file ends it."""
    if fcntl:
        fcntl.flock(file, fcntl.LOCK_EX)


def jupyter_book(*builder: str) -> int:
    """Let Sphinx render the book, warnings being errors; the exit status."""
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", "book"]
    command += ["--config", "_config.yml", "--path-output", ".", "-W", "--keep-going"]
    return subprocess.run([*command, *builder], cwd=ROOT, check=False).returncode


def build() -> int:
    """Execute what has changed, and render all pages; the exit status."""
    current = source_hash()
    if not STAMP.exists() or STAMP.read_text() != current:
        shutil.rmtree(BUILD, ignore_errors=True)
        BUILD.mkdir()
        STAMP.write_text(current)
    # Delete the old pages, so that none outlives its chapter.
    shutil.rmtree(BUILD / "html", ignore_errors=True)

    os.environ.update({k: v for k, v in ENVIRONMENT.items() if k not in os.environ})
    if errors := execute_all():
        print("\n".join(errors), "The book has errors; they stand above.", sep="\n")
        return 1
    code = jupyter_book()
    if code == 0 and not INDEX.exists():
        print(f"{INDEX} was not written", file=sys.stderr)
        code = 1
    if code != 0:
        # Sphinx prints the warnings of unchanged pages once only: read all pages again.
        shutil.rmtree(BUILD / ".doctrees", ignore_errors=True)
        print("The book has errors: see above.", file=sys.stderr)
        return code
    print(f"\nThe book is ready: {INDEX}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
