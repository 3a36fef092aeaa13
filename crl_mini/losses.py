"""Contrastive losses of a B x B matrix of logits, ``logits[i, j] = f(s_i, a_i, g_j)``.

Goal ``g_i`` is a future of ``(s_i, a_i)``, so the diagonal holds the positives; all
other entries are negatives. Every loss returns a scalar in nats.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from crl_mini import checks

Logits = Float[Array, "B B"]
Scalar = Float[Array, ""]


def binary_nce(logits: Logits) -> Scalar:
    """Mean binary cross-entropy: is g_j a future of (s_i, a_i)? It fixes every logit.

    Source: :eq:`nce`; Gutmann and Hyvarinen (2010); Eysenbach et al. (2022), Sec. 4.
    """
    checks.square("logits", logits)
    # -log sigmoid(-x) = softplus(x) for negatives, softplus(x) - x for positives
    return (jax.nn.softplus(logits).sum() - jnp.trace(logits)) / float(logits.size)


def infonce(logits: Logits) -> Scalar:
    """Which of the B goals follows (s_i, a_i)? Adding any c(s, a) changes nothing.

    Source: :eq:`infonce`; van den Oord et al. (2018).
    """
    checks.square("logits", logits)
    return (jax.nn.logsumexp(logits, axis=1) - jnp.diag(logits)).mean()


def backward_infonce(logits: Logits) -> Scalar:
    """Which of the B state-action pairs leads to g_j? Adding any c(g) changes nothing.

    Source: :eq:`backward-infonce`.
    """
    return infonce(logits.T)


def symmetric_infonce(logits: Logits) -> Scalar:
    """Mean of the forward and the backward loss; only a constant stays free.

    Source: :eq:`symmetric-infonce`.
    """
    return (infonce(logits) + backward_infonce(logits)) / 2


def logsumexp_penalty(logits: Logits) -> Scalar:
    """Mean squared logsumexp of the rows; added to `infonce` it fixes c(s, a).

    Source: :eq:`logsumexp`; Eysenbach et al. (2022), released code.
    """
    checks.square("logits", logits)
    return (jax.nn.logsumexp(logits, axis=1) ** 2).mean()


LOSSES = {
    "nce": binary_nce,
    "infonce": infonce,
    "backward_infonce": backward_infonce,
    "symmetric_infonce": symmetric_infonce,
}
