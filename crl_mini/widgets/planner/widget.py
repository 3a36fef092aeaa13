"""Chapter 7: drag a goal and a start, and watch three planners go there."""

import numpy as np
import traitlets
from jax.typing import ArrayLike
from jaxtyping import Int, Shaped
from matplotlib.figure import Figure

from crl_mini import checks
from crl_mini.envs.maze import GridMaze
from crl_mini.figures.plots import walks
from crl_mini.measure import planning
from crl_mini.measure.critics import pca
from crl_mini.widgets.base import MazeWidget, Name, Real, Whole, named, within

LARGEST = 100_000  # logits, at two bytes each


class Planner(MazeWidget, files=("common", "maze", "planner/widget")):
    """Three walks to one goal in a maze: greedy, by interpolation, and by a graph.

    `f` (S, A, S) are a critic's logits, ``f[s, a, g]``, at most 100,000; `psi` (S, D)
    and `phi` (S, A, D) its representations of all states and actions, all finite.
    `gamma` is the critic's discount, `limit` the largest cost in nats that a planner
    trusts, 0.5 to 12. Logits are shipped as 16-bit integers, exact to 1/131,000 of
    their range: the attributes `f` and `psi` hold the shipped numbers. Of `phi` only
    its place on the two principal axes of `psi` is shipped. `t` is a step of the walk.
    """

    PLANS = ("greedy", "interpolation", "graph")

    start = traitlets.Int(0).tag(sync=True)
    stored = traitlets.Bytes().tag(sync=True)  # uint16 (S, A, S)
    low, scale = (traitlets.Float().tag(sync=True) for _ in range(2))
    embedded = traitlets.Bytes().tag(sync=True)  # float32 (S, D)
    plane = traitlets.Bytes().tag(sync=True)  # float32 psi (S, 2), phi (S, A, 2)
    plan = Name("greedy", named(*PLANS))
    held = Name("goal", named("goal", "start"))
    limit = Real(4.0, within(0.5, 12))
    t = Whole(0, within(0, 1000))

    def __init__(
        self,
        maze: GridMaze,
        f: Shaped[ArrayLike, "..."],
        psi: Shaped[ArrayLike, "..."],
        phi: Shaped[ArrayLike, "..."],
        gamma: float = 0.9,
        goal: int | None = None,
        **kwargs,
    ):
        f = np.asarray(f, float)
        psi, phi = (np.asarray(x, "<f4") for x in (psi, phi))
        checks.shaped("f", f, (maze.n_states, maze.n_actions, maze.n_states))
        checks.shaped("psi", psi, (maze.n_states, None))
        checks.shaped("phi", phi, (maze.n_states, maze.n_actions, psi.shape[1]))
        for name, x in (("f", f), ("psi", psi), ("phi", phi)):
            checks.finite(name, x)
        checks.at_least("the number of logits allowed", LARGEST, f.size)
        low = f.min()
        scale = max(np.ptp(f), 1e-6) / 65535
        whole = np.round((f - low) / scale).astype("<u2")
        self.f = low + scale * whole
        self.psi = psi.astype(float)
        project = pca(psi)
        seen = project(psi), project(phi.reshape(-1, psi.shape[1]))
        super().__init__(
            maze,
            goal=goal,
            gamma=gamma,
            stored=whole.tobytes(),
            embedded=psi.tobytes(),
            plane=np.concatenate(seen).astype("<f4").tobytes(),
            low=float(low),
            scale=float(scale),
            **kwargs,
        )

    def ways(self) -> dict[str, Int[np.ndarray, "S S"]]:
        """Waypoints [s, g] of each plan; without a path, the goal itself."""
        S = len(self.f)
        cost = planning.travel_cost(self.f, self.gamma)
        goals = np.tile(np.arange(S), (S, 1))
        onward = planning.graph_distances(cost, self.limit)
        nodes = planning.next_nodes(cost, onward, self.limit)
        halves = planning.interpolated(self.psi, cost, self.limit)
        nodes = np.where(nodes < 0, goals, nodes)
        return dict(zip(self.PLANS, (goals, halves, nodes), strict=True))

    def walks(self) -> dict[str, list[int]]:
        """States on the way from start to goal, or to the first state seen twice."""
        step = self.maze.P.argmax(-1)  # (S, A)
        paths = {}
        for plan, way in self.ways().items():
            action = planning.toward(self.f, way)
            path = [self.start]
            while path[-1] != self.goal and path[-1] not in path[:-1]:
                path.append(int(step[path[-1], action[path[-1], self.goal]]))
            paths[plan] = path
        return paths

    def fallback(self) -> Figure:
        """The three walks."""
        return walks(self.maze, self.walks(), goals=[self.goal] * 3)
