"""Planning against brute force, closed forms, and mazes with known distances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from gymnasium import spaces

from crl_mini.actor import Actor
from crl_mini.critic import Critic
from crl_mini.envs.maze import LAYOUTS, GridMaze
from crl_mini.measure import occupancy, planning
from crl_mini.specs import Spec

RNG = np.random.default_rng(0)
SPACES = Spec.of(spaces.Box(-np.inf, np.inf, (3,))), Spec.of(spaces.Box(-1, 1, (2,)))
SIZES = {"hidden": (8,), "layer_norm": False, "rngs": nnx.Rngs(0)}
CRITIC = Critic(*SPACES, energy="l2", repr_dim=4, **SIZES)
ACTOR = Actor(*SPACES, **SIZES)
S, G = (jnp.asarray(RNG.normal(size=(6, 3)), jnp.float32) for _ in range(2))
GAMMA = 0.9


def test_best_of_takes_what_a_loop_takes():
    candidates = jnp.asarray(RNG.uniform(-1, 1, (6, 10, 2)), jnp.float32)
    chosen = planning.best_of(CRITIC, S, G, candidates)
    for i in range(6):
        f = [CRITIC(S[i : i + 1], a[None], G[i : i + 1])[0, 0] for a in candidates[i]]
        np.testing.assert_array_equal(chosen[i], candidates[i, int(np.argmax(f))])


def test_a_planner_takes_the_best_of_its_proposals():
    propose, key = planning.uniform(2, 16), jax.random.key(0)
    policy = planning.planner(CRITIC, propose)
    expected = planning.best_of(CRITIC, S, G, propose(S, G, key))
    np.testing.assert_array_equal(policy(S, G, key), expected)
    assert (policy(S, G, jax.random.key(1)) != expected).any()


def test_more_candidates_never_look_worse_to_the_critic():
    def liked(n):
        a = planning.planner(CRITIC, planning.uniform(2, n))(S, G, jax.random.key(0))
        return float(jnp.diag(CRITIC(S, a, G)).mean())

    assert liked(1) < liked(16) < liked(256)


def test_proposals_have_their_distributions():
    many = planning.uniform(2, 4000)(S, G, jax.random.key(0))
    assert many.shape == (6, 4000, 2)
    np.testing.assert_allclose(many.mean((0, 1)), 0, atol=0.02)
    np.testing.assert_allclose(many.std((0, 1)), 3**-0.5, atol=0.02)
    many = planning.sampled(ACTOR, 4000)(S, G, jax.random.key(0))
    again, row = (jnp.repeat(x[:1], 4000, 0) for x in (S, G))
    other = ACTOR.sample(*ACTOR(again, row), key=jax.random.key(1))[0]
    np.testing.assert_allclose(many[0].mean(0), other.mean(0), atol=0.05)
    np.testing.assert_allclose(many[0].std(0), other.std(0), atol=0.05)
    assert (many[:, 0] != many[:, 1]).all()


def test_joined_proposals_stand_beside_each_other_with_keys_of_their_own():
    one, two = planning.uniform(2, 3), planning.sampled(ACTOR, 2)
    key = jax.random.key(5)
    both = planning.joined(one, two, one)(S, G, key)
    keys = jax.random.split(key, 3)
    for first, last, part, k in ((0, 3, one, 0), (3, 5, two, 1), (5, 8, one, 2)):
        np.testing.assert_array_equal(both[:, first:last], part(S, G, keys[k]))
    assert (both[:, :3] != both[:, 5:]).all()
    with pytest.raises(ValueError, match="number of proposals must be at least 1"):
        planning.joined()


def test_a_corrected_policy_asks_for_a_goal_that_it_then_hits():
    """It ends at A g + b, but for episodes that end far away; one entry is constant."""
    goals = RNG.uniform(-1, 1, (60, 3))
    goals[:, 2] = 0.04
    A, b = np.array([[1.1, 0.2, 0], [-0.1, 0.8, 0], [0, 0, 1]]), np.array([0.3, 0, 0.1])
    ends = goals @ A.T + b
    ends[50:] += 5

    def mirror(s, g, key):
        return g

    asked = planning.corrected(mirror, goals, ends, near=0.5, within=1)
    s, g = goals[:50].copy(), jnp.asarray(goals[:50])
    s[:25, 0] += 0.49
    s[25:, 0] -= 0.51
    found = np.asarray(asked(jnp.asarray(s), g, None))
    np.testing.assert_array_equal(found[25:], g[25:])
    by_hand = 2 * goals[:25] - ends[:25]  # g - b(g), with b(g) = end - g
    np.testing.assert_allclose(found[:25], by_hand, atol=1e-5)
    with pytest.raises(ValueError, match="ends near their goals must be at least 4"):
        planning.corrected(mirror, goals, goals + 3, near=0.5, within=1)


@pytest.mark.parametrize("shape", [(3,), (2, 2, 3)])
def test_replayed_actions_are_those_of_the_nearest_observations(shape):
    seen = RNG.integers(0, 256, (50, *shape)).astype(np.uint8)  # pictures, too
    actions = RNG.uniform(-1, 1, (50, 2))
    s = RNG.integers(0, 256, (4, *shape)).astype(np.uint8)
    found = planning.replayed(seen, actions, 5)(s, None, None)
    for x, a in zip(s, found, strict=True):
        gaps = [np.sum((y.astype(float) - x) ** 2) for y in seen]
        np.testing.assert_allclose(a, actions[np.argsort(gaps)[:5]], rtol=1e-6)


def test_distances_of_films():
    film = RNG.integers(0, 256, (2, 5, 4, 4, 3)).astype(np.uint8)
    goals = film[:, -1]
    found = planning.distances(film, goals)
    assert found.shape == (2, 5)
    gap = film[1, 2].astype(float) - goals[1]
    assert found[1, 2] == pytest.approx(np.sqrt((gap**2).sum()))
    assert (found[:, -1] == 0).all()


def test_largest_rise_is_the_worst_climb_of_any_two_moments():
    curves = RNG.normal(size=(3, 4, 12))
    expected = [
        max(curve[j] - curve[i] for j in range(12) for i in range(j + 1))
        for curve in curves.reshape(-1, 12)
    ]
    found = planning.largest_rise(curves)
    np.testing.assert_allclose(found.ravel(), expected)
    two = np.array([[3.0, 2, 2, 0], [3.0, 4, 1, 1.5]])
    np.testing.assert_array_equal(planning.largest_rise(two), [0, 1])


def test_a_greedy_rule_refuses_what_lies_above_the_lowest_so_far():
    curves = RNG.normal(size=(3, 12))
    for slack in (0.0, 0.4):
        expected = [
            [d > min(curve[: t + 1]) + slack for t, d in enumerate(curve)]
            for curve in curves
        ]
        np.testing.assert_array_equal(planning.refused(curves, slack), expected)
    falling = np.array([3.0, 2, 2, 0])
    assert not planning.refused(falling, 0).any()


def exact(name):
    """A maze, its optimal logits, and their travel cost."""
    maze = GridMaze(name)
    M = occupancy.discounted_occupancy(maze.P, maze.uniform_policy, GAMMA)
    p_g = occupancy.goal_marginal(M, maze.uniform_policy)
    f = occupancy.optimal_logits(M, p_g, 64)
    return maze, f, planning.travel_cost(f, GAMMA)


@pytest.mark.parametrize("name", LAYOUTS)
def test_travel_cost_is_the_discounted_time_of_the_first_visit(name):
    maze, _, cost = exact(name)
    P_pi = occupancy.policy_transitions(maze.P, maze.uniform_policy)
    for g in (0, maze.n_states // 2):
        absorbing = GAMMA * P_pi
        absorbing[g] = 0
        unit = np.eye(maze.n_states)[g]
        first = np.linalg.solve(np.eye(maze.n_states) - absorbing, unit)  # E gamma^T
        np.testing.assert_allclose(np.exp(-cost[:, g]), first, rtol=1e-6)


@pytest.mark.parametrize("name", LAYOUTS)
def test_exact_costs_obey_the_triangle_inequality(name):
    _, _, cost = exact(name)
    detour = (cost[:, :, None] + cost[None]).min(1)
    np.testing.assert_allclose(detour, cost, atol=1e-9)
    np.testing.assert_allclose(planning.graph_distances(cost, np.inf), cost)


def test_travel_cost_forgets_what_a_loss_leaves_free_per_goal():
    _, f, cost = exact("U")
    moved = planning.travel_cost(f + RNG.normal(size=len(f)), GAMMA)
    np.testing.assert_allclose(moved, cost, atol=1e-9)


def test_midpoints_and_interpolation_on_a_line():
    psi = np.array([0.0, 1, 2, 3, 4, 5, 6, 7, 8])[:, None] * [[3.0, 4.0]]
    half = planning.midpoints(psi)
    assert (half[0, 8], half[2, 4], half[5, 5]) == (4, 3, 5)
    cost = np.abs(np.arange(9.0)[:, None] - np.arange(9))
    way = planning.interpolated(psi, cost, 2)
    assert (way[0, 8], way[8, 0], way[0, 2], way[3, 3]) == (2, 6, 2, 3)
    assert (planning.interpolated(psi, cost, 8) == np.arange(9)).all()
    assert planning.interpolated(psi, cost, 0)[0, 1] == 1  # never the start itself


def test_graph_distances_agree_with_floyd_and_warshall():
    cost = RNG.uniform(0.5, 10, (12, 12))
    np.fill_diagonal(cost, 0)
    expected = np.where(cost <= 4, cost, np.inf)
    for k in range(12):
        expected = np.minimum(expected, expected[:, k, None] + expected[k])
    np.testing.assert_allclose(planning.graph_distances(cost, 4), expected)
    assert np.isinf(planning.graph_distances(cost, 0)).sum() == 12 * 11


def test_next_nodes_lead_along_the_best_path():
    maze = GridMaze("NineRooms")
    steps = maze.distances
    onward = planning.graph_distances(steps, 1)
    np.testing.assert_array_equal(onward, steps)
    node = planning.next_nodes(steps, onward, 1)
    for s, g in RNG.integers(maze.n_states, size=(50, 2)):
        at, walked = s, 0
        while at != g:
            at, walked = node[at, g], walked + 1
        assert walked == steps[s, g]
    far = planning.next_nodes(steps, onward, 3)
    start, goal = maze.index(1, 1), maze.index(11, 11)
    assert steps[start, far[start, goal]] <= 3
    assert steps[start, far[start, goal]] + onward[far[start, goal], goal] == 20
    assert (planning.next_nodes(steps, onward, 0.5) == -1).all()


BAD = {
    "n must be at least 1": lambda: planning.uniform(2, 0),
    "n must be at least 1; got -1": lambda: planning.sampled(ACTOR, -1),
    "number of observations must be": lambda: planning.replayed(
        np.zeros((3, 2)), np.zeros((3, 1)), 4
    ),
    "actions must have shape": lambda: planning.replayed(
        np.zeros((3, 2)), np.zeros((2, 1)), 1
    ),
    "film must have shape": lambda: planning.distances(
        np.zeros((2, 5, 3)), np.zeros((2, 4))
    ),
    "f must have shape": lambda: planning.travel_cost(np.zeros((2, 3, 4)), 0.9),
    "gamma must lie": lambda: planning.travel_cost(np.zeros((2, 3, 2)), 1.0),
    "limit must be": lambda: planning.graph_distances(np.zeros((2, 2)), -1.0),
    "onward must have": lambda: planning.next_nodes(
        np.zeros((2, 3)), np.zeros((2, 2)), 1.0
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input(message):
    with pytest.raises(ValueError, match=message):
        BAD[message]()
