"""Trajectories in, triples (s, a, future g) out."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from crl_mini import checks


class Batch(NamedTuple):
    """States s, actions a, and goals g, each of which is a future of its own row.

    `next_s` is the state after the action and `next_g` what it achieved: a goal if it
    were one. Agents that learn from whole futures do without them.
    """

    s: Shaped[Array, "B ..."]
    a: Shaped[Array, "B ..."]
    g: Shaped[Array, "B ..."]
    next_s: Shaped[Array, "B ..."] | None = None
    next_g: Shaped[Array, "B ..."] | None = None


def truncated_geometric(
    key: PRNGKeyArray, gamma: float, remaining: Int[Array, " B"]
) -> Int[Array, " B"]:
    """Offsets k in 1..remaining with probability proportional to gamma^(k - 1).

    One uniform number and one logarithm each: the inverse of the distribution function.

    Source: :eq:`geometric`; Eysenbach et al. (2022), released code.
    """
    u = jax.random.uniform(key, remaining.shape)
    tail = -jnp.expm1(remaining * jnp.log(gamma))  # 1 - gamma^remaining
    k = jnp.log1p(-u * tail) / jnp.log(gamma)
    return jnp.clip(1 + k.astype(int), 1, remaining)


CHUNK = 256  # episodes that are copied at a time
SAMPLERS = ("truncated", "clipped", "uniform")


def offset_pmf(
    sampler: str, gamma: float, remaining: int
) -> Float[np.ndarray, " remaining"]:
    """Probability of each future offset 1..remaining under three samplers.

    ``truncated`` renormalises the geometric distribution to the steps that remain (the
    one `Replay` uses); ``clipped`` puts the whole tail on the last state; ``uniform``
    ignores gamma.

    Source: :eq:`geometric`, :eq:`clipped`, :eq:`uniform`.
    """
    checks.one_of("sampler", sampler, SAMPLERS)
    checks.inside("gamma", gamma, 0, 1)
    checks.at_least("remaining", remaining, 1)
    p = (1 - gamma) * gamma ** np.arange(remaining)
    if sampler == "clipped":
        p[-1] = gamma ** (remaining - 1)
    if sampler == "uniform":
        p[:] = 1
    return p / p.sum()


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Replay:
    """Episodes of one length: `observations` (N, T + 1, ...) and `actions` (N, T, ...).

    `achieved` (N, T + 1, ...) is what of each observation counts as a goal; None where
    that is the whole observation. `added` counts the episodes that ever came in: once
    there are more than the capacity N, the newest N are in store. Kept on the device,
    so that sampling happens inside a jitted training step.

    With a `scene` the observations are poses, and `sample` draws the pictures of a
    batch: a picture takes as many bytes as it has moving bodies, times 28.
    """

    observations: Shaped[Array, "N T1 ..."]
    actions: Shaped[Array, "N T ..."]
    achieved: Shaped[Array, "N T1 ..."] | None
    added: Int[Array, ""]
    scene: Any = None

    @classmethod
    def from_trajectories(
        cls,
        observations,
        actions,
        achieved=None,
        *,
        capacity: int = 0,
        scene=None,
    ) -> "Replay":
        """Check and copy arrays; an episode needs two transitions or more.

        Observations that are passed as `achieved` too are stored once. There is room
        for `capacity` episodes, or as many as are given if that is more. `scene` is an
        `envs.pixels.Scene`.
        """
        same = achieved is None or achieved is observations
        observations, actions = np.asarray(observations), np.asarray(actions)
        achieved = None if same else np.asarray(achieved)
        if observations.ndim < 2 or len(observations) == 0:
            raise ValueError(
                "observations must have shape (N >= 1, T + 1, ...); "
                f"got {observations.shape}"
            )
        n, length = observations.shape[:2]
        if length < 3:
            raise ValueError(
                f"observations must hold episodes of 3 states or more; got {length}"
            )
        checks.shaped("actions", actions, (n, length - 1, *actions.shape[2:]))
        checks.finite("observations", observations)
        checks.finite("actions", actions)
        if achieved is not None:
            checks.shaped("achieved", achieved, (n, length, *achieved.shape[2:]))
            checks.finite("achieved", achieved)

        arrays = (observations, actions, achieved)
        kept = [x if x is None else _kept(x, max(capacity, n)) for x in arrays]
        return cls(*kept, jnp.asarray(n, jnp.int32), scene)

    def add(self, observations, actions, achieved=None) -> "Replay":
        """The replay with K more episodes, in the place of the oldest if it is full.

        It takes over the memory of the old one, which is used up. Errors:
        ``ValueError`` for more episodes than the capacity, or other shapes.
        """
        checks.at_least("the capacity", len(self.actions), len(actions))
        at = (self.added + jnp.arange(len(actions))) % len(self.actions)

        def put(name, new):
            if (old := getattr(self, name)) is None:
                return None
            checks.shaped(name, new, (len(actions), *old.shape[1:]))
            return _put(old, at, new)

        new = {"observations": observations, "actions": actions, "achieved": achieved}
        kept = {name: put(name, x) for name, x in new.items()}
        return replace(self, **kept, added=self.added + len(actions))

    @property
    def n_episodes(self) -> Int[Array, ""]:
        """Number of episodes in store."""
        return jnp.minimum(self.added, len(self.actions))

    @property
    def n_transitions(self) -> int:
        """Number of (s, a, s') in store."""
        return int(self.n_episodes) * self.actions.shape[1]

    def sample(self, key: PRNGKeyArray, batch_size: int, gamma: float) -> Batch:
        """Uniform (s, a), each with what was achieved later in its own episode.

        Inside a jitted step, parts of the batch that nothing reads cost nothing.

        Source: :eq:`geometric`.
        """
        at, ahead = jax.random.split(key)
        length = self.actions.shape[1]
        end = self.n_episodes * length
        flat = jax.random.randint(at, (batch_size,), 0, end)
        episode, t = flat // length, flat % length
        k = truncated_geometric(ahead, gamma, length - t)
        goals = self.observations if self.achieved is None else self.achieved
        a, rows = self.actions[episode, t], self.observations
        s, g = self._drawn(rows[episode, t], goals[episode, t + k])
        (next_s,) = self._drawn(rows[episode, t + 1])
        next_g = next_s if self.achieved is None else goals[episode, t + 1]
        return Batch(s, a, g, next_s, next_g)

    def _drawn(self, *rows: Shaped[Array, "B ..."]) -> tuple[Array, ...]:
        """Pictures of poses, all in one pass; of anything else itself."""
        if self.scene is None:
            return rows
        return tuple(jnp.split(self.scene.draw(jnp.concatenate(rows)), len(rows)))


def _put(old, at, new):
    """Rows in the place of others, in the same memory.

    It waits until it is done: JAX reads `new` while Python goes on, and its owner may
    write to it.
    """
    return jax.block_until_ready(_set(old, at, new))


@partial(jax.jit, donate_argnums=0)
def _set(old, at, new):
    return old.at[at].set(new)


def _kept(x: np.ndarray, n: int) -> Array:
    """On the device, with room for n rows; a few of them at a time are there twice.

    What nobody can write to, and fills the room, is used where it is, if it can be.
    """
    dtype = jax.dtypes.canonicalize_dtype(x.dtype)
    if n == len(x) and dtype == x.dtype and _frozen(x):
        return jax.device_put(x, may_alias=True)
    kept = jnp.zeros((n, *x.shape[1:]), dtype)
    for i in range(0, len(x), CHUNK):
        rows = x[i : i + CHUNK]
        kept = _put(kept, i + jnp.arange(len(rows)), rows)
    return kept


def _frozen(x: np.ndarray) -> bool:
    """Can nobody write to this memory, not through what it is a view of either?"""
    while isinstance(x, np.ndarray) and not x.flags.writeable:
        x = x.base
    return x is None
