"""Front page and chapter 5: train a critic of walks in a maze, in the page."""

import traitlets
from matplotlib.figure import Figure

from crl_mini import checks
from crl_mini.critic import ENERGIES
from crl_mini.envs.maze import LAYOUTS, GridMaze
from crl_mini.figures.plots import maze_values
from crl_mini.losses import LOSSES
from crl_mini.measure import occupancy
from crl_mini.widgets.base import Name, Real, Whole, Widget, named, seed_trait, within

FILES = ("learn", "world", "lab", "draw", "tasks", "widget")
MOST = 200  # free cells


def among(*allowed: int):
    """A check that the value is one of the allowed numbers."""
    return lambda name, value: checks.one_of(name, str(value), map(str, allowed))


def free(rows: list[str]) -> list[list[int]]:
    """Row and column of every cell that is no wall."""
    return [[r, c] for r, row in enumerate(rows) for c, x in enumerate(row) if x != "#"]


def checked(rows: list[str]) -> list[str]:
    """The rows, if they draw a maze."""
    edge = rows[0] + rows[-1] + "".join(row[0] + row[-1] for row in rows)
    if {len(row) for row in rows} != {len(rows[0])} or set("".join(rows)) - set("#.x"):
        raise ValueError("rows must be equally long texts of '#', '.' and 'x'")
    if set(edge) != {"#"}:
        raise ValueError("rows must have walls all around")
    for n in ("".join(rows).count("."), len(free(rows))):
        within(8, MOST)("the number of free cells", n)
    return rows


class MazeLab(
    Widget,
    files=("common", "maze", "networks", *(f"maze_lab/{name}" for name in FILES)),
):
    """A critic of walks in a maze is trained in the page, and a walker follows it.

    `rows` draws the maze: ``#`` walls, ``.`` cells, ``x`` cells that the recorded walks
    keep out of; at most 200 cells, with walls all around. `goal` is [row, column].
    `walks` of 200 steps are recorded, ``aimless`` or with ``momentum``: then three
    steps in ten repeat the last action, the others sample a new one. `penalty` adds 0.1
    times the logsumexp penalty. The page sets `found` to what it has measured last.
    """

    rows = traitlets.List(traitlets.Unicode()).tag(sync=True)
    layouts = traitlets.Dict().tag(sync=True)  # to choose from
    goal = traitlets.List(traitlets.Int(), minlen=2, maxlen=2).tag(sync=True)
    gamma = Real(0.95, within(0.8, 0.98))
    loss = Name("nce", named(*LOSSES))
    penalty = traitlets.Bool(False).tag(sync=True)
    energy = Name("l2", named(*ENERGIES))
    dim = Whole(16, within(2, 16))
    walks = Whole(2000, among(20, 200, 2000))
    walkers = Name("momentum", named("aimless", "momentum"))
    speed = Whole(64, among(1, 4, 16, 64))
    brush = Name("goal", named("goal", "wall", "fence"))
    playing = traitlets.Bool(True).tag(sync=True)
    found = traitlets.Dict().tag(sync=True)
    seed = seed_trait()

    def __init__(self, maze: str = "FourRooms", **kwargs):
        layouts = {name: LAYOUTS[name].split() for name in LAYOUTS}
        checks.one_of("maze", maze, layouts)
        rows = checked(kwargs.pop("rows", layouts[maze]))
        kwargs.setdefault("goal", free(rows)[-1])
        super().__init__(layouts=layouts, rows=rows, **kwargs)

    @traitlets.validate("rows")
    def _is_a_maze(self, proposal) -> list[str]:
        return checked(proposal.value)

    @traitlets.validate("goal")
    def _is_free(self, proposal) -> list[int]:
        if proposal.value not in free(self.rows):
            raise ValueError(f"goal must be a free cell; got {proposal.value}")
        return proposal.value

    def fallback(self) -> Figure:
        """The exact Q of one goal in the four rooms, for aimless walks."""
        maze = GridMaze()
        M = occupancy.discounted_occupancy(maze.P, maze.uniform_policy, self.gamma)
        goal = maze.n_states - 1
        return maze_values(
            maze,
            M[:, :, goal].max(1),
            goal=goal,
            arrows=occupancy.greedy_policy(M[..., [goal]])[:, 0],
            label="exact Q of the goal",
            log=True,
        )
