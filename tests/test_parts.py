"""Agents that differ from C-learning with NCE in one part: in that one only."""

import sys
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


@pytest.mark.parametrize("name", parts.PARTS)
def test_the_command_trains_it_and_reads_it_again(name, tmp_path):
    words = ["train", "--agent", name, "--task", "Reach", "--preset", "smoke"]
    sizes = ["collect=200", "per_update=50", "copies=4", "tests=4", "hidden=[16]"]
    assert main([*words, "--set", *sizes, "--out", str(tmp_path / "run")]) == 0
    run, agent = restored(tmp_path / "run")
    assert type(agent) is parts.PARTS[name].agent
    assert run.config.nce
    assert run.config.critics == 2
    assert agent.step == 4
