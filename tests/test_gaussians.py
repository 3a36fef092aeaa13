"""Entropy and gradients of a policy's Gaussian against integration and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from crl_mini.measure.gaussians import entropy, pathwise_gradient, score_gradient


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
