"""TD3 with hindsight against loops, bounds, shares and a known optimum."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
from gymnasium import spaces
from small import PLACE

from crl_mini.agents import TD3HER, TD3HERConfig
from crl_mini.agents.td3_her import (
    actor_loss,
    critic_loss,
    reached,
    relabel,
    td_target,
)
from crl_mini.replay import Batch

MOVE = spaces.Box(np.float32([-2, 0]), np.float32([2, 1]))
TINY = {"hidden": (16,), "batch_size": 32, "gamma": 0.9}


def create(success=None, **settings):
    config = TD3HERConfig(**TINY | settings)
    return TD3HER.create(config, PLACE, MOVE, success=success, key=jax.random.key(0))


def batch_of(n=32, seed=0):
    batch = small.batch_of(n, seed)
    return batch._replace(a=batch.a * jnp.array([2, 0.5]) + jnp.array([0, 0.5]))


def seen_by(critic, batch):
    """The batch with the critics' features in the place of states and goals."""
    s, g = critic.see(batch.s, batch.g)
    return batch._replace(s=s, g=g)


def near(achieved, desired):
    return jnp.linalg.norm(achieved - desired, axis=-1) < 0.8


def test_target_against_a_loop():
    reward = np.array([0, 1, 0, 1, 1, 0.0])
    next_q = np.array([[0.5, 0.2, 3, 2, -0.5, -1], [0.4, 0.3, 2, 3, 0.5, 1]])
    target = td_target(jnp.asarray(reward), jnp.asarray(next_q), 0.9)
    for k in range(6):
        y = 0.1 * reward[k] + 0.9 * min(next_q[:, k])
        np.testing.assert_allclose(target[k], min(max(y, 0), 1), rtol=1e-6)
    assert target.min() == 0
    assert target.max() == 1
    ended = td_target(*map(jnp.asarray, (reward, next_q)), 0.9, jnp.arange(6) % 2 == 1)
    np.testing.assert_array_equal(ended[1::2], reward[1::2])  # it stays what it was
    np.testing.assert_array_equal(ended[::2], target[::2])


@pytest.mark.parametrize("future", [0, 0.25, 0.5, 1])
def test_shares_of_own_futures_and_of_others(future):
    g = jnp.arange(40.0).reshape(20, 2)
    mixed = np.asarray(relabel(g, future))
    own = (mixed == g).all(1)
    assert own.sum() == 20 * future
    others = np.flatnonzero(~own)
    np.testing.assert_array_equal(mixed[others], g[others - 1])
    pictures = jnp.arange(20 * 12, dtype="uint8").reshape(20, 2, 2, 3)
    assert relabel(pictures, future).dtype == np.uint8


def test_reward_without_a_function_is_for_the_very_next_state():
    frames = np.random.default_rng(0).integers(3, size=(6, 2, 2), dtype=np.uint8)
    other = frames.copy()
    other[3:, 0, 1] += 1
    reward = reached(None, jnp.asarray(frames), jnp.asarray(other))
    np.testing.assert_array_equal(reward, [1, 1, 1, 0, 0, 0])


def test_reward_by_a_function_that_jax_can_trace_or_not():
    batch = batch_of()
    gaps = np.linalg.norm(np.asarray(batch.next_g) - np.asarray(batch.g), axis=1)
    assert 0 < (gaps < 0.8).mean() < 1

    def of_numpy(achieved, desired):
        return np.linalg.norm(achieved - desired, axis=-1) < 0.8

    for success in (near, of_numpy):
        one = jax.jit(partial(reached, success))
        np.testing.assert_array_equal(one(batch.next_g, batch.g), gaps < 0.8)
        two = [jnp.stack([x, x]) for x in (batch.next_g, batch.g)]
        np.testing.assert_array_equal(jax.vmap(one)(*two), [gaps < 0.8] * 2)

    def updated(success):
        def one(agent, _):
            return agent.update(batch)

        agent, _ = jax.lax.scan(one, create(success), length=3)
        return jax.tree.leaves((agent.critic, agent.actor))

    for a, b in zip(updated(near), updated(of_numpy), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_noise_has_its_spread_is_cut_off_and_stays_in_bounds():
    actor = create(layer_norm=False).actor
    s, g = jax.random.uniform(jax.random.key(0), (2, 5000, 2), minval=-0.2, maxval=0.2)
    x = actor.see(s, g)
    noisy = actor.noisy(x, key=jax.random.key(1), std=0.2, clip=0.3)
    noise = (noisy - actor.mode(x)) / np.array([2, 0.5])  # in units of [-1, 1]
    assert abs(actor(s, g)).max() < 0.7  # so that bounds do not interfere
    np.testing.assert_allclose(abs(noise).max(), 0.3, rtol=1e-4)
    np.testing.assert_allclose(np.quantile(noise, 0.8413), 0.2, atol=0.01)
    assert (abs(noise) < 0.29).mean() > 0.8
    wild = actor.noisy(x, key=jax.random.key(1), std=10.0)
    for k, (low, high) in enumerate(((-2, 2), (0, 1))):
        assert wild[:, k].min() == low
        assert wild[:, k].max() == high


def test_update_uses_targets_smoothing_and_relabelled_goals():
    """The loss of the second update against a plain form of everything in it."""
    agent, _ = create(near, learning_rate=0.01, future=0.25).update(batch_of(seed=1))
    batch = batch_of()
    g = np.asarray(batch.g)
    g = jnp.asarray(np.concatenate([g[:8], g[7:-1]]))
    target_critic, target_actor = agent.targets
    _, key = jax.random.split(jax.random.fold_in(agent.key, 1))
    noise = jnp.clip(0.2 * jax.random.normal(key, (32, 2)), -0.5, 0.5)
    a = jnp.clip(target_actor(batch.next_s, g) + noise, -1, 1)
    a = a * jnp.array([2, 0.5]) + jnp.array([0, 0.5])
    expected = 0
    q = agent.critic(batch.s, batch.a, g)
    next_q = target_critic(batch.next_s, a, g)
    for k in range(32):
        reward = np.linalg.norm(batch.next_g[k] - g[k]) < 0.8
        y = np.clip(0.1 * reward + 0.9 * min(next_q[0, k], next_q[1, k]), 0, 1)
        expected += ((q[0, k] - y) ** 2 + (q[1, k] - y) ** 2) / 32
    _, metrics = agent.update(batch)
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-4)
    share = (np.linalg.norm(batch.next_g - g, axis=1) < 0.8).mean()
    np.testing.assert_allclose(metrics["reward"], share, rtol=1e-6)


def test_where_episodes_end_the_target_is_the_reward():
    """The loss of a first update, with no next state that counts."""
    agent, batch = create(near, future=1.0), batch_of()
    q = agent.critic(batch.s, batch.a, batch.g)
    for terminal in (jnp.ones(32, bool), jnp.arange(32) < 16):
        _, metrics = agent.update(batch._replace(terminal=terminal))
        reward = np.linalg.norm(batch.next_g - batch.g, axis=-1) < 0.8
        assert 0 < reward.mean() < 1
        _, other = agent.update(batch)
        if terminal.all():
            expected = ((q - reward) ** 2).mean(1).sum()
            np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-4)
        assert abs(metrics["loss"] - other["loss"]) > 0.01


def test_critic_loss_adds_both_errors():
    agent, batch = create(), batch_of()
    y = jnp.linspace(0, 1, 32)
    q = agent.critic(batch.s, batch.a, batch.g)
    assert (q[0] != q[1]).any()
    expected = ((q[0] - y) ** 2).mean() + ((q[1] - y) ** 2).mean()
    loss = critic_loss(agent.critic, seen_by(agent.critic, batch), y)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_actor_loss_with_and_without_cloning():
    agent, batch = create(future=0.25), batch_of()
    actor, critic, seen = agent.actor, agent.critic, seen_by(agent.critic, batch)
    g = relabel(batch.g, 0.25)
    q = critic(batch.s, actor.mode(actor.see(batch.s, g)), g)[0]
    loss, metrics = actor_loss(actor, critic, batch, seen, agent.config)
    np.testing.assert_allclose(loss, -q.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["actor_q"], q.mean(), rtol=1e-5)
    taken = (np.asarray(batch.a) - [0, 0.5]) / [2, 0.5]
    gap = ((actor(batch.s, batch.g) - taken) ** 2).mean()
    expected = 0.7 * -q.mean() / abs(q).mean() + 0.3 * gap
    cloning = replace(agent.config, bc=0.3)
    loss, _ = actor_loss(actor, critic, batch, seen, cloning)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    grads = jax.grad(lambda c: actor_loss(actor, c, batch, seen, cloning)[0])(critic)
    assert all((x == 0).all() for x in jax.tree.leaves(grads))


def test_q_is_the_discounted_share_of_time_at_the_goal():
    """On a line of one step to the right a time: the goal x + k has Q = gamma^(k - 1).

    States do not repeat, so time at the goal is one step, weighted by 1 - gamma.
    """
    space, still = spaces.Box(0, 8, (1,)), spaces.Box(-1, 1, (1,))
    config = TD3HERConfig(
        gamma=0.5, hidden=(32,), learning_rate=0.01, tau=0.05, decay_steps=1500
    )
    agent = TD3HER.create(config, space, still, key=jax.random.key(0))

    def one(agent, key):
        for_s, for_a, for_g = jax.random.split(key, 3)
        s = jax.random.randint(for_s, (256, 1), 0, 8).astype(float)
        a = jax.random.uniform(for_a, (256, 1), minval=-1)
        g = s + jax.random.geometric(for_g, 0.5, (256, 1))
        return agent.update(Batch(s, a, jnp.minimum(g, 8), s + 1, s + 1))

    agent, _ = jax.lax.scan(one, agent, jax.random.split(jax.random.key(1), 1500))
    s, g = jnp.array([[0.0], [1], [3], [6]]), jnp.array([[1.0], [3], [6], [2]])
    q = agent.critic(s, jnp.zeros((4, 1)), g).mean(0)
    np.testing.assert_allclose(q, [0.5, 0.25, 0.125, 0], atol=0.05)


def test_it_forgets_what_it_must_not_be_told():
    assert create(near).success is near
    assert create(near, told=False).success is None
