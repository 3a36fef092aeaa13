"""Trajectories in, triples (s, a, future g) out."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PRNGKeyArray, Shaped

from crl_mini import checks
from crl_mini.devices import put_rows, with_room


class Batch(NamedTuple):
    """States s, actions a, and goals g, each of which is a future of its own row.

    `next_s` is the state after the action and `next_g` what it achieved: a goal if it
    were one. Agents that learn from whole futures do not need them. `terminal` tells
    after which actions the environment ended the episode; None: after none.
    """

    s: Shaped[Array, "B ..."]
    a: Shaped[Array, "B ..."]
    g: Shaped[Array, "B ..."]
    next_s: Shaped[Array, "B ..."] | None = None
    next_g: Shaped[Array, "B ..."] | None = None
    terminal: Bool[Array, " B"] | None = None


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
    """Episodes: `observations` (N, T + 1, ...) and `actions` (N, T, ...).

    `achieved` (N, T + 1, ...) is what of each observation counts as a goal; None where
    that is the whole observation. `added` counts the episodes that ever came in: once
    there are more than the capacity N, the newest N are in store. Kept on the device,
    so that sampling happens inside a jitted training step.

    Where episodes differ in length, episode i has `lengths[i]` transitions, and
    `terminal[i]` says whether the environment ended it; None where all last T steps.

    With a `scene` the observations are poses, and `sample` renders the pictures of a
    batch: a picture takes as many bytes as it has moving bodies, times 28.
    """

    observations: Shaped[Array, "N T1 ..."]
    actions: Shaped[Array, "N T ..."]
    achieved: Shaped[Array, "N T1 ..."] | None
    added: Int[Array, ""]
    scene: Any = None
    lengths: Int[Array, " N"] | None = None
    terminal: Bool[Array, " N"] | None = None

    @classmethod
    def from_trajectories(
        cls,
        observations,
        actions,
        achieved=None,
        *,
        lengths=None,
        terminal=None,
        room: int = 0,
        capacity: int = 0,
        scene=None,
    ) -> "Replay":
        """Check and copy arrays; there must be room for two transitions or more.

        Observations that are passed as `achieved` too are stored once. `lengths` (N,)
        and `terminal` (N,) are as above; without them, all episodes last T steps, and
        none was ended by its environment. There is room for `capacity` episodes of
        `room` steps, or for as many and as long ones as are given if that is more.
        `scene` is an `envs.pixels.Scene`.
        """
        arrays = _whole(observations, actions, achieved)
        n, length = arrays["actions"].shape[:2]
        most = max(capacity, n) * max(room, length)
        checks.less("the number of transitions", most, 2**31)
        ends = _ends(n, length, lengths, terminal)
        if room > length:
            ends = ends or _full(n, length)
            arrays = {name: _longer(x, room - length) for name, x in arrays.items()}
        arrays |= ends
        kept = {name: with_room(x, max(capacity, n)) for name, x in arrays.items()}
        return cls(**{"achieved": None} | kept, added=jnp.int32(n), scene=scene)

    def add(
        self, observations, actions, achieved=None, *, lengths=None, terminal=None
    ) -> "Replay":
        """The replay with K more episodes, in the place of the oldest if it is full.

        It reuses the memory of the old one, which must not be used afterwards. Errors:
        ``ValueError`` for more episodes than the capacity, or other shapes.
        """
        checks.at_least("the capacity", len(self.actions), len(actions))
        k, steps = np.shape(actions)[:2]
        at = (self.added + jnp.arange(k)) % len(self.actions)
        new = {"observations": observations, "actions": actions}
        if self.achieved is not None:
            new["achieved"] = achieved
        ends, more = _ends(k, steps, lengths, terminal), self.actions.shape[1] - steps
        if more > 0:  # the others are longer
            ends = ends or _full(k, steps)
            new = {name: _longer(x, more) for name, x in new.items()}
        for name, x in new.items():
            checks.shaped(name, x, (k, *getattr(self, name).shape[1:]))
        old = self.with_lengths() if ends else self
        if old.lengths is not None:
            new |= ends or _full(k, steps)
        kept = {name: put_rows(getattr(old, name), at, x) for name, x in new.items()}
        return replace(old, **kept, added=self.added + len(actions))

    def with_lengths(self) -> "Replay":
        """The same replay, ready for episodes of different lengths."""
        if self.lengths is not None:
            return self
        n, length = self.actions.shape[:2]
        inside = jnp.arange(n) < self.added
        return replace(
            self, lengths=jnp.where(inside, length, 0), terminal=jnp.zeros(n, bool)
        )

    @property
    def n_episodes(self) -> Int[Array, ""]:
        """Number of episodes in store."""
        return jnp.minimum(self.added, len(self.actions))

    @property
    def n_transitions(self) -> int:
        """Number of (s, a, s') in store."""
        if self.lengths is not None:
            return int(self.lengths.sum())
        return int(self.n_episodes) * self.actions.shape[1]

    def sample(self, key: PRNGKeyArray, batch_size: int, gamma: float) -> Batch:
        """Uniform (s, a), each with what was achieved later in its own episode.

        Inside a jitted step, parts of the batch that nothing reads cost nothing.

        Source: :eq:`geometric`.
        """
        at, ahead = jax.random.split(key)
        episode, t, length = self._places(at, batch_size)
        k = truncated_geometric(ahead, gamma, length - t)
        goals = self.observations if self.achieved is None else self.achieved
        a, rows = self.actions[episode, t], self.observations
        s, g = self._pictures(rows[episode, t], goals[episode, t + k])
        (next_s,) = self._pictures(rows[episode, t + 1])
        next_g = next_s if self.achieved is None else goals[episode, t + 1]
        ends = self.terminal
        if ends is not None:
            ends = ends[episode] & (t + 1 == length)
        return Batch(s, a, g, next_s, next_g, ends)

    def _places(self, key: PRNGKeyArray, n: int):
        """Uniform transitions: episodes, steps, and the episodes' lengths."""
        if self.lengths is None:
            length = self.actions.shape[1]
            flat = jax.random.randint(key, (n,), 0, self.n_episodes * length)
            return flat // length, flat % length, length
        ends = jnp.cumsum(self.lengths)
        flat = jax.random.randint(key, (n,), 0, ends[-1])
        episode = jnp.searchsorted(ends, flat, side="right")
        length = self.lengths[episode]
        return episode, flat - (ends[episode] - length), length

    def _pictures(self, *rows: Shaped[Array, "B ..."]) -> tuple[Array, ...]:
        """Pictures of poses, all in one pass; anything else as it is."""
        if self.scene is None:
            return rows
        return tuple(jnp.split(self.scene.draw(jnp.concatenate(rows)), len(rows)))


def _whole(observations, actions, achieved) -> dict[str, np.ndarray]:
    """Arrays of whole episodes, checked; those that are passed twice only once."""
    arrays = {"observations": observations, "actions": actions}
    if achieved is not None and achieved is not observations:
        arrays["achieved"] = achieved
    arrays = {name: np.asarray(x) for name, x in arrays.items()}
    shape = arrays["observations"].shape
    if len(shape) < 2 or shape[0] < 1 or shape[1] < 3:
        wanted = "(N >= 1, T + 1 >= 3, ...)"
        raise ValueError(f"observations must have shape {wanted}; got {shape}")
    for name, x in arrays.items():
        steps = shape[1] - (name == "actions")
        checks.shaped(name, x, (shape[0], steps, *x.shape[2:]))
        checks.finite(name, x)
    return arrays


def _ends(n: int, length: int, lengths, terminal) -> dict[str, np.ndarray]:
    """Checked lengths and terminal; nothing where all last as long as they can."""
    ends = _full(n, length)
    for name, x in (("lengths", lengths), ("terminal", terminal)):
        if x is not None:
            ends[name] = np.asarray(x, ends[name].dtype)
            checks.shaped(name, ends[name], (n,))
    checks.lengths(ends["lengths"], length)
    return ends if ends["lengths"].min() < length or ends["terminal"].any() else {}


def _full(n: int, length: int) -> dict[str, np.ndarray]:
    """What n episodes have that last `length` steps, and that time cut off."""
    return {"lengths": np.full(n, length, np.int32), "terminal": np.zeros(n, bool)}


def _longer(x, n: int) -> np.ndarray:
    """Arrays (N, T, ...) with the last row of each episode n times more."""
    return np.pad(x, ((0, 0), (0, n), *[(0, 0)] * (np.ndim(x) - 2)), mode="edge")
