"""Towers that turn states, pictures, actions and goals into vectors."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray, Shaped, UInt8

from crl_mini import checks
from crl_mini.specs import Spec


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

    def hidden(self, x: Float[Array, "B F"]) -> Float[Array, "B H"]:
        """Features: what the last hidden layer says."""
        for k, dense in enumerate(self.dense):
            x = dense(x)
            x = jax.nn.relu(self.norms[k](x) if self.norms else x)
        return x

    def __call__(self, x: Float[Array, "B F"]) -> Float[Array, "B D"]:
        return self.out(self.hidden(x))


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


class Narrow(Patch):
    """The patch tower with half of the channels: three eighths of its products."""

    layers = tuple((channels // 2, side) for channels, side in Patch.layers)


TOWERS = {"conv": Conv, "patch": Patch, "narrow": Narrow}


class Seeing(nnx.Module):
    """A network of observations and goals; `see` makes features of both.

    Features of states are those of their `Spec`: flat, scaled, one-hot. Pictures have a
    tower, `eyes`, which looks at states and goals alike; `observation` and `goal` then
    describe its output. With `stacked`, it looks at that many pictures as one with more
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
    key: PRNGKeyArray, x: Shaped[Array, "B ..."], pixels: int, *, alike: bool = False
) -> Shaped[Array, "B ..."]:
    """Each picture, or all `alike`, moved by up to `pixels` at random, edges repeated.

    Source: Yarats et al. (2021), Sec. 3.1: each by itself.
    """
    if not pixels or x.ndim != 4:
        return x
    around = ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0))
    wide, many = jnp.pad(x, around, mode="edge"), 1 if alike else len(x)
    at = jax.random.randint(key, (many, 2), 0, 2 * pixels + 1)
    if alike:
        return jax.lax.dynamic_slice(wide, (0, *at[0], 0), x.shape)

    def crop(picture, at):
        return jax.lax.dynamic_slice(picture, (*at, 0), x.shape[1:])

    return jax.vmap(crop)(wide, at)
