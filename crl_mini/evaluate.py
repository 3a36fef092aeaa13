"""Rollouts, success rates, and how sure one may be of them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.vector import VectorEnv
from jaxtyping import Array, Bool, Float, Shaped
from scipy.stats import norm

from crl_mini import checks
from crl_mini.critic import Critic


class Episodes(NamedTuple):
    """N episodes of T steps: what was seen, done, asked for, and whether it worked."""

    observations: Shaped[np.ndarray, "N T1 ..."]
    actions: Shaped[np.ndarray, "N T ..."]
    goals: Shaped[np.ndarray, "N ..."]
    success: Bool[np.ndarray, "N T"]

    @property
    def ever(self) -> Bool[np.ndarray, " N"]:
        """Was the goal reached at any step?"""
        return self.success.any(1)

    @property
    def at_end(self) -> Bool[np.ndarray, " N"]:
        """Was the goal reached at the last step?"""
        return self.success[:, -1]


def rollout(env: VectorEnv, policy, length: int, *, seed: int) -> Episodes:
    """One episode of `length` steps in every copy of the environment.

    `policy(s, g, key)` returns a batch of actions. The seed decides starts, goals and
    the policy's noise.
    """
    checks.at_least("length", length, 1)
    key = jax.random.key(seed)
    now, _ = env.reset(seed=seed)
    goals, seen, actions, success = now["desired_goal"], [now["observation"]], [], []
    for t in range(length):
        noise = jax.random.fold_in(key, t)
        action = np.asarray(policy(seen[-1], now["desired_goal"], noise))
        now, _, _, _, info = env.step(action)
        seen.append(now["observation"])
        actions.append(action)
        success.append(info["success"])
    return Episodes(
        np.stack(seen, 1), np.stack(actions, 1), goals, np.stack(success, 1)
    )


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a success rate from n independent episodes.

    It stays inside [0, 1] and is honest at 0 and n successes. It speaks of one trained
    policy: seeds, not episodes, are the replicates of a method.

    Source: Wilson (1927).
    """
    checks.at_least("n", n, 1)
    z, p = norm.ppf((1 + level) / 2), successes / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    # Rounding must not leave p outside its own interval.
    return float(max(min(centre - half, p), 0)), float(min(max(centre + half, p), 1))


@jax.jit
def critic_table(
    critic: Critic, observations: Shaped[Array, "S ..."]
) -> Float[Array, "S A S"]:
    """Logits of every state, discrete action and goal, given all observations."""
    n_states, n_actions = len(observations), critic.action.n
    s = jnp.repeat(observations, n_actions, axis=0)
    a = jnp.tile(jnp.arange(n_actions), n_states)
    return critic(s, a, observations).reshape(n_states, n_actions, n_states)


def weighted_correlation(
    x: Shaped[np.ndarray, "..."],
    y: Shaped[np.ndarray, "..."],
    weights: Shaped[np.ndarray, "..."] | None = None,
) -> float:
    """Pearson correlation of two arrays of one shape, optionally weighted."""
    w = np.ones_like(y) if weights is None else weights
    w = w / w.sum()
    x, y = x - (w * x).sum(), y - (w * y).sum()
    return float((w * x * y).sum() / np.sqrt((w * x**2).sum() * (w * y**2).sum()))
