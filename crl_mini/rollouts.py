"""Rollouts: episodes of a policy in a vector of environments."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box, Space
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array
from jaxtyping import Bool, Int, PRNGKeyArray, Shaped
from tqdm import tqdm

from crl_mini import checks


class Episodes(NamedTuple):
    """N episodes of up to T steps: what was seen, done, asked for, and reached.

    `achieved` is the same array object as `observations` if both are equal. Episode i
    has `lengths[i]` real steps. After them its observations stay what they were, it has
    no success, and its actions mean nothing. `terminal` tells which episodes their
    environment ended; all others were cut off by time.
    """

    observations: Shaped[np.ndarray, "N T1 ..."]
    actions: Shaped[np.ndarray, "N T ..."]
    goals: Shaped[np.ndarray, "N ..."]
    success: Bool[np.ndarray, "N T"]
    achieved: Shaped[np.ndarray, "N T1 ..."]
    lengths: Int[np.ndarray, " N"]
    terminal: Bool[np.ndarray, " N"]

    @property
    def ever(self) -> Bool[np.ndarray, " N"]:
        """Whether the goal was reached at any step."""
        return self.success.any(1)

    @property
    def at_end(self) -> Bool[np.ndarray, " N"]:
        """Whether the goal was reached at the last real step."""
        return self.success[np.arange(len(self.lengths)), self.lengths - 1]

    def split(self, n: int) -> list["Episodes"]:
        """`n` equal parts, in order."""
        same = self.achieved is self.observations
        parts = [
            Episodes(*x) for x in zip(*(np.split(x, n) for x in self), strict=True)
        ]
        return [x._replace(achieved=x.observations) for x in parts] if same else parts


def rollout(
    env: VectorEnv, policy, length: int, *, seed: int | Sequence[int]
) -> Episodes:
    """One episode of `length` steps at most in every copy of the environment.

    `policy(s, g, key)` returns a batch of actions; see `members`. The seed decides
    starts, goals and the policy's noise. Gymnasium's autoreset mode makes no
    difference. Everything is copied: the policy and the environment may reuse their
    arrays.

    Several seeds have as many copies each, in order, with the starts and goals of a
    vector of their own; the policy gets a key for each of them. The environment must
    take a seed a copy, s + i for copy i of the seed s.
    """
    checks.at_least("length", length, 1)
    if isinstance(seed, Sequence):
        each = range(env.num_envs // len(seed))
        now, _ = env.reset(seed=[s + i for s in seed for i in each])
        key, fold = jnp.stack([key_of(s) for s in seed]), _fold_in_each
    else:
        now, _ = env.reset(seed=seed)
        key, fold = key_of(seed), _fold_in
    goals, n = np.array(now["desired_goal"]), env.num_envs
    seen, actions, success = [_seen(now)], [], []
    running, terminal = np.ones(n, bool), np.zeros(n, bool)
    lengths = np.full(n, length)
    for t in range(length):
        action = policy(seen[-1][0], now["desired_goal"], fold(key, t))
        action = members(env.single_action_space, action)
        actions.append(action)
        now, _, terminated, truncated, info = env.step(action.copy())
        end, reached = _before_reset(env, now, info)
        seen.append(_held(seen[-1], _seen(end), ~running))
        success.append(reached & running)
        over = terminated | truncated
        ends = running & over
        lengths[ends] = t + 1
        terminal[ends] = np.asarray(terminated)[ends]
        running &= ~ends
        if not running.any():
            break
        _reset_by_hand(env, over)
    rest = length - len(actions)  # steps that no episode lasted
    seen, actions = seen + seen[-1:] * rest, actions + actions[-1:] * rest
    success += [np.zeros(n, bool)] * rest
    observations = np.stack([s for s, _ in seen], 1)
    same = all(s is g for s, g in seen)
    achieved = observations if same else np.stack([g for _, g in seen], 1)
    actions, success = np.stack(actions, 1), np.stack(success, 1)
    return Episodes(observations, actions, goals, success, achieved, lengths, terminal)


_fold_in = jax.jit(jax.random.fold_in)
_fold_in_each = jax.jit(jax.vmap(jax.random.fold_in, (0, None)))


def key_of(seed: int) -> PRNGKeyArray:
    """The random key of a seed, of the same kind wherever a kept run goes on.

    ``JAX_DEFAULT_PRNG_IMPL`` may be another one there.
    """
    return jax.random.key(seed, impl="threefry2x32")


def members(space: Space, actions) -> Shaped[np.ndarray, "N ..."]:
    """Copies of N actions as members of their space: of its type, shape and bounds.

    A tanh at its limit, rescaled and rounded, may lie outside by one unit in the last
    place. Errors: ``ValueError`` for actions of another size.
    """
    actions = np.array(actions)
    wanted = (len(actions), *space.shape)
    if actions.size != math.prod(wanted):
        got = actions.shape
        raise ValueError(f"actions must have shape {wanted}; got {got}")
    actions = actions.reshape(wanted)
    if np.issubdtype(space.dtype, np.integer) and actions.dtype.kind == "f":
        actions = np.rint(actions)
    if isinstance(space, Box):
        actions = np.clip(actions, space.low, space.high)
    return actions.astype(space.dtype)


def rollouts(env: VectorEnv, policy, length: int, n: int, *, seed: int) -> Episodes:
    """`n` episodes of `length` steps at most, in as many rounds as the copies need.

    Each round has a seed of its own, sampled from `seed`: copy i of most vectors has
    the seed s + i, so the seeds s and s + 1 would share all episodes but one.
    """
    seeds = seeds_of_rounds(seed, math.ceil(n / env.num_envs))
    bar = tqdm(seeds, "episodes", unit="round", leave=False, disable=len(seeds) == 1)
    parts = [rollout(env, policy, length, seed=s) for s in bar]
    if env.num_envs == n:
        return parts[0]
    whole = Episodes(*(np.concatenate(x)[:n] for x in zip(*parts, strict=True)))
    same = all(part.achieved is part.observations for part in parts)
    return whole._replace(achieved=whole.observations) if same else whole


def seeds_of_rounds(seed: int, rounds: int) -> list[int]:
    """The seed of each round of `rollouts`."""
    return np.random.SeedSequence(seed).generate_state(rounds).tolist()


def _seen(now: dict) -> tuple[np.ndarray, np.ndarray]:
    """Observations and achieved goals: one array for both where they are equal."""
    s, g = np.array(now["observation"]), now["achieved_goal"]
    return s, s if np.array_equal(s, g) else np.array(g)


def _held(before: tuple, after: tuple, over: Bool[np.ndarray, " N"]) -> tuple:
    """Observations and goals `after`; those of episodes that are over stay the same."""
    if over.any():
        for old, new in zip(before, after, strict=True):
            new[over] = old[over]
    return after


def _before_reset(
    env: VectorEnv, now: dict, info: dict
) -> tuple[dict, Bool[np.ndarray, " N"]]:
    """The observation and success after a step, before any autoreset.

    With Gymnasium's same-step autoreset `now` is the next start of the copies that have
    ended; `info` holds their end.
    """
    if "final_obs" not in info:
        return now, _success(info)
    space, ended = env.single_observation_space, info["_final_obs"]
    reached = _success(info["final_info"])
    if not ended.all():
        reached = np.where(ended, reached, _success(info))
    ends = [x for x, over in zip(info["final_obs"], ended, strict=True) if over]
    ends = concatenate(space, ends, create_empty_array(space, n=len(ends)))
    now = {name: np.array(x) for name, x in now.items()}
    for name, x in ends.items():
        now[name][ended] = x
    return now, reached


def _success(info: dict) -> Bool[np.ndarray, " N"]:
    """Whether each copy has reached its goal, under either of the usual names."""
    for name in ("success", "is_success"):
        if name in info:
            return np.array(info[name], bool)
    raise ValueError(f"info must hold success or is_success; got {list(info)}")


def _reset_by_hand(env: VectorEnv, ended: Bool[np.ndarray, " N"]) -> None:
    """Reset the copies that have ended, where the vector does not do so by itself."""
    by_hand = env.metadata.get("autoreset_mode") == AutoresetMode.DISABLED
    if by_hand and ended.any():
        env.reset(options={"reset_mask": ended})
