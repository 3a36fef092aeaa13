"""The squashed Gaussian against numerical integration and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from gymnasium import spaces
from scipy import stats

from crl_mini.actor import (
    EDGE,
    Actor,
    clipped_log_prob,
    entropy,
    pathwise_gradient,
    score_gradient,
    tanh_gaussian_log_prob,
)
from crl_mini.encoders import Spec

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


@pytest.mark.parametrize(("mu", "sigma"), [(0.0, 0.01), (0.8, 0.5), (-3.0, 0.9)])
def test_entropy_is_that_of_the_density(mu, sigma):
    u = np.linspace(mu - 9 * sigma, mu + 9 * sigma, 200_001)
    log_p = stats.norm.logpdf(u, mu, sigma) - 2 * (
        np.log(2) - u - np.logaddexp(0, -2 * u)
    )
    want = -np.trapezoid(stats.norm.pdf(u, mu, sigma) * log_p, u)
    got = entropy(jnp.array([[mu, mu]]), jnp.log(jnp.array([[sigma, sigma]])))
    assert got.shape == (1,)
    assert float(got[0]) == pytest.approx(2 * want, abs=1e-4)


def test_no_squashed_gaussian_has_more_entropy_than_the_uniform_distribution():
    mean, log_std = np.meshgrid(np.linspace(-2, 2, 9), np.linspace(-5, 2, 71))
    found = entropy(
        jnp.array(mean.ravel()[:, None]), jnp.array(log_std.ravel()[:, None])
    )
    assert np.log(2) - 0.03 < found.max() < np.log(2)


def test_both_gradients_have_the_mean_and_variance_of_a_quadratic_critic():
    mean, sigma, c = np.array([0.2, -0.4]), np.array([0.3, 0.8]), np.array([0.7, 0.1])
    noise = jax.random.normal(jax.random.key(0), (200_000, 2))
    d = mean - c
    exact = np.stack([-2 * d, -2 * sigma**2])

    def found(estimate, offset):
        def value(u):
            return -((u - c) ** 2).sum() + offset

        where = (jnp.asarray(mean), jnp.log(sigma))
        got = np.asarray(estimate(value, *where, noise), float)
        assert got.shape == (200_000, 2, 2)
        error = got.std(0) / np.sqrt(len(got))
        assert (abs(got.mean(0) - exact) < 5 * error + 1e-6).all()
        return got

    path = [found(pathwise_gradient, offset) for offset in (0.0, -5.0)]
    np.testing.assert_allclose(*path, atol=1e-5)  # no constant is seen
    np.testing.assert_allclose(path[0][:, 0].var(0), 4 * sigma**2, rtol=0.02)
    rest = (d**2 + sigma**2)[::-1]  # minus the mean of the other entry's value
    more = 2 * sigma[::-1] ** 4 + 4 * d[::-1] ** 2 * sigma[::-1] ** 2  # its variance
    for offset in (0.0, -5.0):
        b = offset - rest
        want = d**4 / sigma**2 + 14 * d**2 + 15 * sigma**2
        want += (b**2 + more) / sigma**2 - 2 * b * (d**2 + 3 * sigma**2) / sigma**2
        got = found(score_gradient, offset)[:, 0].var(0)
        np.testing.assert_allclose(got, want, rtol=0.05)
