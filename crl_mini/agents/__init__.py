"""Agents, all with one protocol: immutable, and made, trained and asked alike.

``X.create(config, observation_spec, action_spec, *, key, goal_spec=None)`` makes one,
``agent, metrics = agent.update(batch)`` is one jitted step, and
``agent.act(s, g, key=key, greedy=False)`` gives a batch of actions. `TD3HER.create`
also takes a `success` function of achieved and desired goals.
"""

from crl_mini.agents.c_learning import CLearning, CLearningConfig
from crl_mini.agents.crl import CRL, CRLConfig
from crl_mini.agents.gcbc import GCBC, GCBCConfig
from crl_mini.agents.td3_her import TD3HER, TD3HERConfig

#: Name -> the agent and its settings.
AGENTS = {
    "crl": (CRL, CRLConfig),
    "gcbc": (GCBC, GCBCConfig),
    "td3_her": (TD3HER, TD3HERConfig),
    "c_learning": (CLearning, CLearningConfig),
}

__all__ = ["AGENTS", *sorted(x.__name__ for pair in AGENTS.values() for x in pair)]
