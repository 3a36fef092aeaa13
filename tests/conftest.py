"""One real browser for every test that looks at pages or widgets."""

from __future__ import annotations

import functools
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import hypothesis
import jax
import pytest
import tried

ROOT = Path(__file__).resolve().parents[1]
HTML = ROOT / "_build" / "html"
LOCK = ROOT / ".cache" / "book.lock"
# Compiled programs of all processes of the tests, kept for the next time: nothing is
# written into the user's own cache.
KEPT = {
    "jax_compilation_cache_dir": str(ROOT / ".cache" / "jax"),
    "jax_persistent_cache_min_compile_time_secs": 0.0,
}
for name, value in KEPT.items():
    if name.upper() not in os.environ:
        os.environ[name.upper()] = str(value)
        jax.config.update(name, value)  # it has been imported already
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# On a fresh clone the same cases are tried each time, elsewhere others in every run.
hypothesis.settings.register_profile("CI", derandomize=True)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("CI")


# The files that take longest, longest first: then no process waits for another one.
LONG = ("run", "tabletop", "agents", "flags", "benchmarks", "widgets", "crl", "twins")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """The tests of a file go to one process, those of the pages to any that is free."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return nodeid if file.endswith("test_book.py") else file

    return ByFile(config, log)


def pytest_collection_modifyitems(items) -> None:
    """The longest files come first, and last the tests that may wait for the book."""
    ranks = {f"test_{name}.py": rank for rank, name in enumerate(LONG)}
    ranks["test_book.py"] = len(ranks) + 1
    items.sort(key=lambda item: ranks.get(item.path.name, len(LONG)))
    tried.counted(items)


def pytest_addoption(parser) -> None:
    text = "count what is tried on the library: rewrites results/tried.csv"
    parser.addoption("--tried", action="store_true", help=text)


def pytest_configure(config) -> None:
    if config.getoption("--tried"):
        config.pluginmanager.register(tried.Count())


@pytest.fixture(scope="module", autouse=True)
def forget_programs() -> Iterator[None]:
    """Without this, compiled programs use up the memory maps that Linux allows."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium; the test is skipped where none is installed."""
    sync_api = pytest.importorskip("playwright.sync_api")
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no Chromium on this machine (Debian: apt install chromium)")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=executable, headless=True, args=CHROMIUM_FLAGS
        )
        yield chromium
        chromium.close()


@pytest.fixture
def page_factory(browser) -> Iterator[Callable]:
    """`page_factory(url=None, width=1280, height=900, **context)` opens a page.

    `page.errors` lists console errors and uncaught exceptions, `page.external` every
    request for anything but a local file, the local server, data: and blob:.
    Further keywords go to the browser context (`color_scheme="dark"`, ...).
    """
    with ExitStack() as stack:

        def open_page(url=None, width=1280, height=900, **context):
            viewport = {"width": width, "height": height}
            ctx = browser.new_context(viewport=viewport, **context)
            stack.callback(ctx.close)
            page = ctx.new_page()
            page.errors, page.external = [], []
            page.on("console", lambda message: _note_error(page, message))
            page.on("pageerror", lambda error: page.errors.append(str(error)))
            page.on("request", lambda request: _note_external(page, request.url))
            if url is not None:
                page.goto(url, wait_until="load")
            return page

        yield open_page


def _note_error(page, message) -> None:
    if message.type == "error":
        page.errors.append(f"{message.text} {message.location.get('url', '')}")


def _note_external(page, url: str) -> None:
    if not url.startswith(("file:", "data:", "blob:", "about:", "http://127.0.0.1")):
        page.external.append(url)


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Path], str]]:
    """`serve(folder)` serves a folder on this machine and returns its address."""
    with ExitStack() as stack:

        def start(folder: Path) -> str:
            handler = functools.partial(_QuietHandler, directory=str(folder))
            server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}"

        yield start


@pytest.fixture(scope="session")
def book() -> Path:
    """The folder of the built book; the test is skipped before `make book`.

    While the book is being built, it waits.
    """
    with suppress(ImportError, FileNotFoundError), LOCK.open() as lock:
        import fcntl  # not on Windows: nobody waits there

        fcntl.flock(lock, fcntl.LOCK_SH)
    if not (HTML / "index.html").exists():
        pytest.skip("the book is not built (run `make book` first)")
    return HTML
