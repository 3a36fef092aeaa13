"""Contrastive RL: a critic trained by a contrastive loss, an actor that maximises it.

What differs from the released code of Eysenbach et al. (2022):

* layer norm, a learned constant in the critic, the InfoNCE losses and the energies `l2`
  and `cosine` are additions; `layer_norm=False` and the defaults give the paper's
  networks;
* each goal is encoded once per update, for the critic's loss and for the actor's. From
  pixels the actor may use the critic's features, without gradient to the critic; with
  `actor_tower`, which `train` sets for pixels, it has its own tower, as in the
  original;
* the weight of the entropy is fixed; the paper adapts it for pixels;
* online, `train` collects a round of whole episodes and then makes one update for each
  4 to 32 of their steps, by preset (``cpu``: 8). It begins with a round of random walks
  with momentum, and commands goals at mixed distances. The original makes about one
  update per step;
* with cloning (`bc`), f is divided by its mean absolute value, the actor's goals are
  half own futures and half those of other rows, and only actions that led to own
  futures are cloned. The paper does not divide, takes own futures only, and uses the
  minimum of two critics; here there is one;
* `proposals`, with which the critic acts, is an addition.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from crl_mini import checks
from crl_mini.actor import Actor
from crl_mini.agents.base import Agent, CriticConfig, Metrics, Recipe, cloned
from crl_mini.critic import Critic, best_of, paired
from crl_mini.losses import LOSSES, logsumexp_penalty
from crl_mini.replay import Batch
from crl_mini.specs import Spec


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


def critic_loss(critic: Critic, features: Batch, config: CRLConfig):
    """Contrastive loss of a batch whose s and g are features, see `Critic.see`.

    Returns the loss and (logits (B, B), psi (B, D)): the actor's loss needs psi again.

    Source: :eq:`critic-loss`; Eysenbach et al. (2022), Alg. 1.
    """
    psi = critic.psi(features.g)
    logits = critic.logits(critic.phi(features.s, features.a), psi)
    loss = LOSSES[config.loss](logits)
    if config.logsumexp:
        loss += config.logsumexp * logsumexp_penalty(logits)
    return loss, (logits, psi)


def doubled(s: Shaped[Array, "B ..."], g: Shaped[Array, "B ..."]):
    """Each state with its own goal, then with that of the row before: (2B, ...)."""
    return jnp.concatenate([s, s]), jnp.concatenate([g, jnp.roll(g, 1, axis=0)])


def actor_loss(
    actor: Actor | None,
    critic: nnx.Module,
    batch: Batch,
    features: Batch,
    psi: Float[Array, "B *D"],
    config: CriticConfig,
    *,
    key: PRNGKeyArray,
):
    """Minus the critic at the actor's own actions: for own futures and for others'.

    `features` is the batch with the critic's features of states and goals, `psi` are
    the goals' representations: both were computed for the critic's loss. Each state is
    paired with its own future and with that of the row before. The cloning term asks
    for the action that was taken on the way to the own future; with it the first term
    is divided by the mean of abs(f). Without an actor (discrete actions) it is 0.

    Source: :eq:`actor-loss`; Eysenbach et al. (2022), Alg. 1 and released code.
    """
    if actor is None:
        return 0.0, {}
    critic, features, psi = jax.lax.stop_gradient((critic, features, psi))
    x = actor.view(doubled(batch.s, batch.g), doubled(features.s, features.g))
    mean, log_std = actor.gaussian(x)
    a, log_prob = actor.sample(mean, log_std, key=key)
    s, psi = doubled(features.s, psi)
    f = critic.logits(critic.phi(s, a), psi, pairs=paired)
    loss = (config.entropy * log_prob - f).mean()
    if config.bc:
        own = len(batch.a)  # rows: the first half has own futures
        cloning = -actor.log_prob(batch.a, mean[:own], log_std[:own]).mean()
        loss = cloned(loss, f, cloning, config.bc)
    return loss, {"actor_f": f.mean(), "log_prob": log_prob.mean()}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CRL(Agent):
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
    def fresh(
        cls, config: CriticConfig, observation: Spec, action: Spec, goal: Spec, key
    ) -> "CRL":
        """New networks; `create` calls this with the specs of spaces."""
        key, for_critic, for_actor = jax.random.split(key, 3)
        rngs, sizes = nnx.Rngs(for_critic), config.critic
        critic = cls.critic_class(observation, action, goal, rngs=rngs, **sizes)
        actor = None
        if action.n and config.proposals:
            said = "proposals must be 0 with discrete actions: all are looked at anyway"
            raise ValueError(f"{said}; got {config.proposals}")
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
        augment, sample = jax.random.split(jax.random.fold_in(self.key, self.step))
        batch, config = self.config.augment(batch, augment), self.config

        def loss_of(critic, actor):
            s, g = critic.see(batch.s, batch.g)  # the critic's only look at pictures
            features = batch._replace(s=s, g=g)
            loss, (logits, psi) = critic_loss(critic, features, config)
            given = (critic, batch, features, psi, config)
            climb, more = actor_loss(actor, *given, key=sample)
            return loss + climb, {"loss": loss, **logit_metrics(logits), **more}

        return self.descend(loss_of)

    def descend(self, loss_of: Callable):
        """The agent after one step down ``loss_of(critic, actor)``, and its metrics."""
        networks = self.critic, self.actor
        grads, metrics = jax.grad(loss_of, (0, 1), has_aux=True)(*networks)
        networks, optimizer = self.config.descend(networks, grads, self.optimizer)
        new = dict(zip(("critic", "actor"), networks, strict=True))
        new = replace(self, **new, optimizer=optimizer, step=self.step + 1)
        return new, metrics

    @partial(jax.jit, static_argnames="greedy")
    def act(self, s, g, *, key: PRNGKeyArray, greedy: bool = False):
        """Actions (B, A), or (B,) if discrete, for states and goals; batched.

        With `proposals` the critic takes the best of the policy's and of uniform ones,
        in the agent's first `proposal_steps` updates or, if that is 0, always.
        """
        config, how = self.config, {"key": key, "greedy": greedy}
        own, best = (partial(f, s, g, **how) for f in (self.policy, self.search))
        if not config.proposals:
            return own()
        if not config.proposal_steps:
            return best()
        return jax.lax.cond(self.step < config.proposal_steps, best, own)

    def search(self, s, g, *, key: PRNGKeyArray, greedy: bool):
        """What the agent does with `proposals`: actions as in `act`."""
        n, action = self.config.proposals, self.critic.action
        own, others = jax.random.split(key)
        a = self.policy(s, g, key=own, greedy=greedy)[:, None]
        low, high = jnp.array(action.low), jnp.array(action.high)
        few = jax.random.uniform(others, (len(a), n, len(low)), minval=low, maxval=high)
        return best_of(self.critic, s, g, jnp.concatenate([a, few], 1))

    def policy(self, s, g, *, key: PRNGKeyArray, greedy: bool):
        """What the agent does without `proposals`: actions as in `act`."""
        config = self.config
        if self.actor is None:
            f = self.action_logits(s, g)
            if greedy or not config.entropy:
                return f.argmax(-1)
            return jax.random.categorical(key, f / config.entropy)
        x = self.actor.view((s, g), self.critic.see(s, g))
        noise = config.exploration
        return self.actor.act(x, key=key, greedy=greedy, exploration=noise)

    def action_logits(
        self, s: Shaped[Array, "B ..."], g: Shaped[Array, "B ..."]
    ) -> Float[Array, "B A"]:
        """Critic of every discrete action, f(s_i, a, g_i)."""
        s, g = self.critic.see(s, g)
        psi = self.critic.psi(g)

        def of_action(a):
            phi = self.critic.phi(s, jnp.full(len(s), a))
            return self.critic.logits(phi, psi, pairs=paired)

        return jax.vmap(of_action, out_axes=1)(jnp.arange(self.critic.action.n))


def logit_metrics(logits: Float[Array, "B B"]) -> Metrics:
    """Mean positive and negative logit, and how often a row's own goal ranks first."""
    n, positive = len(logits), jnp.diag(logits)
    first = logits.argmax(1) == jnp.arange(n)
    negative = (logits.sum() - positive.sum()) / (n * (n - 1.0))  # n^2 may need a float
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
    called="CRL",
)
