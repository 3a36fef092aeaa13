"""Display the library's source in the book, in JupyterLab and in Colab."""

import html
import inspect
import os
import re
import sys
from importlib.metadata import PackageNotFoundError, metadata

from IPython.display import display
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

#: The chapter that derives each numbered equation of the book.
CHAPTERS = {
    "01-reach": (
        "policy-transitions reward occupancy occupancy-matrix greedy reach optimal-q"
    ),
    "02-ratio": "goal-marginal density-ratio nce nce-optimum",
    "03-q-function": "infonce backward-infonce symmetric-infonce logsumexp",
    "04-pairs": "geometric clipped uniform",
    "05-build": (
        "energy-dot energy-l2 energy-cosine pairwise critic-loss actor-loss "
        "tanh-gaussian"
    ),
    "06-representation": "rank-correlation retrieval probe pca",
    "07-greedy": ("goal-conditioned-q best-of rise travel-cost midpoint graph-cost"),
    "08-actor": "pathwise score-function tanh-entropy clipped-action",
    "09-better": (
        "wald wilson coverage seed-variance iqm bootstrap better expected-best"
    ),
    "10-pixels": "multiply-adds nearest occlusion",
    "11-pick": "picture-ratio chain",
    "12-missing": "td-recursion monte-carlo empirical",
}
EQUATIONS = {eq: chapter for chapter, eqs in CHAPTERS.items() for eq in eqs.split()}

_STYLE = """<style>
.crl-show {--paper: #f3f4f5; --ink: #222; --key: #6a1b9a; --text: #00622f;
  --note: #515151; --num: #7a4100; --name: #00527a; --link: #0a58ca}
:is(html[data-theme=dark], html[theme=dark], body[data-jp-theme-light=false]) .crl-show
  {--paper: #29313d; --ink: #f8f8f2; --key: #dcc6e0; --text: #abe338; --note: #d4d0ab;
  --num: #f5ab35; --name: #6fd3ff; --link: #8ab4f8}
.crl-show {background: var(--paper); color: var(--ink); border-radius: 6px;
  margin: .25rem 0; padding: .5rem .75rem}
.crl-show p {font-size: .85rem; margin: 0 0 .4rem}
.crl-show a {color: var(--link); text-decoration: underline}
.crl-show :is(pre, code, pre span) {background: none; border: 0; color: inherit}
.crl-show pre {font-size: .82rem; line-height: 1.4; margin: 0; overflow-x: auto;
  padding: 0; white-space: pre}
.crl-show pre [class^=k], .crl-show pre .ow {color: var(--key)}
.crl-show pre [class^=s] {color: var(--text)}
.crl-show pre [class^=c] {color: var(--note)}
.crl-show pre [class^=m] {color: var(--num)}
.crl-show pre :is(.nf, .nc, .nd) {color: var(--name)}
</style>"""


def show(obj: object) -> None:
    """Display the source of a function, class or module of crl_mini.

    A line above it links to the chapter that derives its equation. Anything that is not
    part of the library's source raises ``TypeError``.
    """
    display(Source(obj))


class Source:
    """The source of `obj`: coloured where HTML is shown, plain text elsewhere."""

    def __init__(self, obj: object):
        self.name = _name(obj)
        self.code = inspect.getsource(obj)
        self.chapter = _chapter(obj, self.code)

    def __repr__(self) -> str:
        return self.code

    def _repr_html_(self) -> str:
        line = f"<code>{html.escape(self.name)}</code>"
        if self.chapter:
            label, stem = self.chapter
            link = _link(label, stem)
            line += f' · derived in <a href="{link}">chapter {int(stem[:2])}</a>'
        code = highlight(self.code, PythonLexer(), HtmlFormatter(nowrap=True))
        code = f'<pre tabindex="0" aria-label="Source of {self.name}">{code}</pre>'
        return f'{_STYLE}<div class="crl-show"><p>{line}</p>{code}</div>'


def _name(obj: object) -> str:
    """The dotted name of a function, class or module of crl_mini."""
    if inspect.ismodule(obj):
        name = module = obj.__name__
    else:
        name = getattr(obj, "__qualname__", f"an instance of {type(obj).__qualname__}")
        module = getattr(obj, "__module__", None) if hasattr(obj, "__name__") else None
    if str(module).partition(".")[0] != "crl_mini":
        raise TypeError(
            f"show() takes a function, class or module of crl_mini; got {name}"
        )
    return module if inspect.ismodule(obj) else f"{module}.{name}"


def _chapter(obj: object, code: str) -> tuple[str, str] | None:
    """(label, chapter) of the first equation named by the source or its module."""
    module = sys.modules[obj.__name__ if inspect.ismodule(obj) else obj.__module__]
    for text in (code, module.__doc__ or ""):
        for label in re.findall(r":eq:`([\w-]+)`", text):
            if label in EQUATIONS:
                return label, EQUATIONS[label]
    return None


def _link(label: str, stem: str) -> str:
    """URL of an equation: within the book its page, elsewhere the repository's."""
    if "CRL_MINI_BOOK" in os.environ:
        return f"../chapters/{stem}.html#equation-{label}"
    try:
        urls = metadata("crl_mini").get_all("Project-URL")
    except PackageNotFoundError:  # imported from a folder, never installed
        return f"{stem}.md"
    repository = dict(url.split(", ") for url in urls)["Repository"]
    return f"{repository}/blob/main/book/chapters/{stem}.md"
