"""TD3 with hindsight relabelling: Q-learning for a reward of one at the goal.

Goals are a share of own futures and else futures of other rows. The reward is one where
`success` says that the next state has reached the goal; without a `success` function,
and from pixels always, where the goal is the next state.

Rewards count 1 - gamma, so that Q is the discounted share of time at the goal, in
[0, 1], and targets are clipped to it. What else differs from Fujimoto et al. (2018) and
Andrychowicz et al. (2017): the actor and the targets move in every step, not in every
second one, so that all agents get equally many; layer norm is an addition; and no
commanded goals are used. With `bc` the actor is that of TD3+BC. From pixels the actor
lives on the critics' features, without gradient, or has a tower of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from gymnasium import spaces
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from crl_mini import checks
from crl_mini.actor import DeterministicActor
from crl_mini.agents.base import (
    Config,
    Metrics,
    Recipe,
    check_share,
    cloned,
    polyak,
    specs,
)
from crl_mini.encoders import MLP, Seeing, Spec
from crl_mini.replay import Batch


@dataclass(frozen=True)
class TD3HERConfig(Config):
    """Settings of :class:`TD3HER`. Noise is in units of actions in [-1, 1]."""

    future: float = 0.5
    """Share of goals that are own futures; the others are futures of other rows."""
    bc: float = 0.0
    """Share of behavioural cloning in the actor's loss, in [0, 1]: as in TD3+BC."""
    actor_tower: bool = False
    """Has the actor a tower of its own, or the critics' features?"""
    tau: float = 0.005
    """Share of the networks that the targets take over in each step."""
    smoothing: float = 0.2
    """Standard deviation of the noise on the target policy's actions."""
    smoothing_clip: float = 0.5
    """Largest noise on the target policy's actions."""
    exploration: float = 0.1
    """Standard deviation of the noise on actions that are not greedy; 0 for none."""

    def __post_init__(self):
        super().__post_init__()
        check_share("future", self.future)
        check_share("bc", self.bc)
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
    """One where `success` says so; without it, where both are the same; else zero.

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
    reward: Float[Array, " B"], next_q: Float[Array, "K B"], gamma: float
) -> Float[Array, " B"]:
    """(1 - gamma) reward + gamma times the smallest of K critics, within [0, 1].

    Source: Fujimoto et al. (2018), Eq. 10; clipped as in Andrychowicz et al. (2017).
    """
    return jnp.clip((1 - gamma) * reward + gamma * next_q.min(0), 0, 1)


class QNetworks(Seeing):
    """Two networks Q(s, a, g) of state, action and goal together.

    Both look at the pictures of states and goals through one tower.
    """

    def __init__(
        self,
        observation: Spec,
        action: Spec,
        goal: Spec,
        *,
        hidden: tuple[int, ...],
        layer_norm: bool,
        tower: str = "patch",
        rngs: nnx.Rngs,
    ):
        super().__init__(observation, goal, tower, rngs=rngs)
        self.action = action
        d_in = self.observation.size + action.size + self.goal.size
        sizes = {"layer_norm": layer_norm, "rngs": rngs}
        self.towers = nnx.List([MLP(d_in, hidden, 1, **sizes) for _ in range(2)])

    def __call__(self, s, a, g) -> Float[Array, "2 B"]:
        """Values of each network."""
        s, g = self.see(s, g)
        of_s, of_a, of_g = self.observation, self.action, self.goal
        features = (of_s.features(s), of_a.features(a), of_g.features(g))
        x = jnp.concatenate(features, axis=-1)
        return jnp.stack([tower(x)[:, 0] for tower in self.towers])


def critic_loss(
    critic: QNetworks, batch: Batch, target: Float[Array, " B"]
) -> Float[Array, ""]:
    """Mean squared error of both critics, added.

    Source: Fujimoto et al. (2018), Alg. 1.
    """
    q = critic(batch.s, batch.a, batch.g)
    return ((q - target) ** 2).mean(1).sum()


def actor_loss(
    actor: DeterministicActor,
    critic: QNetworks,
    batch: Batch,
    looks: tuple[Array, Array, Array],
    bc: float,
):
    """Minus the first critic at the actor's action for the goals of the batch.

    The actor sees its `looks`: states, goals, and own futures. The cloning term is the
    squared distance, in units of [-1, 1], to the action that was taken on the way to
    the own future.

    Source: Fujimoto et al. (2018), Alg. 1; Fujimoto and Gu (2021), Eq. 3.
    """
    s, g, futures = looks
    q = critic(batch.s, actor.mode(s, g), batch.g)[0]
    loss = -q.mean()
    if bc:
        gap = actor(s, futures) - actor.action.features(batch.a)
        loss = cloned(loss, q, (gap**2).mean(), bc)
    return loss, {"actor_q": q.mean()}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TD3HER:
    """Agent: immutable, `update` returns a new one; `targets` follow both networks."""

    config: TD3HERConfig = field(metadata={"static": True})
    success: Callable | None = field(metadata={"static": True})
    critic: QNetworks
    actor: DeterministicActor
    targets: tuple[QNetworks, DeterministicActor]
    optimizer: optax.OptState
    key: PRNGKeyArray
    step: Array

    @classmethod
    def create(
        cls,
        config: TD3HERConfig,
        observation_spec: spaces.Space,
        action_spec: spaces.Space,
        *,
        key: PRNGKeyArray,
        goal_spec: spaces.Space | None = None,
        success: Callable | None = None,
    ) -> "TD3HER":
        """Fresh networks for the spaces; without a `goal_spec`, goals are observations.

        `success(achieved, desired)` takes batches of goals and says, one number or
        boolean a row, which are reached. Errors: ``ValueError`` for actions that are no
        bounded `Box`.
        """
        all_specs = specs(observation_spec, action_spec, goal_spec)
        key, for_critic, for_actor = jax.random.split(key, 3)
        critic = QNetworks(*all_specs, rngs=nnx.Rngs(for_critic), **config.network)
        if not config.actor_tower:
            all_specs = critic.observation, all_specs[1], critic.goal
        actor = DeterministicActor(
            *all_specs, rngs=nnx.Rngs(for_actor), **config.network
        )
        targets = jax.tree.map(jnp.copy, (critic, actor))
        optimizer = config.adam().init((critic, actor))
        step = jnp.zeros((), int)
        return cls(config, success, critic, actor, targets, optimizer, key, step)

    @jax.jit
    def update(self, batch: Batch) -> tuple["TD3HER", Metrics]:
        """One gradient step of critics and actor, then one of the targets."""
        config, key = self.config, jax.random.fold_in(self.key, self.step)
        reward = reached(self.success, batch.next_g, relabel(batch.g, config.future))
        batch = config.augment(batch, jax.random.fold_in(key, 1))
        g = relabel(batch.g, config.future)
        next_q = self.next_q(batch, g, key)
        target = td_target(reward, next_q, config.gamma)

        def loss_of(critic):
            s, futures = critic.see(batch.s, batch.g)
            seen = batch._replace(s=s, g=relabel(futures, config.future))
            return critic_loss(critic, seen, target), (seen, (s, seen.g, futures))

        fit = jax.value_and_grad(loss_of, has_aux=True)
        (loss, (seen, looks)), critic_grads = fit(self.critic)
        looks = (batch.s, g, batch.g) if config.actor_tower else looks
        climb = jax.grad(actor_loss, has_aux=True)
        actor_grads, more = climb(self.actor, self.critic, seen, looks, config.bc)
        grads, networks = (critic_grads, actor_grads), (self.critic, self.actor)
        changes, optimizer = config.adam().update(grads, self.optimizer)
        critic, actor = networks = optax.apply_updates(networks, changes)
        new = {"critic": critic, "actor": actor, "optimizer": optimizer}
        targets = polyak(self.targets, networks, config.tau)
        metrics = {"loss": loss, "reward": reward.mean(), **more}
        return replace(self, **new, targets=targets, step=self.step + 1), metrics

    def next_q(
        self, batch: Batch, g: Shaped[Array, "B ..."], key: PRNGKeyArray
    ) -> Float[Array, "2 B"]:
        """Target critics at the next state and the target policy's smoothed action."""
        config, (critic, actor) = self.config, self.targets
        noise = {"std": config.smoothing, "clip": config.smoothing_clip}
        s, seen_g = critic.see(batch.next_s, g)
        looks = (batch.next_s, g) if config.actor_tower else (s, seen_g)
        return critic(s, actor.noisy(*looks, key=key, **noise), seen_g)

    @partial(jax.jit, static_argnames="greedy")
    def act(self, s, g, *, key: PRNGKeyArray, greedy: bool = False):
        """Actions (B, A) for states and goals: with noise, or with `greedy` without."""
        if not self.config.actor_tower:
            s, g = self.critic.see(s, g)
        std = 0.0 if greedy else self.config.exploration
        return self.actor.noisy(s, g, key=key, std=std)


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
)
