"""Presets: how much of everything a run takes, and the settings that go with it."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from crl_mini import checks
from crl_mini.agents import AGENTS
from crl_mini.agents.base import Config


@dataclass(frozen=True)
class Budget:
    """How much of everything a run takes."""

    episodes: int
    """Episodes of data to begin with."""
    steps: int
    """Updates on these data, before the agent collects anything."""
    every: int
    """Updates between two rows of metrics, while it collects nothing."""
    collect: int
    """Steps of the environment that the agent itself then collects."""
    copies: int
    """Simulations at a time: a round of collecting is one episode in each."""
    per_update: int
    """Steps collected for each update that follows."""
    tests: int
    """Episodes of a test."""

    def __post_init__(self):
        for name, value in asdict(self).items():
            checks.at_least(name, value, 0 if name in ("steps", "collect") else 1)
            checks.less(name, value, 2**31)
        if self.steps % min(self.every, self.steps or 1):
            raise ValueError(
                f"steps must be a multiple of {self.every}; got {self.steps}"
            )
        checks.at_least("steps + collect", self.steps + self.collect, 1)


#: The presets t4 and full are meant for a GPU. From pixels, with t4's networks, an H100
#: made 394 updates a second, and held 99.5 % of BinPick's goals after 12,000 of them.
#: By arithmetic, a GPU of a tenth of its speed makes t4's 20,000 in 8.5 minutes.
PRESETS = {
    "smoke": Budget(20, 200, 50, 800, copies=4, per_update=4, tests=10),
    "cpu": Budget(2000, 10_000, 500, 200_000, copies=16, per_update=8, tests=200),
    "t4": Budget(8000, 20_000, 1000, 1_000_000, copies=64, per_update=4, tests=200),
    "full": Budget(
        20_000, 40_000, 2000, 10_000_000, copies=256, per_update=4, tests=500
    ),
}
#: Networks of a preset, where they are not the agents' own.
NETWORKS = {
    "smoke": {"hidden": (16,), "batch_size": 32},
    "t4": {"hidden": (512, 512), "batch_size": 512},
    "full": {"hidden": (1024, 1024), "batch_size": 1024},
}
AGENT = "crl"  # where none is named
MORE = 2  # times the preset's episodes, where the agent sees pictures


def budget_of(preset: str, data: str, obs: str, changes: dict[str, Any]) -> Budget:
    """The preset's budget for these data and observations, with changes of its fields.

    Without data the agent begins with one round of random walks; with data it collects
    nothing, unless `changes` say so. Errors: ``ValueError`` for invalid numbers.
    """
    budget = PRESETS[preset]
    known = asdict(budget)
    if obs == "pixels":
        known["episodes"] *= MORE
    if data == "own":
        known |= {"episodes": budget.copies, "steps": 0}
    else:
        known["collect"] = 0
    return Budget(**known | {k: v for k, v in changes.items() if k in known})


def config_of(
    agent: str, preset: str, data: str, obs: str, budget: Budget, changes: dict
) -> Config:
    """The agent's settings for these data and this preset, with changes of them.

    The learning rate decays to zero over an offline run. It is constant where the agent
    goes on collecting. Errors: ``ValueError`` for settings that are not allowed.
    """
    tuned = AGENTS[agent].tuned
    kinds = [data if data in ("own", "random", "noisy") else "play"]
    if kinds == ["play"] and (budget.collect or obs == "pixels"):
        kinds.append("near play")
    if obs == "pixels":
        kinds.append("pixels")
    decay = 0 if budget.collect else budget.steps
    settings = {"decay_steps": decay} | NETWORKS.get(preset, {})
    for kind in ("all", *kinds):
        settings |= tuned.get(kind, {})
    own = {k: v for k, v in changes.items() if k not in BUDGET}
    return AGENTS[agent].config(**settings | own)


BUDGET = tuple(f.name for f in fields(Budget))


def check_changes(agent: str, changes: dict[str, Any]) -> None:
    """Raise ``ValueError`` for unknown settings, and for values of another type."""
    kinds = dict.fromkeys(BUDGET, int)
    kinds |= {f.name: type(f.default) for f in fields(AGENTS[agent].config)}
    for name, value in changes.items():
        checks.one_of("a setting", name, kinds)
        kind = kinds[name]
        if type(value) not in ((float, int) if kind is float else (kind,)):
            word = "true or false" if kind is bool else f"of type {kind.__name__}"
            raise ValueError(f"{name} must be {word}; got {value}")
