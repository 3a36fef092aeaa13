"""Mazes: `GridMaze` with exact answers, and its continuous form `PointMaze`."""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import SupportsIndex

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from jaxtyping import Array, Bool, Float, Int, UInt8
from scipy.sparse.csgraph import shortest_path

from crl_mini import checks

LAYOUTS = {
    "U": """
        #######
        #.....#
        #####.#
        #.....#
        #######""",
    "FourRooms": """
        #############
        #.....#.....#
        #.....#.....#
        #...........#
        #.....#.....#
        #.....#.....#
        ##.####.....#
        #.....###.###
        #.....#.....#
        #.....#.....#
        #...........#
        #.....#.....#
        #############""",
    "NineRooms": """
        #############
        #...#...#...#
        #...........#
        #...#...#...#
        ##.###.###.##
        #...#...#...#
        #...........#
        #...#...#...#
        ##.###.###.##
        #...#...#...#
        #...........#
        #...#...#...#
        #############""",
    "Spiral": """
        ###########
        #.........#
        #########.#
        #.......#.#
        #.#####.#.#
        #.#...#.#.#
        #.#.###.#.#
        #.#.....#.#
        #.#######.#
        #.........#
        ###########""",
}

STEP = 1.0  # cells a point moves at full action
SUBSTEPS = 10  # collision checks in a step
RADIUS = 0.5  # cells; a goal nearer than this is reached
MARGIN = 0.2  # cells between a sampled position and its cell's border


def walls_of(name: str) -> Bool[np.ndarray, "H W"]:
    """Wall mask of a named layout: row 0 at the top, column 0 on the left."""
    checks.one_of("maze", name, LAYOUTS)
    return np.array([[c == "#" for c in row] for row in LAYOUTS[name].split()])


@dataclass(frozen=True)
class GridMaze:
    """A maze of cells with five actions and known transitions.

    With probability `slip` a uniformly random action replaces the given one. An action
    into a wall does not move. States number the free cells in reading order.
    """

    name: str = "FourRooms"
    slip: float = 0.0

    ACTIONS = ("stay", "up", "right", "down", "left")
    MOVES = np.array([[0, 0], [-1, 0], [0, 1], [1, 0], [0, -1]])  # (row, column)

    def __post_init__(self):
        checks.one_of("name", self.name, LAYOUTS)
        if not 0 <= self.slip <= 1:
            raise ValueError(f"slip must lie in [0, 1]; got {self.slip}")

    @cached_property
    def walls(self) -> Bool[np.ndarray, "H W"]:
        """True where there is a wall."""
        return walls_of(self.name)

    @cached_property
    def cells(self) -> Int[np.ndarray, "S 2"]:
        """Row and column of every state."""
        return np.argwhere(~self.walls)

    @property
    def n_states(self) -> int:
        """Number of free cells, S."""
        return len(self.cells)

    @property
    def n_actions(self) -> int:
        """Number of actions, A."""
        return len(self.ACTIONS)

    def index(self, row: SupportsIndex, col: SupportsIndex) -> int:
        """State number of a free cell."""
        states = np.flatnonzero((self.cells == (row, col)).all(1))
        if not len(states):
            raise ValueError(f"(row, col) must be a free cell; got ({row}, {col})")
        return int(states[0])

    @cached_property
    def P(self) -> Float[np.ndarray, "S A S"]:
        """Transition probabilities ``P[s, a, s']``."""
        states = np.arange(self.n_states)
        number = np.zeros(self.walls.shape, int)
        number[tuple(self.cells.T)] = states
        P = np.zeros((self.n_states, self.n_actions, self.n_states))
        for a in range(self.n_actions):
            to = self.cells + self.MOVES[a]
            blocked = self.walls[tuple(to.T)]
            P[states, a, np.where(blocked, states, number[tuple(to.T)])] = 1
        return (1 - self.slip) * P + self.slip * P.mean(1, keepdims=True)

    @cached_property
    def distances(self) -> Float[np.ndarray, "S S"]:
        """Length of the shortest path between any two states, in steps."""
        return shortest_path(self.P.max(1) > 0, unweighted=True)

    @property
    def uniform_policy(self) -> Float[np.ndarray, "S A"]:
        """The policy that takes every action with the same probability."""
        return np.full((self.n_states, self.n_actions), 1 / self.n_actions)

    def random_walk(
        self,
        rng: np.random.Generator,
        episodes: int,
        length: int,
        policy: Float[np.ndarray, "S A"] | None = None,
    ) -> tuple[Int[np.ndarray, "N T1"], Int[np.ndarray, "N T"]]:
        """Sample episodes of a policy (uniform unless given) from uniform starts.

        Returns states (N, T + 1) and actions (N, T).
        """
        checks.at_least("episodes", episodes, 1)
        checks.at_least("length", length, 1)
        policy = self.uniform_policy if policy is None else policy
        s = rng.integers(self.n_states, size=episodes)
        states, actions = [s], []
        for _ in range(length):
            a = _sample(rng, policy[s])
            s = _sample(rng, self.P[s, a])
            states.append(s)
            actions.append(a)
        return np.stack(states, 1), np.stack(actions, 1)


def _sample(
    rng: np.random.Generator, p: Float[np.ndarray, "N K"]
) -> Int[np.ndarray, " N"]:
    """Sample one category from each row of probabilities."""
    total = p.cumsum(1)
    total /= total[:, -1:]
    return (rng.random((len(p), 1)) >= total).sum(1)


def move(
    walls: Bool[Array, "H W"],
    position: Float[Array | np.ndarray, "*B 2"],
    action: Float[Array | np.ndarray, "*B 2"],
) -> Float[Array, "*B 2"]:
    """Move points by `STEP` x action cells, sliding along walls.

    Positions are (x, y) = (column, row) coordinates in cells, y growing downwards, so
    that cell (row, col) is the square [col, col + 1) x [row, row + 1).
    """
    position = jnp.asarray(position)
    action = jnp.clip(action, -1, 1) * (STEP / SUBSTEPS)
    for _ in range(SUBSTEPS):
        for axis in (0, 1):
            to = position.at[..., axis].add(action[..., axis])
            col, row = jnp.moveaxis(jnp.floor(to).astype(int), -1, 0)
            position = jnp.where(walls[row, col][..., None], position, to)
    return position


_move = jax.jit(move)  # compiled once for all mazes of a size


def within_reach(achieved_goal, desired_goal):
    """Whether the goal is nearer than `RADIUS` cells; NumPy or JAX arrays."""
    return ((achieved_goal - desired_goal) ** 2).sum(-1) < RADIUS**2


def compute_reward(achieved_goal, desired_goal, info=None):
    """Reward 1 where the goal is within reach, else 0; any leading axes."""
    achieved, desired = np.asarray(achieved_goal), np.asarray(desired_goal)
    return within_reach(achieved, desired).astype(np.float32)


def _spaces(walls: Bool[np.ndarray, "H W"]) -> tuple[spaces.Space, spaces.Space]:
    """Observation and action space of a point in a maze."""
    high = np.array(walls.shape[::-1], np.float32)
    place = spaces.Box(np.zeros(2, np.float32), high)
    names = ("observation", "achieved_goal", "desired_goal")
    return spaces.Dict(dict.fromkeys(names, place)), spaces.Box(-1, 1, (2,))


def _observe(position, goal) -> dict[str, np.ndarray]:
    """The GoalEnv dictionary of a position and a goal."""
    names = ("observation", "achieved_goal", "desired_goal")
    values = (position, position, goal)
    return {k: np.array(v, np.float32) for k, v in zip(names, values, strict=True)}


def _places(rng: np.random.Generator, walls: np.ndarray, n: int) -> np.ndarray:
    """`n` positions, uniform over free cells and inside each cell's margins."""
    cells = np.argwhere(~walls)[:, ::-1]  # (x, y)
    inside = rng.uniform(MARGIN, 1 - MARGIN, (n, 2))
    return (cells[rng.integers(len(cells), size=n)] + inside).astype(np.float32)


def picture(
    walls: Bool[np.ndarray, "H W"],
    position: Float[np.ndarray, "2"],
    goal: Float[np.ndarray, "2"],
) -> UInt8[np.ndarray, "Y X 3"]:
    """Picture of a maze from above, about 240 pixels high: orange goal, blue point."""
    size = 240 // len(walls)
    image = np.where(walls[..., None], 90, 245).astype(np.uint8)
    image = np.repeat(image.repeat(size, 0).repeat(size, 1), 3, axis=2)
    yx = np.stack(np.indices(image.shape[:2]), -1) / size + 0.5 / size
    for place, colour in ((goal, (230, 159, 0)), (position, (0, 90, 180))):
        image[np.linalg.norm(yx - place[::-1], axis=-1) < 0.35] = colour
    return image


class PointMaze(gymnasium.Env):
    """A point in a maze, in Gymnasium's GoalEnv form.

    Observation and goals: (x, y) in cells. Action: (dx, dy) in [-1, 1], clipped: cells
    moved. Start and goal are uniform over the free cells. Reward 1 and
    ``info["success"]`` within 0.5 cells of the goal; an episode never terminates, it is
    truncated at the registered length.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}
    compute_reward = staticmethod(compute_reward)

    def __init__(self, maze: str = "U", render_mode: str | None = None):
        self.walls = walls_of(maze)
        self.render_mode = render_mode
        self.observation_space, self.action_space = _spaces(self.walls)
        self._on_device = jnp.asarray(self.walls)
        self._position = None

    def reset(self, *, seed=None, options=None):
        """Sample a start and a goal."""
        super().reset(seed=seed)
        self._position, self._goal = _places(self.np_random, self.walls, 2)
        return _observe(self._position, self._goal), self._info()

    def step(self, action):
        """Move once; the reward is for the position after the move."""
        checks.begun(self._position)
        checks.shaped("action", action, (2,))
        checks.finite("action", action)
        action = np.float32(action)
        self._position = np.asarray(_move(self._on_device, self._position, action))
        reward = float(compute_reward(self._position, self._goal))
        observation = _observe(self._position, self._goal)
        return observation, reward, False, False, self._info()

    def _info(self) -> dict:
        return {"success": bool(compute_reward(self._position, self._goal))}

    def render(self):
        """A picture of the maze from above: see `picture`."""
        return picture(self.walls, self._position, self._goal)


class PointMazeVector(gymnasium.vector.VectorEnv):
    """`num_envs` points in one maze; one JAX call moves all of them.

    All episodes have the same length and end at the same step; the next step resets
    them (Gymnasium's next-step autoreset).
    """

    metadata = {**PointMaze.metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}
    compute_reward = staticmethod(compute_reward)

    def __init__(
        self,
        num_envs: int = 1,
        maze: str = "U",
        max_episode_steps: int = 50,
        render_mode: str | None = None,
    ):
        checks.at_least("num_envs", num_envs, 1)
        self.num_envs = num_envs
        self.walls = walls_of(maze)
        self.max_episode_steps = max_episode_steps
        self.render_mode = render_mode
        self.single_observation_space, self.single_action_space = _spaces(self.walls)
        batch = partial(gymnasium.vector.utils.batch_space, n=num_envs)
        self.observation_space = batch(self.single_observation_space)
        self.action_space = batch(self.single_action_space)
        self._on_device = jnp.asarray(self.walls)
        self._t = None

    def reset(self, *, seed=None, options=None):
        """Sample a start and a goal for every point."""
        super().reset(seed=seed)
        places = _places(self.np_random, self.walls, 2 * self.num_envs)
        self._position, self._goal = np.split(places, 2)
        self._t = 0
        return _observe(self._position, self._goal), self._info()

    def step(self, actions):
        """Move all points once, or reset all if the last step ended the episodes."""
        checks.begun(self._t)
        checks.shaped("actions", actions, (self.num_envs, 2))
        checks.finite("actions", actions)
        never = np.zeros(self.num_envs, bool)
        if self._t == self.max_episode_steps:
            observation, info = self.reset()
            reward = np.zeros(self.num_envs, np.float32)
            return observation, reward, never, never.copy(), info
        self._t += 1
        actions = np.float32(actions)
        self._position = np.asarray(_move(self._on_device, self._position, actions))
        reward = compute_reward(self._position, self._goal)
        truncated = np.full(self.num_envs, self._t == self.max_episode_steps)
        observation = _observe(self._position, self._goal)
        return observation, reward, never, truncated, self._info()

    def _info(self) -> dict:
        return {"success": compute_reward(self._position, self._goal).astype(bool)}

    def render(self) -> UInt8[np.ndarray, "N Y X 3"]:
        """A picture of the maze from above for each point: see `picture`."""
        places = zip(self._position, self._goal, strict=True)
        return np.stack([picture(self.walls, *place) for place in places])


LENGTHS = {"U": 50, "FourRooms": 100, "NineRooms": 100, "Spiral": 100}  # steps


def register() -> None:
    """Register every maze with Gymnasium as ``crl_mini/PointMaze-<name>-v0``."""
    for name, length in LENGTHS.items():
        gymnasium.register(
            id=f"crl_mini/PointMaze-{name}-v0",
            entry_point="crl_mini.envs.maze:PointMaze",
            vector_entry_point="crl_mini.envs.maze:PointMazeVector",
            max_episode_steps=length,
            kwargs={"maze": name},
        )
