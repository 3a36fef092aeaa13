"""Policies that collect data without a reward: random walk, expert and play.

Policies are called as ``policy(s, g, key)`` and return actions (N, A).
"""

import numpy as np
from gymnasium import spaces
from jaxtyping import Float

from crl_mini import checks
from crl_mini.envs.tabletop import (
    BLOCK,
    GRIP,
    HAND,
    HANDLE,
    OBJECT,
    OPENING,
    REST,
    SPACE,
    STEP,
    TabletopVector,
)

Points = Float[np.ndarray, "N 3"]


class Wander:
    """A random walk with momentum: repeat the last action with probability `keep`.

    It ignores states and goals. On average an action lasts 1 / (1 - keep) steps.
    """

    def __init__(self, action_space: spaces.Box, *, keep: float = 0.8, seed: int):
        if not 0 <= keep < 1:
            raise ValueError(f"keep must lie in [0, 1); got {keep}")
        self.space = action_space
        self.keep = keep
        self.rng = np.random.default_rng(seed)
        self.last = None

    def __call__(self, s, g, key) -> Float[np.ndarray, "B A"]:
        """Actions (B, A) for B states."""
        size = (len(s), *self.space.shape)
        new = self.rng.uniform(self.space.low, self.space.high, size)
        if self.last is not None:
            keep = self.rng.random((len(s), 1)) < self.keep
            new = np.where(keep, self.last, new)
        self.last = new
        return new


# The scripted expert computes the next target of the hand from state and goal alone.

CLOSE = 0.016  # m, horizontal distance to a place at which the hand may go down
FREE = 0.11  # m, height at which the empty hand passes over everything
CARRY = 0.13  # m, height at which a block passes over the walls of the bins
BEHIND = 0.042  # m from the block's centre to the hand before a push
TOUCH = 0.03  # m, the same distance during a push
REACH = np.array([[-0.15, -0.12, 0.018], [0.15, 0.12, 0.22]])  # of the hand, metres


def object_at(task: str, s: Float[np.ndarray, "N S"]) -> Points:
    """Positions of the object to grasp: the block, or the handle (Reach: the hand)."""
    if task == "Drawer":
        return HANDLE - s[:, OBJECT] * [0, 1, 0]
    return s[:, HAND] if task == "Reach" else s[:, OBJECT]


def _over(hand: Points, place: Points, level) -> Points:
    """Next target of a hand on its way to a place: up to `level`, across, then down."""
    gap = np.abs(place - hand)[:, :2].max(1)
    across = (gap < 2 * CLOSE) | (hand[:, 2] > level - 0.015)
    xy = np.where(across[:, None], place[:, :2], hand[:, :2])
    return np.column_stack([xy, np.where(gap < CLOSE, place[:, 2], level)])


def _carry(s, at: Points, to: Points, thick: float, level) -> Float[np.ndarray, "N 4"]:
    """Actions that grasp an object, `thick` metres wide, and carry it `at` -> `to`."""
    hand = s[:, HAND]
    gap = np.abs(at - hand)
    held = (gap.max(1) < 0.02) & (s[:, OPENING] < thick + 0.006)
    there = (gap[:, :2].max(1) < 0.015) & (gap[:, 2] < 0.012)
    free = _over(hand, at, FREE)
    target = np.where(held[:, None], _over(hand, to, level), free)
    return np.column_stack([(target - hand) / STEP, np.where(held | there, -1, 1)])


def _push(s, at: Points, to: Points) -> Float[np.ndarray, "N 4"]:
    """Actions that push a block along x, then along y, from behind at half speed."""
    hand = s[:, HAND]
    left = (to - at) * [1, 1, 0]
    at = at * [1, 1, 0] + [0, 0, REST]
    first = np.abs(left[:, :1]) > 0.012
    way = np.sign(left) * np.column_stack([first, ~first, 0 * first])
    ahead = at - hand
    low = hand[:, 2] < 0.035
    along = (ahead * way).sum(1)
    aside = np.abs(ahead[:, :2] * (way == 0)[:, :2]).max(1)
    ready = low & (along > 0.02) & (aside < 0.012)
    touching = (hand[:, 2] < 0.06) & (np.abs(ahead).max(1) < 0.04)
    nearest = np.abs(ahead) == np.abs(ahead[:, :2]).max(1, keepdims=True)
    back_off = hand - STEP * np.sign(ahead) * nearest
    start = np.clip(at - BEHIND * way, *REACH)
    pushed = at - TOUCH * way + np.clip(0.6 * left, -0.012, 0.012) * np.abs(way)
    cases = [np.abs(left).max(1) < 0.012, ready, touching]
    targets = [hand, pushed, back_off]
    target = np.select(
        [case[:, None] for case in cases], targets, _over(hand, start, FREE)
    )
    return np.column_stack([(target - hand) / STEP, -np.ones(len(s))])


def expert(
    task: str, s: Float[np.ndarray, "N S"], g: Float[np.ndarray, "N S"]
) -> Float[np.ndarray, "N 4"]:
    """Actions that solve a task: a function of physical states and goals.

    It reads only the part of the goal that decides success.
    """
    at = object_at(task, s)
    if task == "Reach":
        return np.column_stack([(g[:, HAND] - at) / STEP, np.zeros(len(s))])
    to = object_at(task, g)
    if task == "Push":
        return _push(s, at, to)
    thick, level = (GRIP, to[:, 2]) if task == "Drawer" else (BLOCK, to[:, 2])
    return _carry(s, at, to, thick, CARRY if task == "BinPick" else level)


class Expert:
    """The scripted expert as a policy for the simulations of `env`.

    It reads physical states and goals, even if the observations are pictures.
    """

    def __init__(self, env: TabletopVector, *, noise: float = 0.0, seed: int = 0):
        checks.at_least("noise", noise, 0)
        self.env = env.unwrapped
        self.noise = noise
        self.rng = np.random.default_rng(seed)

    def __call__(self, s, g, key) -> Float[np.ndarray, "N 4"]:
        """Noisy actions (N, 4); the gripper gets half the noise, so that it holds."""
        a = np.clip(self.act(self.env.state.astype(float)), -1, 1)
        noise = self.noise * self.rng.standard_normal(a.shape) * [1, 1, 1, 0.5]
        return np.clip(a + noise, -1, 1)

    def act(self, state: Float[np.ndarray, "N S"]) -> Float[np.ndarray, "N 4"]:
        """Actions without noise."""
        return expert(self.env.task.name, state, self.env.goal_state.astype(float))


BRING, LEAVE, WANDER, FUMBLE = range(4)  # skills of a hand at play
CHANCES = {BRING: 0.7, WANDER: 0.15, FUMBLE: 0.15}
STEPS = {BRING: (30, 60), LEAVE: (5, 9), WANDER: (5, 16), FUMBLE: (5, 16)}
TIRED = 0.1  # share of attempts that may end early, so that blocks are dropped
FUMBLING = 0.02  # m, standard deviation of a fumbling hand around the object


class Play(Expert):
    """Goal-free play: bring the object somewhere, let go, wander, fumble.

    Places come from the boxes where the task may start or end. So the data hold what
    every goal needs, but they do not say which goal, if any, was intended.
    """

    def __init__(self, env: TabletopVector, *, noise: float = 0.3, seed: int = 0):
        super().__init__(env, noise=noise, seed=seed)
        n, size = self.env.num_envs, len(self.env.task.entries)
        self.skill = np.full(n, WANDER)
        self.left = np.zeros(n, int)  # steps of the skill
        self.goal = np.zeros((n, size))
        self.grip = np.zeros(n)

    def act(self, state: Float[np.ndarray, "N S"]) -> Float[np.ndarray, "N 4"]:
        """Actions of each hand's skill; a hand that has finished chooses a new one."""
        for i in np.flatnonzero(self.left <= 0).tolist():
            self._choose(i, state[i])
        brought = expert(self.env.task.name, state, self.goal)
        hand = (self.goal[:, HAND] - state[:, HAND]) / STEP
        moved = np.column_stack([hand, self.grip])
        bringing = self.skill == BRING
        part = self.env.task.part
        gap = np.abs(state[:, part] - self.goal[:, part]).max(1)
        done = bringing & (gap < 0.012)
        self.left -= np.where(done, np.maximum(self.left - 1, 1), 1)
        return np.where(bringing[:, None], brought, moved)

    def _choose(self, i: int, state: Float[np.ndarray, " S"]) -> None:
        """Choose the next skill of simulation i, and its goal."""
        rng, task = self.rng, self.env.task
        skill = LEAVE
        if self.skill[i] != BRING:
            skill = rng.choice(list(CHANCES), p=list(CHANCES.values()))
        low, high = STEPS[skill]
        if skill == BRING and rng.random() < TIRED:
            low = 0
        self.skill[i] = skill
        self.left[i] = rng.integers(low, high)
        self.grip[i] = 1 if skill == LEAVE else rng.uniform(-1, 1)
        boxes = (task.start, *task.ends)
        if skill == BRING:
            self.goal[i, task.part] = rng.uniform(*boxes[rng.integers(len(boxes))])
        elif skill == LEAVE:
            self.goal[i, HAND] = state[HAND] + [0, 0, rng.uniform(0.05, 0.12)]
        elif skill == WANDER:
            self.goal[i, HAND] = rng.uniform(*SPACE)
        else:
            at = object_at(self.env.task.name, state[None])[0]
            self.goal[i, HAND] = at + rng.normal(0, FUMBLING, 3)
