"""Chapter 12: draw trajectories, and compare futures inside each and stitched."""

from collections.abc import Iterable

import numpy as np
import traitlets
from jaxtyping import Float
from matplotlib.figure import Figure

from crl_mini import checks
from crl_mini.envs.maze import GridMaze
from crl_mini.figures.plots import maze_values
from crl_mini.measure import occupancy
from crl_mini.widgets.base import MazeWidget, Name, Real, named, within

MOST, LONGEST = 8, 120  # trajectories, and states of each


class Stitching(MazeWidget, files=("common", "maze", "stitching/widget")):
    """Futures of recorded trajectories: counted inside each, and stitched together.

    `walks` holds up to 8 trajectories, each of 1 to 120 states: neighbours, or the
    same state twice. `used` marks those that count. Both estimates are of the futures
    of `start`; greedy arrows lead to `goal`. The maze must not slip; `gamma` lies in
    [0.5, 0.99].
    """

    METHODS = ("monte carlo", "td")

    start = traitlets.Int(0).tag(sync=True)
    gamma = Real(0.9, within(0.5, 0.99))
    walks = traitlets.List(traitlets.List(traitlets.Int())).tag(sync=True)
    used = traitlets.List(traitlets.Bool()).tag(sync=True)
    held = Name("goal", named("goal", "start"))

    def __init__(self, maze: GridMaze, walks: Iterable[Iterable], gamma=0.9, **kwargs):
        if maze.slip:
            raise ValueError(f"maze must not slip; its slip is {maze.slip}")
        walks = [[int(s) for s in walk] for walk in walks]
        self.maze = maze
        kwargs.setdefault("used", [True] * len(walks))
        super().__init__(maze, walks=walks, gamma=gamma, **kwargs)

    @traitlets.validate("walks")
    def _are_walks(self, proposal) -> list[list[int]]:
        walks = proposal.value
        S = self.maze.n_states
        checks.at_least("the number of walks allowed", MOST, len(walks))
        for walk in walks:
            within(1, LONGEST)("the length of a walk", len(walk))
            for s in walk:
                within(0, S - 1)("a state of a walk", s)
            if (self.maze.distances[walk[:-1], walk[1:]] > 1).any():
                raise ValueError(f"walks must go from cell to cell; got {walk}")
        return walks

    def recorded(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """States and actions of the used trajectories."""
        kept = zip(self.walks, self.used, strict=True)
        states = [np.array(walk) for walk, on in kept if on]
        step = self.maze.P.argmax(-1)  # (S, A)
        return states, [(step[s[:-1]] == s[1:, None]).argmax(1) for s in states]

    def estimates(self) -> dict[str, Float[np.ndarray, "S A S"]]:
        """Each method's p_gamma(g | s, a); zero where nothing was recorded."""
        tape = self.recorded()
        sizes = self.maze.P.shape[:2]
        P, pi = occupancy.empirical_transitions(*tape, *sizes)
        counted = occupancy.monte_carlo_occupancy(*tape, *sizes, self.gamma)
        stitched = occupancy.discounted_occupancy(P, pi, self.gamma)
        return dict(zip(self.METHODS, (counted, stitched), strict=True))

    def futures(self) -> dict[str, Float[np.ndarray, " S"]]:
        """Each method's distribution of futures from the start."""
        _, pi = occupancy.empirical_transitions(
            *self.recorded(), *self.maze.P.shape[:2]
        )
        return {
            name: pi[self.start] @ M[self.start] for name, M in self.estimates().items()
        }

    def greedy(self) -> dict[str, Float[np.ndarray, "S A"]]:
        """Greedy policy to the goal of each method; zeros where it knows no way."""
        policies = {}
        for name, M in self.estimates().items():
            known = M[..., self.goal].max(1) > 0
            policy = occupancy.greedy_policy(M[..., [self.goal]])[:, 0]
            policies[name] = policy * known[:, None]
        return policies

    def paths(self) -> dict[str, list[int]]:
        """States from the start to the goal, to where no way is known, or a loop."""
        step = self.maze.P.argmax(-1)  # (S, A)
        paths = {}
        for name, policy in self.greedy().items():
            path = [self.start]
            while path[-1] != self.goal and path[-1] not in path[:-1]:
                if not policy[path[-1]].any():
                    break
                path.append(int(step[path[-1], policy[path[-1]].argmax()]))
            paths[name] = path
        return paths

    def fallback(self) -> Figure:
        """Both futures of the start, with greedy arrows to the goal."""
        values = np.stack(list(self.futures().values()))
        return maze_values(
            self.maze,
            np.maximum(values, values.max(initial=1e-9) * 1e-4),
            goal=self.goal,
            start=self.start,
            arrows=np.stack(list(self.greedy().values())),
            titles=["inside one trajectory", "stitched"],
            label="future of the start",
            log=True,
        )
