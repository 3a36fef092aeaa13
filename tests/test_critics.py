"""What is asked of critics: correlations, probes, retrieval, against NumPy."""

from itertools import product

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from gymnasium import spaces

from crl_mini.critic import Critic
from crl_mini.measure.critics import (
    action_plane,
    critic_table,
    linear_probe,
    pca,
    rank_correlation,
    retrieval,
    weighted_correlation,
)
from crl_mini.specs import Spec


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
