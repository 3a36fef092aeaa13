"""A gripper over a table: five manipulation tasks in one MuJoCo scene.

All lengths are metres, x to the right, y away from the camera, z up from the table.
MuJoCo is imported where it is used, so that the rest of the library works without it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float, Float32, UInt8

from crl_mini import checks

State = Float[np.ndarray, " S"]

SUBSTEPS = 10  # physics steps of 5 ms in a control step: 20 Hz
STEP = 0.02  # m the hand moves at full action, 0.4 m/s
OPEN = 0.08  # m between the open fingers
BLOCK = 0.04  # m, side of the block; also the opening when it is held
REST = BLOCK / 2  # height of the centre of a block on the table
HANDLE = np.array([0.0, -0.015, 0.037])  # of the closed drawer
GRIP = 0.016  # m, thickness of the handle
PIXELS = 64  # side of a picture

#: Entry of a state: its lowest and highest value in metres, and its meaning.
ENTRIES = {
    "hand_x": (-0.16, 0.16, "point between the fingertips, to the right"),
    "hand_y": (-0.13, 0.13, "the same, away from the camera"),
    "hand_z": (0.0, 0.24, "the same, above the table"),
    "opening": (-0.01, 0.09, "gap between the fingers"),
    "block_x": (-0.17, 0.17, "centre of the block, to the right"),
    "block_y": (-0.13, 0.13, "the same, away from the camera"),
    "block_z": (0.0, 0.3, "the same, above the table"),
    "drawer": (-0.01, 0.11, "how far the drawer is open"),
}
HAND_ENTRIES = ("hand_x", "hand_y", "hand_z", "opening")
BLOCK_ENTRIES = (*HAND_ENTRIES, "block_x", "block_y", "block_z")
HAND, OPENING, OBJECT = slice(0, 3), 3, slice(4, None)  # parts of a state

# Boxes of start and goal positions: (low, high) corners.
AIR = ((-0.12, -0.09, 0.11), (0.12, 0.09, 0.2))
SPACE = ((-0.12, -0.09, 0.03), (0.12, 0.09, 0.2))
TABLE = ((-0.09, -0.07, REST), (0.09, 0.07, REST))
ABOVE = ((-0.1, -0.08, REST), (0.1, 0.08, 0.18))
RED = ((-0.11, -0.08, REST), (-0.06, 0.08, REST))
BLUE = ((0.06, 0.04, REST), (0.11, 0.09, REST))
GREEN = ((0.06, -0.09, REST), (0.11, -0.04, REST))
DRAWER = ((0.0,), (0.1,))
TURN = 0.3  # rad, the block's largest turn at the start
HOVER = 0.05  # m of the hand above the block, where the paper's episodes start
HEIGHTS = (0.03, 0.12)  # m, of the paper's goals on the way


@dataclass(frozen=True)
class Task:
    """A task: its part of the scene, and the distributions of its starts and goals."""

    name: str
    keep: tuple[str, ...]
    """Bodies of the scene, besides the hand."""
    entries: tuple[str, ...]
    """Names of the state's entries, from `ENTRIES`."""
    part: slice
    """Entries that decide success."""
    tolerance: float
    """Distance in metres below which the goal is reached."""
    start: tuple
    """Box of the object's start position (Reach: the hand's)."""
    ends: tuple
    """Boxes of its goal position; one is sampled."""
    hand: Callable
    """(goal position, start position) -> position and opening of the goal's hand."""
    length: int = 100
    """Steps of an episode."""
    lift: float = 0.0
    """Largest height of a mixed goal above the straight way, in metres."""
    closed: bool = False
    """Whether the fingers stay closed."""

    @cached_property
    def model(self):
        """The compiled MuJoCo model."""
        import mujoco

        spec = mujoco.MjSpec.from_file(str(Path(__file__).with_name("tabletop.xml")))
        for body in spec.worldbody.bodies:
            if body.name not in (*self.keep, "hand"):
                spec.delete(body)
        return spec.compile()

    @property
    def bounds(self) -> tuple[Float32[np.ndarray, " S"], Float32[np.ndarray, " S"]]:
        """Lowest and highest value of each entry."""
        low, high = np.float32([ENTRIES[e][:2] for e in self.entries]).T
        return low, high

    def sample_start(self, goals: str, rng: np.random.Generator) -> State:
        """The start of an episode: the hand in the air, the object at rest.

        With ``mixed`` goals, a hand that has to grasp a block starts on its way across
        and down to the block, often with the fingers around it. By the ``paper``'s
        protocol it starts 5 cm above the block.
        """
        place = rng.uniform(*self.start)
        if self.part == HAND:
            return np.array([*place, OPEN / 2])
        hand = rng.uniform(*AIR)
        if goals == "mixed" and self.hand is _around:
            u = rng.uniform()
            across = max(4 * u - 3, 0)
            hand = place + np.array([across, across, u**2]) * (hand - place)
        if goals == "paper":
            hand = place + np.array([0, 0, HOVER])
        return np.array([*hand, 0 if self.closed else OPEN, *place])

    def sample_goal(self, start: State, goals: str, rng: np.random.Generator) -> State:
        """A goal state: the task done, and the hand where it would then be.

        Goals are never reached at the start. Every evaluation uses ``final`` goals. A
        ``mixed`` goal is easier, to collect data: it lies at a uniform fraction of the
        way to a final one, in the air if the object has to be lifted. So does a goal of
        the ``paper``, but there the height is uniform.
        """
        place = here = start[self.part]
        while np.linalg.norm(place - here) < self.tolerance:
            place = rng.uniform(*self.ends[rng.integers(len(self.ends))])
            if goals == "mixed":
                u = rng.uniform()
                place = here + u * (place - here)
                place[-1] += self.lift * np.sin(np.pi * u)
            if goals == "paper":
                place = here + rng.uniform() * (place - here)
                place[-1] = rng.uniform(*HEIGHTS) if self.lift else place[-1]
        object_ = () if self.part == HAND else place
        return np.array([*self.hand(place, here), *object_])

    def succeeded(self, state, goal):
        """Whether the entries that decide success are near the goal's.

        It takes NumPy or JAX arrays with any leading axes.
        """
        gap = (state - goal)[..., self.part]
        return (gap**2).sum(-1) < self.tolerance**2


def _itself(place, start):
    return [*place, OPEN / 2]


def _around(place, start):
    return [*place, BLOCK]


def _behind(place, start):
    """Closed fingers at the face of the block that the last push, along y, touched."""
    side = np.sign(place[1] - start[1])
    return [place[0], place[1] - side * (REST + 0.01), REST, 0]


def _at_handle(place, start):
    return [HANDLE[0], HANDLE[1] - place[0], HANDLE[2], GRIP]


BlockTask = partial(Task, entries=BLOCK_ENTRIES, part=OBJECT, tolerance=0.05)
TASKS = {
    task.name: task
    for task in (
        Task(
            "Reach",
            keep=("rim",),
            entries=HAND_ENTRIES,
            part=HAND,
            tolerance=0.03,
            length=50,
            start=SPACE,
            ends=(SPACE,),
            hand=_itself,
        ),
        BlockTask(
            "Push",
            keep=("rim", "glass", "block"),
            start=TABLE,
            ends=(TABLE,),
            hand=_behind,
            closed=True,
        ),
        BlockTask(
            "PickPlace",
            keep=("rim", "glass", "block"),
            start=TABLE,
            ends=(ABOVE,),
            hand=_around,
        ),
        BlockTask(
            "BinPick",
            keep=("bins", "glass", "block"),
            start=RED,
            ends=(BLUE, GREEN),
            hand=_around,
            lift=0.12,
        ),
        Task(
            "Drawer",
            keep=("rim", "cabinet", "drawer"),
            entries=(*HAND_ENTRIES, "drawer"),
            part=OBJECT,
            tolerance=0.02,
            start=DRAWER,
            ends=(DRAWER,),
            hand=_at_handle,
        ),
    )
}
GOALS = ("final", "mixed", "paper")
OBS_TYPES = ("state", "pixels", "poses")
PHYSICS = ("time", "qpos", "qvel", "ctrl", "qacc_warmstart")  # of mujoco.MjData
DERIVED = ("_batch", "_qpos", "_ctrl", "_xpos", "_xquat", "pictures", "_films")


class TabletopVector(gymnasium.vector.VectorEnv):
    """`num_envs` simulations of one task in one ``mujoco.batch.Batch``.

    Simulation i of seed s equals the single environment of seed s + i. All episodes
    have the same length and end at the same step; the next step resets them
    (Gymnasium's next-step autoreset).

    ``obs_type="state"``: `ENTRIES` in metres, the achieved goal is the whole state.
    ``obs_type="pixels"``: a picture (64, 64, 3) of it. A state holds what one picture
    shows. It omits velocities, because the hand follows its target within a step, and
    the turn of the block, because all its sides are alike. ``obs_type="poses"``: the
    poses (K, 7) of the K moving bodies, from which `pictures.draw` renders the picture.

    ``goals`` says how starts and goals are sampled: see `Task.sample_goal`. The paper's
    pictures of goals show final ones, which count as reached whatever the height.

    Actions: the hand moves by 2 cm times (dx, dy, dz), and the fingers go to
    (1 + gripper) x 4 cm apart; in Push they stay closed. Larger actions are clipped.
    Errors: ``ValueError`` for NaNs and for other shapes.
    """

    metadata = {
        "render_modes": ["rgb_array"],
        "render_fps": 20,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        task: str = "Reach",
        obs_type: str = "state",
        goals: str = "final",
        max_episode_steps: int = 100,
        render_mode: str | None = None,
        width: int = 480,
        height: int = 480,
        nthread: int | None = None,
    ):
        if nthread is None:
            nthread = min(num_envs, os.cpu_count() or 1)
        for name, value in (
            ("num_envs", num_envs),
            ("nthread", nthread),
            ("max_episode_steps", max_episode_steps),
            ("width", width),
            ("height", height),
        ):
            checks.at_least(name, value, 1)
        checks.one_of("obs_type", obs_type, OBS_TYPES)
        checks.one_of("goals", goals, GOALS)
        if render_mode not in (None, "rgb_array"):
            raise ValueError(
                f"render_mode must be one of None, rgb_array; got {render_mode!r}"
            )
        checks.one_of("task", task, TASKS)
        self.task = self.rule = TASKS[task]
        self.obs_type = obs_type
        self.starts = self.goals = goals
        if goals == "paper" and obs_type != "state":
            self.goals = "final"
            flat = slice(OBJECT.start, OBJECT.start + 2)
            self.rule = replace(self.task, part=flat)
        self.num_envs = num_envs
        self.max_episode_steps = max_episode_steps
        self.render_mode = render_mode
        self.width, self.height = width, height
        self.model = self.task.model
        self._nthread = nthread
        self._simulate()
        self._rngs = self._t = None
        one = spaces.Box(0, 255, (PIXELS, PIXELS, 3), np.uint8)
        if obs_type == "state":
            one = spaces.Box(*self.task.bounds)
        elif obs_type == "poses":
            one = spaces.Box(-np.inf, np.inf, (len(self.pictures.bodies), 7))
        names = ("observation", "achieved_goal", "desired_goal")
        self.single_observation_space = spaces.Dict(dict.fromkeys(names, one))
        self.single_action_space = spaces.Box(-1, 1, (4,))
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def _simulate(self) -> None:
        """Make the simulations, at the model's defaults."""
        from mujoco.batch import Batch

        self._batch = Batch(self.model, nsim=self.num_envs, nthread=self._nthread)
        fields = ("qpos", "ctrl", "xpos", "xquat")
        self._qpos, self._ctrl, self._xpos, self._xquat = map(self._batch.bind, fields)

    def __getstate__(self) -> dict:
        """For copies and pickles: all but MuJoCo's own memory, and what is in that."""
        state = {k: v for k, v in vars(self).items() if k not in DERIVED}
        return state | {"physics": {k: self._batch.bind(k).copy() for k in PHYSICS}}

    def __setstate__(self, state: dict) -> None:
        import mujoco

        physics = state.pop("physics")
        vars(self).update(state)
        self._simulate()
        for name, x in physics.items():
            self._batch.bind(name)[:] = x
        self._batch.forward(stage=mujoco.mjtStage.mjSTAGE_POS)

    @cached_property
    def pictures(self):
        """The ray caster of the 64 x 64 observations."""
        return self._scene((PIXELS, PIXELS))

    @cached_property
    def _films(self):
        return self._scene((self.height, self.width))

    def _scene(self, size: tuple[int, int]):
        from crl_mini.envs.pixels import Scene

        return Scene.of(self.model, size=size, shadows=True)  # shadows show heights

    @property
    def state(self) -> Float32[np.ndarray, "N S"]:
        """Current physical state, even if the observations are pictures."""
        q = self._qpos
        parts = (q[:, :3], q[:, 3:4] + q[:, 4:5], q[:, 5:8])
        state = np.concatenate(parts, 1, dtype=np.float32)
        return np.clip(state, *self.task.bounds)

    @property
    def poses(self) -> Float32[np.ndarray, "N K 7"]:
        """Positions and quaternions of the moving bodies: all that a picture needs."""
        return self.pictures.poses(self._xpos, self._xquat)

    def _place(self, states: Float[np.ndarray, "N S"], turns=0.0) -> None:
        """Put everything where the states say, at rest; the block turned by `turns`."""
        import mujoco

        self._batch.reset(stage=mujoco.mjtStage.mjSTAGE_NONE)
        q, s = self._qpos, states
        q[:, :3], q[:, 3:5] = s[:, HAND], s[:, OPENING, None] / 2
        q[:, 5 : 5 + s[:, OBJECT].shape[1]] = s[:, OBJECT]
        if "block" in self.task.keep:
            half = np.broadcast_to(turns, len(s)) / 2
            q[:, 8:], q[:, 8], q[:, 11] = 0, np.cos(half), np.sin(half)
        self._ctrl[:] = q[:, :5]
        self._batch.forward(stage=mujoco.mjtStage.mjSTAGE_POS)

    def reset(self, *, seed=None, options=None):
        """Sample start and goal of every simulation, each with its own generator.

        `seed` may be a list, with one for each simulation.
        """
        seeds = seed if isinstance(seed, list) else None
        super().reset(seed=seeds[0] if seeds else seed)
        if seed is not None or self._rngs is None:
            if seeds is None:
                first = self.np_random_seed if seed is None else seed
                seeds = [first + i for i in range(self.num_envs)]  # above 64 bits too
            checks.shaped("seed", seeds, (self.num_envs,))
            self._rngs = [np.random.default_rng(seed) for seed in seeds]
        return self.begin(self._rngs)

    def begin(self, rngs: list[np.random.Generator]):
        """Start episodes with the given generators, one a simulation."""
        starts = np.stack([self.task.sample_start(self.starts, rng) for rng in rngs])
        goals = [
            self.task.sample_goal(start, self.goals, rng)
            for start, rng in zip(starts, rngs, strict=True)
        ]
        turns = [rng.uniform(-TURN, TURN) for rng in rngs]
        self._place(np.stack(goals))
        self.goal_state = self.state
        self._goal = self._observation()
        self._goal_bodies = self._xpos.copy(), self._xquat.copy()
        self._place(starts, turns)
        self._t = 0
        return self._observe(), self._info()

    def step(self, actions):
        """Act for 0.05 s, or reset all if the last step ended the episodes."""
        import mujoco

        checks.begun(self._t)
        checks.shaped("actions", actions, (self.num_envs, 4))
        checks.finite("actions", actions)
        never = np.zeros(self.num_envs, bool)
        if self._t == self.max_episode_steps:
            observation, info = self.begin(self._rngs)
            reward = np.zeros(self.num_envs, np.float32)
            return observation, reward, never, never.copy(), info
        self._t += 1
        self._control(np.clip(actions, -1, 1))
        self._batch.step(nstep=SUBSTEPS, stage=mujoco.mjtStage.mjSTAGE_POS)
        observation, info = self._observe(), self._info()
        reward = self.compute_reward(observation["achieved_goal"], self._goal, info)
        truncated = np.full(self.num_envs, self._t == self.max_episode_steps)
        return observation, reward, never, truncated, info

    def _control(self, a: Float[np.ndarray, "N 4"]) -> None:
        """Move the hand's targets, never more than a step ahead of the hand."""
        hand = self._qpos[:, :3]
        low, high = self.model.actuator_ctrlrange[:3].T
        target = self._ctrl[:, :3] + STEP * a[:, :3]
        target = np.clip(target, hand - STEP, hand + STEP)
        self._ctrl[:, :3] = np.clip(target, low, high)
        opening = 0 * a[:, 3:] if self.task.closed else OPEN * (1 + a[:, 3:]) / 2
        self._ctrl[:, 3:] = opening / 2

    def _observation(self) -> np.ndarray:
        if self.obs_type == "pixels":
            return np.asarray(self.pictures.draw(self.poses))
        return self.state if self.obs_type == "state" else self.poses

    def _observe(self) -> dict[str, np.ndarray]:
        now = self._observation()
        return {
            "observation": now,
            "achieved_goal": now.copy(),
            "desired_goal": self._goal.copy(),
        }

    def _info(self) -> dict[str, Bool[np.ndarray, " N"]]:
        return {"success": self.rule.succeeded(self.state, self.goal_state)}

    def compute_reward(self, achieved_goal, desired_goal, info=None):
        """Reward 1 where the goal is reached, else 0; any leading axes.

        States are compared by the entries that decide success. Pictures and poses come
        without a state and count as reached only if they are equal.
        """
        achieved, desired = np.asarray(achieved_goal), np.asarray(desired_goal)
        if self.obs_type == "state":
            return self.task.succeeded(achieved, desired).astype(np.float32)
        axes = self.single_observation_space["desired_goal"].shape
        axes = tuple(range(-len(axes), 0))
        return (achieved == desired).all(axes).astype(np.float32)

    def render(self) -> UInt8[np.ndarray, "N H W 3"]:
        """Pictures of all simulations, of the size given at the start."""
        return self._film(self._xpos, self._xquat)

    def render_goals(self) -> UInt8[np.ndarray, "N H W 3"]:
        """Pictures of all goals, of the size given at the start."""
        return self._film(*self._goal_bodies)

    def _film(self, xpos, xquat) -> UInt8[np.ndarray, "N H W 3"]:
        return np.asarray(self._films.draw(self._films.poses(xpos, xquat)))


class Tabletop(gymnasium.Env):
    """One simulation of a task, in Gymnasium's GoalEnv form: see `TabletopVector`.

    Reward 1 and ``info["success"]`` where the goal is reached; an episode never
    terminates, it is truncated at the registered length.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(self, task: str = "Reach", render_mode: str | None = None, **settings):
        self.sims = TabletopVector(1, task, render_mode=render_mode, **settings)
        self.sims.max_episode_steps = np.inf  # TimeLimit ends the episode
        self.render_mode = render_mode
        self.observation_space = self.sims.single_observation_space
        self.action_space = self.sims.single_action_space
        self.compute_reward = self.sims.compute_reward

    def reset(self, *, seed=None, options=None):
        """Sample a start and a goal."""
        super().reset(seed=seed)
        observation, info = self.sims.begin([self.np_random])
        return _first(observation), _first(info)

    def step(self, action):
        """Act for 0.05 s; the reward is for the state after it."""
        checks.shaped("action", action, (4,))
        observation, reward, _, _, info = self.sims.step(np.asarray(action)[None])
        return _first(observation), float(reward[0]), False, False, _first(info)

    def render(self) -> UInt8[np.ndarray, "H W 3"]:
        """A picture of the size given at the start."""
        return self.sims.render()[0]


def _first(values: dict[str, np.ndarray]) -> dict:
    return {k: v[0] if v[0].ndim else v[0].item() for k, v in values.items()}


PAPERS = ("Push", "BinPick")  # tasks that are there by the paper's protocol too


def register() -> None:
    """Register every task with Gymnasium as ``crl_mini/<task>-v0``.

    ``crl_mini/<task>Paper-v0`` is the same task by the protocol of Eysenbach et al.
    (2022): starts and goals of the ``paper``, and 150 steps. There it counts whether
    the goal is reached at any step.
    """
    ours = [(name, task.length, {"task": name}) for name, task in TASKS.items()]
    papers = [(f"{x}Paper", 150, {"task": x, "goals": "paper"}) for x in PAPERS]
    for name, length, settings in ours + papers:
        gymnasium.register(
            id=f"crl_mini/{name}-v0",
            entry_point="crl_mini.envs.tabletop:Tabletop",
            vector_entry_point="crl_mini.envs.tabletop:TabletopVector",
            max_episode_steps=length,
            kwargs=settings,
        )
