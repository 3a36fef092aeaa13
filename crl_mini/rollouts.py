"""Rollouts: episodes of a policy in a vector of environments."""

import math
from typing import NamedTuple

import jax
import numpy as np
from gymnasium.spaces import Box, Space
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array
from jaxtyping import Bool, Shaped
from tqdm import tqdm

from crl_mini import checks


class Episodes(NamedTuple):
    """N episodes of T steps: observations, actions, goals, success, achieved goals.

    `achieved` is the same array object as `observations` if both are equal.
    """

    observations: Shaped[np.ndarray, "N T1 ..."]
    actions: Shaped[np.ndarray, "N T ..."]
    goals: Shaped[np.ndarray, "N ..."]
    success: Bool[np.ndarray, "N T"]
    achieved: Shaped[np.ndarray, "N T1 ..."]

    @property
    def ever(self) -> Bool[np.ndarray, " N"]:
        """Whether the goal was reached at any step."""
        return self.success.any(1)

    @property
    def at_end(self) -> Bool[np.ndarray, " N"]:
        """Whether the goal was reached at the last step."""
        return self.success[:, -1]


def rollout(env: VectorEnv, policy, length: int, *, seed: int) -> Episodes:
    """One episode of `length` steps in every copy of the environment.

    `policy(s, g, key)` returns a batch of actions; see `members`. The seed decides
    starts, goals and the policy's noise. Gymnasium's autoreset mode makes no
    difference. All is copied: the policy and the environment may write into their
    arrays again. Errors:
    ``ValueError`` for an episode that ends before its last step.
    """
    checks.at_least("length", length, 1)
    key = jax.random.key(seed)
    now, _ = env.reset(seed=seed)
    goals = np.array(now["desired_goal"])
    seen, actions, success = [_seen(now)], [], []
    for t in range(length):
        noise = jax.random.fold_in(key, t)
        action = policy(seen[-1][0], now["desired_goal"], noise)
        action = members(env.single_action_space, action)
        actions.append(action)
        now, _, terminated, truncated, info = env.step(action.copy())
        if t + 1 < length and (terminated | truncated).any():
            raise ValueError(
                f"an episode must last {length} steps; one ended at {t + 1}"
            )
        now, info = _before_reset(env, now, info)
        seen.append(_seen(now))
        success.append(_success(info))
    observations = np.stack([s for s, _ in seen], 1)
    same = all(s is g for s, g in seen)
    achieved = observations if same else np.stack([g for _, g in seen], 1)
    actions, success = np.stack(actions, 1), np.stack(success, 1)
    return Episodes(observations, actions, goals, success, achieved)


def members(space: Space, actions) -> Shaped[np.ndarray, "N ..."]:
    """Copies of N actions as members of their space: of its type, shape and bounds.

    A tanh at its end, rescaled and rounded, may lie outside by one unit in the last
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
    """`n` episodes of `length` steps, in as many rounds as the copies need.

    Each round has a seed of its own, sampled from `seed`: copy i of most vectors has
    the seed s + i, so the seeds s and s + 1 would share all episodes but one.
    """
    rounds = math.ceil(n / env.num_envs)
    seeds = np.random.SeedSequence(seed).generate_state(rounds)
    bar = tqdm(seeds, "episodes", unit="round", leave=False, disable=len(seeds) == 1)
    parts = [rollout(env, policy, length, seed=int(s)) for s in bar]
    if env.num_envs == n:
        return parts[0]
    whole = Episodes(*(np.concatenate(x)[:n] for x in zip(*parts, strict=True)))
    same = all(part.achieved is part.observations for part in parts)
    return whole._replace(achieved=whole.observations) if same else whole


def _seen(now: dict) -> tuple[np.ndarray, np.ndarray]:
    """Observations and achieved goals: one array for both where they are equal."""
    s, g = np.array(now["observation"]), now["achieved_goal"]
    return s, s if np.array_equal(s, g) else np.array(g)


def _success(info: dict) -> Bool[np.ndarray, " N"]:
    """Whether each copy has reached its goal, under either of the usual names."""
    for name in ("success", "is_success"):
        if name in info:
            return np.array(info[name], bool)
    raise ValueError(f"info must hold success or is_success; got {list(info)}")


def _before_reset(env: VectorEnv, now: dict, info: dict) -> tuple[dict, dict]:
    """The observation and info at the end of an episode, before any autoreset.

    With Gymnasium's same-step autoreset `now` is the next start; `info` holds the end.
    """
    if "final_obs" not in info:
        return now, info
    space = env.single_observation_space
    end = create_empty_array(space, n=env.num_envs)
    return concatenate(space, info["final_obs"], end), info["final_info"]
