"""Tasks: all that training must know about an environment, ours or anybody's.

`task` covers any Gymnasium environment with goals: how it is made, how long an
episode is, which actions are judged, which goals are reached, where data come from.
"""

import importlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict, Space
from gymnasium.vector import VectorEnv
from jaxtyping import Float, Shaped

from crl_mini import checks
from crl_mini.envs import maze, tabletop
from crl_mini.envs.play import Wander
from crl_mini.rollouts import Episodes, rollout, rollouts, seeds_of_rounds

OURS = "crl_mini/"  # namespace of this package's environments
TASKS = [
    name.removeprefix(OURS) for name in gymnasium.registry if name.startswith(OURS)
]
GOAL_ENV = ("observation", "achieved_goal", "desired_goal")  # parts of an observation
OBS = ("state", "pixels")
COPIES = 8  # simulations at a time of an environment that has no vector form
PROBES = 16  # episodes whose goals tell what kind of reward an environment gives
SIDE = 240  # pixels of a picture in a film


class Resting(gymnasium.Wrapper):
    """One episode a seed: once it is over, the copy rests while others go on."""

    over = False

    def reset(self, *, seed=None, options=None):
        """A new episode only where there is a seed: a vector's autoreset has none."""
        self.over = self.over and seed is None
        if not self.over:
            self.last, info = self.env.reset(seed=seed, options=options)
            return self.last, info
        return self.last, {}

    def step(self, action):
        """A step of the simulation, or none after its end."""
        if self.over:
            return self.last, 0.0, False, False, {}
        self.last, reward, terminated, truncated, info = self.env.step(action)
        self.over = terminated or truncated
        return self.last, reward, terminated, truncated, info


class GoalTask:
    """Any Gymnasium environment with goals; our own ones differ below."""

    obs_types = ("state",)
    """What an agent may see: names in `OBS`."""
    judged = "drawn"
    """Which actions count: ``drawn`` (sampled from the policy) or its ``mode``."""
    counts = "ever"
    """Which steps count: the goal is reached at one (``ever``) or ``at_end``."""
    exploring: dict[str, Any] = {}
    """Settings of the environment while an agent collects."""
    filming: dict[str, Any] = {}
    """Settings of the environment in a film."""
    scripted: dict[str, float | None] = {}
    """Data of scripted play: its name -> noise on the actions (None: the usual one)."""
    scene = None
    """Draws pictures of poses, where the agent sees pictures."""
    paper: "GoalTask | None" = None
    """The same task by the paper's protocol, where there is one."""
    bounded = False
    """Are the bounds of its spaces those of its values? Then no data are needed to
    scale them: what an agent sees first, on a random walk, may hardly vary."""
    shared = False
    """May the simulations of several seeds be in one vector: see `shared_episodes`."""

    def __init__(self, spec: EnvSpec, obs: str = "state"):
        self.spec, self.obs = spec, obs

    @property
    def name(self) -> str:
        """The registered id; of our own environments without namespace and version."""
        return self.spec.id.removeprefix(OURS).removesuffix("-v0")

    @property
    def length(self) -> int:
        """Steps of an episode."""
        return self.spec.max_episode_steps

    @property
    def data(self) -> tuple[str, ...]:
        """Names of the data that can be made on the fly."""
        return ("own", "random", *self.scripted)

    def length_of_data(self, collects: bool) -> int:
        """Steps of an episode of the data; does the agent collect episodes, too?"""
        return self.length

    @cached_property
    def spaces(self) -> tuple[Space, Space]:
        """Spaces of one observation and of one action."""
        with closing(self.make(1)) as env:
            return env.single_observation_space, env.single_action_space

    def make(self, n: int, **settings) -> VectorEnv:
        """`n` copies of the environment; at most `COPIES` if it has no vector form."""
        if not self.spec.vector_entry_point:
            n, settings = min(n, COPIES), {"wrappers": [Resting]} | settings
        return gymnasium.make_vec(self.spec, num_envs=n, **settings)

    def episodes(
        self,
        policy: Callable,
        n: int,
        length: int | None = None,
        *,
        seed: int,
        **settings,
    ) -> Episodes:
        """`n` episodes in fresh copies of the environment, of the task's length."""
        length = length or self.length
        with closing(self.make(n, max_episode_steps=length, **settings)) as env:
            return self.play(env, policy, length, n, seed=seed)

    def play(
        self, env: VectorEnv, policy: Callable, length: int, n: int, *, seed: int
    ) -> Episodes:
        """`n` episodes of `length` steps in these copies of the environment."""
        return rollouts(env, policy, length, n, seed=seed)

    def shared_episodes(
        self,
        policy: Callable,
        n: int,
        length: int | None = None,
        *,
        seeds: Sequence[int],
        **settings,
    ) -> list[Episodes]:
        """The `episodes` of each seed, in one vector of len(seeds) x n copies."""
        length, n = length or self.length, n * len(seeds)
        firsts = [seeds_of_rounds(seed, 1)[0] for seed in seeds]
        with closing(self.make(n, max_episode_steps=length, **settings)) as env:
            return rollout(env, policy, length, seed=firsts).split(len(seeds))

    def walk(self, seed: int) -> Callable:
        """A random walk with momentum, in either kind of action space."""
        _, action = self.spaces
        if isinstance(action, Box):
            return Wander(action, seed=seed)
        steps = Wander(Box(0, action.n, (1,)), seed=seed)
        return lambda s, g, key: steps(s, g, key)[:, 0].astype(int)

    @cached_property
    def success(self) -> Callable | None:
        """Which goals count as reached, by the environment's own ``compute_reward``.

        `success(achieved, desired)` takes batches of goals and gives a boolean a row:
        is the reward as high as at the goal itself? It computes on the host. None means
        that only the very same goal counts. Errors: ``ValueError`` where there is no
        ``compute_reward``, or where it gives more than two values: a reward that grows
        with nearness does not say what counts.
        """
        env = gymnasium.make(self.spec).unwrapped if self.spec.entry_point else None
        if not callable(getattr(env, "compute_reward", None)):
            raise ValueError(f"hindsight needs compute_reward; {self.spec.id} has none")
        starts = [env.reset(seed=seed)[0] for seed in range(PROBES)]
        goals = np.stack([start[name] for start in starts for name in GOAL_ENV[1:]])
        try:
            reward, n = rewards_of(env, goals), len(goals)
        except Exception as problem:  # whatever somebody else's code raises
            raise ValueError(
                f"compute_reward of {self.spec.id} failed without info: "
                f"{type(problem).__name__} {problem}"
            ) from problem
        every = np.repeat(goals, n, axis=0), np.concatenate([goals] * n)
        values, own = np.unique(reward(*every)), np.unique(reward(goals, goals))
        if len(values) > 2 or len(own) > 1 or own[0] < values[-1]:
            raise ValueError(
                "hindsight needs a reward of two values, the higher one at the goal; "
                f"compute_reward of {self.spec.id} gave {len(values)} values from "
                f"{values[0]:.4g} to {values[-1]:.4g}, and at the goal {own[0]:.4g}"
            )
        return lambda achieved, desired: reward(achieved, desired) >= own[0]


def rewards_of(env: gymnasium.Env, goals: Shaped[np.ndarray, "N ..."]) -> Callable:
    """Its ``compute_reward``, of batches (M, ...) of achieved and of desired goals.

    Many environments take batches, but Gymnasium asks for single goals only: where a
    batch of pairs of the `goals` does not give what its rows give, rows are asked for.
    """

    def rowwise(achieved, desired) -> Float[np.ndarray, " M"]:
        pairs = zip(np.asarray(achieved), np.asarray(desired), strict=True)
        return np.array([env.compute_reward(a, g, {}) for a, g in pairs], float)

    def batched(achieved, desired) -> Float[np.ndarray, " M"]:
        batches = np.asarray(achieved), np.asarray(desired)
        return np.asarray(env.compute_reward(*batches, {}), float)

    pairs = np.concatenate([goals, goals]), np.concatenate([goals, goals[::-1]])
    one_by_one = rowwise(*pairs)
    try:
        takes_batches = np.array_equal(batched(*pairs), one_by_one)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        takes_batches = False
    return batched if takes_batches else rowwise


class MazeTask(GoalTask):
    """One of our mazes."""

    bounded = True

    def length_of_data(self, collects: bool) -> int:
        """Walks without goals are longer than the task's episodes: 200 steps."""
        return self.length if collects else 200

    def play(
        self, env: VectorEnv, policy: Callable, length: int, n: int, *, seed: int
    ) -> Episodes:
        """`n` episodes in as many copies; one generator starts them all."""
        return rollout(env, policy, length, seed=seed)

    success = staticmethod(maze.within_reach)


class TabletopTask(GoalTask):
    """A task of the tabletop. Its mode is judged: a hand that trembles drops blocks.

    A goal must be held at the end; by the paper's protocol it counts at any step.
    """

    obs_types = OBS
    bounded = True
    shared = True
    judged = "mode"
    filming = {"width": SIDE, "height": SIDE}
    scripted = {"play": None, "noisy": 0.8}

    @property
    def exploring(self) -> dict[str, Any]:
        """Mixed goals are easier; the paper explores with the goals of its tests."""
        return {} if "goals" in self.spec.kwargs else {"goals": "mixed"}

    @property
    def counts(self) -> str:
        """The protocol's rule."""
        return "ever" if "goals" in self.spec.kwargs else "at_end"

    @cached_property
    def paper(self) -> "GoalTask | None":
        """The same task by the paper's protocol, where there is one."""
        other = f"{OURS}{self.name}Paper-v0"
        known = other in gymnasium.registry
        return TabletopTask(gymnasium.spec(other), self.obs) if known else None

    def make(self, n: int, **settings) -> VectorEnv:
        """`n` simulations; where the agent sees pictures they show poses: `scene`."""
        kind = "state" if self.obs == "state" else "poses"
        return super().make(n, **{"obs_type": kind} | settings)

    @cached_property
    def spaces(self) -> tuple[Space, Space]:
        """Spaces of one observation, a picture if the agent sees those, and action."""
        with closing(self.make(1, obs_type=self.obs)) as env:
            return env.single_observation_space, env.single_action_space

    @cached_property
    def scene(self):
        """The ray caster that draws pictures of poses; None from states."""
        if self.obs == "state":
            return None
        with closing(self.make(1)) as env:
            return env.unwrapped.pictures

    @cached_property
    def success(self) -> Callable | None:
        """The rule for states; from pixels None: only the very same picture counts."""
        if self.obs == "pixels":
            return None
        return tabletop.TASKS[self.spec.kwargs["task"]].succeeded


#: Module of an environment -> its kind of task; all others are a `GoalTask`.
FAMILIES = {maze.__name__: MazeTask, tabletop.__name__: TabletopTask}


def spec_of(name: str) -> EnvSpec:
    """What Gymnasium has registered, of a short name too. Errors: Gymnasium's."""
    module, _, name = name.rpartition(":")
    if module:
        importlib.import_module(module)
    for known in (name, f"{name}-v0"):
        if known in TASKS:
            return gymnasium.spec(OURS + known)
    return gymnasium.spec(name)


def family(spec: EnvSpec) -> type[GoalTask]:
    """The kind of task of an environment."""
    return FAMILIES.get(str(spec.entry_point).partition(":")[0], GoalTask)


def task(name: str, obs: str = "state", length: int | None = None) -> GoalTask:
    """A name in `TASKS`, with or without its version, or any id, ``module:Name-v0``.

    `length` is in steps, where the registered one is missing or another one is wanted.
    Errors: ``ValueError`` for an unknown name, an environment without goals or without
    a length, and for pictures where the task does not offer them.
    """
    checks.one_of("obs", obs, OBS)
    if length is not None:
        checks.at_least("length", length, 2)  # a replay needs two transitions
        checks.less("length", length, 2**31)
    try:
        spec = spec_of(name)
        spec = replace(spec, max_episode_steps=length or spec.max_episode_steps)
        sees = obs in family(spec).obs_types
        one = family(spec)(spec, obs if sees else "state")
        observation, _ = one.spaces
    except (ImportError, gymnasium.error.Error) as problem:
        raise ValueError(
            f"task must be one of {', '.join(TASKS)}, or the id of a Gymnasium "
            f"environment with goals, module:Name-v0; got {name!r}: {problem}"
        ) from problem
    if not isinstance(observation, Dict) or not set(GOAL_ENV) <= set(observation):
        got = list(observation) if isinstance(observation, Dict) else "no Dict"
        raise ValueError(
            f"task must observe a Dict of {', '.join(GOAL_ENV)}; got {got}"
        )
    if not sees:
        raise ValueError(f"{obs} need one of {', '.join(SEEN)}; got {name!r}")
    if not spec.max_episode_steps:
        raise ValueError(
            f"task must have max_episode_steps; {name} has none: add --length STEPS"
        )
    return one


#: Tasks that an agent may see in pictures, and of which scripted play can be made.
SEEN = [
    name.removesuffix("-v0") for name in TASKS if family(spec_of(name)).obs_types == OBS
]
