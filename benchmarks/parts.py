"""Which part of C-learning with NCE counts? The command line, with one more agent.

* ``--agent without_td`` learns from whole futures only, not from one step and its own
  guess; the rest is that of C-learning with NCE;
* ``--agent c_learning`` as it is leaves out the whole futures;
* its settings ``nce=true critics=1 proposals=15`` leave out the second critic, and let
  the critic act.

Runs that were recorded before there were these settings have the agents ``one_critic``
(C-learning with NCE, ``critics=1``) and ``searching`` (``proposals=15``).

The files of a run are those of any other.

    python benchmarks/parts.py train --agent without_td --task BinPick --out runs/one
"""

import sys
from dataclasses import dataclass

import jax

from crl_mini.__main__ import main
from crl_mini.agents import AGENTS
from crl_mini.agents.c_learning import (
    RECIPE,
    CLearning,
    TwinCritic,
    critic_loss,
    nce_loss,
)
from crl_mini.critic import paired


def futures_only(critic: TwinCritic, features, weights, config):
    """`critic_loss` without temporal differences; it returns the same things."""
    _, (reached, random, psi) = critic_loss(critic, features, weights, config)
    phi = critic.phi(features.s, features.a)
    loss = nce_loss(critic.both(phi, psi, pairs=paired), random)
    return loss, (reached, random, psi)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class WithoutTD(CLearning):
    """Two critics and binary NCE, with one negative a row; no temporal differences."""

    critic_loss = staticmethod(futures_only)


#: C-learning with NCE, with another loss.
EVERYWHERE = RECIPE.tuned["all"] | {"nce": True}

#: Name -> recipe, as in `AGENTS`.
PARTS = {
    "without_td": RECIPE._replace(
        agent=WithoutTD, tuned=RECIPE.tuned | {"all": EVERYWHERE}
    )
}

if __name__ == "__main__":
    AGENTS |= PARTS
    sys.exit(main())
