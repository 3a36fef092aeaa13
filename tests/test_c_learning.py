"""C-learning against the exact density ratios of small problems."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small
from folders import first_is_quick
from gymnasium import spaces
from small import batch_of

from crl_mini import GridMaze, Replay
from crl_mini.agents import CLearning, CLearningConfig
from crl_mini.agents.c_learning import (
    TwinCritic,
    bootstrap_weights,
    c_learning_loss,
    critic_loss,
    nce_loss,
)
from crl_mini.critic import paired
from crl_mini.measure import occupancy
from crl_mini.measure.critics import critic_table
from crl_mini.train import train_offline

GAMMA = 0.8
MAZE = GridMaze("U")
M = occupancy.discounted_occupancy(MAZE.P, MAZE.uniform_policy, GAMMA)
S, A = MAZE.n_states, MAZE.n_actions


create = partial(small.create, "c_learning", repr_dim=8, gamma=GAMMA)


def bce(logit, label):
    p = 1 / (1 + np.exp(-np.asarray(logit, float)))
    return -np.log(p if label else 1 - p)


def test_losses_against_loops():
    rng = np.random.default_rng(0)
    reached, random, w = rng.normal(size=(5, 2)), rng.normal(size=(5, 2)), rng.random(5)
    expected, expected_nce = 0, 0
    for i in range(5):
        for k in range(2):
            x, y = reached[i, k], random[i, k]
            later = 0.8 * w[i] * bce(y, 1)
            expected += (0.2 * bce(x, 1) + later + bce(y, 0)) / 10
            expected_nce += (bce(x, 1) + bce(y, 0)) / 10
    x, y, w = map(jnp.asarray, (reached, random, w))
    np.testing.assert_allclose(c_learning_loss(x, y, w, GAMMA), expected, rtol=1e-6)
    np.testing.assert_allclose(nce_loss(x, y), expected_nce, rtol=1e-6)


def test_weights_are_clipped_ratios():
    logits = np.array([-100.0, -1.0, 0.0, 2.0, np.log(20) + 0.1, 1000.0])
    v = 1 / (1 + np.exp(-logits[:-1]))
    expected = np.append(np.clip(v / (1 - v), 0, 20), 20)
    got = bootstrap_weights(jnp.asarray(logits))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-12)


def exact(nce):
    """The loss of a table of logits, all (s, a, g) alike likely, with exact weights."""
    ratio = M * S  # p(g) is uniform
    s, a, g = (x.ravel() for x in np.indices((S, A, S)))
    to = MAZE.P.argmax(-1)[s, a]  # without slips the next state is certain
    w = jnp.asarray(ratio.mean(1)[to, g])  # over the uniform policy's actions

    def loss(table):
        random = table[s, a, g][:, None]
        value = c_learning_loss(table[s, a, to][:, None], random, w, GAMMA)
        if not nce:
            return value
        # A future of (s, a) is drawn from M: S times the mean over g, weighted by M.
        future = S * (M[s, a, g] * jax.nn.softplus(-table[s, a, g])).mean()
        return value + future + jax.nn.softplus(random).mean()

    return loss, jnp.asarray(np.log(ratio))


@pytest.mark.parametrize("nce", [False, True])
def test_the_exact_log_ratio_is_the_fixed_point_of_the_loss(nce):
    loss, optimum = exact(nce)
    assert jnp.exp(optimum).max() < 20  # no weight is clipped
    gradient = jax.grad(loss)
    np.testing.assert_allclose(gradient(optimum), 0, atol=1e-8)
    assert abs(gradient(optimum + 0.1)).max() > 1e-5


def maze_agent(steps, **settings):
    config = CLearningConfig(
        gamma=GAMMA,
        hidden=(32,),
        repr_dim=16,
        learning_rate=0.01,
        decay_steps=steps,
        tau=0.02,
        **settings,
    )
    cells, moves = spaces.Discrete(S), spaces.Discrete(A)
    return CLearning.create(config, cells, moves, key=jax.random.key(0))


@pytest.mark.parametrize("nce", first_is_quick([True, False]))
def test_updates_lead_to_the_exact_log_ratios_of_its_own_policy(nce):
    """At a high temperature the agent's policy is the uniform one.

    Walks of another policy have other futures: what the critic says of its own policy
    must come from the temporal differences. With `nce` both must have one policy.
    """
    steps = 1500
    agent = maze_agent(steps, entropy=1e6, nce=nce)
    wander = np.array([[0.05, 0.05, 0.4, 0.05, 0.45]]).repeat(S, 0)
    policy = MAZE.uniform_policy if nce else wander
    walks = MAZE.random_walk(np.random.default_rng(0), 400, 40, policy)
    replay = Replay.from_trajectories(*walks)
    goals = replay.sample(jax.random.key(2), 100_000, GAMMA).g
    p_g = np.bincount(goals, minlength=S) / 100_000
    key = jax.random.key(1)
    agent, _ = train_offline(agent, replay, steps, key=key, progress=False)
    tables = [critic_table(one, jnp.arange(S)) for one in agent.critic.critics]
    table = np.minimum(*np.asarray(tables, float))

    def error(M):
        truth = np.log(occupancy.density_ratio(M, p_g))
        return (M * abs(table - truth)).sum() / M.sum()

    assert error(M) < 0.3
    if not nce:
        of_data = occupancy.discounted_occupancy(MAZE.P, wander, GAMMA)
        assert error(of_data) > 1.5 * error(M)


def test_twin_critic_answers_as_two_critics():
    critic = create().critic
    s, a, g, *_ = batch_of(6)
    first, second = (np.asarray(one(s, a, g)) for one in critic.critics)
    assert abs(first - second).max() > 1e-3
    np.testing.assert_allclose(critic(s, a, g), np.minimum(first, second), atol=1e-6)
    features, goals = critic.see(s, g)
    both = critic.both(critic.phi(features, a), critic.psi(goals), pairs=paired)
    for k, one in enumerate((first, second)):
        np.testing.assert_allclose(both[:, k], np.diag(one), atol=1e-6)


@pytest.mark.parametrize("critics", [2, *first_is_quick([1, 3])])
@pytest.mark.parametrize("nce", first_is_quick([True, False]))
def test_update_against_the_plain_form(nce, critics):
    """Every term encodes everything anew, row by row."""
    agent = create(learning_rate=0.01, nce=nce, entropy=0.1, critics=critics)
    agent, _ = agent.update(batch_of(seed=1))  # so that the target lags behind
    batch = batch_of()
    s, a, g, next_s, next_g = batch[:5]
    others = jnp.roll(g, 1, axis=0)
    key = jax.random.fold_in(agent.key, 1)
    _, sample, bootstrap = jax.random.split(key, 3)
    next_a = agent.act(next_s, others, key=bootstrap)

    def smallest(critic, *rows):
        f = [jnp.diag(one(*rows)) for one in critic.critics]
        assert len(f) == critics
        return jnp.stack(f).min(0)

    v = jax.nn.sigmoid(smallest(agent.target, next_s, next_a, others))
    w = jnp.clip(v / (1 - v), 0, 20)

    def plain(networks):
        critic, actor = networks
        total = 0
        for one in critic.critics:
            is_next, is_future, is_other = (
                jnp.diag(one(s, a, x)) for x in (next_g, g, others)
            )
            ones, zeros = jnp.ones(32), jnp.zeros(32)
            cost = optax.sigmoid_binary_cross_entropy
            total += (1 - GAMMA) * cost(is_next, ones).mean() / critics
            total += GAMMA * (w * cost(is_other, ones)).mean() / critics
            total += cost(is_other, zeros).mean() / critics
            if nce:
                total += cost(is_future, ones).mean() / critics
                total += cost(is_other, zeros).mean() / critics
        frozen = jax.lax.stop_gradient(critic)
        both_g = jnp.concatenate([g, others])
        both_s = jnp.concatenate([s, s])
        action, log_prob = actor.sample(*actor(both_s, both_g), key=sample)
        f = smallest(frozen, both_s, action, both_g)
        return total + (0.1 * log_prob - f).mean()

    grads = jax.grad(plain)((agent.critic, agent.actor))
    changes, _ = agent.config.adam().update(grads, agent.optimizer)
    expected = optax.apply_updates((agent.critic, agent.actor), changes)
    updated, _ = agent.update(batch)
    got = jax.tree.leaves((updated.critic, updated.actor))
    for x, y in zip(got, jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, atol=2e-5)


def test_weights_hold_no_gradient():
    agent, batch = create(), batch_of()
    w = agent.weights(batch, key=jax.random.key(0))
    assert isinstance(agent.critic, TwinCritic)
    s, g, next_g = agent.critic.see(batch.s, batch.g, batch.next_g)
    seen = batch._replace(s=s, g=g, next_g=next_g)
    grads = jax.grad(lambda w: critic_loss(agent.critic, seen, w, agent.config)[0])(w)
    assert (grads > 0).all()  # more weight, more cost


def test_nothing_comes_after_the_end_of_an_episode():
    agent, batch, key = create(), batch_of(), jax.random.key(0)
    ended = jnp.arange(32) % 3 == 0
    w = agent.weights(batch._replace(terminal=ended), key=key)
    expected = jnp.where(ended, 0, agent.weights(batch, key=key))
    np.testing.assert_array_equal(w, expected)
    assert (expected[1] > 0).all()
