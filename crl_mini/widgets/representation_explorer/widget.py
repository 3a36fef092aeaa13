"""Chapter 6: drag a state, an action and a goal; walk to where the critic points."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
import traitlets
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from crl_mini import checks
from crl_mini.critic import ENERGIES, Critic
from crl_mini.envs.maze import RADIUS, STEP, SUBSTEPS, GridMaze
from crl_mini.figures.plots import maze_values
from crl_mini.measure.critics import Projection, pca
from crl_mini.widgets.base import Name, Widget, layers_of, named

RULES = {"step": STEP, "substeps": SUBSTEPS, "radius": RADIUS}  # how a point moves
LARGEST = 200_000  # weights, at four bytes each


def shown(critic: Critic, psi) -> Float[np.ndarray, "N D"]:
    """Vectors as the plane shows them: of length one for the cosine."""
    psi = np.asarray(psi, float)
    lengths = np.linalg.norm(psi, axis=1, keepdims=True)
    return psi / lengths if critic.energy == "cosine" else psi


def projection(critic: Critic, maze: GridMaze) -> Projection:
    """The plane in which psi varies most over the centres of a maze's cells."""
    return pca(shown(critic, critic.psi(critic.see_goal(centres(maze)))))


def centres(maze: GridMaze) -> Float[Array, "S 2"]:
    """Positions (x, y) of the middles of all cells, in cells."""
    return jnp.asarray(maze.cells[:, ::-1] + 0.5, jnp.float32)


class RepresentationExplorer(
    Widget, files=("common", "networks", "representation_explorer/widget")
):
    """Maze coloured by the critic f(s, a, g) of one state and action, for every goal.

    `critics` maps names of energies to trained critics of a point in the maze `maze`,
    all of one architecture, with at most 200,000 weights in all. `state` and `goal` are
    positions [x, y] in free cells, in cells; `action` lies in [-1, 1]^2; `energy` is
    one of the names (the first unless given). The colours range over `over`: "goals"
    for f(s, a, .) or "states" for f(., a, g). The arrow keys move `moved`: "state",
    "action" or "goal". Raises ``ValueError`` for anything else.
    """

    weights = traitlets.Bytes().tag(sync=True)  # float32, network after network
    projections = traitlets.Bytes().tag(sync=True)  # float32 mean, axes a critic
    energies = traitlets.List().tag(sync=True)  # names, in the order of the weights
    sizes = traitlets.List().tag(sync=True)  # [hidden..., D]
    layer_norm = traitlets.Bool().tag(sync=True)
    shape = traitlets.List().tag(sync=True)  # [H, W]
    cells = traitlets.List().tag(sync=True)  # S pairs [row, column]
    rules = traitlets.Dict(RULES).tag(sync=True)
    state = traitlets.List().tag(sync=True)
    action = traitlets.List().tag(sync=True)
    goal = traitlets.List().tag(sync=True)
    energy = Name("l2", named(*ENERGIES))
    over = Name("goals", named("goals", "states"))
    moved = Name("state", named("state", "action", "goal"))

    def __init__(
        self,
        critics: Mapping[str, Critic],
        maze: GridMaze,
        state: list[float],
        goal: list[float],
        action: list[float] | None = None,
        energy: str | None = None,
        **kwargs,
    ):
        self.critics = dict(critics)
        self.maze = maze
        self._check_networks()
        networks = list(critics.values())
        towers = [t for c in networks for t in (c.phi_tower, c.psi_tower)]
        parts = [np.asarray(x[...]) for tower in towers for x in layers_of(tower)]
        weights = np.concatenate([x.ravel() for x in parts])
        more = [[c.bias[...], *_log_scale(c)] for c in networks]
        weights = np.concatenate([weights, np.ravel(more)])
        if weights.size > LARGEST:
            raise ValueError(
                f"critics must hold at most {LARGEST} weights; got {weights.size}"
            )
        planes = [projection(c, maze) for c in networks]
        planes = [np.concatenate([p.mean, p.axes.ravel()]) for p in planes]
        hidden = [dense.out_features for dense in towers[0].dense]
        super().__init__(
            weights=weights.astype("<f4").tobytes(),
            projections=np.concatenate(planes).astype("<f4").tobytes(),
            energies=list(critics),
            sizes=[*hidden, towers[0].out.out_features],
            layer_norm=bool(towers[0].norms),
            shape=list(maze.walls.shape),
            cells=maze.cells.tolist(),
            state=list(state),
            goal=list(goal),
            action=[0.0, 0.0] if action is None else list(action),
            energy=next(iter(critics)) if energy is None else energy,
            **kwargs,
        )

    def _check_networks(self) -> None:
        """Raise ``ValueError`` for critics that the script would misread."""
        high = tuple(float(n) for n in self.maze.walls.shape[::-1])
        first = next(iter(self.critics.values()))
        for name, critic in self.critics.items():
            checks.one_of("critics", name, ENERGIES)
            spaces = (critic.observation, critic.goal)
            fits = all(space.high == high for space in spaces)
            fits = fits and critic.action.shape == (2,)
            if not fits or critic.energy != name or _form(critic) != _form(first):
                raise ValueError(
                    f"critics[{name!r}] must be a critic with that energy for a point "
                    f"in {self.maze.name}, of the same sizes as the others"
                )

    @traitlets.validate("state", "goal")
    def _is_a_free_place(self, proposal) -> list[float]:
        name, place = proposal.trait.name, proposal.value
        checks.shaped(name, place, (2,))
        x, y = (int(np.floor(value)) for value in place)
        if [y, x] not in self.cells:
            raise ValueError(f"{name} must be [x, y] in a free cell; got {place}")
        return place

    @traitlets.validate("action")
    def _is_an_action(self, proposal) -> list[float]:
        checks.shaped("action", proposal.value, (2,))
        if max(map(abs, proposal.value)) > 1:
            raise ValueError(f"action must lie in [-1, 1]^2; got {proposal.value}")
        return proposal.value

    @traitlets.validate("energy")
    def _is_shipped(self, proposal) -> str:
        checks.one_of("energy", proposal.value, self.energies)
        return proposal.value

    def fallback(self) -> Figure:
        """f(s, a, .) at the centre of every cell."""
        critic = self.critics[self.energy]
        maze = self.maze
        s, a = jnp.array([self.state]), jnp.array([self.action])
        values = critic(s, a, centres(maze))[0]
        start, goal = (maze.index(int(y), int(x)) for x, y in (self.state, self.goal))
        label = "f(s, a, g)"
        return maze_values(
            maze, np.asarray(values), start=start, goal=goal, label=label
        )


def _log_scale(critic: Critic) -> list:
    return [0.0 if critic.log_scale is None else critic.log_scale[...]]


def _form(critic: Critic) -> list:
    """Shapes of all weights but the scale's, which only the cosine has."""
    towers = (critic.phi_tower, critic.psi_tower)
    return [x.shape for tower in towers for x in layers_of(tower)]
