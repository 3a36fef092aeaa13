"""Cloning against the density and against a known conditional distribution."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import small
from scipy.stats import norm

from crl_mini.agents.gcbc import cloning_loss
from crl_mini.replay import Batch

create = partial(small.create, "gcbc", hidden=(32,))


def conditional_batch(key, n=256):
    """atanh a ~ N(g - s / 2, 0.3^2): where to depends on the state and on the goal."""
    s, g, noise = jax.random.uniform(key, (3, n, 2), minval=-1)
    noise = jax.scipy.stats.norm.ppf((noise + 1) / 2)
    return Batch(s, jnp.tanh(g - s / 2 + 0.3 * noise), g)


def test_loss_is_the_negative_log_likelihood():
    agent, batch = create(), conditional_batch(jax.random.key(0))
    mean, log_std = map(np.asarray, agent.actor(batch.s, batch.g))
    a = np.asarray(batch.a, float)
    density = norm.pdf(np.arctanh(a), mean, np.exp(log_std)) / (1 - a**2)
    expected = -np.log(density.prod(1)).mean()
    np.testing.assert_allclose(cloning_loss(agent.actor, batch), expected, rtol=1e-4)


def test_update_is_one_adam_step_on_the_loss():
    agent, batch = create(learning_rate=0.01), conditional_batch(jax.random.key(0))
    loss, grads = jax.value_and_grad(cloning_loss)(agent.actor, batch)
    changes, _ = optax.adam(0.01).update(grads, agent.optimizer)
    expected = optax.apply_updates(agent.actor, changes)
    updated, metrics = agent.update(batch)
    pairs = zip(jax.tree.leaves(updated.actor), jax.tree.leaves(expected), strict=True)
    for got, want in pairs:
        np.testing.assert_allclose(got, want, atol=1e-6)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-6)


def test_it_recovers_the_distribution_of_actions_given_goals():
    agent = create(learning_rate=0.01, decay_steps=800)
    for k in range(800):
        agent, metrics = agent.update(conditional_batch(jax.random.key(k)))
    batch = conditional_batch(jax.random.key(10_000), 2000)
    mean, log_std = agent.actor(batch.s, batch.g)
    assert jnp.abs(mean - (batch.g - batch.s / 2)).mean() < 0.05
    np.testing.assert_allclose(jnp.exp(log_std).mean(), 0.3, atol=0.02)
    mode = agent.act(batch.s, batch.g, key=jax.random.key(0), greedy=True)
    np.testing.assert_allclose(mode, jnp.tanh(mean), atol=1e-6)
    drawn = agent.act(batch.s, batch.g, key=jax.random.key(0))
    spread = jnp.arctanh(drawn) - (batch.g - batch.s / 2)
    np.testing.assert_allclose(spread.std(), 0.3, atol=0.04)
