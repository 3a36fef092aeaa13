"""Energies and the contrastive critic: B states x B goals -> B x B logits.

Last, what acts by a critic alone: the best of some actions.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Shaped

from crl_mini import checks
from crl_mini.encoders import MLP, Seeing
from crl_mini.specs import Spec

Vector = Float[Array, " D"]
Scalar = Float[Array, ""]


def dot(x: Vector, y: Vector) -> Scalar:
    """Inner product of two representations: the paper's energy.

    Source: :eq:`energy-dot`; Eysenbach et al. (2022), Sec. 4.
    """
    return jnp.dot(x, y)


def l2(x: Vector, y: Vector) -> Scalar:
    """Minus the distance of two representations; 0 at best.

    Written with inner products, so that under `vmap` it becomes one matrix product and
    never a B x B x D array.

    Source: :eq:`energy-l2`; Bortkiewicz et al. (2025).
    """
    squared = jnp.dot(x, x) + jnp.dot(y, y) - 2 * jnp.dot(x, y)
    return -jnp.sqrt(jnp.maximum(squared, 1e-12))


def cosine(x: Vector, y: Vector) -> Scalar:
    """Cosine of the angle between two representations, in [-1, 1].

    Source: :eq:`energy-cosine`.
    """
    norms = jnp.sqrt(jnp.dot(x, x) + 1e-12) * jnp.sqrt(jnp.dot(y, y) + 1e-12)
    return jnp.dot(x, y) / norms


ENERGIES = {"dot": dot, "l2": l2, "cosine": cosine}


def pairwise(
    energy: str, phi: Float[Array, "B D"], psi: Float[Array, "G D"]
) -> Float[Array, "B G"]:
    """Energy of every pair of rows.

    Source: :eq:`pairwise`.
    """
    checks.one_of("energy", energy, ENERGIES)
    over_goals = jax.vmap(ENERGIES[energy], (None, 0))
    return jax.vmap(over_goals, (0, None))(phi, psi)


def paired(
    energy: str, phi: Float[Array, "B D"], psi: Float[Array, "B D"]
) -> Float[Array, " B"]:
    """Energy of row i with row i: the diagonal of `pairwise`, without the rest.

    Source: :eq:`pairwise`.
    """
    checks.one_of("energy", energy, ENERGIES)
    return jax.vmap(ENERGIES[energy])(phi, psi)


class Critic(Seeing):
    """f(s, a, g) = scale * energy(phi(s, a), psi(g)) + bias.

    `bias` is learned: minus a distance is never positive and a cosine never above 1,
    while the optimum of :eq:`nce-optimum` may be. `scale` is learned for the cosine
    energy, which is bounded, and fixed at 1 for the others. Goals are observations
    unless `goal` says otherwise. `mlp` holds `hidden` and `layer_norm` of each `MLP`.
    """

    def __init__(
        self,
        observation: Spec,
        action: Spec,
        goal: Spec | None = None,
        *,
        energy: str,
        repr_dim: int,
        tower: str = "patch",
        rngs: nnx.Rngs,
        **mlp,
    ):
        checks.one_of("energy", energy, ENERGIES)
        super().__init__(observation, goal, tower, rngs=rngs)
        self.action, self.energy = action, energy
        d_in = self.observation.size + action.size
        self.phi_tower = MLP(d_in, d_out=repr_dim, rngs=rngs, **mlp)
        self.psi_tower = MLP(self.goal.size, d_out=repr_dim, rngs=rngs, **mlp)
        self.bias = nnx.Param(jnp.zeros(()))
        self.log_scale = nnx.Param(jnp.zeros(())) if energy == "cosine" else None

    def phi(self, s: Float[Array, "B F"], a: Shaped[Array, "B ..."]):
        """Representations (B, D) of features of states, and actions."""
        return self.phi_tower(jnp.concatenate([s, self.action.features(a)], axis=-1))

    def psi(self, g: Float[Array, "B F"]) -> Float[Array, "B D"]:
        """Representations of features of goals."""
        return self.psi_tower(g)

    def logits(self, phi, psi, *, pairs=pairwise):
        """Logits (B, G) of all pairs, or (B,) with ``pairs=paired``."""
        scale = 1 if self.log_scale is None else jnp.exp(self.log_scale[...])
        return scale * pairs(self.energy, phi, psi) + self.bias[...]

    def __call__(self, s, a, g, *, pairs=pairwise):
        """Logits of every (s_i, a_i) with every g_j, or with its own g_i only."""
        (s,), g = self.see(s), self.see_goal(g)
        return self.logits(self.phi(s, a), self.psi(g), pairs=pairs)


def best_of(
    critic,
    s: Shaped[Array, "B ..."],
    g: Shaped[Array, "B ..."],
    candidates: Float[Array, "B K A"],
) -> Float[Array, "B A"]:
    """The candidate action with the highest logit, for each state and goal.

    States and goals are seen once, and goals encoded once, for all candidates.

    Source: :eq:`best-of`.
    """
    s, g = critic.see(s, g)
    psi = critic.psi(g)

    def logit(a):
        return critic.logits(critic.phi(s, a), psi, pairs=paired)

    f = jax.vmap(logit, 1, 1)(candidates)  # (B, K)
    return candidates[jnp.arange(len(candidates)), f.argmax(1)]
