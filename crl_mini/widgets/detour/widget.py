"""Chapter 7: a film, and where each greedy rule would not follow it."""

from collections.abc import Mapping

import numpy as np
import traitlets
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Shaped, UInt8
from matplotlib.figure import Figure

from crl_mini import checks
from crl_mini.figures.plots import lines
from crl_mini.measure import planning
from crl_mini.widgets.base import Real, Widget, sheet_of, within

MOST = 4  # curves that colours and dashes tell apart


class Detour(Widget, files=("common", "detour/widget")):
    """Distances to the goal along a film, and where greedy rules would not follow.

    `film` (T, H, W, 3) and `goal` (H, W, 3) are pictures; `curves` maps the names of at
    most four rules to distances (T,), as shares of the first one. A rule would not go
    where its distance is more than `slack` above its lowest value so far; `t` is the
    moment that is shown. The film plays while it is seen, unless the reader asked for
    no motion.
    """

    sheet = traitlets.Bytes().tag(sync=True)  # WebP: the film, then the goal
    shape = traitlets.List().tag(sync=True)  # [T, H, W]
    curves = traitlets.Bytes().tag(sync=True)  # float32 (names, T)
    names = traitlets.List().tag(sync=True)
    slack = Real(0.01, within(0, 1))
    t = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        film: UInt8[np.ndarray, "T H W 3"],
        goal: UInt8[np.ndarray, "H W 3"],
        curves: Mapping[str, Shaped[ArrayLike, "..."]],
        **kwargs,
    ):
        checks.shaped("film", film, (None, *goal.shape))
        checks.at_least("the number of curves allowed", MOST, len(curves))
        table = np.stack([np.asarray(curve, "<f4") for curve in curves.values()])
        checks.shaped("curves", table, (len(curves), len(film)))
        checks.finite("curves", table)
        self.distances = table.astype(float)
        super().__init__(
            sheet=sheet_of(film[None], goal[None]),
            shape=[len(film), *goal.shape[:2]],
            curves=table.tobytes(),
            names=list(curves),
            **kwargs,
        )

    @traitlets.validate("t")
    def _is_a_moment(self, proposal) -> int:
        within(0, self.shape[0] - 1)("t", proposal.value)
        return proposal.value

    def refused(self) -> Bool[np.ndarray, "N T"]:
        """Where each rule would not go, in the order of the names."""
        return planning.refused(self.distances, self.slack)

    def fallback(self) -> Figure:
        """The curves."""
        by_name: dict[str, Float[np.ndarray, " T"]] = dict(
            zip(self.names, self.distances, strict=True)
        )
        steps = np.arange(self.shape[0])
        return lines(steps, by_name, xlabel="step", ylabel="distance (start = 1)")
