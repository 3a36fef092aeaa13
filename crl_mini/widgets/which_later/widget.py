"""Chapter 0: which of two cells came later? The reader's score beside the critic's."""

import numpy as np
import traitlets
from matplotlib.figure import Figure

from crl_mini.figures.plots import maze_values
from crl_mini.measure import occupancy
from crl_mini.widgets.base import MazeWidget, Whole, discount, seed_trait, within


class WhichLater(MazeWidget, files=("common", "maze", "which_later/widget")):
    """The contrastive game: which of two cells did a random walker come to later?

    In each round a walker leaves a state, follows the policy, and stops when a clock of
    mean 1 / (1 - gamma) does; the other cell is where another walk has stopped.
    `guesses` are the reader's, "A" or "B", in the rounds so far of this `seed`;
    `played` counts the rounds that are over. The critic is the best one, computed
    exactly.
    """

    gamma = discount(0.97)
    seed = seed_trait()
    guesses = traitlets.List(traitlets.Enum("AB")).tag(sync=True)
    played = Whole(0, within(0, 10_000))

    def fallback(self) -> Figure:
        """What the best critic answers for every cell, from the middle state."""
        M = occupancy.discounted_occupancy(self.maze.P, self.pi, self.gamma)
        p_g = occupancy.goal_marginal(M, self.pi / len(self.pi))
        s = self.maze.n_states // 2
        best = np.log(M[s, 0] / p_g)
        return maze_values(self.maze, [best], start=s, label="best critic")
