"""Contrastive RL: a critic fitted by a contrastive loss, an actor that climbs it.

What differs from the released code of Eysenbach et al. (2022):

* layer norm, a learned constant in the critic, InfoNCE losses and the energies `l2` and
  `cosine` are additions; `layer_norm=False` and the defaults give the paper's networks;
* each goal is encoded once a batch, for the critic's loss and for the actor's; from
  pixels the actor may live on the critic's features, without gradient; with a tower of
  its own (`actor_tower`), which `train` gives it, it is as in the original;
* the weight of the entropy is fixed, where the paper adapts it for pixels;
* online, `train` collects a round of whole episodes and then makes one update for every
  8 steps of it, where the original makes about one a step; it begins with a round of
  random walks with momentum, and commands goals at mixed distances;
* with cloning (`bc`) f is divided by its mean absolute value, the goals of the actor
  stay half own futures and half others', only own futures are cloned, and there is one
  critic: the paper does not divide, takes own futures only, and the minimum of two.
"""

from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from gymnasium import spaces
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from crl_mini import checks
from crl_mini.actor import Actor, clipped_log_prob
from crl_mini.agents.base import CriticConfig, Metrics, Recipe, cloned, specs
from crl_mini.critic import Critic, paired
from crl_mini.losses import LOSSES, logsumexp_penalty
from crl_mini.replay import Batch


@dataclass(frozen=True)
class CRLConfig(CriticConfig):
    """Settings of :class:`CRL`. Defaults are the paper's where it states them."""

    loss: str = "nce"
    """Contrastive loss: a name in `losses.LOSSES`; a row has B - 1 negatives."""
    logsumexp: float = 0.0
    """Weight of the logsumexp penalty."""

    def __post_init__(self):
        super().__post_init__()
        checks.one_of("loss", self.loss, LOSSES)
        checks.at_least("logsumexp", self.logsumexp, 0)


def critic_loss(critic: Critic, batch: Batch, config: CRLConfig):
    """Contrastive loss of a batch, with what the actor's loss can use again.

    Returns the loss and (logits (B, B), psi (B, D), the batch as the critic sees it).

    Source: :eq:`critic-loss`; Eysenbach et al. (2022), Alg. 1.
    """
    s, g = critic.see(batch.s, batch.g)
    psi = critic.psi(g)
    logits = critic.logits(critic.phi(s, batch.a), psi)
    loss = LOSSES[config.loss](logits)
    if config.logsumexp:
        loss += config.logsumexp * logsumexp_penalty(logits)
    return loss, (logits, psi, batch._replace(s=s, g=g))


def actor_loss(
    actor: Actor,
    critic: nnx.Module,
    batch: Batch,
    psi: Float[Array, "B *D"],
    config: CriticConfig,
    *,
    key: PRNGKeyArray,
    pictures: Batch | None = None,
):
    """Minus the critic at the actor's own actions: for own futures and for others'.

    `psi` are the critic's goal representations, computed once for the critic's loss;
    each state is paired with its own future and with that of the row before. The
    cloning term asks for the action that was taken on the way to the own future; with
    it the first term is divided by the mean of abs(f). An actor with a tower of its own
    looks at `pictures`; else it sees, without gradient, what the critic sees.

    Source: :eq:`actor-loss`; Eysenbach et al. (2022), Alg. 1 and released code.
    """
    looks = pictures or batch
    s = jnp.concatenate([looks.s, looks.s])
    g, goals = (jnp.concatenate([x, jnp.roll(x, 1, axis=0)]) for x in (looks.g, psi))
    mean, log_std = actor(s, g)
    a, log_prob = actor.drawn(mean, log_std, key=key)
    phi = critic.phi(jnp.concatenate([batch.s, batch.s]), a)
    f = critic.logits(phi, goals, pairs=paired)
    loss = (config.entropy * log_prob - f).mean()
    if config.bc:
        own = [x[: len(batch.a)] for x in (mean, log_std)]
        cloning = -clipped_log_prob(actor.action.features(batch.a), *own).mean()
        loss = cloned(loss, f, cloning, config.bc)
    return loss, {"actor_f": f.mean(), "log_prob": log_prob.mean()}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CRL:
    """Agent: immutable, `update` returns a new one.

    With discrete actions there is no actor network: the policy that maximises the
    critic plus `entropy` times the policy's entropy is a softmax of the critic.
    """

    config: CriticConfig = field(metadata={"static": True})
    critic: nnx.Module
    actor: Actor | None
    optimizer: optax.OptState
    key: PRNGKeyArray
    step: Array

    critic_class = Critic

    @classmethod
    def create(
        cls,
        config: CriticConfig,
        observation_spec: spaces.Space,
        action_spec: spaces.Space,
        *,
        key: PRNGKeyArray,
        goal_spec: spaces.Space | None = None,
    ) -> "CRL":
        """Fresh networks for the spaces of one observation, one action and one goal.

        Without a `goal_spec`, goals are observations.
        """
        observation, action, goal = specs(observation_spec, action_spec, goal_spec)
        key, for_critic, for_actor = jax.random.split(key, 3)
        critic = cls.critic_class(
            observation,
            action,
            goal,
            energy=config.energy,
            repr_dim=config.repr_dim,
            rngs=nnx.Rngs(for_critic),
            **config.network,
        )
        actor = None
        if not action.n:
            if not config.actor_tower:
                observation, goal = critic.observation, critic.goal
            rngs = nnx.Rngs(for_actor)
            actor = Actor(observation, action, goal, rngs=rngs, **config.network)
        optimizer = config.adam().init((critic, actor))
        return cls(config, critic, actor, optimizer, key, jnp.zeros((), int))

    @jax.jit
    def update(self, batch: Batch) -> tuple["CRL", Metrics]:
        """One gradient step of critic and actor on one batch."""
        batch = self.config.augment(batch, self.random(2))
        fit = jax.value_and_grad(critic_loss, has_aux=True)
        (loss, (logits, psi, seen)), grads = fit(self.critic, batch, self.config)
        metrics = {"loss": loss, **logit_metrics(logits)}
        return self.descend(batch, seen, psi, grads, metrics)

    def random(self, use: int = 0) -> PRNGKeyArray:
        """A key of this step, another one for each use."""
        key = jax.random.fold_in(self.key, self.step)
        return jax.random.fold_in(key, use) if use else key

    def descend(self, batch: Batch, seen: Batch, psi, critic_grads, metrics: Metrics):
        """Move the critic against its gradient, and an actor up the critic."""
        config, actor_grads = self.config, None
        if self.actor is not None:
            climb = jax.grad(actor_loss, has_aux=True)
            own = {"pictures": batch} if config.actor_tower else {}
            parts = (self.actor, self.critic, seen, psi, config)
            actor_grads, more = climb(*parts, key=self.random(), **own)
            metrics = metrics | more
        grads = (critic_grads, actor_grads)
        changes, optimizer = config.adam().update(grads, self.optimizer)
        critic, actor = optax.apply_updates((self.critic, self.actor), changes)
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
        if not self.config.actor_tower:
            s, g = self.critic.see(s, g)
        how = {"greedy": greedy, "exploration": self.config.exploration}
        return self.actor.act(s, g, key=key, **how)

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


RECIPE = Recipe(
    CRL,
    CRLConfig,
    {
        "all": {"loss": "symmetric_infonce", "energy": "l2", "logsumexp": 0.1},
        "random": {"gamma": 0.98, "learning_rate": 3e-3, "entropy": 0.02},
        "own": {"gamma": 0.97, "learning_rate": 1e-3, "entropy": 0.02},
        "play": {"gamma": 0.97, "learning_rate": 1e-3, "bc": 0.1},
        # Noisy actions say less about other actions: stay nearer to the data.
        "noisy": {"gamma": 0.97, "learning_rate": 1e-3, "bc": 0.9},
        "near play": {"bc": 0.5},
        "pixels": {"shift": 4, "actor_tower": True},
    },
)
