"""Energies against NumPy, pairs against loops, the critic's shapes and features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from gymnasium import spaces

from crl_mini import critic
from crl_mini.critic import Critic
from crl_mini.encoders import MLP
from crl_mini.specs import Spec

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(2, 5, 7)).astype(np.float32)
BY_HAND = {
    "dot": lambda x, y: (x * y).sum(),
    "l2": lambda x, y: -np.linalg.norm(x - y),
    "cosine": lambda x, y: (x * y).sum() / np.linalg.norm(x) / np.linalg.norm(y),
}
each = pytest.mark.parametrize("energy", critic.ENERGIES)


@each
def test_energy_of_every_pair_equals_a_plain_loop(energy):
    by_hand = [[BY_HAND[energy](x, y) for y in Y[:4]] for x in X]
    got = critic.pairwise(energy, jnp.asarray(X), jnp.asarray(Y[:4]))
    np.testing.assert_allclose(got, by_hand, rtol=1e-5, atol=1e-6)
    square = critic.pairwise(energy, jnp.asarray(X), jnp.asarray(Y))
    diagonal = critic.paired(energy, jnp.asarray(X), jnp.asarray(Y))
    np.testing.assert_allclose(diagonal, jnp.diag(square), rtol=1e-5, atol=1e-6)


@each
def test_energy_and_its_gradient_are_finite_where_vectors_agree_or_vanish(energy):
    for x in (jnp.asarray(X[0]), jnp.zeros(7)):
        value, grads = jax.value_and_grad(critic.ENERGIES[energy], (0, 1))(x, x)
        assert np.isfinite(value)
        assert np.isfinite(grads).all()


def test_l2_never_builds_the_array_of_all_differences():
    def f(phi, psi):
        return critic.pairwise("l2", phi, psi)

    shapes = jax.ShapeDtypeStruct((64, 32), jnp.float32)
    jaxpr = jax.make_jaxpr(f)(shapes, shapes)
    sizes = [v.aval.size for eqn in jaxpr.eqns for v in eqn.outvars]
    assert max(sizes) == 64 * 64


def make(energy="dot", action=None):
    space = spaces.Box(-1, 1, (3,)) if action is None else action
    sizes = {"repr_dim": 8, "hidden": (16,), "layer_norm": True}
    observation = Spec.of(spaces.Box(-2, 4, (2,)))
    return Critic(observation, Spec.of(space), energy=energy, rngs=nnx.Rngs(0), **sizes)


@each
def test_critic_scores_states_and_actions_against_goals(energy):
    model = make(energy)
    s, a = jnp.asarray(X[:, :2]), jnp.asarray(Y[:, :3])
    g = jnp.asarray(Y[:4, :2])
    logits = model(s, a, g)
    assert logits.shape == (5, 4)
    one = model(s[2:3], a[2:3], g[1:2])
    np.testing.assert_allclose(logits[2, 1], one[0, 0], rtol=1e-5)
    own = model(s[:4], a[:4], g, pairs=critic.paired)
    np.testing.assert_allclose(own, jnp.diag(logits), rtol=1e-5)
    features, goals = model.see(s[:4], g)
    parts = model.phi(features, a[:4]), model.psi(goals)
    np.testing.assert_allclose(model.logits(*parts), logits[:4], rtol=1e-5)
    shifted = make(energy)
    shifted.bias[...] = jnp.asarray(1.5)
    np.testing.assert_allclose(shifted(s, a, g), logits + 1.5, rtol=1e-5, atol=1e-5)


def test_goals_may_have_a_space_of_their_own():
    sizes = {"energy": "l2", "repr_dim": 8, "hidden": (16,), "layer_norm": True}
    place, goal = Spec.of(spaces.Box(-2, 4, (2,))), Spec.of(spaces.Box(0, 10, (4,)))
    model = Critic(place, place, goal, rngs=nnx.Rngs(0), **sizes)
    s, g = jnp.asarray(X[:, :2]), jnp.asarray(Y[:3, :4])
    assert model(s, s, g).shape == (5, 3)
    psi = model.psi(model.see_goal(g))
    np.testing.assert_allclose(psi, model.psi_tower(g / 5 - 1), rtol=1e-5)


def test_spec_scales_bounded_entries_and_encodes_categories():
    low, high = np.float32([[0, -2], [10, 2]])
    box = Spec.of(spaces.Box(low, high))
    np.testing.assert_allclose(
        box.features(jnp.array([[0.0, 2.0], [5.0, 0.0]])), [[-1, 1], [0, 0]], atol=1e-6
    )
    free = Spec.of(spaces.Box(-np.inf, np.inf, (2, 2)))
    np.testing.assert_array_equal(
        free.features(jnp.arange(4.0).reshape(1, 2, 2)), [[0, 1, 2, 3]]
    )
    assert (box.size, free.size) == (2, 4)
    three = Spec.of(spaces.Discrete(3))
    np.testing.assert_array_equal(three.features(jnp.array([2])), [[0, 0, 1]])
    assert three.size == 3


def test_layer_norm_can_be_left_out():
    with_norm, without = (
        MLP(2, (4, 4), 3, layer_norm=norm, rngs=nnx.Rngs(0)) for norm in (True, False)
    )
    x = jnp.asarray(X[:, :2])
    assert with_norm(x).shape == without(x).shape == (5, 3)
    by_hand = x
    for dense in without.dense:
        by_hand = np.maximum(by_hand @ dense.kernel[...] + dense.bias[...], 0)
    by_hand = by_hand @ without.out.kernel[...] + without.out.bias[...]
    np.testing.assert_allclose(without(x), by_hand, rtol=1e-5, atol=1e-6)


def test_bad_input_gets_one_clear_line():
    with pytest.raises(ValueError, match="energy must be one of dot, l2, cosine"):
        critic.pairwise("manhattan", jnp.asarray(X), jnp.asarray(Y))
    with pytest.raises(ValueError, match="energy must be one of dot, l2, cosine"):
        make("manhattan")
    with pytest.raises(ValueError, match="must be a Box, Discrete, MultiDiscrete or"):
        Spec.of(spaces.Text(3))
    with pytest.raises(ValueError, match=r"entries must have shape \(2,\); got \(3,\)"):
        make().see_goal(jnp.zeros((4, 3)))
