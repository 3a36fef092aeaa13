"""What the agents share: settings, how they are created, and parts of their losses."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from gymnasium import spaces
from jaxtyping import Array, Float, PRNGKeyArray

from crl_mini import checks
from crl_mini.critic import ENERGIES
from crl_mini.encoders import TOWERS, shifted
from crl_mini.replay import Batch
from crl_mini.specs import Spec

Metrics = dict[str, Float[Array, ""]]
WIDEST = 2**16  # of a layer: XLA crashes where the size of an array has 64 bits


@dataclass(frozen=True)
class Config:
    """Settings of every agent. Defaults are the paper's where it states them."""

    gamma: float = 0.99
    """Discount: goals lie 1 / (1 - gamma) steps ahead on average."""
    hidden: tuple[int, ...] = (256, 256)
    """Width of each hidden layer, in every tower."""
    layer_norm: bool = True
    """Layer norm after each hidden layer (the paper: none)."""
    batch_size: int = 256
    """Rows of a batch, B."""
    learning_rate: float = 3e-4
    """Adam's learning rate, for all networks."""
    decay_steps: int = 0
    """Steps over which the learning rate decays to zero on a cosine; 0: constant."""
    tower: str = "patch"
    """Encoder of pictures: a name in `encoders.TOWERS` (the paper: ``conv``)."""
    shift: int = 0
    """Largest random shift of pictures in an update, in pixels (DrQ: 4)."""
    shift_alike: bool = False
    """Does one shift move all pictures of an update? Else each has its own (DrQ)."""
    exploration: float = 0.0
    """Standard deviation of exploration noise on the mode; 0: sample the policy."""

    def __post_init__(self):
        checks.inside("gamma", self.gamma, 0, 1)
        checks.at_least("batch_size", self.batch_size, 2)
        checks.inside("learning_rate", self.learning_rate, 0, 1)
        checks.at_least("decay_steps", self.decay_steps, 0)
        checks.one_of("tower", self.tower, TOWERS)
        checks.at_least("shift", self.shift, 0)
        checks.at_least("exploration", self.exploration, 0)
        if not self.hidden:
            raise ValueError("hidden must hold one width or more; got none")
        for width in self.hidden:
            checks.at_least("widths of hidden", width, 1)
            checks.less("widths of hidden", width, WIDEST)

    @property
    def network(self) -> dict:
        """Arguments of every network."""
        names = ("hidden", "layer_norm", "tower")
        return {name: getattr(self, name) for name in names}

    def augment(self, batch: Batch, key: PRNGKeyArray) -> Batch:
        """The batch with its pictures shifted, each by itself or all alike."""
        keys = jax.random.split(key, len(batch))
        if self.shift_alike:
            keys = [key] * len(batch)
        move = partial(shifted, pixels=self.shift, alike=self.shift_alike)
        parts = zip(keys, batch, strict=True)
        return Batch(*(x if x is None else move(k, x) for k, x in parts))

    def adam(self) -> optax.GradientTransformation:
        """The optimiser, with its learning-rate schedule."""
        size = self.learning_rate
        if self.decay_steps:
            size = optax.cosine_decay_schedule(size, self.decay_steps)
        return optax.adam(size)

    def descend(self, networks, grads, optimizer: optax.OptState):
        """Networks after one step of Adam against their gradients, and its memory."""
        changes, optimizer = self.adam().update(grads, optimizer)
        return optax.apply_updates(networks, changes), optimizer


@dataclass(frozen=True)
class CriticConfig(Config):
    """Settings of the agents whose critic is f(s, a, g) = energy(phi(s, a), psi(g))."""

    energy: str = "dot"
    """Similarity of phi and psi: a name in `critic.ENERGIES`."""
    repr_dim: int = 64
    """Dimension D of phi and psi."""
    entropy: float = 0.0
    """Weight of the actor's entropy; also the temperature of discrete policies."""
    bc: float = 0.0
    """Share of behavioural cloning in the actor's loss, in [0, 1]: see `cloned`."""
    actor_tower: bool = False
    """Does the actor have its own tower, as in the paper, or the critic's features?"""
    proposals: int = 0
    """Uniform actions beside the actor's: the critic takes the best. 0: none."""
    proposal_steps: int = 0
    """Updates after which the actor acts without `proposals`; 0: never."""

    def __post_init__(self):
        super().__post_init__()
        checks.one_of("energy", self.energy, ENERGIES)
        checks.at_least("repr_dim", self.repr_dim, 1)
        checks.less("repr_dim", self.repr_dim, WIDEST)
        checks.at_least("entropy", self.entropy, 0)
        checks.share("bc", self.bc)
        checks.at_least("proposals", self.proposals, 0)
        checks.at_least("proposal_steps", self.proposal_steps, 0)
        if self.proposal_steps and not self.proposals:
            got = self.proposal_steps
            raise ValueError(f"proposal_steps must be 0 without proposals; got {got}")

    def proposals_at(self, step: int) -> int:
        """Proposals with which the agent acts after `step` updates."""
        over = self.proposal_steps and step >= self.proposal_steps
        return 0 if over else self.proposals

    @property
    def critic(self) -> dict:
        """Arguments of the critic."""
        return self.network | {"energy": self.energy, "repr_dim": self.repr_dim}


class Recipe(NamedTuple):
    """What training must know about an agent; each agent's file ends with its own."""

    agent: type
    """The agent: it has `create`, `update` and `act`."""
    config: type[Config]
    """Its settings."""
    tuned: dict[str, dict[str, Any]]
    """Settings that made it learn, by what it learns from. ``all`` holds everywhere;
    ``random``, ``own``, ``play`` and ``noisy`` name data; ``near play`` is added where
    a run goes on collecting after play, or learns play from pictures; ``pixels`` is
    added wherever it sees pictures."""
    needs_success: bool = False
    """Does `create` take `success(achieved, desired)`, which goals are reached?"""
    called: str = ""
    """What people call it, in tables and figures; else its name in `AGENTS`."""


class Agent:
    """Base of all agents: `create` reads the spaces, `fresh` makes the networks."""

    @classmethod
    def create(
        cls,
        config: Config,
        observation_spec: spaces.Space,
        action_spec: spaces.Space,
        *,
        key: PRNGKeyArray,
        goal_spec: spaces.Space | None = None,
    ):
        """A new agent for the spaces of one observation, one action and one goal.

        Without a `goal_spec`, goals are observations. Errors: ``ValueError`` for spaces
        that its networks cannot take.
        """
        bounded = isinstance(action_spec, spaces.Box) and action_spec.is_bounded()
        if not (bounded or getattr(action_spec, "start", None) == 0):
            allowed = "a bounded Box or a Discrete from 0"
            raise ValueError(f"action space must be {allowed}; got {action_spec}")
        goal_spec = observation_spec if goal_spec is None else goal_spec
        specs = map(Spec.of, (observation_spec, action_spec, goal_spec))
        return cls.fresh(config, *specs, key)


def acting(agent, *, greedy: bool) -> Callable:
    """The agent's `act` as a function of states, goals and a key.

    JAX takes its arguments apart in every call, which costs more than the networks of a
    small agent: here an `Agent` is taken apart once.
    """
    if not isinstance(agent, Agent):
        return lambda s, g, key: agent.act(s, g, key=key, greedy=greedy)
    leaves, tree = jax.tree.flatten(agent)
    return lambda s, g, key: _act(tree, leaves, s, g, key, greedy)


@partial(jax.jit, static_argnums=(0, 5))
def _act(tree, leaves, s, g, key, greedy: bool):
    s, g = jnp.asarray(s), jnp.asarray(g)  # NumPy's, where jit is turned off
    return jax.tree.unflatten(tree, leaves).act(s, g, key=key, greedy=greedy)


def cloned(
    climb: Float[Array, ""],
    values: Float[Array, " B"],
    cloning: Float[Array, ""],
    bc: float,
) -> Float[Array, ""]:
    """Actor's loss with cloning: (1 - bc) climb / mean abs(values) + bc cloning.

    `values` are the critic's; their mean is a constant for the gradient. So a share
    `bc` has the same effect whatever their unit, but not if a constant is added to all
    of them. The weight 2.5 of TD3+BC is the share 2 / 7.

    Source: Fujimoto and Gu (2021), Eq. 5.
    """
    scale = jax.lax.stop_gradient(abs(values).mean())
    return (1 - bc) * climb / scale + bc * cloning


def polyak(slow, fast, tau: float):
    """Networks that follow others: (1 - tau) slow + tau fast, for each parameter.

    Source: Lillicrap et al. (2016), Alg. 1.
    """
    return jax.tree.map(lambda old, new: (1 - tau) * old + tau * new, slow, fast)
