"""Agents that differ from C-learning with NCE in one part: in that one only."""

import sys
from dataclasses import fields
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small
from small import batch_of

from crl_mini.__main__ import main
from crl_mini.agents import AGENTS
from crl_mini.agents.c_learning import CLearning
from crl_mini.critic import paired
from crl_mini.runs.run import restored

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import parts  # noqa: E402

create = partial(small.create, repr_dim=8, nce=True)


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """The command line of `parts.py` knows the agents."""
    for name, recipe in parts.PARTS.items():
        monkeypatch.setitem(AGENTS, name, recipe)


def cost(f, label):
    """Binary cross-entropy of the logits of a critic for its own pairs."""
    labels = jnp.full(len(f), label)
    return optax.sigmoid_binary_cross_entropy(jnp.diag(f), labels).mean()


def gradient_of_critic(agent, batch):
    """The first moment of Adam after one step is (1 - b1) times the gradient."""
    updated, _ = agent.update(batch)
    mu = optax.tree.get(updated.optimizer, "mu")
    return jax.tree.map(lambda x: x / 0.1, mu[0])


def same(one, other):
    for x, y in zip(*map(jax.tree.leaves, (one, other)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=2e-6)


def test_without_td_learns_from_futures_and_others_only():
    agent, batch = create("without_td"), batch_of()
    others = jnp.roll(batch.g, 1, axis=0)

    def plain(critic):
        f = [
            cost(one(batch.s, batch.a, batch.g), 1)
            + cost(one(batch.s, batch.a, others), 0)
            for one in critic.critics
        ]
        return sum(f) / 2

    same(gradient_of_critic(agent, batch), jax.grad(plain)(agent.critic))
    far = batch._replace(next_s=batch.next_s + 1, next_g=batch.next_g - 1)
    same(agent.update(batch)[0].critic, agent.update(far)[0].critic)


def test_searching_learns_as_c_learning_does():
    one, two, batch = create("searching"), create("c_learning"), batch_of()
    updated, metrics = one.update(batch)
    expected, same_metrics = two.update(batch)
    assert type(updated) is type(one)
    gradients = [optax.tree.get(a.optimizer, "mu") for a in (updated, expected)]
    same((gradients[0], metrics), (gradients[1], same_metrics))


@pytest.mark.parametrize("greedy", [False, True])
def test_searching_acts_by_the_best_of_its_proposals(greedy):
    batch, key = batch_of(256), jax.random.key(3)
    agent = create("searching").update(batch)[0]
    plain = CLearning(**{f.name: getattr(agent, f.name) for f in fields(agent)})
    a = agent.act(batch.s, batch.g, key=key, greedy=greedy)
    own, others = jax.random.split(key)
    actor = plain.act(batch.s, batch.g, key=own, greedy=greedy)
    few = jax.random.uniform(others, (256, parts.PROPOSALS - 1, 2), minval=-1)
    proposals = jnp.concatenate([actor[:, None], few], 1)
    f = [
        agent.critic(batch.s, proposals[:, k], batch.g, pairs=paired)
        for k in range(parts.PROPOSALS)
    ]
    best = jnp.argmax(jnp.stack(f), 0)
    np.testing.assert_array_equal(a, proposals[jnp.arange(256), best])
    assert 0 < (best == 0).mean() < 0.5  # now and then it is the actor's


@pytest.mark.parametrize("name", parts.PARTS)
def test_the_command_trains_it_and_reads_it_again(name, tmp_path):
    words = ["train", "--agent", name, "--task", "Reach", "--preset", "smoke"]
    sizes = ["collect=200", "per_update=50", "copies=4", "tests=4", "hidden=[16]"]
    assert main([*words, "--set", *sizes, "--out", str(tmp_path / "run")]) == 0
    run, agent = restored(tmp_path / "run")
    assert type(agent) is parts.PARTS[name].agent
    assert run.config.nce
    assert run.config.critics == (1 if name == "one_critic" else 2)
    assert agent.step == 4
