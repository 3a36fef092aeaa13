"""Policies from a critic alone: the best of some actions, and waypoints to far goals.

These functions use only the methods `see`, `phi`, `psi` and `logits` of a critic, and
the waypoints take arrays. So they work with states and with pictures. `corrected` is
for any policy whose goals are states.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.sparse.csgraph import shortest_path
from scipy.special import logsumexp

from crl_mini import checks
from crl_mini.critic import best_of

WITHIN = 0.15  # of a goal in the tabletop's units: an end that tells how a policy aims

# Greedy choice. A proposal is a function (s, g, key) -> candidates (B, K, A).


def planner(critic, propose: Callable) -> Callable:
    """A policy ``(s, g, key) -> actions`` without an actor, for `rollouts.rollout`.

    Source: :eq:`best-of`.
    """

    @jax.jit
    def policy(s, g, key):
        return best_of(critic, s, g, propose(s, g, key))

    return policy


def uniform(size: int, n: int) -> Callable:
    """Propose `n` actions of `size` numbers, uniform in [-1, 1]."""
    checks.at_least("n", n, 1)

    def propose(s, g, key):
        return jax.random.uniform(key, (len(s), n, size), minval=-1, maxval=1)

    return propose


def sampled(actor, n: int) -> Callable:
    """Propose `n` actions sampled from an actor."""
    checks.at_least("n", n, 1)

    def propose(s, g, key):
        gaussian, keys = actor(s, g), jax.random.split(key, n)
        return jax.vmap(lambda k: actor.sample(*gaussian, key=k)[0], out_axes=1)(keys)

    return propose


def joined(*proposals: Callable) -> Callable:
    """Propose what each of several proposals does, with a key for each of them."""
    checks.at_least("the number of proposals", len(proposals), 1)

    def propose(s, g, key):
        keys = jax.random.split(key, len(proposals))
        parts = zip(proposals, keys, strict=True)
        return jnp.concatenate([one(s, g, k) for one, k in parts], 1)

    return propose


def replayed(
    observations: Shaped[np.ndarray, "N ..."],
    actions: Float[np.ndarray, "M A"],
    n: int,
) -> Callable:
    """Propose the actions that were taken in the `n` nearest replayed observations.

    The nearest have the smallest Euclidean distance, in the observations' own units.
    Errors: ``ValueError`` unless every observation has an action, and for fewer than
    `n` observations.
    """
    checks.shaped("actions", actions, (len(observations), None))
    checks.at_least("the number of observations", len(observations), n)
    seen = jnp.asarray(observations, float).reshape(len(observations), -1)
    taken = jnp.asarray(actions)

    def propose(s, g, key):
        x = jnp.asarray(s, float).reshape(len(s), -1)
        gap = (seen**2).sum(1) - 2 * x @ seen.T  # squared distance, less |x|^2
        return taken[jax.lax.top_k(-gap, n)[1]]

    return propose


# Aim.


def corrected(
    policy: Callable,
    goals: Float[np.ndarray, "N S"],
    ends: Float[np.ndarray, "N S"],
    *,
    near: float,
    within: float = WITHIN,
) -> Callable:
    """A policy that asks for another goal where the policy alone would end beside it.

    `ends` are the last states of its episodes with these `goals`. The miss, end minus
    goal, is fitted as an affine function b(g), by least squares over the episodes that
    end less than `within` from their goals. Less than `near` from g the new policy acts
    as for g - b(g), elsewhere as for g. Distances are in the units of a state.

    Errors: ``ValueError`` for other shapes, and if fewer than S + 1 ends are near.
    """
    checks.shaped("ends", ends, np.shape(goals))
    goals = np.asarray(goals, float)
    miss = np.asarray(ends, float) - goals
    use = np.linalg.norm(miss, axis=1) < within
    least = goals.shape[1] + 1
    checks.at_least("the number of ends near their goals", int(use.sum()), least)
    x = np.pad(goals[use], ((0, 0), (1, 0)), constant_values=1)
    first, *rest = jnp.asarray(np.linalg.lstsq(x, miss[use], rcond=1e-3)[0], float)
    slope = jnp.stack(rest)

    def acts(s, g, key):
        close = jnp.linalg.norm(s - g, axis=1) < near
        return policy(s, jnp.where(close[:, None], g - first - g @ slope, g), key)

    return acts


# Distances along a film.


def distances(
    film: Shaped[np.ndarray, "N T1 ..."], goals: Shaped[np.ndarray, "N ..."]
) -> Float[np.ndarray, "N T1"]:
    """Euclidean distance of every moment of N films to the film's goal.

    A moment may be a state, a picture or a representation; the unit is its own.
    """
    checks.shaped("film", film, (len(goals), None, *np.shape(goals)[1:]))
    gap = np.asarray(film, float) - np.asarray(goals, float)[:, None]
    return np.linalg.norm(gap.reshape(*gap.shape[:2], -1), axis=-1)


def largest_rise(curves: Float[np.ndarray, "*N T1"]) -> Float[np.ndarray, "*N"]:
    """How far a curve climbs above its lowest value so far; 0 if it never rises.

    Source: :eq:`rise`.
    """
    lowest = np.minimum.accumulate(curves, -1)
    return (curves - lowest).max(-1)


def refused(
    curves: Float[np.ndarray, "*N T1"], slack: float
) -> Bool[np.ndarray, "*N T1"]:
    """Whether each moment lies above the curve's lowest value so far by over `slack`.

    A greedy rule goes only where its distance is smaller than ever before: it would
    not go here.

    Source: :eq:`rise`.
    """
    return curves > np.minimum.accumulate(curves, -1) + slack


# Waypoints. Nodes are states that may serve as waypoints, N of them.


def travel_cost(
    f: Float[np.ndarray, "N A M"], gamma: float
) -> Float[np.ndarray, "N N"]:
    r"""Cost of going from node s to node w, from the logits ``f[s, a, w]``.

    With optimal logits it is :math:`-\log E[\gamma^T]` in nats, where the behaviour
    needs T steps. The actions are a sample of the behaviour's; at least one must stay
    in place. No cost is below that of one step; the diagonal is 0.

    Source: :eq:`travel-cost`.
    """
    checks.inside("gamma", gamma, 0, 1)
    checks.shaped("f", f, (len(f), None, len(f)))
    arrived = f.max(1).diagonal()
    cost = arrived - (logsumexp(f, 1) - np.log(f.shape[1])) - np.log(gamma)
    cost = np.maximum(cost, -np.log(gamma))
    np.fill_diagonal(cost, 0)
    return cost


def midpoints(psi: Float[np.ndarray, "N D"]) -> Int[np.ndarray, "N N"]:
    """The node nearest to the midpoint of each pair, in the space of representations.

    Source: :eq:`midpoint`; Eysenbach et al. (2024), who derive it for Gaussians.
    """
    halves = (psi[:, None] + psi) / 2  # (N, N, D)
    nearest = [((row[:, None] - psi) ** 2).sum(-1).argmin(1) for row in halves]
    return np.stack(nearest)


def interpolated(
    psi: Float[np.ndarray, "N D"], cost: Float[np.ndarray, "N N"], limit: float
) -> Int[np.ndarray, "N N"]:
    """Waypoints [s, g]: halve the way from the goal until it costs at most `limit`.

    A midpoint that is the start itself is not used.

    Source: :eq:`midpoint`.
    """
    start = np.arange(len(psi))[:, None]
    half = midpoints(psi)
    way = np.tile(np.arange(len(psi)), (len(psi), 1))
    for _ in range(len(psi).bit_length()):
        closer = half[start, way]
        far = (cost[start, way] > limit) & (closer != start)
        way = np.where(far, closer, way)
    return way


def graph_distances(
    cost: Float[np.ndarray, "N N"], limit: float
) -> Float[np.ndarray, "N N"]:
    """Cost of the best path between any two nodes over edges of at most `limit`.

    Infinite where there is no path.

    Source: :eq:`graph-cost`; Eysenbach et al. (2019).
    """
    checks.at_least("limit", limit, 0)
    edges = np.where(cost <= limit, cost, 0)  # SciPy reads 0 as no edge
    return shortest_path(np.ascontiguousarray(edges))


def next_nodes(
    cost: Float[np.ndarray, "B N"], onward: Float[np.ndarray, "M G"], limit: float
) -> Int[np.ndarray, "B G"]:
    """The first waypoint from each of B states to each of G goals; -1 without a path.

    `cost` holds the costs from the states to the nodes; those above `limit` are not
    trusted. `onward` holds the `graph_distances` from the nodes to the goals. A node at
    cost 0 is the state itself, which is no waypoint.

    Source: :eq:`graph-cost`.
    """
    checks.shaped("onward", onward, (np.shape(cost)[1], None))
    first = np.where((cost > 0) & (cost <= limit), cost, np.inf)
    total = np.stack([(row[:, None] + onward).min(0) for row in first])
    best = np.stack([(row[:, None] + onward).argmin(0) for row in first])
    return np.where(np.isfinite(total), best, -1)


def toward(
    f: Float[np.ndarray, "S A N"], way: Int[np.ndarray, "S G"]
) -> Int[np.ndarray, "S G"]:
    """Greedy actions [s, g] towards waypoints [s, g], of logits ``f[s, a, w]``.

    Source: :eq:`greedy`.
    """
    return np.take_along_axis(f, way[:, None], 2).argmax(1)
