"""What towers cost, find alike and look at, against loops and XLA's own count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crl_mini import encoders
from crl_mini.measure import sight

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (16, 24, 3), np.uint8)


def products(size, kernel, stride):
    """Shapes of every product of a window and a kernel, one window after the other."""
    return [kernel**2 for _ in range(0, size, stride) for _ in range(0, size, stride)]


def test_multiply_adds_are_those_of_all_windows():
    layers = ((5, 4, 2), (7, 3, 1))
    first = sum(products(12, 4, 2)) * 3 * 5
    second = sum(products(6, 3, 1)) * 5 * 7
    assert sight.multiply_adds(layers, 12) == [first, second]


def test_multiply_adds_of_the_papers_tower_are_xlas():
    """XLA counts two operations for each, and leaves out products with the padding."""
    for out, kernel, stride in encoders.Conv.layers:
        x = jnp.zeros((1, 64, 64, 3))
        weights = jnp.zeros((kernel, kernel, 3, out))
        form = jax.jit(lambda x, w, stride=stride: encoders.im2col(x, w, stride))
        found = form.lower(x, weights).compile().cost_analysis()["flops"]
        (count,) = sight.multiply_adds([(out, kernel, stride)], 64)
        assert found == pytest.approx(2 * count, rel=0.02)


def test_a_stride_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="strides must divide"):
        sight.multiply_adds([(4, 3, 3)], 64)


@pytest.mark.parametrize("groups", [np.arange(30), np.arange(30) // 6])
def test_nearest_against_a_loop(groups):
    gaps = RNG.uniform(size=(30, 30))
    found = sight.nearest(gaps, 4, groups)
    for i, row in enumerate(found):
        others = [j for j in range(30) if groups[j] != groups[i]]
        assert row.tolist() == sorted(others, key=lambda j: gaps[i, j])[:4]


def test_of_equal_gaps_the_first_counts_and_too_few_are_refused():
    assert sight.nearest(np.zeros((4, 4)), 2, np.arange(4))[0].tolist() == [1, 2]
    with pytest.raises(ValueError, match="rows of other groups"):
        sight.nearest(np.zeros((4, 4)), 3, np.array([0, 0, 1, 2]))


def test_each_copy_hides_one_square():
    copies = sight.hidden(PICTURE, 8)
    assert copies.shape == (2, 3, *PICTURE.shape)
    for i in range(2):
        for j in range(3):
            expected = PICTURE.copy()
            expected[8 * i : 8 * i + 8, 8 * j : 8 * j + 8] = sight.GREY
            np.testing.assert_array_equal(copies[i, j], expected)


def test_occlusion_of_a_sum_is_what_the_square_adds_over_grey():
    weights = RNG.normal(size=PICTURE.shape)

    def total(x):
        return (x / 255 * weights).sum((1, 2, 3))

    extra = (PICTURE / 255.0 - sight.GREY / 255) * weights
    expected = extra.reshape(2, 8, 3, 8, 3).sum((1, 3, 4))
    found = sight.occlusion(total, PICTURE)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    with pytest.raises(ValueError, match="side must divide"):
        sight.occlusion(total, PICTURE, 7)
