"""Chapter 4: three ways to sample a future goal from an episode that ends."""

import numpy as np
import traitlets
from matplotlib.figure import Figure

from crl_mini.envs.maze import GridMaze
from crl_mini.figures.plots import offset_pmfs
from crl_mini.measure.occupancy import SAMPLERS, offset_pmf
from crl_mini.widgets.base import (
    Name,
    Whole,
    Widget,
    discount,
    named,
    seed_trait,
    within,
)


class SamplerExplorer(Widget, files=("common", "maze", "sampler_explorer/widget")):
    """Probability of each future step as the goal, under three samplers.

    An episode has `length` steps (2 to 200) of a random walk in `maze` (four rooms
    unless given); `t` is the current one (0 to length - 1), `gamma` the discount in
    (0, 1), `shown` the sampler whose goals the maze shows.
    """

    gamma = discount()
    length = Whole(50, within(2, 200))
    t = traitlets.Int(0).tag(sync=True)
    draws = Whole(0, within(0, 20_000))
    seed = seed_trait()
    shown = Name("truncated", named(*SAMPLERS))
    shape = traitlets.List().tag(sync=True)  # [H, W]
    cells = traitlets.List().tag(sync=True)  # S pairs [row, column]
    walk = traitlets.List().tag(sync=True)  # length + 1 states

    def __init__(
        self,
        gamma: float = 0.9,
        length: int = 50,
        t: int | None = None,
        maze: GridMaze | None = None,
        **kw,
    ):
        t = 3 * length // 5 if t is None else t
        super().__init__(gamma=gamma, length=length, t=t, **kw)
        maze = GridMaze() if maze is None else maze
        self.shape, self.cells = list(maze.walls.shape), maze.cells.tolist()
        self.walk = maze.random_walk(np.random.default_rng(0), 1, length)[0][0].tolist()

    @traitlets.validate("t")
    def _is_a_step(self, proposal) -> int:
        within(0, self.length - 1)("t", proposal.value)
        return proposal.value

    def fallback(self) -> Figure:
        """The three distributions."""
        remaining = self.length - self.t
        pmfs = {name: offset_pmf(name, self.gamma, remaining) for name in SAMPLERS}
        return offset_pmfs({f"{remaining} steps remain": pmfs})
