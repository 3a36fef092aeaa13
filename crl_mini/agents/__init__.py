"""Agents: all are immutable, and are created, trained and used in the same way.

``X.create(config, observation_spec, action_spec, *, key, goal_spec=None)`` makes one,
``agent, metrics = agent.update(batch)`` is one jitted step, and
``agent.act(s, g, key=key, greedy=False)`` gives a batch of actions. An agent whose
recipe says `needs_success` is also created with `success`, a function of achieved and
desired goals.
"""

from crl_mini.agents import c_learning, crl, gcbc, td3_her
from crl_mini.agents.c_learning import CLearning, CLearningConfig
from crl_mini.agents.crl import CRL, CRLConfig
from crl_mini.agents.gcbc import GCBC, GCBCConfig
from crl_mini.agents.td3_her import TD3HER, TD3HERConfig

#: Name -> how to make and train the agent.
AGENTS = {
    "crl": crl.RECIPE,
    "gcbc": gcbc.RECIPE,
    "td3_her": td3_her.RECIPE,
    "c_learning": c_learning.RECIPE,
}

__all__ = [
    "AGENTS",
    "CRL",
    "GCBC",
    "TD3HER",
    "CLearning",
    "CLearningConfig",
    "CRLConfig",
    "GCBCConfig",
    "TD3HERConfig",
]
