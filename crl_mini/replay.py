"""Trajectories in, triples (s, a, future g) out."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, Shaped

from crl_mini import checks
from crl_mini.devices import put_rows, with_room


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
        cls, observations, actions, achieved=None, *, capacity: int = 0, scene=None
    ) -> "Replay":
        """Check and copy arrays; an episode needs two transitions or more.

        Observations that are passed as `achieved` too are stored once. There is room
        for `capacity` episodes, or as many as are given if that is more. `scene` is an
        `envs.pixels.Scene`.
        """
        arrays = {"observations": observations, "actions": actions}
        if achieved is not None and achieved is not observations:
            arrays["achieved"] = achieved
        arrays = {name: np.asarray(x) for name, x in arrays.items()}
        shape = arrays["observations"].shape
        if len(shape) < 2 or shape[0] < 1 or shape[1] < 3:
            wanted = "(N >= 1, T + 1 >= 3, ...)"
            raise ValueError(f"observations must have shape {wanted}; got {shape}")
        n, length = shape[:2]
        for name, x in arrays.items():
            steps = length - 1 if name == "actions" else length
            checks.shaped(name, x, (n, steps, *x.shape[2:]))
            checks.finite(name, x)
        kept = {name: with_room(x, max(capacity, n)) for name, x in arrays.items()}
        return cls(**{"achieved": None} | kept, added=jnp.int32(n), scene=scene)

    def add(self, observations, actions, achieved=None) -> "Replay":
        """The replay with K more episodes, in the place of the oldest if it is full.

        It takes over the memory of the old one, which is used up. Errors:
        ``ValueError`` for more episodes than the capacity, or other shapes.
        """
        checks.at_least("the capacity", len(self.actions), len(actions))
        at = (self.added + jnp.arange(len(actions))) % len(self.actions)
        new = {"observations": observations, "actions": actions}
        if self.achieved is not None:
            new["achieved"] = achieved
        for name, x in new.items():
            checks.shaped(name, x, (len(actions), *getattr(self, name).shape[1:]))
        kept = {name: put_rows(getattr(self, name), at, x) for name, x in new.items()}
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
        s, g = self._pictures(rows[episode, t], goals[episode, t + k])
        (next_s,) = self._pictures(rows[episode, t + 1])
        next_g = next_s if self.achieved is None else goals[episode, t + 1]
        return Batch(s, a, g, next_s, next_g)

    def _pictures(self, *rows: Shaped[Array, "B ..."]) -> tuple[Array, ...]:
        """Pictures of poses, all in one pass; anything else as it is."""
        if self.scene is None:
            return rows
        return tuple(jnp.split(self.scene.draw(jnp.concatenate(rows)), len(rows)))
