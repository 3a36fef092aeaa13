"""Chapter 1: drag the goal and the discount on an exact maze, and send walkers."""

import numpy as np
import traitlets
from jaxtyping import Float
from matplotlib.figure import Figure

from crl_mini.envs.maze import GridMaze
from crl_mini.figures.plots import maze_values
from crl_mini.measure import occupancy
from crl_mini.widgets.base import MazeWidget, Name, Whole, named, seed_trait, within


class OccupancyMaze(MazeWidget, files=("common", "maze", "occupancy_maze/widget")):
    """Maze coloured by the value of reaching a goal, with greedy arrows.

    `mode` "value" shows V_g(s) of reaching `goal`; "occupancy" shows the discounted
    occupancy from `start`. `maze` is a `GridMaze`, `policy` (S, A) rows of
    probabilities (uniform unless given), `gamma` in (0, 1), `goal` a state number (the
    last unless given). `walkers` (0 to 5,000) leave `start` and follow the policy until
    their clocks stop, at each tick with probability 1 - gamma. Raises ``ValueError``
    for anything else.
    """

    start = traitlets.Int(0).tag(sync=True)
    mode = Name("value", named("value", "occupancy"))
    walkers = Whole(0, within(0, 5000))
    seed = seed_trait()

    def __init__(
        self,
        maze: GridMaze,
        policy: Float[np.ndarray, "..."] | None = None,
        gamma: float = 0.9,
        goal: int | None = None,
        **kwargs,
    ):
        super().__init__(maze, policy=policy, gamma=gamma, goal=goal, **kwargs)

    def fallback(self) -> Figure:
        """Value of reaching the goal, with greedy arrows."""
        M = occupancy.discounted_occupancy(self.maze.P, self.pi, self.gamma)
        q = M[..., self.goal]  # (S, A)
        greedy = occupancy.greedy_policy(q[..., None])[:, 0]
        values = (self.pi * q).sum(1)
        return maze_values(self.maze, values, goal=self.goal, arrows=greedy, log=True)
