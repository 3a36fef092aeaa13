"""Which part of C-learning with NCE counts? The command line, with three more agents.

Two leave out one part of C-learning with NCE, and keep the rest:

* ``one_critic`` has one critic, not two (the setting ``critics=1``);
* ``without_td`` learns from whole futures only, not from one step and its own guess;
* ``--agent c_learning`` as it is leaves out the whole futures.

The third, ``searching``, acts greedily: of its actor's action and 15 uniform ones it
takes the one that its critic likes best. It learns as C-learning with NCE does.

The files of a run are those of any other.

    python benchmarks/parts.py train --agent without_td --task BinPick --out runs/one
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial

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
from crl_mini.measure.planning import best_of, joined, uniform

PROPOSALS = 16


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


def searched(act: Callable, size: int) -> Callable:
    """Propose ``act(s, g, key=key)``, and ``PROPOSALS - 1`` uniform actions."""

    def own(s, g, key):
        return act(s, g, key=key)[:, None]

    return joined(own, uniform(size, PROPOSALS - 1))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Searching(CLearning):
    """C-learning with NCE that acts by its critic, where its actor is one proposal."""

    @partial(jax.jit, static_argnames="greedy")
    def act(self, s, g, *, key, greedy: bool = False):
        """The best of `PROPOSALS` actions: the actor's, and uniform ones."""
        actor = partial(CLearning.act, self, greedy=greedy)
        propose = searched(actor, self.actor.action.size)
        return best_of(self.critic, s, g, propose(s, g, key))

    def weights(self, batch, *, key):
        """As in C-learning: the next action is the actor's."""
        parts = (getattr(self, field.name) for field in fields(self))
        return CLearning(*parts).weights(batch, key=key)


def of(agent: type, **settings) -> Recipe:
    """The recipe of C-learning with NCE for another agent, or with other settings."""
    everywhere = RECIPE.tuned["all"] | {"nce": True, **settings}
    return RECIPE._replace(agent=agent, tuned=RECIPE.tuned | {"all": everywhere})


#: Name -> recipe, as in `AGENTS`.
PARTS = {
    "one_critic": of(CLearning, critics=1),
    "without_td": of(WithoutTD),
    "searching": of(Searching),
}

if __name__ == "__main__":
    AGENTS |= PARTS
    sys.exit(main())
