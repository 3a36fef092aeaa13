"""Small agents, and batches for them, in a square of places and moves."""

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from crl_mini.agents import AGENTS
from crl_mini.replay import Batch

PLACE, MOVE = spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (2,))
TINY = {"hidden": (16,), "batch_size": 32}


def batch_of(n=32, seed=0):
    """A batch of places and moves that have nothing to do with each other."""
    x = np.random.default_rng(seed).uniform(-1, 1, (5, n, 2)).astype(np.float32)
    return Batch(*map(jnp.asarray, x))


def create(name, seed=0, observation=PLACE, action=MOVE, goal=None, **settings):
    """A fresh agent."""
    agent, config = AGENTS[name][:2]
    config, key = config(**TINY | settings), jax.random.key(seed)
    return agent.create(config, observation, action, goal_spec=goal, key=key)
