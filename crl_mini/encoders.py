"""Towers that turn states, pictures, actions and goals into vectors."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from gymnasium import spaces
from jaxtyping import Array, Float, PRNGKeyArray, Shaped, UInt8

from crl_mini import checks

SMALLEST = 16  # pixels of a picture's side; fewer bytes are numbers like any others
LARGE = 1e18  # bounds that are farther apart say nothing about the values
FAR = 20.0  # how often the data's range may fit into bounds that say something


@dataclass(frozen=True)
class Spec:
    """What a network must know of a Gymnasium space, hashable so that it can be static.

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
    """How far bounds are apart; infinite where float64 cannot say it."""
    with np.errstate(over="ignore"):
        return high - low


def fitted(space: spaces.Space, x: Shaped[np.ndarray, "N ..."]) -> spaces.Space:
    """The space, or a Box around the data `x` where the space's bounds say little.

    They say little about an entry that has none, or that leaves them, or whose bounds
    lie more than `FAR` times as far apart as four standard deviations of the data. Its
    bounds become the mean plus and minus two standard deviations. An entry that does
    not vary keeps its bounds. Errors: ``ValueError`` for values that differ too little
    for numbers of 32 bits.
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


class MLP(nnx.Module):
    """Dense layers with ReLU, each hidden one followed by an optional layer norm."""

    def __init__(
        self, d_in: int, hidden: tuple[int, ...], d_out: int, *, layer_norm: bool, rngs
    ):
        sizes = (d_in, *hidden)
        pairs = zip(sizes[:-1], hidden, strict=True)
        self.dense = nnx.data([nnx.Linear(i, o, rngs=rngs) for i, o in pairs])
        norms = [nnx.LayerNorm(n, rngs=rngs) for n in hidden] if layer_norm else []
        self.norms = nnx.data(norms)
        self.out = nnx.Linear(sizes[-1], d_out, rngs=rngs)

    def __call__(self, x: Float[Array, "B F"]) -> Float[Array, "B D"]:
        for k, dense in enumerate(self.dense):
            x = dense(x)
            x = jax.nn.relu(self.norms[k](x) if self.norms else x)
        return self.out(x)


def blocks(x: Shaped[Array, "B H W C"], side: int) -> Shaped[Array, "B h w F"]:
    """Cut into squares that do not overlap, each one flat: F = side side C."""
    n, height, width, channels = x.shape
    x = x.reshape(n, height // side, side, width // side, side, channels)
    return x.swapaxes(2, 3).reshape(*x.shape[:2], x.shape[3], -1)


def im2col(x: Float[Array, "B H W C"], kernel: Float[Array, "k k C O"], stride: int):
    """Convolution with "SAME" padding as one product of matrices; (B, h, w, O).

    Squares of side `stride` are the pixels; a kernel covers n x n of them. XLA computes
    the gradient of a convolution inside a scan many times slower on a CPU.
    """
    side, _, channels, out = kernel.shape
    n, height, width = side // stride, *(size // stride for size in x.shape[1:3])
    pad = ((side - stride) // 2, (side - stride + 1) // 2)
    x = blocks(jnp.pad(x, ((0, 0), pad, pad, (0, 0))), stride)
    near = [x[:, i : i + height, j : j + width] for i in range(n) for j in range(n)]
    kernel = kernel.reshape(n, stride, n, stride, channels, out).swapaxes(1, 2)
    return jnp.concatenate(near, axis=-1) @ kernel.reshape(-1, out)


class Conv(nnx.Module):
    """The paper's tower: 8 x 8 / 4, 4 x 4 / 2, 3 x 3 / 1 with 32, 64, 64 channels.

    Source: Eysenbach et al. (2022), released code.
    """

    layers = ((32, 8, 4), (64, 4, 2), (64, 3, 1))  # channels, kernel, stride
    multiple = 8  # a picture's sides must be multiples of it

    def __init__(self, shape: tuple[int, int, int], *, rngs: nnx.Rngs):
        height, width, channels = shape
        convs = []
        for out, side, stride in self.layers:
            kernel = (side, side)
            convs.append(nnx.Conv(channels, out, kernel, strides=stride, rngs=rngs))
            channels = out
        self.convs = nnx.data(convs)
        self.size = height * width // self.multiple**2 * channels  # 4096 of 64 x 64

    def __call__(self, x: UInt8[Array, "B H W C"]) -> Float[Array, "B F"]:
        x = x / 255
        for conv in self.convs:
            x = jax.nn.relu(self.convolved(conv, x))
        return x.reshape(len(x), -1)

    def convolved(self, conv: nnx.Conv, x: Float[Array, "B H W C"]):
        """One layer before its ReLU, (B, h, w, O)."""
        return im2col(x, conv.kernel[...], conv.strides) + conv.bias[...]


class Patch(nnx.Module):
    """Patches of 4, 2 and 2 pixels that do not overlap: dense, layer norm, ReLU.

    Products of matrices only, a third of the paper's tower's time on a CPU. A dense
    layer and a layer norm at the end make one short vector, so that the networks on it
    stay small.
    """

    layers = ((32, 4), (64, 2), (128, 2))  # channels, side
    multiple = 16
    size = 256

    def __init__(self, shape: tuple[int, int, int], *, rngs: nnx.Rngs):
        height, width, channels = shape
        dense = []
        for out, side in self.layers:
            dense.append(nnx.Linear(side * side * channels, out, rngs=rngs))
            channels = out
        cells = height * width // self.multiple**2
        dense.append(nnx.Linear(cells * channels, self.size, rngs=rngs))
        self.dense = nnx.data(dense)
        sizes = [*(n for n, _ in self.layers), self.size]
        self.norms = nnx.data([nnx.LayerNorm(n, rngs=rngs) for n in sizes])

    def __call__(self, x: UInt8[Array, "B H W C"]) -> Float[Array, "B F"]:
        x = x / 255
        for k, (_, side) in enumerate(self.layers):
            x = jax.nn.relu(self.norms[k](self.dense[k](blocks(x, side))))
        return self.norms[-1](self.dense[-1](x.reshape(len(x), -1)))


TOWERS = {"conv": Conv, "patch": Patch}


class Seeing(nnx.Module):
    """A network of observations and goals; `see` makes features of both.

    Features of states are those of their `Spec`: flat, scaled, one-hot. Pictures have a
    tower, `eyes`, which looks at states and goals alike; `observation` and `goal` then
    describe its output. With `stacked`, it looks at so many pictures as one with more
    channels. A network is called with observations; its other methods take features.
    """

    def __init__(
        self, observation: Spec, goal: Spec | None, tower: str, *, stacked=1, rngs
    ):
        goal, eyes = goal or observation, None
        if observation.is_picture:
            checks.one_of("tower", tower, TOWERS)
            *sides, channels = observation.shape
            multiple = TOWERS[tower].multiple
            if goal.shape != observation.shape or any(x % multiple for x in sides):
                allowed = f"of one shape, (H, W, C), H and W multiples of {multiple}"
                got = f"{observation.shape} and {goal.shape}"
                raise ValueError(f"pictures and goals must be {allowed}; got {got}")
            eyes = TOWERS[tower]((*sides, stacked * channels), rngs=rngs)
            observation = goal = Spec((eyes.size,))
        self.observation, self.goal, self.eyes = observation, goal, eyes

    def see(self, s: Shaped[Array, "B ..."], *goals: Shaped[Array, "B ..."]):
        """Features (B, F) of states and of each batch of goals; one pass of a tower."""
        if self.eyes is None:
            return self.observation.features(s), *map(self.goal.features, goals)
        both = self.eyes(jnp.concatenate([s, *goals]))
        return tuple(jnp.split(both, 1 + len(goals)))

    def see_goal(self, g: Shaped[Array, "B ..."]) -> Float[Array, "B F"]:
        """Features of goals alone."""
        return self.goal.features(g) if self.eyes is None else self.eyes(g)


def shifted(
    key: PRNGKeyArray, x: Shaped[Array, "B ..."], pixels: int
) -> Shaped[Array, "B ..."]:
    """Each picture moved by up to `pixels` at random, its edges repeated.

    Source: Yarats et al. (2021), Sec. 3.1.
    """
    if not pixels or x.ndim != 4:
        return x
    around = ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0))
    at = jax.random.randint(key, (len(x), 2), 0, 2 * pixels + 1)

    def crop(picture, at):
        return jax.lax.dynamic_slice(picture, (*at, 0), x.shape[1:])

    return jax.vmap(crop)(jnp.pad(x, around, mode="edge"), at)
