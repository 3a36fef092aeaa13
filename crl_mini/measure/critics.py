"""Measurements of a critic: logits, rankings, retrieval, probes, principal axes."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Shaped
from scipy.stats import spearmanr

from crl_mini import checks
from crl_mini.critic import Critic


@jax.jit
def critic_table(
    critic: Critic, observations: Shaped[Array, "S ..."]
) -> Float[Array, "S A S"]:
    """Logits of every state, discrete action and goal, given all observations."""
    n_states, n_actions = len(observations), critic.action.n
    s = jnp.repeat(observations, n_actions, axis=0)
    a = jnp.tile(jnp.arange(n_actions), n_states)
    return critic(s, a, observations).reshape(n_states, n_actions, n_states)


@partial(jax.jit, static_argnames="n")
def action_plane(
    critic: Critic,
    s: Float[Array, " S"],
    g: Float[Array, " S"],
    a: Float[Array, " A"],
    n: int = 21,
) -> Float[Array, "n n"]:
    """Logits of a grid of n x n actions, for one state and one goal.

    Rows set entry 1 of the action and columns entry 0, from -1 to 1; the other entries
    are those of `a`.
    """
    actions = actions_around(a, n)
    return critic(jnp.tile(s, (n * n, 1)), actions, g[None]).reshape(n, n)


def actions_around(a: Float[Array, " A"], n: int = 21) -> Float[Array, "n2 A"]:
    """The grid of `action_plane`, row by row."""
    ticks = jnp.linspace(-1, 1, n)
    y, x = (part.ravel() for part in jnp.meshgrid(ticks, ticks, indexing="ij"))
    return jnp.tile(a, (n * n, 1)).at[:, :2].set(jnp.stack([x, y], 1))


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
    """Share of rows whose own goal is among their `k` highest logits; k / B by chance.

    Ties count as if broken at random: equal logits score exactly k / B.

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
    """R^2 of a linear readout of each target, on the `held_out` rows.

    1 is perfect, 0 no better than a constant; it may be negative. The fitted rows
    standardise the features; `ridge` > 0 is the penalty on the weights per fitted row.
    Rows that resemble each other (one episode, one place) belong on one side. Errors:
    ``ValueError`` for fewer than two rows on a side, or a target that is constant over
    the held-out rows.

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
    """Linear map to the k principal axes, the directions of the largest variance."""

    mean: Float[np.ndarray, " D"]
    axes: Float[np.ndarray, "D k"]
    share: Float[np.ndarray, " k"]

    def __call__(self, x: Shaped[ArrayLike, "N D"]) -> Float[np.ndarray, "N k"]:
        """Coordinates of points along the axes."""
        return (np.asarray(x) - self.mean) @ self.axes


def pca(x: Shaped[ArrayLike, "N D"], k: int = 2) -> Projection:
    """Principal axes of points, with the share of their variance along each.

    The sign of each axis makes its largest entry positive, so that results repeat.

    Source: :eq:`pca`; Pearson (1901).
    """
    x = np.asarray(x, float)
    mean = x.mean(0)
    _, sizes, axes = np.linalg.svd(x - mean, full_matrices=False)
    largest = np.take_along_axis(axes, abs(axes).argmax(1)[:, None], 1)
    axes = (axes * np.sign(largest))[:k].T
    share = sizes[:k] ** 2 / (sizes**2).sum()
    return Projection(mean, axes, share)
