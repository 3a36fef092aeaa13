"""Chapter 3: add an offset that a loss cannot see, and watch the greedy arrows."""

import numpy as np
import traitlets
from matplotlib.figure import Figure

from crl_mini import checks
from crl_mini.envs.maze import GridMaze
from crl_mini.figures.plots import maze_values
from crl_mini.measure import occupancy
from crl_mini.widgets.base import (
    MazeWidget,
    Name,
    Real,
    named,
    seed_trait,
    within,
)


class FreeOffsets(MazeWidget, files=("common", "maze", "free_offsets/widget")):
    """Greedy arrows of the optimal logits of a maze, before an offset is added.

    The behaviour is uniform. `kind` of offset: "none", "pair" for c(s, a), "goal" for
    c(g): a normal number each, sampled with `seed`, times `size` (0 to 3 nats). The
    losses are those of one fixed batch of (s, a, g), sampled with `batch_seed`.
    """

    batch = traitlets.List().tag(sync=True)  # B triples [s, a, g]
    kind = Name("pair", named("none", "pair", "goal"))
    size = Real(0.5, within(0, 3))
    seed = seed_trait()

    def __init__(
        self,
        maze: GridMaze,
        gamma: float = 0.9,
        goal: int | None = None,
        batch_size: int = 32,
        batch_seed: int = 0,
        **kwargs,
    ):
        checks.inside("gamma", gamma, 0, 1)
        within(2, 128)("batch_size", batch_size)
        rng = np.random.default_rng(batch_seed)
        s = rng.integers(maze.n_states, size=batch_size)
        a = rng.integers(maze.n_actions, size=batch_size)
        M = occupancy.discounted_occupancy(maze.P, maze.uniform_policy, gamma)
        g = (M[s, a].cumsum(1) < rng.random((batch_size, 1))).sum(1)
        batch = np.stack([s, a, g.clip(max=maze.n_states - 1)], 1).tolist()
        super().__init__(maze, goal=goal, gamma=gamma, batch=batch, **kwargs)

    def fallback(self) -> Figure:
        """Greedy arrows of the optimal logits, without an offset."""
        M = occupancy.discounted_occupancy(self.maze.P, self.pi, self.gamma)
        p_g = occupancy.goal_marginal(M, self.pi / self.maze.n_states)
        f = occupancy.optimal_logits(M, p_g, len(self.batch))[..., self.goal]
        greedy = occupancy.greedy_policy(M)[:, self.goal]
        return maze_values(
            self.maze,
            f.max(1),
            goal=self.goal,
            arrows=greedy,
            label="largest f*(s, a, g)",
        )
