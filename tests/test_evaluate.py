"""Rollouts by hand, intervals against their definition, correlations against NumPy."""

from itertools import product

import gymnasium
import jax.numpy as jnp
import line
import numpy as np
import pytest
from flax import nnx
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from crl_mini.critic import Critic
from crl_mini.encoders import Spec
from crl_mini.measure.critics import (
    action_plane,
    critic_table,
    linear_probe,
    pca,
    rank_correlation,
    retrieval,
    weighted_correlation,
)
from crl_mini.measure.statistics import funnel, furthest, iqm, iqm_interval, wilson
from crl_mini.rollouts import rollout, rollouts

ENV = "crl_mini/PointMaze-U-v0"


def still(s, g, key):
    return np.zeros((len(s), 2))


def test_rollout_records_what_happened():
    env = gymnasium.make_vec(ENV, num_envs=40)
    seen = rollout(env, lambda s, g, key: np.sign(g - s), 12, seed=0)
    assert seen.observations.shape == (40, 13, 2)
    assert seen.actions.shape == (40, 12, 2)
    near = np.linalg.norm(seen.observations[:, 1:] - seen.goals[:, None], axis=-1) < 0.5
    np.testing.assert_array_equal(seen.success, near)
    np.testing.assert_array_equal(seen.ever, near.any(1))
    np.testing.assert_array_equal(seen.at_end, near[:, -1])
    assert 0 < seen.ever.mean() < 1


@pytest.mark.parametrize("name", ["Line", "LineOfFetch", "LineOfKeys"])
@pytest.mark.parametrize("mode", AutoresetMode)
def test_an_episode_of_full_length_ends_where_it_ended(mode, name):
    """Whatever the vector does after the last step, and whatever success is called."""
    settings = {"autoreset_mode": mode, "copy": False}
    env = gymnasium.make_vec(f"line:{name}-v0", num_envs=5, vector_kwargs=settings)
    step = {"LineOfKeys": lambda g: (g[:, 0] > 0) * 2}.get(name, np.sign)
    for seed in (0, 1):  # the second rollout starts after the end of the first
        seen = rollout(env, lambda s, g, key: step(g), line.LENGTH, seed=seed)
        x, t, useless = np.moveaxis(seen.observations, -1, 0)
        np.testing.assert_array_equal(t, np.tile(np.arange(line.LENGTH + 1), (5, 1)))
        np.testing.assert_array_equal(useless, useless[:, :1].repeat(13, 1))
        np.testing.assert_array_equal(seen.achieved, x[..., None])
        moved = x[:, :1] + 0.2 * np.sign(seen.goals) * t
        np.testing.assert_allclose(x, np.clip(moved, -1, 1), atol=1e-5)
        near = np.abs(x[:, 1:] - seen.goals) < line.NEAR
        np.testing.assert_array_equal(seen.success, near)
        assert seen.success.dtype == bool
        assert 0 < near.sum() < near.size


def test_achieved_goals_are_the_same_array_where_they_are_the_observations():
    env = gymnasium.make_vec(ENV, num_envs=2)
    for n in (2, 3):
        seen = rollouts(env, still, 3, n, seed=0)
        assert seen.achieved is seen.observations
        assert len(seen.observations) == n


def test_rounds_give_as_many_episodes_as_asked_for_and_no_seed_twice():
    env = gymnasium.make_vec("line:Line-v0", num_envs=4)

    def starts(n, seed):
        seen = rollouts(env, lambda s, g, key: -s[:, :1], 3, n, seed=seed)
        assert {len(x) for x in seen} == {n}
        np.testing.assert_array_equal(seen.achieved, seen.observations[..., :1])
        return seen.observations[:, 0, 2]

    first, again, other = (starts(10, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert len({*first, *other}) == 20
    np.testing.assert_array_equal(starts(4, 0), first[:4])


def test_what_cannot_be_recorded_gets_one_clear_line():
    for name, message in (
        ("LineThatStops", "must last 12 steps; one ended at 5"),
        ("LineWithoutSuccess", "info must hold success or is_success; got .*solved"),
    ):
        env = gymnasium.make_vec(f"line:{name}-v0", num_envs=2)
        with pytest.raises(ValueError, match=message):
            rollout(env, lambda s, g, key: -s[:, :1], line.LENGTH, seed=0)


def test_one_seed_repeats_and_two_seeds_differ():
    env = gymnasium.make_vec(ENV, num_envs=3)
    goals = [rollout(env, still, 2, seed=seed).goals for seed in (1, 1, 2)]
    np.testing.assert_array_equal(goals[0], goals[1])
    assert (goals[0] != goals[2]).any()


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (170, 200)])
def test_wilson_interval_inverts_the_score_test(k, n):
    low, high = wilson(k, n)
    for end in (low, high):
        if 1e-9 < end < 1 - 1e-9:
            z = abs(k / n - end) / np.sqrt(end * (1 - end) / n)
            assert z == pytest.approx(1.959964, rel=1e-5)
    assert 0 <= low <= k / n <= high <= 1
    assert (low > 0) == (k > 0)


def test_wilson_interval_covers_as_often_as_it_says():
    rng, n = np.random.default_rng(0), 50
    covered = []
    for p in rng.uniform(0.05, 0.95, 2000):
        low, high = wilson(rng.binomial(n, p), n)
        covered.append(low <= p <= high)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


def middle_by_hand(scores):
    """Sort, cut a quarter off each end, average."""
    ordered = sorted(scores)
    cut = len(ordered) // 4
    kept = ordered[cut : len(ordered) - cut]
    return sum(kept) / len(kept)


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (4, 1), (3, 5), (10, 2)])
def test_interquartile_mean_by_hand(shape):
    scores = np.random.default_rng(0).uniform(size=shape)
    assert iqm(scores) == pytest.approx(middle_by_hand(scores.ravel().tolist()))


@pytest.mark.parametrize("level", [0.95, 0.8])
def test_interval_is_that_of_all_ways_to_draw_the_runs_again(level):
    scores = np.random.default_rng(0).uniform(size=(4, 2))
    ways = list(product(range(4), repeat=4))  # for one task
    drawn = [[scores[i, k] for i in way] for k in (0, 1) for way in ways]
    first, second = drawn[: len(ways)], drawn[len(ways) :]
    every = [middle_by_hand(a + b) for a in first for b in second]
    ends = np.quantile(every, [(1 - level) / 2, (1 + level) / 2])
    np.testing.assert_allclose(iqm_interval(scores, level), ends, atol=0.01)


def test_runs_are_drawn_within_their_task():
    easy_and_hard = np.array([[0.0, 1.0, 0.4]] * 3)
    assert iqm_interval(easy_and_hard) == (iqm(easy_and_hard),) * 2


def test_three_runs_of_one_task_give_their_range_and_one_run_nothing():
    scores = np.array([[0.2], [0.7], [0.9]])
    assert iqm_interval(scores) == pytest.approx((0.2, 0.9))
    with pytest.raises(ValueError, match="runs must be at least 2; got 1"):
        iqm_interval(scores[:1])


def test_funnel_counts_episode_by_episode():
    milestones = np.random.default_rng(0).random((40, 4)) < 0.4
    last = [max([k + 1 for k in range(4) if row[k]], default=0) for row in milestones]
    assert furthest(milestones).tolist() == last
    counts = funnel(milestones)
    assert counts.tolist() == [sum(k <= n for n in last) for k in range(5)]
    assert counts[0] == 40
    assert counts[-1] == milestones[:, -1].sum()  # nothing is lost on the way
    with pytest.raises(ValueError, match="episodes must be at least 1"):
        funnel(milestones[:0])


def test_weighted_correlation_is_pearsons():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 4, 30))
    plain = np.corrcoef(x.ravel(), y.ravel())[0, 1]
    assert weighted_correlation(x, y) == pytest.approx(plain)
    counts = rng.integers(1, 5, x.shape)
    repeated = np.corrcoef(
        np.repeat(x.ravel(), counts.ravel()), np.repeat(y.ravel(), counts.ravel())
    )[0, 1]
    assert weighted_correlation(x, y, counts.astype(float)) == pytest.approx(repeated)


def test_critic_table_asks_for_every_state_action_and_goal():
    sizes = {"energy": "dot", "repr_dim": 4, "hidden": (8,), "layer_norm": True}
    rooms, actions = spaces.Discrete(6), spaces.Discrete(3)
    critic = Critic(Spec.of(rooms), Spec.of(actions), rngs=nnx.Rngs(0), **sizes)
    table = critic_table(critic, jnp.arange(6))
    assert table.shape == (6, 3, 6)
    one = critic(jnp.array([4]), jnp.array([2]), jnp.array([1]))
    assert table[4, 2, 1] == pytest.approx(float(one[0, 0]), abs=1e-6)


def test_rank_correlation_is_pearsons_of_ranks():
    rng, to_go = np.random.default_rng(0), np.arange(9, 0, -1)
    f = rng.normal(size=9)
    ranks = [(f < x).sum() for x in f]  # by hand; there are no ties
    expected = np.corrcoef(ranks, -to_go)[0, 1]
    assert rank_correlation(f, to_go) == pytest.approx(expected)
    assert rank_correlation(np.exp(-to_go / 3), to_go) == pytest.approx(1)
    assert rank_correlation(to_go**3, to_go) == pytest.approx(-1)
    assert rank_correlation(np.ones(9), to_go) == 0


@pytest.mark.parametrize("k", [1, 2, 5])
def test_retrieval_is_a_sorted_list_with_ties_broken_at_random(k):
    rng = np.random.default_rng(0)
    logits = rng.integers(4, size=(6, 6))  # full of ties
    hits = []
    for _ in range(4000):
        keys = rng.random((6, 6))
        order = np.lexsort((keys, -logits), axis=1)
        hits.append([i in order[i, :k] for i in range(6)])
    assert retrieval(logits, k) == pytest.approx(np.mean(hits), abs=0.01)
    assert retrieval(np.zeros((6, 6)), k) == pytest.approx(k / 6)
    assert retrieval(jnp.eye(6), k) == 1
    assert retrieval(-np.eye(6), k) == 0
    assert retrieval(logits, 6) == 1


def test_linear_probe_is_least_squares_judged_on_other_rows():
    rng = np.random.default_rng(0)
    X = rng.normal(3, [0.1, 1, 10], size=(60, 3))
    Y = np.stack([X @ [5, 1, 0.1], X @ [1, 1, 1] + rng.normal(size=60)], 1)
    held_out = rng.random(60) < 0.4
    found = linear_probe(X, Y, held_out, ridge=1e-12)
    design = np.column_stack([X, np.ones(60)])
    for k in range(2):
        w, *_ = np.linalg.lstsq(design[~held_out], Y[~held_out, k])
        wrong = ((design @ w - Y[:, k])[held_out] ** 2).sum()
        spread = ((Y[held_out, k] - Y[held_out, k].mean()) ** 2).sum()
        assert found[k] == pytest.approx(1 - wrong / spread, abs=1e-6)
    assert found[0] == pytest.approx(1)
    mixed = X @ rng.normal(size=(3, 3)) + 7  # any invertible map, and a shift
    again = linear_probe(mixed, Y, held_out, ridge=1e-12)
    np.testing.assert_allclose(again, found, atol=1e-6)


def test_linear_probe_does_not_reward_learning_by_heart():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(80, 39)), rng.normal(size=(80, 1))
    held_out = np.arange(80) % 2 == 0
    assert linear_probe(X, Y, held_out, ridge=1e-9) < 0  # fits its own 40 rows exactly
    assert linear_probe(X, Y, held_out, ridge=1e3) == pytest.approx(0, abs=0.1)
    constant = np.column_stack([X[:, :2], np.ones(80)])
    plain = linear_probe(X[:, :2], Y, held_out)
    np.testing.assert_allclose(linear_probe(constant, Y, held_out), plain, atol=1e-9)


def test_pca_finds_the_axes_that_were_put_in():
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    x = rng.normal(size=(4000, 4)) * [5, 3, 0.1, 0] @ turn.T + [1, 2, 3, 4]
    found = pca(x)
    np.testing.assert_allclose(abs(found.axes.T @ turn[:, :2]), np.eye(2), atol=0.03)
    np.testing.assert_allclose(found.axes.T @ found.axes, np.eye(2), atol=1e-12)
    covariance = np.cov(x.T)
    share = np.sort(np.linalg.eigvalsh(covariance))[:1:-1] / np.trace(covariance)
    np.testing.assert_allclose(found.share, share, atol=1e-9)
    np.testing.assert_allclose(found(x).var(0), found.share * x.var(0).sum())
    assert (found.axes[abs(found.axes).argmax(0), [0, 1]] > 0).all()


def test_bad_numbers_are_refused():
    for message, bad in {
        "steps must be at least 2; got 1": lambda: rank_correlation(
            np.ones(1), np.ones(1)
        ),
        "range of steps_to_go": lambda: rank_correlation(np.arange(3), np.ones(3)),
        "k must be at least 1": lambda: retrieval(np.eye(3), 0),
        "logits must be square": lambda: retrieval(np.eye(3)[:1]),
        "rows on each side": lambda: linear_probe(
            np.ones((3, 1)), np.ones((3, 1)), np.array([True, False, True])
        ),
        "a target's range": lambda: linear_probe(
            np.ones((4, 1)), np.ones((4, 1)), np.arange(4) < 2
        ),
    }.items():
        with pytest.raises(ValueError, match=message):
            bad()
    with pytest.raises(ValueError, match="n must be at least 1"):
        wilson(0, 0)
    with pytest.raises(ValueError, match="length must be at least 1"):
        rollout(gymnasium.make_vec(ENV, num_envs=1), still, 0, seed=0)


def test_action_plane_is_the_critic_at_each_action():
    place = Spec.of(spaces.Box(-1, 1, (3,)))
    hand = Spec.of(spaces.Box(-1, 1, (4,)))
    sizes = {"energy": "l2", "repr_dim": 5, "hidden": (8,), "layer_norm": True}
    critic = Critic(place, hand, rngs=nnx.Rngs(0), **sizes)
    s, g = jnp.array([0.1, 0.2, -0.3]), jnp.array([0.5, -0.5, 0.0])
    a = jnp.array([9.0, 9.0, 0.4, -0.6])  # the first two are replaced
    found = action_plane(critic, s, g, a, n=3)
    for i, j in product(range(3), repeat=2):
        each = a.at[:2].set(jnp.array([j - 1, i - 1]))
        want = critic(s[None], each[None], g[None])[0, 0]
        assert float(found[i, j]) == pytest.approx(float(want), abs=1e-5)
