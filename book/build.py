"""Execute every chapter and render the book: `make book`.

The execution cache knows only the chapters' own code. When the library, the recorded
results or the dependencies change, this script deletes everything built before.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "_build"
INDEX = BUILD / "html" / "index.html"
STAMP = BUILD / "sources.sha256"
SOURCES = ("crl_mini", "results", "pyproject.toml")


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


def main() -> int:
    current = source_hash()
    if not STAMP.exists() or STAMP.read_text() != current:
        shutil.rmtree(BUILD, ignore_errors=True)
        BUILD.mkdir()
        STAMP.write_text(current)
    # Delete the old pages, so that none outlives its chapter.
    shutil.rmtree(BUILD / "html", ignore_errors=True)

    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    command = [str(jupyter_book), "build", "book"]
    command += ["--config", "_config.yml", "--path-output", ".", "-W", "--keep-going"]
    # show() links to the pages beside it instead of to the repository.
    environment = {**os.environ, "CRL_MINI_BOOK": "1"}
    code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
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
