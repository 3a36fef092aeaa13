"""Towers against loops and flax's convolutions; shifts of pictures; what is seen."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from gymnasium import spaces

from crl_mini.agents.base import Config
from crl_mini.encoders import (
    MLP,
    TOWERS,
    Conv,
    Narrow,
    Patch,
    Seeing,
    blocks,
    im2col,
    shifted,
)
from crl_mini.replay import Batch
from crl_mini.specs import Spec

FRAME = spaces.Box(0, 255, (32, 16, 3), np.uint8)


def frames(n=4, seed=0, shape=FRAME.shape):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.integers(0, 256, (n, *shape), np.uint8))


def test_a_spec_of_bytes_is_short_and_scales_them():
    spec = Spec.of(FRAME)
    assert spec.is_picture
    assert (spec.low, spec.high) == ((0,), (255,))
    assert not Spec.of(spaces.Box(0, 255, (4,), np.uint8)).is_picture
    x = jnp.asarray(np.uint8([[[[0, 51, 255]]]]))
    np.testing.assert_allclose(
        Spec.of(spaces.Box(0, 255, (1, 1, 3), np.uint8)).features(x), [[-1, -0.6, 1]]
    )


@pytest.mark.parametrize("layer_norm", [False, True])
def test_an_mlp_layer_by_layer(layer_norm):
    mlp = MLP(3, (8, 6), 2, layer_norm=layer_norm, rngs=nnx.Rngs(0))
    rows = np.random.default_rng(0).normal(size=(5, 3))
    x = rows
    for dense in mlp.dense:
        x = x @ np.asarray(dense.kernel) + np.asarray(dense.bias)
        if layer_norm:
            x = x - x.mean(-1, keepdims=True)
            x = x / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        x = np.maximum(x, 0)
    np.testing.assert_allclose(mlp.hidden(jnp.asarray(rows)), x, atol=1e-4)
    x = x @ np.asarray(mlp.out.kernel) + np.asarray(mlp.out.bias)
    np.testing.assert_allclose(mlp(jnp.asarray(rows)), x, atol=1e-4)


@pytest.mark.parametrize(("side", "stride"), [(8, 4), (4, 2), (3, 1), (2, 2)])
def test_a_convolution_as_matrix_products_and_its_gradient(side, stride):
    rng = np.random.default_rng(0)
    x, kernel = frames() / 255, jnp.asarray(rng.normal(size=(side, side, 3, 5)))

    def by_xla(x, kernel, stride):
        axes = ("NHWC", "HWIO", "NHWC")
        strides = (stride, stride)
        return jax.lax.conv_general_dilated(
            x, kernel, strides, "SAME", dimension_numbers=axes
        )

    out, grads = [], []
    for form in (im2col, by_xla):
        y, back = jax.vjp(partial(form, stride=stride), x, kernel)
        out.append(y)
        grads += [back(jnp.sin(y))]
    np.testing.assert_allclose(*out, atol=1e-4)
    for a, b in zip(*grads, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_the_papers_tower_layer_by_layer():
    tower = Conv(FRAME.shape, rngs=nnx.Rngs(0))
    x = frames() / 255
    for conv in tower.convs:
        x = jax.nn.relu(conv(x))
    np.testing.assert_allclose(tower(frames()), x.reshape(4, -1), atol=1e-4)
    assert tower.size == x.reshape(4, -1).shape[1] == 4 * 2 * 64
    assert [conv.kernel.shape for conv in tower.convs] == [
        (8, 8, 3, 32),
        (4, 4, 32, 64),
        (3, 3, 64, 64),
    ]
    assert Conv((64, 64, 3), rngs=nnx.Rngs(0)).size == 4096


def test_patches_see_all_of_a_picture_once():
    x = jnp.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    cut = blocks(x, 2)
    assert cut.shape == (2, 2, 3, 12)
    for i, j, k in np.ndindex(cut.shape[:3]):
        patch = x[i, 2 * j : 2 * j + 2, 2 * k : 2 * k + 2]
        np.testing.assert_array_equal(cut[i, j, k], patch.ravel())


@pytest.mark.parametrize("kind", [Patch, Narrow])
def test_the_patch_tower_patch_by_patch(kind):
    tower = kind(FRAME.shape, rngs=nnx.Rngs(0))
    grid = np.asarray(frames()[0]) / 255
    for k, (channels, side) in enumerate(tower.layers):
        height, width = (n // side for n in grid.shape[:2])
        new = np.empty((height, width, channels))
        for i, j in np.ndindex(height, width):
            patch = grid[i * side : (i + 1) * side, j * side : (j + 1) * side]
            x = tower.dense[k](jnp.asarray(patch.ravel()))
            x = (x - x.mean()) / jnp.sqrt(x.var() + 1e-6)
            new[i, j] = np.maximum(x, 0)
        grid = new
    x = tower.dense[-1](jnp.asarray(grid.ravel()))
    x = (x - x.mean()) / jnp.sqrt(x.var() + 1e-6)
    np.testing.assert_allclose(tower(frames())[0], x, atol=1e-3)
    assert tower.size == x.size


@pytest.mark.parametrize("tower", TOWERS)
def test_features_of_pictures_are_the_towers_and_of_states_their_specs(tower):
    picture, state = Spec.of(FRAME), Spec.of(spaces.Box(0, 4, (3,)))
    eyes = Seeing(picture, None, tower, rngs=nnx.Rngs(0))
    a, b = frames(seed=1), frames(seed=2)
    seen = eyes.see(a, b)
    for x, one in zip(seen, (a, b), strict=True):
        np.testing.assert_allclose(x, eyes.eyes(one), atol=1e-5)
    np.testing.assert_allclose(eyes.see_goal(b), seen[1], atol=1e-5)
    assert eyes.observation == eyes.goal == Spec((seen[0].shape[1],))
    blind = Seeing(state, picture, tower, rngs=nnx.Rngs(0))
    s, g, again = blind.see(jnp.ones((4, 3)), a, b)
    np.testing.assert_allclose(s, -0.5)
    np.testing.assert_allclose(g, a.reshape(4, -1) / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(again, blind.see_goal(b))
    assert (blind.observation, blind.goal) == (state, picture)


@pytest.mark.parametrize("other", [(32, 16, 4), (4,)])
def test_goals_must_be_pictures_of_the_same_shape(other):
    with pytest.raises(ValueError, match="pictures and goals must be of one shape"):
        Seeing(Spec.of(FRAME), Spec(other), "patch", rngs=nnx.Rngs(0))
    odd = Spec.of(spaces.Box(0, 255, (24, 16, 3), np.uint8))
    with pytest.raises(ValueError, match="multiples of 16"):
        Seeing(odd, None, "patch", rngs=nnx.Rngs(0))


def test_every_shift_within_reach_happens_and_edges_are_repeated():
    rng = np.random.default_rng(0)
    one = rng.integers(0, 256, (5, 6, 3), np.uint8)
    moved = np.asarray(shifted(jax.random.key(0), jnp.tile(one, (200, 1, 1, 1)), 1))
    around = np.pad(one, ((1, 1), (1, 1), (0, 0)), mode="edge")
    allowed = {around[i : i + 5, j : j + 6].tobytes() for i, j in np.ndindex(3, 3)}
    assert {x.tobytes() for x in moved} == allowed


def test_only_pictures_are_shifted_each_by_itself():
    batch = Batch(frames(64, 1), jnp.ones((64, 2)), frames(64, 1))
    same = Config().augment(batch, jax.random.key(0))
    np.testing.assert_array_equal(same.s, batch.s)
    s, a, g, next_s, next_g, _ = Config(shift=4).augment(batch, jax.random.key(0))
    assert a is batch.a
    assert next_s is next_g is None
    assert s.dtype == jnp.uint8
    different = (s != g).any((1, 2, 3))
    assert different.mean() > 0.9


def test_all_pictures_of_an_update_may_be_shifted_alike():
    """Each is the same window of its own picture, in every part of the batch."""
    batch = Batch(frames(5, 1), jnp.ones((5, 2)), frames(5, 2), frames(5, 3))
    config, found = Config(shift=2, shift_alike=True), set()
    for key in jax.random.split(jax.random.key(0), 100):
        moved = config.augment(batch, key)
        assert moved.a is batch.a
        places = set(np.ndindex(5, 5))
        for old, new in zip(batch, moved, strict=True):
            if old is None or old.ndim < 4:
                continue
            around = np.pad(old, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
            height, width = old.shape[1:3]
            places = {
                (i, j)
                for i, j in places
                if (around[:, i : i + height, j : j + width] == new).all()
            }
        found |= {places.pop()}
        assert not places
    assert len(found) > 20  # of 25
