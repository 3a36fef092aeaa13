"""Losses against plain loops, their invariances, and their optima."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest

from crl_mini import losses
from crl_mini.measure import occupancy

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 6)).astype(np.float32) * 3


def log_sigmoid(x):
    return -np.log1p(np.exp(-x))


def row_loss(f):
    """Forward InfoNCE, one row at a time."""
    total = 0
    for i in range(len(f)):
        total -= np.log(np.exp(f[i, i]) / sum(np.exp(f[i, j]) for j in range(len(f))))
    return total / len(f)


def nce_loss(f):
    """Binary NCE, one entry at a time."""
    total = 0
    for i in range(len(f)):
        for j in range(len(f)):
            total -= log_sigmoid(f[i, j] if i == j else -f[i, j])
    return total / len(f) ** 2


BY_LOOP = {
    "nce": nce_loss,
    "infonce": row_loss,
    "backward_infonce": lambda f: row_loss(f.T),
    "symmetric_infonce": lambda f: (row_loss(f) + row_loss(f.T)) / 2,
}


@pytest.mark.parametrize("name", losses.LOSSES)
def test_loss_equals_a_plain_loop(name):
    got = losses.LOSSES[name](jnp.asarray(LOGITS))
    np.testing.assert_allclose(got, BY_LOOP[name](LOGITS.astype(float)), rtol=1e-5)


def test_logsumexp_penalty_equals_a_plain_loop():
    rows = [np.log(np.exp(row.astype(float)).sum()) ** 2 for row in LOGITS]
    got = losses.logsumexp_penalty(jnp.asarray(LOGITS))
    np.testing.assert_allclose(got, np.mean(rows), rtol=1e-5)


# What each loss leaves free: c(s, a) moves rows, c(g) moves columns, c everything.
C = RNG.normal(size=6).astype(np.float32)
SHIFTS = {"c(s, a)": C[:, None], "c(g)": C[None, :], "c": np.float32(C[0])}
FREE = {
    "nce": set(),
    "infonce": {"c(s, a)", "c"},
    "backward_infonce": {"c(g)", "c"},
    "symmetric_infonce": {"c"},
}


@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.parametrize("shift", SHIFTS)
def test_what_is_free_and_what_is_fixed(name, shift):
    loss = losses.LOSSES[name]
    change = abs(loss(jnp.asarray(LOGITS + SHIFTS[shift])) - loss(jnp.asarray(LOGITS)))
    if shift in FREE[name]:
        assert change < 1e-6
    else:
        assert change > 1e-2


def test_logsumexp_penalty_fixes_what_infonce_leaves_free():
    moved = losses.logsumexp_penalty(jnp.asarray(LOGITS + SHIFTS["c(s, a)"]))
    assert abs(moved - losses.logsumexp_penalty(jnp.asarray(LOGITS))) > 1e-2


def expected_nce(f, joint, B):
    """Expected binary NCE of a table f (X, G): one positive, B - 1 negatives."""
    product = joint.sum(1, keepdims=True) * joint.sum(0)
    return -(
        joint * jax.nn.log_sigmoid(f) + (B - 1) * product * jax.nn.log_sigmoid(-f)
    ).sum()


def test_the_optimum_of_binary_nce_is_the_log_ratio_minus_log_negatives():
    joint = RNG.dirichlet(np.ones(12)).reshape(3, 4)
    B = 16
    f, grad = jnp.zeros((3, 4)), jax.grad(expected_nce)
    adam = optax.adam(optax.cosine_decay_schedule(0.5, 800))
    state = adam.init(f)
    for _ in range(800):
        change, state = adam.update(grad(f, joint, B), state)
        f = optax.apply_updates(f, change)
    p_xg = joint / joint.sum(1, keepdims=True)  # p(g | x)
    truth = occupancy.optimal_logits(p_xg[:, None], joint.sum(0), B)[:, 0]
    np.testing.assert_allclose(f, truth, atol=1e-3)


def test_in_batch_loss_is_an_unbiased_estimate_of_the_expected_one():
    joint = RNG.dirichlet(np.ones(12)).reshape(3, 4)
    f, B = jnp.asarray(RNG.normal(size=(3, 4))), 8
    flat = RNG.choice(12, size=(4000, B), p=joint.ravel())
    x, g = flat // 4, flat % 4
    batches = f[x[:, :, None], g[:, None, :]]  # (4000, B, B)
    values = B * jax.vmap(losses.binary_nce)(batches)  # a mean over rows of B terms
    error = values.std() / np.sqrt(len(values))
    assert abs(values.mean() - expected_nce(f, joint, B)) < 4 * error


@pytest.mark.parametrize("bad", [np.ones((2, 3)), np.ones(4), np.ones((1, 1))])
@pytest.mark.parametrize("name", [*losses.LOSSES, "logsumexp_penalty"])
def test_logits_that_are_not_square_are_refused(name, bad):
    loss = losses.LOSSES.get(name, losses.logsumexp_penalty)
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(ValueError, match=r"logits must be square, \(B, B\)"):
            loss(jnp.asarray(bad))
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
