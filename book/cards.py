"""Make the front page's pictures of the chapters from the built book: `make cards`.

Each is the first figure or widget of its chapter, as Chromium draws it.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

BOOK = Path(__file__).resolve().parent
PAGES = BOOK.parent / "_build" / "html" / "chapters"
CARDS = BOOK / "assets" / "cards"
SIZE = 480, 270  # pixels
FIRST = ".bd-article :is(.static-widget canvas, .static-widget svg, .cell_output img)"
LEAST = 150  # pixels of a side: anything smaller is no picture


def picture(page: Page, path: Path) -> Image.Image:
    """The first figure or widget of a page that is large enough, on a card's shape."""
    page.goto(path.as_uri(), timeout=120_000)
    page.wait_for_timeout(3000)  # widgets draw themselves
    for element in page.locator(FIRST).all():
        box = element.bounding_box()
        if box and min(box["width"], box["height"]) >= LEAST:
            element.scroll_into_view_if_needed()
            shot = Image.open(io.BytesIO(element.screenshot())).convert("RGB")
            return fitted(shot)
    raise ValueError(f"{path.name} has no figure and no widget")


def fitted(shot: Image.Image) -> Image.Image:
    """A picture on a white card: as wide as that, and cut below or in its middle."""
    shot.thumbnail((SIZE[0], 10 * SIZE[1]), Image.Resampling.LANCZOS)
    card = Image.new("RGB", SIZE, "white")
    left, top = (SIZE[0] - shot.width) // 2, max((SIZE[1] - shot.height) // 2, 0)
    card.paste(shot, (left, top))
    return card


def main() -> None:
    """Write a picture for each chapter."""
    CARDS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        where = shutil.which("chromium") or shutil.which("google-chrome")
        chromium = playwright.chromium.launch(
            executable_path=where, args=["--no-sandbox"]
        )
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        for path in sorted(PAGES.glob("[0-9][0-9]-*.html")):
            if "deeper" not in path.stem:
                card = picture(page, path)
                card.save(CARDS / f"{path.stem[:2]}.webp", quality=80, method=6)
                print(path.stem, file=sys.stderr)
        chromium.close()


if __name__ == "__main__":
    main()
