"""Rollouts, success rates, and how sure one may be of them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Shaped
from scipy.stats import bootstrap, norm, spearmanr, trim_mean
from tqdm import tqdm

from crl_mini import checks
from crl_mini.critic import Critic


class Episodes(NamedTuple):
    """N episodes of T steps: what was seen, done, asked for, and whether it worked.

    `achieved` is what of each observation counts as a goal: the very same array as
    `observations` where both are equal.
    """

    observations: Shaped[np.ndarray, "N T1 ..."]
    actions: Shaped[np.ndarray, "N T ..."]
    goals: Shaped[np.ndarray, "N ..."]
    success: Bool[np.ndarray, "N T"]
    achieved: Shaped[np.ndarray, "N T1 ..."]

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
    the policy's noise. No episode may end before; whether and when the environment
    resets itself makes no difference.
    """
    checks.at_least("length", length, 1)
    key = jax.random.key(seed)
    now, _ = env.reset(seed=seed)
    goals, seen, actions, success = np.array(now["desired_goal"]), [_seen(now)], [], []
    for t in range(length):
        noise = jax.random.fold_in(key, t)
        action = np.asarray(policy(seen[-1][0], now["desired_goal"], noise))
        now, _, terminated, truncated, info = env.step(action)
        if t + 1 < length and (terminated | truncated).any():
            raise ValueError(
                f"an episode must last {length} steps; one ended at {t + 1}"
            )
        now, info = _before_reset(env, now, info)
        seen.append(_seen(now))
        actions.append(action)
        success.append(_success(info))
    observations = np.stack([s for s, _ in seen], 1)
    same = all(s is g for s, g in seen)
    achieved = observations if same else np.stack([g for _, g in seen], 1)
    actions, success = np.stack(actions, 1), np.stack(success, 1)
    return Episodes(observations, actions, goals, success, achieved)


def rollouts(env: VectorEnv, policy, length: int, n: int, *, seed: int) -> Episodes:
    """`n` episodes of `length` steps, in as many rounds as the copies need.

    Each round has a seed of its own, drawn from `seed`: copy i of most vectors has the
    seed s + i, so that the seeds s and s + 1 would share all episodes but one.
    """
    seeds = np.random.SeedSequence(seed).generate_state(-(-n // env.num_envs))
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
            return np.asarray(info[name], bool)
    raise ValueError(f"info must hold success or is_success; got {list(info)}")


def _before_reset(env: VectorEnv, now: dict, info: dict) -> tuple[dict, dict]:
    """The last step of an episode, where the same step has begun the next one.

    Gymnasium's same-step autoreset: `now` is the new start, and `info` holds the end.
    """
    if "final_obs" not in info:
        return now, info
    space = env.single_observation_space
    end = create_empty_array(space, n=env.num_envs)
    return concatenate(space, info["final_obs"], end), info["final_info"]


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


def iqm(scores: Float[np.ndarray, "R K"]) -> float:
    """Interquartile mean: the mean of the middle half of all R runs x K tasks.

    Of three scores or fewer nothing is cut off: it is their mean.

    Source: Agarwal et al. (2021), Sec. 4.3.
    """
    return float(trim_mean(scores, 0.25, axis=None))


def iqm_interval(
    scores: Float[np.ndarray, "R K"], level: float = 0.95, *, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the `iqm` when each task's R runs are drawn again.

    It says how much other seeds would change the number, for the same tasks. From few
    runs it is too narrow: with one task and three runs it is the lowest to the highest.
    Errors: ``ValueError`` for fewer than two runs: one says nothing about others.

    Source: Agarwal et al. (2021), Sec. 4.1, stratified bootstrap.
    """
    checks.at_least("runs", len(scores), 2)

    def middle(*tasks, axis):
        return trim_mean(np.concatenate(tasks, axis), 0.25, axis)

    settings = {"method": "percentile", "n_resamples": 20_000, "rng": seed}
    found = bootstrap(scores.T, middle, confidence_level=level, **settings)
    low, high = found.confidence_interval
    return float(low), float(high)


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


def rank_correlation(
    f: Shaped[np.ndarray, " T"], steps_to_go: Shaped[np.ndarray, " T"]
) -> float:
    """Spearman correlation of f with minus the steps to the goal, along one episode.

    1 if f rises with every step towards the goal, -1 if it falls; 0 if f never changes.
    Errors: ``ValueError`` for fewer than two steps, or equal `steps_to_go`.

    Source: :eq:`rank-correlation`; Spearman (1904).
    """
    checks.at_least("steps", len(steps_to_go), 2)
    checks.at_least("the range of steps_to_go", float(np.ptp(steps_to_go)), 1e-12)
    return float(-spearmanr(f, steps_to_go).statistic) if np.ptp(f) else 0.0


def retrieval(logits: Shaped[ArrayLike, "B C"], k: int = 1) -> float:
    """How often a row's own goal is among its `k` highest logits; by chance k / B.

    Ties are broken at random, in expectation: equal logits score exactly k / B.

    Source: :eq:`retrieval`.
    """
    checks.square("logits", logits)
    checks.at_least("k", k, 1)
    logits = np.asarray(logits)
    own = np.diag(logits)[:, None]
    above, tied = (logits > own).sum(1), (logits == own).sum(1)
    return float(np.clip((k - above) / tied, 0, 1).mean())


def linear_probe(
    features: Shaped[ArrayLike, "N F"],
    targets: Shaped[ArrayLike, "N K"],
    held_out: Bool[np.ndarray, " N"],
    *,
    ridge: float = 1e-3,
) -> Float[np.ndarray, " K"]:
    """R^2 of the best linear readout of each target, on the rows that are `held_out`.

    1 is perfect, 0 no better than a constant; it may be negative. Features are
    standardised by the rows that are fitted; `ridge` > 0 is the penalty on the weights
    per fitted row. Rows that resemble each other (one episode, one place) belong on
    one side. Errors: ``ValueError`` for fewer than two rows on a side, or a target
    that is constant where it is held out.

    Source: :eq:`probe`; Hoerl and Kennard (1970).
    """
    X, Y = np.asarray(features, float), np.asarray(targets, float)
    fit = ~held_out
    checks.at_least("rows on each side", int(min(fit.sum(), held_out.sum())), 2)
    checks.at_least("a target's range", float(np.ptp(Y[held_out], 0).min()), 1e-12)
    X = (X - X[fit].mean(0)) / np.maximum(X[fit].std(0), 1e-12)
    middle = Y[fit].mean(0)
    gram = X[fit].T @ X[fit] + ridge * fit.sum() * np.eye(X.shape[1])
    w = np.linalg.solve(gram, X[fit].T @ (Y[fit] - middle))
    wrong = Y - middle - X @ w
    return 1 - (wrong[held_out] ** 2).mean(0) / Y[held_out].var(0)


class Projection(NamedTuple):
    """A linear map to the k directions in which the points x (N, D) vary most."""

    mean: Float[np.ndarray, " D"]
    axes: Float[np.ndarray, "D k"]
    share: Float[np.ndarray, " k"]

    def __call__(self, x: Shaped[ArrayLike, "N D"]) -> Float[np.ndarray, "N k"]:
        """Coordinates of points along the axes."""
        return (np.asarray(x) - self.mean) @ self.axes


def pca(x: Shaped[ArrayLike, "N D"], k: int = 2) -> Projection:
    """Principal axes of points, with the share of their variance along each.

    Each axis points where its largest entry is positive, so that it repeats.

    Source: :eq:`pca`; Pearson (1901).
    """
    x = np.asarray(x, float)
    mean = x.mean(0)
    _, sizes, axes = np.linalg.svd(x - mean, full_matrices=False)
    largest = np.take_along_axis(axes, abs(axes).argmax(1)[:, None], 1)
    axes, share = (axes * np.sign(largest))[:k].T, sizes**2 / (sizes**2).sum()
    return Projection(mean, axes, share[:k])
