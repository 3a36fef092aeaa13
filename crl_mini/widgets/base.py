"""Shared parts of the widgets: files, static picture, checked traits, mazes.

A widget computes everything in JavaScript, so that it works in a page without a kernel.
Python checks the input, ships the data and plots the picture for pages without
JavaScript.
"""

import base64
import html
import inspect
import io
from collections.abc import Callable
from pathlib import Path

import anywidget
import numpy as np
import traitlets
from IPython.display import display
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure
from PIL import Image

from crl_mini import checks
from crl_mini.encoders import MLP
from crl_mini.envs.maze import GridMaze

HERE = Path(__file__).parent


class Widget(anywidget.AnyWidget):
    """An anywidget made of several files, with a picture for pages without JavaScript.

    Subclasses name their scripts, ``class Mine(Widget, files=("common", "mine"))``;
    these become one module. The docstring's first line describes their `fallback`.
    """

    def __init_subclass__(cls, files: tuple[str, ...] = (), **kwargs):
        super().__init_subclass__(**kwargs)
        if files:
            css = [HERE / f"{name}.css" for name in files]
            cls._esm = "\n".join((HERE / f"{name}.js").read_text() for name in files)
            cls._css = "\n".join(path.read_text() for path in css if path.exists())

    def fallback(self) -> Figure:
        """The widget's first view as a figure, computed in Python."""
        raise NotImplementedError

    def _ipython_display_(self) -> None:
        """Show the picture to readers without JavaScript, then the widget."""
        png = io.BytesIO()
        self.fallback().savefig(png, dpi=80, bbox_inches="tight")
        source = base64.b64encode(png.getvalue()).decode()
        alt = html.escape(inspect.getdoc(type(self)).splitlines()[0], quote=True)
        image = f'<img alt="{alt}" src="data:image/png;base64,{source}">'
        hidden = f'<noscript class="crl-fallback">{image}</noscript>'
        display({"text/html": hidden, "text/plain": alt}, raw=True)
        display(*self._repr_mimebundle_()[:1], raw=True)


class Checked:
    """A synced trait whose values must pass ``check(name, value)``."""

    def __init__(self, default, check: Callable[[str, object], None], **kwargs):
        super().__init__(default, **kwargs)
        self.check = check
        self.tag(sync=True)

    def validate(self, obj, value):
        """The value, if its type and range are right."""
        value = super().validate(obj, value)
        self.check(self.name, value)
        return value


class Real(Checked, traitlets.Float):
    """A synced, checked float."""


class Whole(Checked, traitlets.Int):
    """A synced, checked integer."""


class Name(Checked, traitlets.Unicode):
    """A synced, checked string."""


def within(low: float, high: float) -> Callable[[str, float], None]:
    """A check that low <= value <= high."""

    def check(name: str, value: float) -> None:
        if not low <= value <= high:
            raise ValueError(f"{name} must lie in [{low}, {high}]; got {value}")

    return check


def named(*allowed: str) -> Callable[[str, str], None]:
    """A check that the value is one of the allowed names."""
    return lambda name, value: checks.one_of(name, value, allowed)


def discount(default: float = 0.9) -> Real:
    """A trait for a discount inside (0, 1)."""
    return Real(default, lambda name, value: checks.inside(name, value, 0, 1))


def seed_trait() -> Whole:
    """A trait for the seed of the JavaScript generator."""
    return Whole(0, within(0, 2**20))


def sheet_of(films: UInt8[np.ndarray, "R T1 H W 3"], goals) -> bytes:
    """All pictures as one lossless WebP, a row a film: its pictures, then its goal."""
    rows = np.concatenate([films, goals[:, None]], 1)  # (R, T + 2, H, W, 3)
    R, n, H, W, _ = rows.shape
    whole = rows.transpose(0, 2, 1, 3, 4).reshape(R * H, n * W, 3)
    file = io.BytesIO()
    Image.fromarray(whole).save(file, "WEBP", lossless=True, exact=True)
    return file.getvalue()


def layers_of(tower: MLP) -> list:
    """Parameters of an MLP in the order of their use: w, b (, scale, bias) a layer."""
    parts = []
    for k, dense in enumerate(tower.dense):
        parts += [dense.kernel, dense.bias]
        parts += [tower.norms[k].scale, tower.norms[k].bias] if tower.norms else []
    return [*parts, tower.out.kernel, tower.out.bias]


class MazeWidget(Widget):
    """A widget on an exact maze; ships cells, transitions (sparse) and the policy."""

    shape = traitlets.List().tag(sync=True)  # [H, W]
    cells = traitlets.List().tag(sync=True)  # S pairs [row, column]
    triples = traitlets.Bytes().tag(sync=True)  # uint16 s, a, s' of each transition
    probs = traitlets.Bytes().tag(sync=True)  # float64 probability of each
    policy = traitlets.Bytes().tag(sync=True)  # float64 (S, A)
    gamma = discount()
    goal = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        maze: GridMaze,
        policy: Float[np.ndarray, "..."] | None = None,
        goal: int | None = None,
        **kwargs,
    ):
        policy = maze.uniform_policy if policy is None else np.asarray(policy, float)
        checks.shaped("policy", policy, (maze.n_states, maze.n_actions))
        checks.finite("policy", policy)
        if policy.min() < 0 or not np.allclose(policy.sum(1), 1):
            raise ValueError("policy must hold probabilities; its rows must sum to 1")
        self.maze = maze
        self.pi = policy
        triples = np.argwhere(maze.P > 0)
        super().__init__(
            shape=list(maze.walls.shape),
            cells=maze.cells.tolist(),
            triples=triples.astype("<u2").tobytes(),
            probs=maze.P[tuple(triples.T)].astype("<f8").tobytes(),
            policy=policy.astype("<f8").tobytes(),
            goal=maze.n_states - 1 if goal is None else int(goal),
            **kwargs,
        )

    @traitlets.validate("goal", "start")
    def _is_a_state(self, proposal) -> int:
        within(0, len(self.cells) - 1)(proposal.trait.name, proposal.value)
        return proposal.value
