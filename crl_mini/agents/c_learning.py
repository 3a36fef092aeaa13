"""C-learning: the classifier of contrastive RL, learned by temporal differences.

Contrastive RL learns from futures of the policy that made the data. C-learning needs
only one step, (s, a, s'). It asks the classifier about s', and so learns about the
futures of the policy that is being trained. `nce` adds the loss on whole futures.

What differs from Eysenbach et al. (2021) and the code released with Eysenbach et al.
(2022): layer norm, the energies `l2` and `cosine`, and the critic's constant are
additions; random goals are futures of other rows, as for the actor, while the released
code takes their next states; `nce` counts each of the two losses once for every row,
while the released code divides the rows between them, with the same mean.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from crl_mini import checks
from crl_mini.agents.base import CriticConfig, Metrics, Recipe, polyak
from crl_mini.agents.crl import CRL, actor_loss
from crl_mini.critic import Critic, paired, pairwise
from crl_mini.encoders import Seeing
from crl_mini.replay import Batch
from crl_mini.specs import Spec

LARGEST = 20.0  # of the weights, as in the original


@dataclass(frozen=True)
class CLearningConfig(CriticConfig):
    """Settings of :class:`CLearning`. Defaults are the paper's where it states them."""

    tau: float = 0.005
    """Share of the new critic that the target critic takes over in each step."""
    nce: bool = False
    """Add the contrastive loss on whole futures: NCE + C-learning."""
    critics: int = 2
    """Critics that are trained; the smallest of their logits counts."""

    def __post_init__(self):
        super().__post_init__()
        checks.inside("tau", self.tau, 0, 1)
        checks.at_least("critics", self.critics, 1)

    @property
    def critic(self) -> dict:
        """Arguments of the critic."""
        return super().critic | {"critics": self.critics}


def bootstrap_weights(logits: Float[Array, " B"]) -> Float[Array, " B"]:
    """How much likelier is g after (s', a') than on average, v / (1 - v), 20 at most.

    v = sigmoid(logits) is the target critic's answer, so the ratio is exp(logits).

    Source: Eysenbach et al. (2021), Sec. 5.
    """
    return jnp.exp(jnp.minimum(logits, jnp.log(LARGEST)))


def c_learning_loss(
    reached: Float[Array, "B K"],
    random: Float[Array, "B K"],
    weights: Float[Array, " B"],
    gamma: float,
) -> Float[Array, ""]:
    """One-step loss of K critics whose optimum is log p_gamma(g | s, a) - log p(g).

    `reached` are logits f(s, a, s') of the next states, `random` those of goals g
    sampled from p(g), and `weights` the target's density ratios at (s', a'~pi, g).

    Source: Eysenbach et al. (2021), Eq. 9 and Alg. 1.
    """
    is_next = (1 - gamma) * jax.nn.softplus(-reached)
    is_later = gamma * weights[:, None] * jax.nn.softplus(-random)
    return (is_next + is_later + jax.nn.softplus(random)).mean()


def nce_loss(
    future: Float[Array, "B K"], random: Float[Array, "B K"]
) -> Float[Array, ""]:
    """Binary NCE with one negative a row: the same optimum, for the data's policy."""
    return (jax.nn.softplus(-future) + jax.nn.softplus(random)).mean()


class TwinCritic(Seeing):
    """K critics in one, 2 as a rule: representations (B, K, D), the smallest logit.

    It answers as `Critic` does. All look at pictures through one tower.
    """

    def __init__(
        self,
        observation: Spec,
        action: Spec,
        goal: Spec | None = None,
        *,
        critics: int = 2,
        **settings,
    ):
        super().__init__(observation, goal, settings["tower"], rngs=settings["rngs"])
        specs = (self.observation, action, self.goal)
        self.critics = nnx.data([Critic(*specs, **settings) for _ in range(critics)])
        self.action = action

    def phi(self, s: Float[Array, "B F"], a) -> Float[Array, "B K D"]:
        """Representations of features of states, and actions."""
        return jnp.stack([critic.phi(s, a) for critic in self.critics], axis=1)

    def psi(self, g: Float[Array, "B F"]) -> Float[Array, "B K D"]:
        """Representations of features of goals."""
        return jnp.stack([critic.psi(g) for critic in self.critics], axis=1)

    def both(self, phi, psi, *, pairs=pairwise):
        """Logits of each critic: (B, G, K), or (B, K) with ``pairs=paired``."""
        rows = enumerate(self.critics)
        of = [c.logits(phi[:, k], psi[:, k], pairs=pairs) for k, c in rows]
        return jnp.stack(of, axis=-1)

    def logits(self, phi, psi, *, pairs=pairwise):
        """The smallest logit of all critics."""
        return self.both(phi, psi, pairs=pairs).min(-1)

    __call__ = Critic.__call__


def critic_loss(
    critic: TwinCritic,
    features: Batch,
    weights: Float[Array, " B"],
    config: CLearningConfig,
):
    """Loss of a batch of features; random goals are those of the row before.

    Returns the loss and (reached (B, K), random (B, K), psi (B, K, D)).

    Source: Eysenbach et al. (2021), Alg. 1; Eysenbach et al. (2022), released code.
    """
    phi, psi = critic.phi(features.s, features.a), critic.psi(features.g)
    reached = critic.both(phi, critic.psi(features.next_g), pairs=paired)
    random = critic.both(phi, jnp.roll(psi, 1, axis=0), pairs=paired)
    loss = c_learning_loss(reached, random, weights, config.gamma)
    if config.nce:
        loss += nce_loss(critic.both(phi, psi, pairs=paired), random)
    return loss, (reached, random, psi)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CLearning(CRL):
    """Agent: contrastive RL with another loss of the critic; `target` follows it."""

    target: TwinCritic | None = None

    critic_class = TwinCritic
    critic_loss = staticmethod(critic_loss)

    @classmethod
    def fresh(cls, *specs, **settings) -> "CLearning":
        """New networks: see `CRL.fresh`."""
        agent = super().fresh(*specs, **settings)
        return replace(agent, target=jax.tree.map(jnp.copy, agent.critic))

    @jax.jit
    def update(self, batch: Batch) -> tuple["CLearning", Metrics]:
        """One gradient step of critic and actor, then one of the target towards it."""
        key = jax.random.fold_in(self.key, self.step)
        augment, sample, bootstrap = jax.random.split(key, 3)
        batch, config = self.config.augment(batch, augment), self.config
        weights = self.weights(batch, key=bootstrap)

        def loss_of(critic, actor):
            s, g, next_g = critic.see(batch.s, batch.g, batch.next_g)
            features = batch._replace(s=s, g=g, next_g=next_g)
            loss, more = self.critic_loss(critic, features, weights, config)
            reached, random, psi = more
            metrics = {"positive": reached.mean(), "negative": random.mean()}
            given = (critic, batch, features, psi, config)
            climb, more = actor_loss(actor, *given, key=sample)
            return loss + climb, {"loss": loss, **metrics, **more}

        agent, metrics = self.descend(loss_of)
        target = polyak(self.target, agent.critic, config.tau)
        return replace(agent, target=target), metrics | {"weight": weights.mean()}

    def weights(self, batch: Batch, *, key: PRNGKeyArray) -> Float[Array, " B"]:
        """The target's density ratios at the next state and the policy's action.

        They are zero where the environment ended the episode: nothing comes later.
        """
        s, g = batch.next_s, jnp.roll(batch.g, 1, axis=0)
        a = self.policy(s, g, key=key, greedy=False)
        weights = bootstrap_weights(self.target(s, a, g, pairs=paired))
        if batch.terminal is None:
            return weights
        return jnp.where(batch.terminal, 0.0, weights)


RECIPE = Recipe(
    CLearning,
    CLearningConfig,
    {
        "all": {"energy": "l2"},
        "random": {"gamma": 0.98, "learning_rate": 1e-3, "entropy": 0.02},
        "own": {"gamma": 0.97, "learning_rate": 1e-3, "entropy": 0.02},
        "play": {"gamma": 0.97, "learning_rate": 1e-3, "bc": 0.5, "nce": True},
        "noisy": {"gamma": 0.97, "learning_rate": 1e-3, "bc": 0.5, "nce": True},
        "pixels": {"shift": 4, "actor_tower": True},
    },
    called="C-learning",
)
