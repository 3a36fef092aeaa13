"""The squashed Gaussian against numerical integration and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from gymnasium import spaces
from scipy import stats

from crl_mini.actor import EDGE, Actor, clipped_log_prob, tanh_gaussian_log_prob
from crl_mini.specs import Spec

PLACE = Spec.of(spaces.Box(-1, 1, (2,)))


def make(low=-1.0, high=1.0):
    action = Spec.of(spaces.Box(low, high, (1,)))
    return Actor(PLACE, action, hidden=(8,), layer_norm=True, rngs=nnx.Rngs(0))


def test_density_integrates_to_one_and_changes_variables_correctly():
    mean, log_std = jnp.array([0.3]), jnp.array([-0.5])
    a = np.linspace(-1 + 1e-6, 1 - 1e-6, 200_001)
    u = np.arctanh(a)
    log_p = jax.vmap(tanh_gaussian_log_prob, (0, None, None))(
        jnp.asarray(u[:, None], jnp.float32), mean, log_std
    )
    assert np.trapezoid(np.exp(log_p), a) == pytest.approx(1, abs=1e-3)
    middle = slice(100, -100)  # away from the ends, where 1 - a^2 loses digits
    by_hand = stats.norm.logpdf(u, 0.3, np.exp(-0.5)) - np.log(1 - a**2)
    np.testing.assert_allclose(log_p[middle], by_hand[middle], rtol=1e-3, atol=1e-3)


def test_clipped_actions_have_the_density_of_the_whole_tail():
    mean, log_std = jnp.array([0.7, -1.0]), jnp.array([0.4, -0.3])
    edge, std = np.arctanh(EDGE), np.exp(log_std)
    tails = [stats.norm.sf(edge, 0.7, std[0]), stats.norm.cdf(-edge, -1.0, std[1])]
    want = np.log(tails).sum() - 2 * np.log(1 - EDGE)
    got = clipped_log_prob(jnp.array([1.0, -1.0]), mean, log_std)
    assert got == pytest.approx(want, rel=1e-4)
    a = jnp.linspace(-1, 1, 400_001)[:, None]
    of_all = jax.vmap(clipped_log_prob, (0, None, None))
    density = jnp.exp(of_all(a, mean[:1], log_std[:1]))
    assert np.trapezoid(density, a[:, 0]) == pytest.approx(1, abs=1e-3)
    inside = jnp.array([0.3, -0.9])
    want = tanh_gaussian_log_prob(jnp.arctanh(inside), mean, log_std)
    got = clipped_log_prob(inside, mean, log_std)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    for a in (inside, jnp.ones(2), -jnp.ones(2)):
        grads = jax.grad(clipped_log_prob, (1, 2))(a, 30 * mean, log_std - 3)
        assert np.isfinite(grads).all()


def test_density_and_gradient_stay_finite_for_huge_u():
    u = jnp.array([[40.0], [-40.0]])
    value, grad = jax.value_and_grad(
        lambda u: tanh_gaussian_log_prob(u, jnp.zeros((2, 1)), jnp.zeros((2, 1))).sum()
    )(u)
    assert np.isfinite(value)
    assert np.isfinite(grad).all()


def test_samples_stay_in_bounds_and_know_their_density():
    actor = make(2.0, 6.0)
    s = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (500, 2)), jnp.float32)
    mean, log_std = actor(s, s[::-1])
    a, log_prob = actor.sample(mean, log_std, key=jax.random.key(0))
    assert ((a > 2) & (a < 6)).all()
    # Rounding a to single precision moves u by up to 1e-7 / (1 - a^2).
    inner = jnp.abs(a[:, 0] - 4) < 1.9
    again = actor.log_prob(a, mean, log_std)
    np.testing.assert_allclose(again[inner], log_prob[inner], atol=2e-3)
    kept = jnp.abs(a[:, 0] - 4) < 2 * EDGE  # nearer to the bounds they count as clipped
    np.testing.assert_allclose(again[kept], log_prob[kept], atol=0.1)
    mode = actor.mode(actor.see(s, s[::-1]))
    np.testing.assert_allclose(mode, 4 + 2 * jnp.tanh(mean), rtol=1e-6)
    half = (a < mode).mean()
    assert 0.42 < half < 0.58
    assert log_std.shape == (500, 1)


def test_goals_may_have_a_space_of_their_own():
    goal = Spec.of(spaces.Box(0, 10, (3,)))
    sizes = {"hidden": (8,), "layer_norm": True}
    actor = Actor(PLACE, PLACE, goal, rngs=nnx.Rngs(0), **sizes)
    s, g = jnp.ones((4, 2)), jnp.arange(12.0).reshape(4, 3)
    features = jnp.concatenate([s, g / 5 - 1], -1)
    mean, _ = jnp.split(actor.tower(features), 2, -1)
    np.testing.assert_allclose(actor(s, g)[0], mean, rtol=1e-5)


def test_an_unbounded_action_space_is_refused():
    with pytest.raises(ValueError, match="must be a bounded Box"):
        make(-np.inf, np.inf)
