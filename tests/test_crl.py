"""The agent: gradients against the plain form, learning, seeds, bad settings."""

import dataclasses
from functools import partial
from itertools import cycle, product

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small
from gymnasium import spaces
from small import batch_of

from crl_mini import CRL, CRLConfig, GridMaze, Replay, train_offline
from crl_mini.agents.crl import actor_loss, critic_loss
from crl_mini.critic import ENERGIES, paired
from crl_mini.losses import LOSSES
from crl_mini.measure import occupancy
from crl_mini.measure.critics import critic_table, weighted_correlation

create = partial(small.create, "crl", repr_dim=8)


def seen_by(critic, batch):
    """The batch with the critic's features in the place of states and goals."""
    s, g = critic.see(batch.s, batch.g)
    return batch._replace(s=s, g=g)


def leaves(agent):
    return jax.tree.leaves((agent.critic, agent.actor))


# Every energy and every loss once or twice; the other pairs of them are slow.
PAIRS = set(zip(cycle(ENERGIES), LOSSES, strict=False))


@pytest.mark.parametrize(
    ("energy", "loss"),
    [
        pytest.param(*pair, marks=[pytest.mark.slow] * (pair not in PAIRS))
        for pair in product(ENERGIES, LOSSES)
    ],
)
def test_fused_update_equals_the_plain_form(energy, loss):
    """Without reuse: every term encodes everything anew, and both losses are summed."""
    agent = create(
        energy=energy, loss=loss, logsumexp=0.1, entropy=0.2, bc=0.3, learning_rate=0.01
    )
    batch = batch_of()
    _, key = jax.random.split(jax.random.fold_in(agent.key, agent.step))

    def plain(networks):
        critic, actor = networks
        logits = critic(batch.s, batch.a, batch.g)
        fit = LOSSES[loss](logits)
        fit += 0.1 * (jax.nn.logsumexp(logits, axis=1) ** 2).mean()
        frozen = jax.lax.stop_gradient(critic)
        s = jnp.concatenate([batch.s, batch.s])
        g = jnp.concatenate([batch.g, jnp.roll(batch.g, 1, axis=0)])
        a, log_prob = actor.sample(*actor(s, g), key=key)
        f = frozen(s, a, g, pairs=paired)
        climb = (0.2 * log_prob - f).mean() / jax.lax.stop_gradient(abs(f).mean())
        clone = -actor.log_prob(batch.a, *actor(batch.s, batch.g)).mean()
        return fit + 0.7 * climb + 0.3 * clone

    grads = jax.jit(jax.grad(plain))((agent.critic, agent.actor))
    changes, _ = optax.adam(0.01).update(grads, agent.optimizer)
    expected = optax.apply_updates((agent.critic, agent.actor), changes)
    updated, _ = agent.update(batch)
    for got, want in zip(leaves(updated), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_the_actors_loss_moves_neither_critic_nor_goals():
    agent, batch, key = create(actor_tower=False, bc=0.2), batch_of(), jax.random.key(0)

    def loss(networks, config):
        critic, actor = networks
        seen = seen_by(critic, batch)
        psi = critic.psi(seen.g)
        return actor_loss(actor, critic, batch, seen, psi, config, key=key)

    networks = agent.critic, agent.actor
    grads, _ = jax.grad(loss, has_aux=True)(networks, agent.config)
    assert all((x == 0).all() for x in jax.tree.leaves(grads[0]))
    assert all((x != 0).any() for x in jax.tree.leaves(grads[1].tower.out))
    plain = dataclasses.replace(agent.config, bc=0.0)
    (value, metrics) = loss(networks, plain)
    np.testing.assert_allclose(value, -metrics["actor_f"], rtol=1e-6)
    climbing = dataclasses.replace(plain, entropy=1.0)
    with_entropy, _ = loss(networks, climbing)
    np.testing.assert_allclose(with_entropy - value, metrics["log_prob"], rtol=1e-4)


def test_update_returns_a_new_agent_and_leaves_the_old_one():
    agent = create()
    before = [np.array(x) for x in leaves(agent)]
    updated, metrics = agent.update(batch_of())
    assert int(updated.step) == int(agent.step) + 1 == 1
    for old, kept in zip(before, leaves(agent), strict=True):
        np.testing.assert_array_equal(old, kept)
    assert max(
        np.abs(a - b).max() for a, b in zip(before, leaves(updated), strict=True)
    )
    logits = agent.critic(*batch_of()[:3])
    np.testing.assert_allclose(metrics["positive"], jnp.diag(logits).mean(), rtol=1e-4)
    off = logits[~np.eye(32, dtype=bool)]
    np.testing.assert_allclose(metrics["negative"], off.mean(), rtol=1e-3, atol=1e-5)
    right = (logits.argmax(1) == np.arange(32)).mean()
    np.testing.assert_allclose(metrics["accuracy"], right, rtol=1e-6)


def test_step_size_falls_on_a_cosine():
    fast, slow = create(learning_rate=0.01), create(learning_rate=0.01, decay_steps=4)
    for _ in range(4):
        fast, _ = fast.update(batch_of())
        slow, _ = slow.update(batch_of())
    stopped, _ = slow.update(batch_of())
    for a, b in zip(leaves(slow), leaves(stopped), strict=True):
        np.testing.assert_array_equal(a, b)
    moving, _ = fast.update(batch_of())
    assert any(
        (a != b).any() for a, b in zip(leaves(fast), leaves(moving), strict=True)
    )


def test_actor_climbs_the_critic():
    """With a frozen critic, -f must fall; the best action is known on a line."""
    agent = create(learning_rate=0.01)
    batch, config = batch_of(), agent.config
    seen = seen_by(agent.critic, batch)
    _, (_, psi) = critic_loss(agent.critic, seen, config)
    grad = jax.jit(jax.grad(actor_loss, has_aux=True), static_argnums=5)
    actor, state = agent.actor, optax.adam(0.01).init(agent.actor)
    values = []
    for k in range(60):
        key = jax.random.key(k)
        given = (agent.critic, batch, seen, psi, config)
        grads, metrics = grad(actor, *given, key=key)
        changes, state = optax.adam(0.01).update(grads, state)
        actor = optax.apply_updates(actor, changes)
        values.append(float(metrics["actor_f"]))
    assert np.mean(values[-5:]) > np.mean(values[:5]) + 0.05


def test_acting_is_batched_bounded_and_repeats():
    agent = create()
    s, _, g, *_ = batch_of()
    greedy = agent.act(s, g, key=jax.random.key(0), greedy=True)
    mode = agent.actor.mode(agent.actor.see(s, g))
    np.testing.assert_allclose(greedy, mode, atol=1e-6)
    one, again, other = (agent.act(s, g, key=jax.random.key(k)) for k in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert (jnp.abs(one) <= 1).all()


# Discrete actions: the maze with exact answers.

MAZE = GridMaze("U")


def maze_agent(seed=0, **settings):
    states, actions = MAZE.random_walk(np.random.default_rng(seed), 400, 40)
    replay = Replay.from_trajectories(states, actions)
    config = CRLConfig(
        gamma=0.8, energy="l2", hidden=(32,), repr_dim=16, batch_size=64, **settings
    )
    spaces_ = spaces.Discrete(MAZE.n_states), spaces.Discrete(MAZE.n_actions)
    return CRL.create(config, *spaces_, key=jax.random.key(seed)), replay


def table(agent):
    return np.asarray(critic_table(agent.critic, jnp.arange(MAZE.n_states)), float)


def test_it_learns_the_exact_logits_of_a_small_maze():
    steps = 1500
    agent, replay = maze_agent(learning_rate=0.01, decay_steps=steps)
    M = occupancy.discounted_occupancy(MAZE.P, MAZE.uniform_policy, 0.8)
    p_g = occupancy.goal_marginal(M, MAZE.uniform_policy)
    truth = occupancy.optimal_logits(M, p_g, 64)
    untrained = weighted_correlation(table(agent), truth)
    key = jax.random.key(0)
    agent, _ = train_offline(agent, replay, steps, key=key, progress=False)
    learned = weighted_correlation(table(agent), truth)
    assert untrained < 0.6
    assert learned > 0.92
    pi = occupancy.greedy_policy(table(agent))
    assert occupancy.reach_probability(MAZE.P, pi, 20).mean() > 0.65


def test_discrete_policies_follow_the_critic():
    agent, _ = maze_agent(entropy=0.5)
    assert agent.actor is None
    s, g = jnp.zeros(20_000, int), jnp.full(20_000, 7)
    f = agent.action_logits(s, g)
    np.testing.assert_allclose(f[0], table(agent)[0, :, 7], rtol=1e-5)
    key = jax.random.key(0)
    assert (agent.act(s, g, key=key, greedy=True) == f[0].argmax()).all()
    drawn = np.bincount(agent.act(s, g, key=key), minlength=5) / 20_000
    np.testing.assert_allclose(drawn, jax.nn.softmax(f[0] / 0.5), atol=0.02)
    cold = dataclasses.replace(
        agent, config=dataclasses.replace(agent.config, entropy=0)
    )
    assert (cold.act(s, g, key=key) == f[0].argmax()).all()


def test_one_seed_repeats_and_two_seeds_differ_in_networks_and_data():
    trained = []
    for seed in (0, 0, 1):
        agent, replay = maze_agent(seed)
        key = jax.random.key(seed)
        agent, history = train_offline(
            agent, replay, 20, key=key, every=10, progress=False
        )
        trained.append((table(agent), history["loss"], replay.observations))
    for first, again, other in zip(*trained, strict=True):
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"loss": "hinge"}, "loss must be one of nce, infonce, backward_infonce"),
        ({"energy": "manhattan"}, "energy must be one of dot, l2, cosine"),
        ({"gamma": 1.0}, r"gamma must lie inside \(0, 1\); got 1.0"),
        ({"gamma": 0.0}, r"gamma must lie inside \(0, 1\)"),
        ({"repr_dim": 0}, "repr_dim must be at least 1"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"learning_rate": 0.0}, "learning_rate must lie inside"),
        ({"decay_steps": -1}, "decay_steps must be at least 0"),
        ({"logsumexp": -1.0}, "logsumexp must be at least 0"),
        ({"entropy": -0.1}, "entropy must be at least 0"),
        ({"bc": 1.5}, "bc must lie in"),
        ({"hidden": ()}, "hidden must hold one width or more"),
    ],
)
def test_bad_settings_get_one_clear_line(setting, message):
    with pytest.raises(ValueError, match=message):
        CRLConfig(**setting)


def test_shapes_that_do_not_fit_get_one_clear_line():
    agent, batch = create(), batch_of()
    with pytest.raises(ValueError, match=r"entries must have shape \(2,\); got \(3,\)"):
        agent.update(batch._replace(g=jnp.zeros((32, 3))))
    with pytest.raises(ValueError, match=r"entries must have shape \(2,\); got \(1,\)"):
        agent.act(jnp.zeros((4, 1)), jnp.zeros((4, 2)), key=jax.random.key(0))
