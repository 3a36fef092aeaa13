"""Training loops: one long run equals two short ones; histories and bad numbers."""

import jax
import numpy as np
import pytest
from folders import raw
from gymnasium import spaces

from crl_mini import CRL, CRLConfig, GridMaze, Replay, train_offline
from crl_mini.train import updates

MAZE = GridMaze("U")
KEY = jax.random.key(3)


def start():
    walk = MAZE.random_walk(np.random.default_rng(0), 50, 20)
    config = CRLConfig(hidden=(8,), repr_dim=4, batch_size=16)
    rooms, actions = spaces.Discrete(MAZE.n_states), spaces.Discrete(5)
    agent = CRL.create(config, rooms, actions, key=jax.random.key(0))
    return agent, Replay.from_trajectories(*walk)


def test_stopping_and_going_on_changes_nothing():
    agent, replay = start()
    once, history = train_offline(agent, replay, 40, key=KEY, every=10, progress=False)
    half, _ = train_offline(agent, replay, 20, key=KEY, every=10, progress=False)
    rest, _ = train_offline(half, replay, 20, key=KEY, every=10, progress=False)
    for a, b in zip(jax.tree.leaves(once), jax.tree.leaves(rest), strict=True):
        np.testing.assert_array_equal(raw(a), raw(b))
    np.testing.assert_array_equal(history["step"], [10, 20, 30, 40])


def test_each_update_sees_a_fresh_batch():
    agent, replay = start()
    fused, metrics = updates(agent, replay, 3, key=KEY)
    losses = []
    for step in range(3):
        batch = replay.sample(jax.random.fold_in(KEY, step), 16, agent.config.gamma)
        agent, one = agent.update(batch)
        losses.append(float(one["loss"]))
    assert metrics["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    for got, want in zip(
        *map(jax.tree.leaves, (fused.critic, agent.critic)), strict=True
    ):
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_history_holds_what_was_watched_and_the_bar_shows_the_loss(capsys):
    agent, replay = start()
    _, history = train_offline(
        agent,
        replay,
        20,
        key=KEY,
        every=10,
        watch=lambda agent: {"at": int(agent.step)},
    )
    np.testing.assert_array_equal(history["at"], history["step"])
    assert {"loss", "accuracy", "positive", "negative"} <= set(history)
    assert "loss=" in capsys.readouterr().err


def test_bad_numbers_of_steps_are_refused():
    agent, replay = start()
    with pytest.raises(ValueError, match="every must be at least 1"):
        train_offline(agent, replay, 10, key=KEY, every=0)
    with pytest.raises(ValueError, match="steps must be at least 100"):
        train_offline(agent, replay, 10, key=KEY)
