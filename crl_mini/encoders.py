"""Towers that turn states, actions and goals into vectors."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from gymnasium import spaces
from jaxtyping import Array, Float, Shaped


@dataclass(frozen=True)
class Spec:
    """What a network must know of a Gymnasium space, hashable so that it can be static.

    `shape` is the shape of one element; `n` counts the categories of a discrete space
    (0 if continuous); `low` and `high` bound each entry (empty if some are unbounded).
    """

    shape: tuple[int, ...]
    n: int = 0
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @classmethod
    def of(cls, space: spaces.Space) -> "Spec":
        """Read a `Box`, or a `Discrete` space that counts from 0."""
        if isinstance(space, spaces.Discrete) and space.start == 0:
            return cls((), int(space.n))
        if not isinstance(space, spaces.Box):
            raise ValueError(f"space must be a Box or a Discrete from 0; got {space}")
        if not space.is_bounded():
            return cls(space.shape)
        bounds = (tuple(b.ravel().tolist()) for b in (space.low, space.high))
        return cls(space.shape, 0, *bounds)

    @property
    def size(self) -> int:
        """Number of features of one element."""
        return self.n or int(np.prod(self.shape))

    def features(self, x: Shaped[Array, "B ..."]) -> Float[Array, "B F"]:
        """Flat network input: one-hot if discrete, scaled to [-1, 1] if bounded."""
        if x.shape[1:] != self.shape:
            raise ValueError(f"entries must have shape {self.shape}; got {x.shape[1:]}")
        if self.n:
            return jax.nn.one_hot(x, self.n)
        x = x.reshape(len(x), -1)
        if not self.low:
            return x
        low, high = jnp.array(self.low), jnp.array(self.high)
        return 2 * (x - low) / (high - low) - 1


class MLP(nnx.Module):
    """Dense layers with ReLU, each hidden one followed by an optional layer norm."""

    def __init__(
        self,
        d_in: int,
        hidden: tuple[int, ...],
        d_out: int,
        *,
        layer_norm: bool,
        rngs: nnx.Rngs,
    ):
        sizes = (d_in, *hidden)
        pairs = zip(sizes[:-1], hidden, strict=True)
        self.dense = nnx.List([nnx.Linear(i, o, rngs=rngs) for i, o in pairs])
        norms = [nnx.LayerNorm(n, rngs=rngs) for n in hidden] if layer_norm else []
        self.norms = nnx.List(norms)
        self.out = nnx.Linear(sizes[-1], d_out, rngs=rngs)

    def __call__(self, x: Float[Array, "B F"]) -> Float[Array, "B D"]:
        for k, dense in enumerate(self.dense):
            x = dense(x)
            x = jax.nn.relu(self.norms[k](x) if self.norms else x)
        return self.out(x)
