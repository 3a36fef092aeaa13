"""Measurements of networks on pictures: cost, nearest neighbours, occlusion."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8

from crl_mini import checks

GREY = 128  # the level of a patch that hides a part of a picture


def multiply_adds(
    layers: Sequence[tuple[int, int, int]], side: int, channels: int = 3
) -> list[int]:
    """Multiply-adds of each convolution for one picture of `side` x `side` pixels.

    `layers` are (channels, kernel, stride), in pixels of their input; each divides the
    side by its stride. Errors: ``ValueError`` where a stride does not divide a side.

    Source: :eq:`multiply-adds`.
    """
    counts = []
    for out, kernel, stride in layers:
        if side % stride:
            raise ValueError(f"strides must divide the side; got {stride} for {side}")
        side //= stride
        counts.append(side**2 * kernel**2 * channels * out)
        channels = out
    return counts


def nearest(
    gaps: Float[np.ndarray, "N N"], k: int, groups: Shaped[np.ndarray, " N"]
) -> Int[np.ndarray, "N k"]:
    """The `k` rows with the smallest gap to each row, without those of its own group.

    ``gaps[i, j]`` is the distance from i to j, in any unit; of equal gaps the first
    wins. If every row is a group of its own, only the row itself is left out. Errors:
    ``ValueError`` where a row has fewer than `k` others.

    Source: :eq:`nearest`.
    """
    checks.square("gaps", gaps)
    checks.shaped("groups", groups, (len(gaps),))
    same = groups[:, None] == groups
    checks.at_least("rows of other groups", int((~same).sum(1).min()), k)
    return np.where(same, np.inf, gaps).argsort(1, kind="stable")[:, :k]


def hidden(
    picture: UInt8[np.ndarray, "H W C"], side: int
) -> UInt8[np.ndarray, "h w H W C"]:
    """Copies of a picture, in each of which one square of `side` pixels is grey."""
    rows, columns = (n // side for n in picture.shape[:2])
    copies = np.tile(picture, (rows, columns, 1, 1, 1))
    for i, j in np.ndindex(rows, columns):
        copies[i, j, side * i :, side * j :][:side, :side] = GREY
    return copies


def occlusion(
    f: Callable, picture: UInt8[np.ndarray, "H W C"], side: int = 8
) -> Float[np.ndarray, "h w"]:
    """How much f falls when one square of the picture turns grey, for each square.

    `f` takes pictures (B, H, W, C) and returns (B,). Where the result is positive, the
    square raises f. Errors: ``ValueError`` where `side` does not divide the picture's
    sides.

    Source: :eq:`occlusion`; Zeiler and Fergus (2014), Sec. 4.2.
    """
    if any(n % side for n in picture.shape[:2]):
        raise ValueError(f"side must divide the sides {picture.shape[:2]}; got {side}")
    copies = hidden(picture, side)
    values = f(jnp.asarray(copies.reshape(-1, *picture.shape)))
    whole = np.asarray(f(jnp.asarray(picture[None])))[0]
    return whole - np.asarray(values).reshape(copies.shape[:2])
