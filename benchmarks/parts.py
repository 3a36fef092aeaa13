"""Which part of C-learning with NCE counts? The command line, with two more agents.

Each leaves out one part of C-learning with NCE, and keeps the rest:

* ``one_critic`` has one critic, not two;
* ``without_td`` learns from whole futures only, not from one step and its own guess;
* ``--agent c_learning`` as it is leaves out the whole futures.

The files of a run are those of any other.

    python benchmarks/parts.py train --agent without_td --task BinPick --out runs/one
"""

import sys
from dataclasses import dataclass

import jax

from crl_mini.__main__ import main
from crl_mini.agents import AGENTS
from crl_mini.agents.base import Recipe
from crl_mini.agents.c_learning import (
    RECIPE,
    CLearning,
    TwinCritic,
    critic_loss,
    nce_loss,
)
from crl_mini.critic import paired


class Single(TwinCritic):
    """One critic, which answers as two do."""

    count = 1


def futures_only(critic: TwinCritic, features, weights, config):
    """`critic_loss` without temporal differences; it returns the same things."""
    _, (reached, random, psi) = critic_loss(critic, features, weights, config)
    phi = critic.phi(features.s, features.a)
    loss = nce_loss(critic.both(phi, psi, pairs=paired), random)
    return loss, (reached, random, psi)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class OneCritic(CLearning):
    """C-learning with NCE and one critic."""

    critic_class = Single


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class WithoutTD(CLearning):
    """Two critics and binary NCE, with one negative a row; no temporal differences."""

    critic_loss = staticmethod(futures_only)


def of(agent: type) -> Recipe:
    """The recipe of C-learning with NCE for another agent."""
    everywhere = RECIPE.tuned | {"all": RECIPE.tuned["all"] | {"nce": True}}
    return RECIPE._replace(agent=agent, tuned=everywhere)


#: Name -> recipe, as in `AGENTS`.
PARTS = {"one_critic": of(OneCritic), "without_td": of(WithoutTD)}

if __name__ == "__main__":
    AGENTS |= PARTS
    sys.exit(main())
