"""Goal-conditioned behavioural cloning: do what was done on the way to the goal.

The paper's baseline, on the triples (s, a, future g) that contrastive RL learns from.
What differs: layer norm is an addition.
"""

from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from crl_mini.actor import Actor
from crl_mini.agents.base import Agent, Config, Metrics, Recipe
from crl_mini.replay import Batch
from crl_mini.specs import Spec

UPDATES = 2**31  # numbers the key of the updates, beyond those of the weights


@dataclass(frozen=True)
class GCBCConfig(Config):
    """Settings of :class:`GCBC`: those of every agent."""


def cloning_loss(actor: Actor, batch: Batch) -> Float[Array, ""]:
    """Minus the mean log density of the actions, given where they led; in nats.

    Source: Ghosh et al. (2021); Eysenbach et al. (2022), released code.
    """
    return -actor.log_prob(batch.a, *actor(batch.s, batch.g)).mean()


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GCBC(Agent):
    """Agent: immutable, `update` returns a new one. It has no critic."""

    config: GCBCConfig = field(metadata={"static": True})
    actor: Actor
    optimizer: optax.OptState
    key: PRNGKeyArray
    step: Array

    @classmethod
    def fresh(
        cls, config: GCBCConfig, observation: Spec, action: Spec, goal: Spec, key
    ) -> "GCBC":
        """A new actor, for actions of a bounded `Box`."""
        rngs = nnx.Rngs(key)
        actor = Actor(observation, action, goal, rngs=rngs, **config.network)
        key = jax.random.fold_in(key, UPDATES)
        return cls(config, actor, config.adam().init(actor), key, jnp.zeros((), int))

    @jax.jit
    def update(self, batch: Batch) -> tuple["GCBC", Metrics]:
        """One gradient step of the actor on one batch."""
        augment = jax.random.fold_in(self.key, self.step)
        batch = self.config.augment(batch, augment)
        loss, grads = jax.value_and_grad(cloning_loss)(self.actor, batch)
        actor, optimizer = self.config.descend(self.actor, grads, self.optimizer)
        new = replace(self, actor=actor, optimizer=optimizer, step=self.step + 1)
        return new, {"loss": loss}

    @partial(jax.jit, static_argnames="greedy")
    def act(self, s, g, *, key: PRNGKeyArray, greedy: bool = False):
        """Actions (B, A) for states and goals: explored, or with `greedy` the mode."""
        x, noise = self.actor.see(s, g), self.config.exploration
        return self.actor.act(x, key=key, greedy=greedy, exploration=noise)


RECIPE = Recipe(
    GCBC,
    GCBCConfig,
    {
        "random": {"gamma": 0.98, "learning_rate": 3e-3},
        "own": {"gamma": 0.97, "learning_rate": 1e-3},
        "play": {"gamma": 0.97, "learning_rate": 1e-3},
        "noisy": {"gamma": 0.97, "learning_rate": 1e-3},
        "pixels": {"shift": 4},
    },
    called="GCBC",
)
