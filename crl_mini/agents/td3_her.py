"""TD3 with hindsight relabelling: Q-learning for a reward of one at the goal.

A share of the goals are own futures, the others are futures of other rows. The reward
is one if `success` says that the next state has reached the goal. Without a `success`
function, and always from pixels, it is one only if the next state is the goal.

Rewards are scaled by 1 - gamma, so that Q is the discounted share of time at the goal,
in [0, 1], and targets are clipped to this range. What else differs from Fujimoto et al.
(2018) and Andrychowicz et al. (2017): the actor and the targets are updated in every
step, not in every second one, so that all agents make equally many updates; layer norm
is an addition; and no commanded goals are used. With `bc` the actor is that of TD3+BC.
From pixels the actor uses the critics' features, without gradient to them, or has its
own tower.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

from crl_mini import checks
from crl_mini.actor import Policy
from crl_mini.agents.base import Agent, Config, Metrics, Recipe, cloned, polyak
from crl_mini.encoders import MLP, Seeing
from crl_mini.replay import Batch
from crl_mini.specs import Spec


@dataclass(frozen=True)
class TD3HERConfig(Config):
    """Settings of :class:`TD3HER`. Noise is in units of actions in [-1, 1]."""

    future: float = 0.5
    """Share of goals that are own futures; the others are futures of other rows."""
    bc: float = 0.0
    """Share of behavioural cloning in the actor's loss, in [0, 1]: as in TD3+BC."""
    actor_tower: bool = False
    """Give the actor its own tower, not the critics' features."""
    tau: float = 0.005
    """Share of the networks that the targets take over in each step."""
    smoothing: float = 0.2
    """Standard deviation of the noise on the target policy's actions."""
    smoothing_clip: float = 0.5
    """Largest noise on the target policy's actions."""
    exploration: float = 0.1
    """Standard deviation of exploration noise on the mode; 0: none."""
    told: bool = True
    """Is it told which goals count as reached? If not, only the same goal counts."""

    def __post_init__(self):
        super().__post_init__()
        checks.share("future", self.future)
        checks.share("bc", self.bc)
        checks.inside("tau", self.tau, 0, 1)
        for name in ("smoothing", "smoothing_clip"):
            checks.at_least(name, getattr(self, name), 0)


def relabel(g: Shaped[Array, "B ..."], future: float) -> Shaped[Array, "B ..."]:
    """Goals in hindsight: own futures for a share of the rows, else of the row before.

    Source: Andrychowicz et al. (2017), Sec. 4.5, strategies *future* and *random*.
    """
    own = jnp.arange(len(g)) < round(future * len(g))
    own = own.reshape(-1, *[1] * (g.ndim - 1))
    return jnp.where(own, g, jnp.roll(g, 1, axis=0))


def reached(
    success: Callable | None,
    achieved: Shaped[Array, "B ..."],
    desired: Shaped[Array, "B ..."],
) -> Float[Array, " B"]:
    """One where `success` says so; without it, where both are equal; else zero.

    A `success` of NumPy, which JAX cannot trace, is called on the host.
    """
    if success is None:
        return (achieved == desired).reshape(len(desired), -1).all(1).astype(float)
    try:
        return jnp.asarray(success(achieved, desired), float)
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError):
        out = jax.ShapeDtypeStruct(desired.shape[:1], jnp.float32)
        return jax.pure_callback(
            lambda a, g: np.float32(success(np.asarray(a), np.asarray(g))),
            out,
            achieved,
            desired,
            vmap_method="sequential",
        )


def td_target(
    reward: Float[Array, " B"],
    next_q: Float[Array, "K B"],
    gamma: float,
    terminal: Bool[Array, " B"] | None = None,
) -> Float[Array, " B"]:
    """(1 - gamma) reward + gamma times the smallest of K critics, within [0, 1].

    Where the environment ended the episode there is no next action: what was reached
    then stays so, and the target is the reward itself.

    Source: Fujimoto et al. (2018), Eq. 10; clipped as in Andrychowicz et al. (2017).
    """
    target = jnp.clip((1 - gamma) * reward + gamma * next_q.min(0), 0, 1)
    return target if terminal is None else jnp.where(terminal, reward, target)


class QNetworks(Seeing):
    """Two networks Q(s, a, g) of state, action and goal together.

    Both look at the pictures of states and goals through one tower. `mlp` holds
    `hidden` and `layer_norm` of each `MLP`.
    """

    def __init__(
        self, observation: Spec, action: Spec, goal: Spec, *, tower: str, rngs, **mlp
    ):
        super().__init__(observation, goal, tower, rngs=rngs)
        self.action = action
        d_in = self.observation.size + action.size + self.goal.size
        towers = [MLP(d_in, d_out=1, rngs=rngs, **mlp) for _ in range(2)]
        self.towers = nnx.data(towers)

    def values(self, s: Float[Array, "B F"], a, g) -> Float[Array, "2 B"]:
        """Values of each network, for features of states and goals, and actions."""
        x = jnp.concatenate([s, self.action.features(a), g], axis=-1)
        return jnp.stack([tower(x)[:, 0] for tower in self.towers])

    def __call__(self, s, a, g) -> Float[Array, "2 B"]:
        """Values of each network, for states, actions and goals."""
        s, g = self.see(s, g)
        return self.values(s, a, g)


def critic_loss(
    critic: QNetworks, features: Batch, target: Float[Array, " B"]
) -> Float[Array, ""]:
    """Mean squared error of both critics, added, for a batch of features.

    Source: Fujimoto et al. (2018), Alg. 1.
    """
    q = critic.values(features.s, features.a, features.g)
    return ((q - target) ** 2).mean(1).sum()


def actor_loss(
    actor: Policy,
    critic: QNetworks,
    batch: Batch,
    features: Batch,
    config: TD3HERConfig,
):
    """Minus the first critic at the actor's action, for relabelled goals.

    `features` is the batch with the critic's features of states and own futures. The
    cloning term is the squared distance, in units of [-1, 1], to the action that was
    taken on the way to the own future.

    Source: Fujimoto et al. (2018), Alg. 1; Fujimoto and Gu (2021), Eq. 3.
    """
    critic, features = jax.lax.stop_gradient((critic, features))
    own = (batch.s, batch.g), (features.s, features.g)  # pictures and features
    asked = [(s, relabel(g, config.future)) for s, g in own]
    s, g = asked[1]
    q = critic.values(s, actor.mode(actor.view(*asked)), g)[0]
    loss = -q.mean()
    if config.bc:
        gap = actor.center(actor.view(*own)) - actor.action.features(batch.a)
        loss = cloned(loss, q, (gap**2).mean(), config.bc)
    return loss, {"actor_q": q.mean()}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TD3HER(Agent):
    """Agent: immutable, `update` returns a new one; `targets` follow both networks."""

    config: TD3HERConfig = field(metadata={"static": True})
    success: Callable | None = field(metadata={"static": True})
    critic: QNetworks
    actor: Policy
    targets: tuple[QNetworks, Policy]
    optimizer: optax.OptState
    key: PRNGKeyArray
    step: Array

    @classmethod
    def create(cls, *spaces, success: Callable | None = None, **more) -> "TD3HER":
        """A new agent for the spaces: see `Agent.create`; actions are a bounded `Box`.

        `success(achieved, desired)` takes batches of goals and says, one number or
        boolean a row, which are reached. It is forgotten unless the agent is `told`.
        """
        agent = super().create(*spaces, **more)
        return replace(agent, success=success if agent.config.told else None)

    @classmethod
    def fresh(
        cls, config: TD3HERConfig, observation: Spec, action: Spec, goal: Spec, key
    ) -> "TD3HER":
        """New networks and their targets."""
        key, for_critic, for_actor = jax.random.split(key, 3)
        rngs = nnx.Rngs(for_critic)
        critic = QNetworks(observation, action, goal, rngs=rngs, **config.network)
        if not config.actor_tower:
            observation, goal = critic.observation, critic.goal
        rngs = nnx.Rngs(for_actor)
        actor = Policy(observation, action, goal, rngs=rngs, **config.network)
        targets = jax.tree.map(jnp.copy, (critic, actor))
        optimizer, step = config.adam().init((critic, actor)), jnp.zeros((), int)
        return cls(config, None, critic, actor, targets, optimizer, key, step)

    @jax.jit
    def update(self, batch: Batch) -> tuple["TD3HER", Metrics]:
        """One gradient step of critics and actor, then one of the targets."""
        config = self.config
        augment, smooth = jax.random.split(jax.random.fold_in(self.key, self.step))
        reward = reached(self.success, batch.next_g, relabel(batch.g, config.future))
        batch = config.augment(batch, augment)
        next_q = self.next_q(batch, key=smooth)
        target = td_target(reward, next_q, config.gamma, batch.terminal)

        def loss_of(critic, actor):
            s, futures = critic.see(batch.s, batch.g)
            features = batch._replace(s=s, g=futures)
            asked = features._replace(g=relabel(futures, config.future))
            loss = critic_loss(critic, asked, target)
            climb, more = actor_loss(actor, critic, batch, features, config)
            return loss + climb, {"loss": loss, "reward": reward.mean(), **more}

        networks = self.critic, self.actor
        grads, metrics = jax.grad(loss_of, (0, 1), has_aux=True)(*networks)
        networks, optimizer = config.descend(networks, grads, self.optimizer)
        targets = polyak(self.targets, networks, config.tau)
        new = dict(zip(("critic", "actor"), networks, strict=True))
        new |= {"targets": targets, "optimizer": optimizer, "step": self.step + 1}
        return replace(self, **new), metrics

    def next_q(self, batch: Batch, *, key: PRNGKeyArray) -> Float[Array, "2 B"]:
        """Target critics at the next state and the target policy's smoothed action."""
        config, (critic, actor) = self.config, self.targets
        pictures = batch.next_s, relabel(batch.g, config.future)
        s, g = critic.see(*pictures)
        noise = {"std": config.smoothing, "clip": config.smoothing_clip}
        a = actor.noisy(actor.view(pictures, (s, g)), key=key, **noise)
        return critic.values(s, a, g)

    @partial(jax.jit, static_argnames="greedy")
    def act(self, s, g, *, key: PRNGKeyArray, greedy: bool = False):
        """Actions (B, A) for states and goals: with noise, or with `greedy` without."""
        x = self.actor.view((s, g), self.critic.see(s, g))
        std = 0.0 if greedy else self.config.exploration
        return self.actor.noisy(x, key=key, std=std)


RECIPE = Recipe(
    TD3HER,
    TD3HERConfig,
    {
        "random": {"gamma": 0.95, "learning_rate": 1e-3, "tau": 0.02},
        "own": {
            "gamma": 0.95,
            "learning_rate": 1e-3,
            "tau": 0.02,
            "exploration": 0.3,
        },
        "play": {"gamma": 0.97, "learning_rate": 1e-3, "bc": 0.9},
        "noisy": {"gamma": 0.97, "learning_rate": 1e-3, "bc": 0.9},
        "pixels": {"shift": 4, "actor_tower": True},
    },
    needs_success=True,
    called="TD3+HER",
)
