"""Exact answers against brute-force sums, simulation and first principles."""

import jax
import numpy as np
import pytest

from crl_mini import Replay
from crl_mini.envs.maze import LAYOUTS, GridMaze
from crl_mini.measure import occupancy

GAMMA = 0.9


@pytest.fixture
def problem():
    """A small random problem: 5 states, 3 actions, a random policy."""
    rng = np.random.default_rng(0)
    P = rng.dirichlet(np.ones(5), size=(5, 3))
    return P, rng.dirichlet(np.ones(3), size=5)


def test_occupancy_is_a_sum_over_every_future(problem):
    P, pi = problem
    M = np.zeros_like(P)
    for s in range(5):
        for a in range(3):
            at = P[s, a]  # distribution of s_{t + 1}
            for k in range(400):
                M[s, a] += (1 - GAMMA) * GAMMA**k * at
                at = sum(at[x] * pi[x, b] * P[x, b] for x in range(5) for b in range(3))
    exact = occupancy.discounted_occupancy(P, pi, GAMMA)
    np.testing.assert_allclose(exact, M, atol=1e-12)
    np.testing.assert_allclose(exact.sum(-1), 1)


def test_series_approaches_the_closed_form_and_always_sums_to_one(problem):
    P, pi = problem
    exact = occupancy.discounted_occupancy(P, pi, GAMMA)
    gaps = []
    for n in (1, 10, 100, 400):
        series = occupancy.occupancy_series(P, pi, GAMMA, n)
        np.testing.assert_allclose(series.sum(-1), 1)
        gaps.append(np.abs(series - exact).max())
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-12


def test_occupancy_is_the_q_function_of_the_goal_reward(problem):
    P, pi = problem
    M = occupancy.discounted_occupancy(P, pi, GAMMA)
    V = np.einsum("sa,sag->sg", pi, M)
    bellman = occupancy.goal_reward(P, GAMMA) + GAMMA * P @ V
    np.testing.assert_allclose(M, bellman, atol=1e-14)


def test_occupancy_agrees_with_simulation():
    maze = GridMaze("U", slip=0.2)
    M = occupancy.discounted_occupancy(maze.P, maze.uniform_policy, 0.8)
    rng = np.random.default_rng(0)
    s, a, n = 2, 1, 40_000
    states = np.full(n, s)
    actions = np.full(n, a)
    k = rng.geometric(1 - 0.8, size=n)  # 1, 2, ...
    final = np.full(n, -1)
    for t in range(1, k.max() + 1):
        total = maze.P[states, actions].cumsum(1)
        states = (rng.random((n, 1)) >= total).sum(1)
        final = np.where(k == t, states, final)
        actions = rng.integers(maze.n_actions, size=n)
    counts = np.bincount(final, minlength=maze.n_states) / n
    error = np.sqrt(M[s, a] * (1 - M[s, a]) / n)
    assert (np.abs(counts - M[s, a]) < 5 * error + 1e-9).all()


def test_marginal_ratio_and_logits_fit_together(problem):
    P, pi = problem
    M = occupancy.discounted_occupancy(P, pi, GAMMA)
    weights = np.random.default_rng(1).random((5, 3))
    p_g = occupancy.goal_marginal(M, weights)
    by_hand = sum(
        weights[s, a] / weights.sum() * M[s, a] for s in range(5) for a in range(3)
    )
    np.testing.assert_allclose(p_g, by_hand)
    f = occupancy.optimal_logits(M, p_g, 33)
    np.testing.assert_allclose(np.exp(f) * 32 * p_g, M)


def test_ratio_of_pictures_is_that_of_the_events(problem):
    P, pi = problem
    M = occupancy.discounted_occupancy(P, pi, 0.8)
    p_g = occupancy.goal_marginal(M, pi)
    ratio, n = occupancy.density_ratio(M, p_g), len(p_g)
    picture = np.arange(n) * 3 // n  # three pictures, of several states each
    found = occupancy.picture_ratio(ratio, p_g, picture)
    for o in range(3):
        same = picture == o
        np.testing.assert_allclose(
            found[..., o], M[..., same].sum(-1) / p_g[same].sum()
        )
    order = np.random.default_rng(0).permutation(n)
    found = occupancy.picture_ratio(ratio, p_g, order)  # every state has its own
    np.testing.assert_allclose(found[..., order], ratio)


def test_greedy_policy_is_uniform_over_ties():
    q = np.array([[[1.0, -2.0], [1.0, -1.0], [0.5, -1.0]]])  # one state, two goals
    np.testing.assert_allclose(
        occupancy.greedy_policy(q)[0], [[0.5, 0.5, 0], [0, 0.5, 0.5]]
    )


def test_reach_probability_by_hand():
    # Two states; from 0 the action moves to 1 with probability 1/4, 1 is absorbing.
    P = np.array([[[0.75, 0.25]], [[0.0, 1.0]]])
    stay = np.ones((2, 2, 1))
    for horizon in (0, 1, 5):
        reached = occupancy.reach_probability(P, stay, horizon)
        expected = [[1, 1 - 0.75**horizon], [float(horizon == 0) * 0, 1]]
        np.testing.assert_allclose(reached, expected)


@pytest.mark.parametrize("name", LAYOUTS)
def test_optimal_q_is_discount_to_the_power_of_distance(name):
    maze = GridMaze(name)
    q = occupancy.optimal_q(maze.P, GAMMA)
    after = np.einsum("sax,xg->sag", maze.P, maze.distances)  # moves are certain
    np.testing.assert_allclose(q, GAMMA**after, rtol=1e-9)


@pytest.mark.parametrize("slip", [0.0, 0.3])
def test_optimal_q_solves_bellmans_equation(slip):
    maze = GridMaze("FourRooms", slip)
    q = occupancy.optimal_q(maze.P, GAMMA)
    target = occupancy.goal_reward(maze.P, GAMMA) + GAMMA * maze.P @ q.max(1)
    np.testing.assert_allclose(q, target, atol=1e-10)


def test_greedy_on_the_uniform_policys_q_is_one_improvement_step():
    maze = GridMaze("FourRooms", slip=0.1)
    M = occupancy.discounted_occupancy(maze.P, maze.uniform_policy, GAMMA)
    best = occupancy.optimal_q(maze.P, GAMMA)
    goal = 0
    pi = occupancy.greedy_policy(M)[:, goal]
    improved = occupancy.discounted_occupancy(maze.P, pi, GAMMA)[:, :, goal]
    assert (improved >= M[:, :, goal] - 1e-12).all()
    assert (improved <= best[:, :, goal] + 1e-12).all()
    assert improved.mean() > 2 * M[:, :, goal].mean()


@pytest.mark.parametrize("gamma", [0, 1, -0.1, 1.5, float("nan")])
def test_gamma_outside_the_open_interval_is_refused(problem, gamma):
    P, pi = problem
    for function in (
        lambda: occupancy.discounted_occupancy(P, pi, gamma),
        lambda: occupancy.occupancy_series(P, pi, gamma, 3),
        lambda: occupancy.goal_reward(P, gamma),
        lambda: occupancy.optimal_q(P, gamma),
    ):
        with pytest.raises(ValueError, match=r"gamma must lie inside \(0, 1\)"):
            function()


def test_other_bad_numbers_are_refused(problem):
    P, pi = problem
    with pytest.raises(ValueError, match="n_terms must be at least 1"):
        occupancy.occupancy_series(P, pi, 0.9, 0)
    with pytest.raises(ValueError, match="batch_size must be at least 2"):
        occupancy.optimal_logits(P, P[0, 0], 1)


def test_a_goal_conditioned_policy_that_ignores_goals_is_an_ordinary_one(problem):
    P, pi = problem
    same = np.tile(pi[:, None], (1, 5, 1))
    found = occupancy.goal_conditioned_q(P, same, GAMMA)
    np.testing.assert_allclose(found, occupancy.discounted_occupancy(P, pi, GAMMA))


def test_every_improvement_helps_until_the_optimum(problem):
    P, pi = problem
    q = occupancy.discounted_occupancy(P, pi, GAMMA)
    V = np.einsum("sa,sag->sg", pi, q)
    for _ in range(6):
        policy = occupancy.greedy_policy(q)
        q = occupancy.goal_conditioned_q(P, policy, GAMMA)
        better = np.einsum("sga,sag->sg", policy, q)
        assert (better >= V - 1e-12).all()
        V = better
    np.testing.assert_allclose(q, occupancy.optimal_q(P, GAMMA), atol=1e-12)


def recorded(problem, n=300):
    """Trajectories of different lengths in the small problem."""
    P, pi = problem
    rng = np.random.default_rng(3)
    states, actions = [], []
    for _ in range(n):
        s, a = [rng.integers(4)], []  # state 4 is never a start
        for _ in range(rng.integers(1, 7)):
            a.append(rng.choice(3, p=pi[s[-1]]))
            s.append(rng.choice(5, p=P[s[-1], a[-1]]))
        states.append(np.array(s))
        actions.append(np.array(a))
    return states, actions


def test_backups_lead_to_the_occupancy_and_only_there(problem):
    P, pi = problem
    exact = occupancy.discounted_occupancy(P, pi, GAMMA)
    np.testing.assert_allclose(occupancy.backup(P, pi, exact, GAMMA), exact, atol=1e-14)
    M = np.random.default_rng(0).normal(size=P.shape)
    for _ in range(20):
        error = np.abs(M - exact).max()
        M = occupancy.backup(P, pi, M, GAMMA)
        assert np.abs(M - exact).max() <= GAMMA * error + 1e-14


def test_monte_carlo_counts_every_future_of_every_visit(problem):
    states, actions = recorded(problem)
    total, visits = np.zeros((5, 3, 5)), np.zeros((5, 3))
    for s, a in zip(states, actions, strict=True):
        for t in range(len(a)):
            visits[s[t], a[t]] += 1
            remaining = len(a) - t
            scale = sum(GAMMA ** (k - 1) for k in range(1, remaining + 1))
            for k in range(1, remaining + 1):
                total[s[t], a[t], s[t + k]] += GAMMA ** (k - 1) / scale
    found = occupancy.monte_carlo_occupancy(states, actions, 5, 3, GAMMA)
    seen = visits > 0
    np.testing.assert_allclose(found[seen], total[seen] / visits[seen][:, None])
    np.testing.assert_allclose(found[seen].sum(-1), 1)
    assert seen.sum() > 10


def test_monte_carlo_agrees_with_what_the_replay_draws():
    maze, T = GridMaze("U"), 6
    states, actions = maze.random_walk(np.random.default_rng(0), 40, T)
    found = occupancy.monte_carlo_occupancy(states, actions, 11, 5, GAMMA)
    n = 200_000
    replay = Replay.from_trajectories(states, actions)
    drawn = replay.sample(jax.random.key(0), n, GAMMA)
    counts = np.zeros_like(found)
    np.add.at(counts, tuple(map(np.asarray, drawn[:3])), 1)
    visits = counts.sum(-1, keepdims=True)
    noise = np.sqrt(found * (1 - found) / np.maximum(visits, 1))
    assert (np.abs(counts / np.maximum(visits, 1) - found) < 5 * noise + 0.01).all()


def test_empirical_transitions_are_shares(problem):
    states, actions = recorded(problem)
    steps = [x for s, a in zip(states, actions, strict=True)
             for x in zip(s, a, s[1:], strict=False)]  # fmt: skip
    P, pi = occupancy.empirical_transitions(states, actions, 5, 3)
    for s in range(5):
        here = [step for step in steps if step[0] == s]
        for a in range(3):
            mine = [step[2] for step in here if step[1] == a]
            assert pi[s, a] == pytest.approx(len(mine) / len(here))
            for x in range(5):
                share = mine.count(x) / max(len(mine), 1)
                assert P[s, a, x] == pytest.approx(share)


def test_what_was_never_recorded_is_zero():
    tape = [np.array([0, 1, 2])], [np.array([1, 0])]
    P, pi = occupancy.empirical_transitions(*tape, 4, 2)
    assert (P.sum(), pi.sum()) == (2, 2)
    np.testing.assert_array_equal(pi[2:], 0)
    M = occupancy.monte_carlo_occupancy(*tape, 4, 2, GAMMA)
    by_model = occupancy.discounted_occupancy(P, pi, GAMMA)
    np.testing.assert_allclose(M[0, 1], [0, 1 / (1 + GAMMA), GAMMA / (1 + GAMMA), 0])
    np.testing.assert_allclose(by_model[0, 1], [0, 1 - GAMMA, (1 - GAMMA) * GAMMA, 0])
    assert M.sum() == pytest.approx(2)


def test_a_trajectory_has_one_more_state_than_actions():
    tape = [np.array([0, 1, 2])], [np.array([1])]
    with pytest.raises(ValueError, match="actions must have shape"):
        occupancy.monte_carlo_occupancy(*tape, 4, 2, GAMMA)
    with pytest.raises(ValueError, match="actions must have shape"):
        occupancy.empirical_transitions(*tape, 4, 2)
