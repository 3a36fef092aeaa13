"""A policy's Gaussian by itself: its entropy behind tanh, two estimates of a gradient.

Agents need none of this: their actor's gradient is what `jax.grad` makes of a sample.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def entropy(
    mean: Float[Array, "*B A"], log_std: Float[Array, "*B A"], nodes: int = 64
) -> Float[Array, "*B"]:
    """Entropy of a = tanh(u), u ~ N(mean, std^2), in nats; A log 2 at most.

    The expectation over u is a Gauss-Hermite quadrature of so many `nodes`.

    Source: :eq:`tanh-entropy`.
    """
    x, w = np.polynomial.hermite.hermgauss(nodes)
    u = mean[..., None] + jnp.exp(log_std)[..., None] * np.sqrt(2) * x
    squash = 2 * (jnp.log(2.0) - u - jax.nn.softplus(-2 * u))  # log(1 - tanh(u)^2)
    gauss = log_std + 0.5 * jnp.log(2 * jnp.pi * jnp.e)
    return (gauss + squash @ (w / np.sqrt(np.pi))).sum(-1)


def pathwise_gradient(
    value: Callable,
    mean: Float[Array, " A"],
    log_std: Float[Array, " A"],
    noise: Float[Array, "N A"],
) -> Float[Array, "N 2 A"]:
    """Estimates of the gradient of E[value(u)], u ~ N(mean, std^2), through the sample.

    One for each row of standard normal `noise`: in `mean` and in `log_std`. `value`
    maps u (A,) to a number and must be differentiable.

    Source: :eq:`pathwise`; Kingma and Welling (2014), Sec. 2.4.
    """

    def at(mean, log_std, eps):
        return value(mean + jnp.exp(log_std) * eps)

    estimates = jax.vmap(jax.grad(at, (0, 1)), (None, None, 0))
    return jnp.stack(estimates(mean, log_std, noise), 1)


def score_gradient(
    value: Callable,
    mean: Float[Array, " A"],
    log_std: Float[Array, " A"],
    noise: Float[Array, "N A"],
) -> Float[Array, "N 2 A"]:
    """The same estimates from values alone: value(u) times the gradient of log N(u).

    `value` maps u (A,) to a number; no gradient of it is used.

    Source: :eq:`score-function`; Williams (1992).
    """

    def log_density(mean, log_std, u):
        return jax.scipy.stats.norm.logpdf(u, mean, jnp.exp(log_std)).sum()

    u = mean + jnp.exp(log_std) * noise  # a sample: a constant to the gradient
    scores = jax.vmap(jax.grad(log_density, (0, 1)), (None, None, 0))
    return jax.vmap(value)(u)[:, None, None] * jnp.stack(scores(mean, log_std, u), 1)
