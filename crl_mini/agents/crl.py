"""Contrastive RL: a critic fitted by a contrastive loss, an actor that climbs it."""

from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from gymnasium import spaces
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from crl_mini import checks
from crl_mini.actor import Actor
from crl_mini.critic import ENERGIES, Critic, paired
from crl_mini.encoders import Spec
from crl_mini.losses import LOSSES, logsumexp_penalty
from crl_mini.replay import Batch

Metrics = dict[str, Float[Array, ""]]


@dataclass(frozen=True)
class CRLConfig:
    """Settings of :class:`CRL`. Defaults are the paper's where it states them."""

    loss: str = "nce"
    """Contrastive loss: a name in `losses.LOSSES`."""
    energy: str = "dot"
    """Similarity of phi and psi: a name in `critic.ENERGIES`."""
    gamma: float = 0.99
    """Discount: goals lie 1 / (1 - gamma) steps ahead on average."""
    repr_dim: int = 64
    """Dimension D of phi and psi."""
    hidden: tuple[int, ...] = (256, 256)
    """Width of each hidden layer, in every tower."""
    layer_norm: bool = True
    """Layer norm after each hidden layer (the paper: none)."""
    batch_size: int = 256
    """Rows of a batch, B; each has B - 1 negatives."""
    learning_rate: float = 3e-4
    """Adam's step size, for critic and actor."""
    decay_steps: int = 0
    """Steps over which the step size falls to zero on a cosine; 0 keeps it constant."""
    logsumexp: float = 0.0
    """Weight of the logsumexp penalty."""
    entropy: float = 0.0
    """Weight of the actor's entropy; also the temperature of discrete policies."""
    bc: float = 0.0
    """Share of behavioural cloning in the actor's loss, in [0, 1]."""

    def __post_init__(self):
        checks.one_of("loss", self.loss, LOSSES)
        checks.one_of("energy", self.energy, ENERGIES)
        checks.inside("gamma", self.gamma, 0, 1)
        checks.at_least("repr_dim", self.repr_dim, 1)
        checks.at_least("batch_size", self.batch_size, 2)
        checks.inside("learning_rate", self.learning_rate, 0, 1)
        checks.at_least("decay_steps", self.decay_steps, 0)
        checks.at_least("logsumexp", self.logsumexp, 0)
        checks.at_least("entropy", self.entropy, 0)
        if not 0 <= self.bc <= 1:
            raise ValueError(f"bc must lie in [0, 1]; got {self.bc}")
        if not self.hidden:
            raise ValueError("hidden must hold one width or more; got none")

    def adam(self) -> optax.GradientTransformation:
        """The optimiser, with its step-size schedule."""
        if not self.decay_steps:
            return optax.adam(self.learning_rate)
        return optax.adam(
            optax.cosine_decay_schedule(self.learning_rate, self.decay_steps)
        )


def critic_loss(critic: Critic, batch: Batch, config: CRLConfig):
    """Contrastive loss of a batch, with the goals' representations to use again.

    Returns the loss and (logits (B, B), psi (B, D)).

    Source: :eq:`critic-loss`; Eysenbach et al. (2022), Alg. 1.
    """
    psi = critic.psi(batch.g)
    logits = critic.logits(critic.phi(batch.s, batch.a), psi)
    loss = LOSSES[config.loss](logits)
    if config.logsumexp:
        loss += config.logsumexp * logsumexp_penalty(logits)
    return loss, (logits, psi)


def actor_loss(
    actor: Actor,
    critic: Critic,
    batch: Batch,
    psi: Float[Array, "B D"],
    config: CRLConfig,
    *,
    key: PRNGKeyArray,
):
    """Minus the critic at the actor's own actions: for own futures and for others'.

    `psi` are the critic's goal representations, computed once for the critic's loss;
    each state is paired with its own future and with that of the row before. The
    cloning term asks for the action that was taken on the way to the own future.

    Source: :eq:`actor-loss`; Eysenbach et al. (2022), Alg. 1 and released code.
    """
    s = jnp.concatenate([batch.s, batch.s])
    g = jnp.concatenate([batch.g, jnp.roll(batch.g, 1, axis=0)])
    goals = jnp.concatenate([psi, jnp.roll(psi, 1, axis=0)])
    a, log_prob = actor.sample(s, g, key=key)
    f = critic.logits(critic.phi(s, a), goals, pairs=paired)
    loss = (config.entropy * log_prob - f).mean()
    if config.bc:
        cloning = -actor.log_prob(batch.s, batch.g, batch.a).mean()
        loss = (1 - config.bc) * loss + config.bc * cloning
    return loss, {"actor_f": f.mean(), "log_prob": log_prob.mean()}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CRL:
    """Agent: immutable, `update` returns a new one.

    With discrete actions there is no actor network: the policy that maximises the
    critic plus `entropy` times the policy's entropy is a softmax of the critic.
    """

    config: CRLConfig = field(metadata={"static": True})
    critic: Critic
    actor: Actor | None
    optimizer: optax.OptState
    key: PRNGKeyArray
    step: Array

    @classmethod
    def create(
        cls,
        config: CRLConfig,
        observation_spec: spaces.Space,
        action_spec: spaces.Space,
        *,
        key: PRNGKeyArray,
        goal_spec: spaces.Space | None = None,
    ) -> "CRL":
        """Fresh networks for the spaces of one observation, one action and one goal.

        Without a `goal_spec`, goals are observations.
        """
        observation, action = Spec.of(observation_spec), Spec.of(action_spec)
        goal = observation if goal_spec is None else Spec.of(goal_spec)
        key, for_critic, for_actor = jax.random.split(key, 3)
        sizes = {"hidden": config.hidden, "layer_norm": config.layer_norm}
        critic = Critic(
            observation,
            action,
            goal,
            energy=config.energy,
            repr_dim=config.repr_dim,
            rngs=nnx.Rngs(for_critic),
            **sizes,
        )
        actor = None
        if not action.n:
            rngs = nnx.Rngs(for_actor)
            actor = Actor(observation, action, goal, rngs=rngs, **sizes)
        optimizer = config.adam().init((critic, actor))
        return cls(config, critic, actor, optimizer, key, jnp.zeros((), int))

    @jax.jit
    def update(self, batch: Batch) -> tuple["CRL", Metrics]:
        """One gradient step of critic and actor on one batch."""
        config, (critic, actor) = self.config, (self.critic, self.actor)
        for_critic = jax.value_and_grad(critic_loss, has_aux=True)
        (loss, (logits, psi)), grads = for_critic(critic, batch, config)
        metrics = {"loss": loss, **logit_metrics(logits)}
        actor_grads = None
        if actor is not None:
            for_actor = jax.grad(actor_loss, has_aux=True)
            key = jax.random.fold_in(self.key, self.step)
            actor_grads, more = for_actor(actor, critic, batch, psi, config, key=key)
            metrics |= more
        grads = (grads, actor_grads)
        changes, optimizer = config.adam().update(grads, self.optimizer)
        critic, actor = optax.apply_updates((critic, actor), changes)
        new = {"critic": critic, "actor": actor, "optimizer": optimizer}
        return replace(self, **new, step=self.step + 1), metrics

    @partial(jax.jit, static_argnames="greedy")
    def act(self, s, g, *, key: PRNGKeyArray, greedy: bool = False):
        """Actions (B, A), or (B,) if discrete, for states and goals; batched."""
        if self.actor is None:
            f = self.action_logits(s, g)
            temperature = self.config.entropy
            if greedy or not temperature:
                return f.argmax(-1)
            return jax.random.categorical(key, f / temperature)
        return self.actor.mode(s, g) if greedy else self.actor.sample(s, g, key=key)[0]

    def action_logits(
        self, s: Shaped[Array, "B ..."], g: Shaped[Array, "B ..."]
    ) -> Float[Array, "B A"]:
        """Critic of every discrete action, f(s_i, a, g_i)."""
        actions = jnp.arange(self.critic.action.n)
        psi = self.critic.psi(g)

        def of_action(a):
            phi = self.critic.phi(s, jnp.full(len(s), a))
            return self.critic.logits(phi, psi, pairs=paired)

        return jax.vmap(of_action, out_axes=1)(actions)


def logit_metrics(logits: Float[Array, "B B"]) -> Metrics:
    """Mean positive and negative logit, and how often a row's own goal ranks first."""
    n, positive = len(logits), jnp.diag(logits)
    first = logits.argmax(1) == jnp.arange(n)
    negative = (logits.sum() - positive.sum()) / (n * (n - 1))
    return {"positive": positive.mean(), "negative": negative, "accuracy": first.mean()}
