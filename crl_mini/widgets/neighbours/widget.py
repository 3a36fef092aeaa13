"""Chapter 10: pick a frame, and see its nearest neighbours by four measures."""

import io
from collections.abc import Mapping, Sequence

import imageio.v3 as imageio
import numpy as np
import traitlets
from jax.typing import ArrayLike
from jaxtyping import Int, Shaped
from matplotlib.figure import Figure
from scipy.spatial.distance import cdist

from crl_mini import checks
from crl_mini.figures.plots import pictures
from crl_mini.measure.sight import nearest
from crl_mini.widgets.base import Name, Widget, named

LARGEST = 2_000_000  # numbers of all spaces, at two bytes each
SHOWN = 5  # neighbours of each measure


class Neighbours(Widget, files=("common", "networks", "neighbours/widget")):
    """Film frames in rows, and the nearest neighbours of one of them by each measure.

    `frames` (N, S, S, 3) are bytes; `episodes` (N,) are the names of their episodes, in
    order, with at most 100 frames each; `steps` (N,) are their times. `spaces` maps the
    name of a measure to points (N, D), or to a pair of queries and answers, both
    (N, D). The smaller their distance, the nearer. `within` selects the frames that
    count: those of "others", other episodes, or "all" but the frame itself; `at` is the
    frame shown first. Points are shipped as 16-bit floats: the attribute `points` holds
    the rounded ones.
    """

    WITHIN = ("others", "all")

    sheet = traitlets.Bytes().tag(sync=True)  # PNG: all frames, one below the other
    side = traitlets.Int().tag(sync=True)
    names = traitlets.List().tag(sync=True)  # of the episode of each frame
    steps = traitlets.List().tag(sync=True)
    spaces = traitlets.List().tag(sync=True)  # [name, D] of each measure
    stored = traitlets.Bytes().tag(sync=True)  # float16: queries, answers (N, D) each
    at = traitlets.Int(0).tag(sync=True)
    within = Name("others", named(*WITHIN))

    def __init__(
        self,
        frames: Shaped[ArrayLike, "..."],
        episodes: Sequence[str] | Shaped[np.ndarray, "..."],
        steps: Sequence[int] | Shaped[np.ndarray, "..."],
        spaces: Mapping[str, object],
        **kwargs,
    ):
        frames = np.asarray(frames)
        n = len(episodes)
        checks.shaped("frames", frames, (n, frames.shape[1], frames.shape[1], 3))
        if frames.dtype != np.uint8:
            raise ValueError(f"frames must be bytes, uint8; got {frames.dtype}")
        checks.shaped("steps", np.asarray(steps), (n,))
        self.frames = frames
        self.points = {}
        for name, given in spaces.items():
            both = given if isinstance(given, tuple) else (given, given)
            with np.errstate(over="ignore"):  # too large numbers become infinite
                both = [np.asarray(x, float).astype("<f2") for x in both]
            for x in both:
                checks.shaped(f"spaces[{name!r}]", x, (n, both[0].shape[-1]))
                checks.finite(f"spaces[{name!r}] as 16-bit floats", x)
            self.points[name] = both
        stored = np.concatenate([x.ravel() for xs in self.points.values() for x in xs])
        checks.at_least("the number of numbers allowed", LARGEST, stored.size)
        png = io.BytesIO()
        imageio.imwrite(png, np.concatenate(frames), extension=".png", optimize=True)
        super().__init__(
            sheet=png.getvalue(),
            side=frames.shape[1],
            names=list(map(str, episodes)),
            steps=np.asarray(steps).astype(int).tolist(),
            spaces=[[name, x.shape[1]] for name, (x, _) in self.points.items()],
            stored=stored.tobytes(),
            **kwargs,
        )
        self.neighbours()  # checks that there are enough

    @traitlets.validate("at")
    def _is_a_frame(self, proposal) -> int:
        if not 0 <= proposal.value < len(self.steps):
            raise ValueError(
                f"at must lie in [0, {len(self.steps) - 1}]; got {proposal.value}"
            )
        return proposal.value

    def neighbours(self) -> dict[str, Int[np.ndarray, "N K"]]:
        """The nearest frames of every frame, by each measure, of those that count."""
        names = np.array(self.names)
        groups = names if self.within == "others" else np.arange(len(names))
        return {
            name: nearest(cdist(*(x.astype(float) for x in both)), SHOWN, groups)
            for name, both in self.points.items()
        }

    def fallback(self) -> Figure:
        """The first frame, and its neighbours by each measure."""
        rows = {
            name: self.frames[[self.at, *nearest_ones[self.at]]]
            for name, nearest_ones in self.neighbours().items()
        }
        return pictures(rows, ["the frame", *(str(k + 1) for k in range(SHOWN))])
