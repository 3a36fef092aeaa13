"""What networks must know about the spaces of states, actions and goals."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from jaxtyping import Array, Float, Shaped

SMALLEST = 16  # pixels of a picture's side; fewer bytes are numbers like any others
LARGE = 1e18  # bounds that are farther apart say nothing about the values
FAR = 20.0  # how often the data's range may fit into bounds that say something


@dataclass(frozen=True)
class Spec:
    """What a network must know about a Gymnasium space; hashable, so it can be static.

    `shape` is the shape of one element; `n` counts the categories of a discrete space
    (0 if continuous) and `start` is the first; `low` and `high` bound each entry, or
    all entries of a picture alike (empty if no entry is bounded).
    """

    shape: tuple[int, ...]
    n: int = 0
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    start: int = 0

    @classmethod
    def of(cls, space: spaces.Space) -> "Spec":
        """Read a `Box`, `Discrete`, `MultiDiscrete` or `MultiBinary` space."""
        if isinstance(space, spaces.Discrete):
            return cls((), int(space.n), start=int(space.start))
        low, high = bounds_of(space)
        sides = space.shape[:2] if space.dtype == np.uint8 else ()
        if len(space.shape) == 3 and min(sides, default=0) >= SMALLEST:
            return cls(space.shape, 0, (0.0,), (255.0,))
        said = span(low, high) <= LARGE
        if not said.any():
            return cls(space.shape)
        low, high = (np.where(said, x, sign) for x, sign in ((low, -1), (high, 1)))
        alike = low == high  # an entry that cannot vary: its feature is 0
        bounds = (low - alike, high + alike)
        return cls(space.shape, 0, *(tuple(x.ravel().tolist()) for x in bounds))

    @property
    def is_picture(self) -> bool:
        """Is an element a picture, bytes (H, W, C)? A tower looks at those."""
        return len(self.shape) == 3 and self.high == (255.0,)

    @property
    def size(self) -> int:
        """Number of features of one element."""
        return self.n or int(np.prod(self.shape))

    def features(self, x: Shaped[Array, "B ..."]) -> Float[Array, "B F"]:
        """Flat network input: one-hot if discrete, scaled to [-1, 1] where bounded."""
        if x.shape[1:] != self.shape:
            raise ValueError(f"entries must have shape {self.shape}; got {x.shape[1:]}")
        if self.n:
            return jax.nn.one_hot(x - self.start, self.n)
        x = x.reshape(len(x), -1)
        if not self.low:
            return x
        low, high = np.array(self.low), np.array(self.high)
        if not jnp.issubdtype(x.dtype, jnp.floating):  # exact differences of integers
            first = np.round(low).astype(int)
            x = x.astype(jnp.int32) - first.astype(np.int32)
            low, high = low - first, high - first
        low, high = jnp.array(low, jnp.float32), jnp.array(high, jnp.float32)
        return 2 * (x - low) / (high - low) - 1


def bounds_of(space: spaces.Space) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest values of each entry, as float64.

    Errors: ``ValueError`` for spaces that are no arrays of numbers.
    """
    if isinstance(space, spaces.Box):
        return space.low.astype(float), space.high.astype(float)
    if isinstance(space, spaces.MultiBinary):
        return np.zeros(space.shape), np.ones(space.shape)
    if isinstance(space, spaces.MultiDiscrete):
        return space.start.astype(float), space.start + space.nvec - 1.0
    allowed = "a Box, Discrete, MultiDiscrete or MultiBinary"
    raise ValueError(f"space must be {allowed}; got {space}")


def span(low, high):
    """How far apart bounds are; infinite where float64 cannot represent it."""
    with np.errstate(over="ignore"):
        return high - low


def fitted(space: spaces.Space, x: Shaped[np.ndarray, "N ..."]) -> spaces.Space:
    """The space, or a Box around the data `x` where the space's bounds say little.

    They say little about an entry that has none, or that leaves them, or whose bounds
    lie more than `FAR` times as far apart as four standard deviations of the data. Its
    bounds become the mean plus and minus two standard deviations. An entry that does
    not vary keeps its bounds. Errors: ``ValueError`` for values that differ too little
    for 32-bit numbers.
    """
    spec = None if isinstance(space, spaces.Discrete) else Spec.of(space)
    if spec is None or spec.is_picture:
        return space
    (low, high), whole = bounds_of(space), x.dtype.kind in "biu"
    x = np.asarray(x, float)
    middle, far = x.mean(0), 2 * x.std(0)
    varies = x.min(0) < x.max(0)
    apart = 2.0**32 if whole else far / (10 * np.finfo(np.float32).eps)
    blurred = varies & (abs(x).max(0) > apart)
    if blurred.any():
        k = int(np.flatnonzero(blurred)[0])
        got = f"entry {k} varies by {far.flat[k]:.3g} around {middle.flat[k]:.3g}"
        raise ValueError(f"observations must differ in 32 bits; {got}")
    claimed = span(low, high)
    slack = np.where(claimed <= LARGE, 0.05 * claimed, 0)
    leaves = (x.min(0) < low - slack) | (x.max(0) > high + slack)
    little = varies & (leaves | (claimed > FAR * 2 * far))
    still = ~varies & (claimed > LARGE)
    if not (little | still).any():
        return space
    far = np.where(still, 1.0, far)
    low = np.where(little | still, middle - far, low)
    high = np.where(little | still, middle + far, high)
    return spaces.Box(low, high, dtype=np.float64)
