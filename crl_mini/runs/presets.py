"""Presets: how much of everything a run takes, and what makes each agent learn."""

from crl_mini.agents import AGENTS

#: What makes each agent learn on two CPU cores: everywhere, from random walks or from
#: nothing, from play, calm or noisy. CONTRIBUTING.md tells how they were found.
SETTINGS = {
    "crl": {"loss": "symmetric_infonce", "energy": "l2", "logsumexp": 0.1},
    "gcbc": {},
    "td3_her": {},
    "c_learning": {"energy": "l2"},
}
RANDOM = {
    "crl": {"gamma": 0.98, "learning_rate": 3e-3, "entropy": 0.02},
    "gcbc": {"gamma": 0.98, "learning_rate": 3e-3},
    "td3_her": {"gamma": 0.95, "learning_rate": 1e-3, "tau": 0.02},
    "c_learning": {"gamma": 0.98, "learning_rate": 1e-3, "entropy": 0.02},
}
OWN = {
    "crl": {"gamma": 0.97, "learning_rate": 1e-3, "entropy": 0.02},
    "gcbc": {"gamma": 0.97, "learning_rate": 1e-3},
    "td3_her": {"gamma": 0.95, "learning_rate": 1e-3, "tau": 0.02, "exploration": 0.3},
    "c_learning": {"gamma": 0.97, "learning_rate": 1e-3, "entropy": 0.02},
}
PLAY = {
    "crl": {"gamma": 0.97, "learning_rate": 1e-3, "bc": 0.1},
    "gcbc": {"gamma": 0.97, "learning_rate": 1e-3},
    "td3_her": {"gamma": 0.97, "learning_rate": 1e-3, "bc": 0.9},
    "c_learning": {"gamma": 0.97, "learning_rate": 1e-3, "bc": 0.5, "nce": True},
}
#: The noisier the actions, the less is known about others: stay nearer to the data.
NOISY_PLAY = PLAY | {"crl": PLAY["crl"] | {"bc": 0.9}}
#: So does who goes on collecting after play, and who sees play in pictures.
NEAR_PLAY = PLAY | {"crl": PLAY["crl"] | {"bc": 0.5}}
#: Pictures ask for more: twice the preset's episodes, each picture shifted at random,
#: and a tower for the actor alone, which cloning has anyway.
PIXELS = dict.fromkeys(AGENTS, {"shift": 4, "actor_tower": True})
PIXELS["gcbc"], MORE = {"shift": 4}, 2

#: Sizes of a run, each of which ``--set`` can change. `episodes` of data and updates
#: (`steps`) on them, a row of metrics `every` so many; then steps of the environment
#: that the agent itself `collect`s, in rounds of one episode in each of the `copies`,
#: with an update for every `per_update` steps; and episodes of a test. The presets t4
#: and full are meant for a GPU and have not been run yet.
SIZES = ("episodes", "steps", "every", "collect", "copies", "per_update", "tests")
PRESETS = {
    "smoke": dict(zip(SIZES, (20, 200, 50, 800, 4, 4, 10), strict=True)),
    "cpu": dict(zip(SIZES, (2000, 10_000, 500, 200_000, 16, 8, 200), strict=True)),
    "t4": dict(zip(SIZES, (8000, 60_000, 2000, 1_000_000, 64, 16, 200), strict=True)),
    "full": dict(
        zip(SIZES, (20_000, 200_000, 5000, 10_000_000, 256, 32, 500), strict=True)
    ),
}
#: Networks of a preset, where they are not the agents' own.
NETWORKS = {
    "smoke": {"hidden": (16,), "batch_size": 32},
    "t4": {"hidden": (512, 512), "batch_size": 512},
    "full": {"hidden": (1024, 1024), "batch_size": 1024},
}
