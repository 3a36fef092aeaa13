"""Training: jitted chunks of updates, a progress bar, and runs that can be resumed."""

import csv
import importlib
import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict, Space
from gymnasium.vector import VectorEnv
from jaxtyping import PRNGKeyArray
from tqdm import tqdm

from crl_mini import checks
from crl_mini.agents import AGENTS
from crl_mini.agents.base import Settings
from crl_mini.collect import collect
from crl_mini.collect import load as load_data
from crl_mini.envs.maze import LENGTHS, within_reach
from crl_mini.envs.play import Wander
from crl_mini.envs.tabletop import TASKS as TABLETOP
from crl_mini.evaluate import Episodes, rollout, rollouts, wilson
from crl_mini.files import device, dump, load, table, text, versions, write
from crl_mini.replay import Replay

History = dict[str, np.ndarray]


@partial(jax.jit, static_argnames="n")
def updates(agent, replay: Replay, n: int, *, key: PRNGKeyArray):
    """`n` updates on fresh batches in one call; metrics are averaged over the call.

    Batches depend on the key and on the agent's step alone: stopping and going on gives
    what one long run gives.
    """
    config = agent.config

    def one(agent, _):
        at = jax.random.fold_in(key, agent.step)
        return agent.update(replay.sample(at, config.batch_size, config.gamma))

    agent, metrics = jax.lax.scan(one, agent, length=n)
    return agent, jax.tree.map(lambda m: m.mean(), metrics)


def train_offline(
    agent,
    replay: Replay,
    steps: int,
    *,
    key: PRNGKeyArray,
    every: int = 100,
    watch: Callable | None = None,
    log: Callable | None = None,
    progress: bool = True,
) -> tuple[Any, History]:
    """Train for `steps` more updates, with a row of metrics after each `every` of them.

    `watch(agent)` may return more metrics for the row; `log(agent, row)` may keep it.
    Returns the agent and the history: arrays of one length, with ``step`` among them.
    """
    checks.at_least("every", every, 1)
    checks.at_least("steps", steps, every)
    rows = []
    with tqdm(total=steps, disable=not progress, unit="update") as bar:
        for _ in range(steps // every):
            agent, metrics = updates(agent, replay, every, key=key)
            row = {"step": int(agent.step)}
            row |= {k: float(v) for k, v in metrics.items()}
            row |= watch(agent) if watch else {}
            rows.append(row)
            if log:
                log(agent, row)
            bar.update(every)
            bar.set_postfix(loss=f"{row['loss']:.4f}")
    return agent, {k: np.array([row[k] for row in rows]) for k in rows[0]}


# Runs: a folder with config.json, metrics.csv, checkpoint.safetensors, manifest.json.

OURS = "crl_mini/"  # namespace of this package's environments
TASKS = [
    name.removeprefix(OURS) for name in gymnasium.registry if name.startswith(OURS)
]
MAZES = [f"{OURS}PointMaze-{name}-v0" for name in LENGTHS]
COPIES = 8  # simulations at a time of an environment that has no vector form
GOAL_ENV = ("observation", "achieved_goal", "desired_goal")  # parts of an observation

NOISY = 0.8  # noise of the data called noisy
DATA = ("random", "play", "noisy")  # made on the fly; or a file of `collect`

#: What makes each agent learn on two CPU cores: everywhere, from random walks, from
#: play. CONTRIBUTING.md tells how they were found.
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
PLAY = {
    "crl": {"gamma": 0.97, "learning_rate": 1e-3, "bc": 0.3},
    "gcbc": {"gamma": 0.97, "learning_rate": 1e-3},
    "td3_her": {"gamma": 0.97, "learning_rate": 1e-3, "bc": 0.9},
    "c_learning": {"gamma": 0.97, "learning_rate": 1e-3, "bc": 0.5, "nce": True},
}

SIZES = ("episodes", "steps", "every", "tests", "networks")
SMALL = {"hidden": (16,), "batch_size": 32}
PRESETS = {
    "smoke": dict(zip(SIZES, (20, 200, 50, 10, SMALL), strict=True)),
    "cpu": dict(zip(SIZES, (2000, 10_000, 500, 200, {}), strict=True)),
}
WALK = {"smoke": 50, "cpu": 200}  # steps of a random walk in the mazes


@dataclass(frozen=True)
class Run:
    """One offline training, kept in a folder."""

    task: str
    """Environment: a name in `TASKS`, or the id of any GoalEnv, ``module:Name-v0``."""
    preset: str
    """Size: a name in `PRESETS`."""
    seed: int
    """Decides data, networks and batches."""
    out: Path
    """Folder of the run."""
    agent: str = "crl"
    """A name in `agents.AGENTS`."""
    data: str = "random"
    """A name in `DATA`, or a file made by `collect`."""

    def __post_init__(self):
        checks.one_of("preset", self.preset, PRESETS)
        checks.one_of("agent", self.agent, AGENTS)
        checks.at_least("seed", self.seed, 0)
        try:
            observation, _ = self.spaces
        except (ImportError, gymnasium.error.Error) as problem:
            raise ValueError(
                f"task must be one of {', '.join(TASKS)}, or the id of a Gymnasium "
                f"environment with goals, module:Name-v0; got {self.task!r}: {problem}"
            ) from problem
        if not isinstance(observation, Dict) or not set(GOAL_ENV) <= set(observation):
            got = list(observation) if isinstance(observation, Dict) else "no Dict"
            raise ValueError(
                f"task must observe a Dict of {', '.join(GOAL_ENV)}; got {got}"
            )
        if not self.spec.max_episode_steps:
            raise ValueError(f"task must have max_episode_steps; {self.task} has none")
        made = DATA if self.name in TABLETOP else DATA[:1]
        if self.data not in made and not Path(self.data).is_file():
            allowed = f"{', '.join(made)}, or a file of `collect`"
            raise ValueError(f"data must be one of {allowed}; got {self.data!r}")

    @cached_property
    def spec(self) -> EnvSpec:
        """The registered environment that the task names."""
        module, _, name = self.task.rpartition(":")
        if module:
            importlib.import_module(module)
        if name in TABLETOP:
            name += "-v0"
        return gymnasium.spec(OURS + name if name in TASKS else name)

    @cached_property
    def spaces(self) -> tuple[Space, Space]:
        """Spaces of one observation and of one action."""
        with closing(self.make(1)) as env:
            return env.single_observation_space, env.single_action_space

    @property
    def name(self) -> str:
        """The task's name in `tabletop.TASKS`, if it is one of those."""
        return self.spec.id.removeprefix(OURS).removesuffix("-v0")

    @property
    def in_maze(self) -> bool:
        """Is the task one of our mazes?"""
        return self.spec.id in MAZES

    @property
    def settings(self) -> Settings:
        """The agent's, for these data and this preset."""
        preset, (_, config) = PRESETS[self.preset], AGENTS[self.agent]
        more = (RANDOM if self.data == "random" else PLAY)[self.agent]
        own = SETTINGS[self.agent] | more | preset["networks"]
        return config(**own, decay_steps=preset["steps"])

    @property
    def config(self) -> dict:
        """What decides the result, as plain values."""
        sizes = {k: v for k, v in PRESETS[self.preset].items() if k != "networks"}
        length = WALK[self.preset] if self.in_maze else self.spec.max_episode_steps
        return {
            "task": self.task,
            "data": self.data,
            "agent": self.agent,
            "seed": self.seed,
            "length": length,
            **sizes,
            "settings": asdict(self.settings),
        }

    @property
    def keys(self) -> tuple[PRNGKeyArray, PRNGKeyArray]:
        """Random keys of the networks and of the batches."""
        return tuple(jax.random.split(jax.random.key(self.seed)))

    def fresh(self):
        """The untrained agent."""
        observation, action = self.spaces
        more = {}
        if self.agent == "td3_her" and self.name in TABLETOP:
            more["success"] = TABLETOP[self.name].succeeded
        elif self.agent == "td3_her" and self.in_maze:
            more["success"] = within_reach
        return AGENTS[self.agent][0].create(
            self.settings,
            observation["observation"],
            action,
            goal_spec=observation["achieved_goal"],
            key=self.keys[0],
            **more,
        )

    def collected(self) -> Replay:
        """The data to learn from: made on the fly, or read from a file."""
        n, length = self.config["episodes"], self.config["length"]
        if self.data == "random":
            data = self.episodes(self.walk(self.seed), n, length, seed=self.seed)
            return Replay.from_trajectories(
                data.observations, data.actions, data.achieved
            )
        if self.data in DATA:
            noise = NOISY if self.data == "noisy" else None
            data = collect(self.name, episodes=n, noise=noise, seed=self.seed)
        else:
            data = load_data(Path(self.data))
            if data.about["task"] != self.name:
                has = f"{self.data} is of {data.about['task']}"
                raise ValueError(f"data must be of {self.name}; {has}")
            if data.about["obs_type"] != "state":
                raise ValueError(f"data must be states; {self.data} holds pictures")
        return Replay.from_trajectories(data.observations, data.actions)

    def start(self, agent, resume: bool) -> tuple[Any, Replay, list[dict]]:
        """The agent, its data, and the rows so far: fresh, or from the checkpoint."""
        replay = self.collected()
        if not resume:
            return agent, replay, []
        agent = load(agent, self.out / "checkpoint.safetensors")
        lines = (self.out / "metrics.csv").read_text().splitlines()
        rows = list(csv.DictReader(lines))
        return agent, replay, [r for r in rows if int(r["step"]) <= int(agent.step)]

    def make(self, n: int, **settings) -> VectorEnv:
        """`n` copies of the environment; at most `COPIES` if it has no vector form."""
        n = n if self.spec.vector_entry_point else min(n, COPIES)
        return gymnasium.make_vec(self.spec, num_envs=n, **settings)

    def episodes(self, policy: Callable, n: int, length: int, *, seed: int) -> Episodes:
        """`n` episodes of `length` steps in fresh copies of the environment."""
        with closing(self.make(n, max_episode_steps=length)) as env:
            if self.spec.id in MAZES:  # one generator draws all copies
                return rollout(env, policy, length, seed=seed)
            return rollouts(env, policy, length, n, seed=seed)

    def walk(self, seed: int) -> Callable:
        """A random walk with momentum, in either kind of action space."""
        _, action = self.spaces
        if isinstance(action, Box):
            return Wander(action, seed=seed)
        steps = Wander(Box(0, action.n, (1,)), seed=seed)
        return lambda s, g, key: steps(s, g, key)[:, 0].astype(int)

    def success(self, policy: Callable, *, seed: int) -> dict[str, float]:
        """Share of episodes that reach the goal at any step, and at the last one."""
        n, length = self.config["tests"], self.spec.max_episode_steps
        tried = self.episodes(policy, n, length, seed=seed)
        return {"ever": float(tried.ever.mean()), "at_end": float(tried.at_end.mean())}

    def __call__(self, *, resume: bool = False) -> dict:
        """Train, keep everything in the folder, and return the manifest."""
        begun, config, agent = time.perf_counter(), self.config, self.fresh()
        self.check(resume)
        agent, replay, rows = self.start(agent, resume)
        self.out.mkdir(parents=True, exist_ok=True)
        write(self.out / "config.json", text(config))
        before = float(rows[-1]["seconds"]) if rows else 0.0
        write(self.out / "metrics.csv", table(rows))

        def watch(agent):
            seconds = before + time.perf_counter() - begun
            tenth = config["steps"] // 10
            known = int(agent.step) % max(tenth, config["every"]) == 0
            policy = self.policy(agent, self.judged)
            scores = self.success(policy, seed=10_000) if known else {}
            return {"ever": "", "at_end": "", **scores, "seconds": round(seconds, 1)}

        def log(agent, row):
            rows.append(row)
            write(self.out / "metrics.csv", table(rows))
            write(self.out / "checkpoint.safetensors", dump(agent))

        left = config["steps"] - int(agent.step)
        if left >= config["every"]:
            loop = {"every": config["every"], "watch": watch, "log": log}
            agent, _ = train_offline(agent, replay, left, key=self.keys[1], **loop)
        manifest = self.manifest(agent, float(rows[-1]["seconds"]))
        write(self.out / "manifest.json", text(manifest))
        return manifest

    def check(self, resume: bool) -> None:
        """Raise ``ValueError`` unless the folder is free, or holds this very run."""
        config = self.out / "config.json"
        if resume and not (self.out / "checkpoint.safetensors").exists():
            raise ValueError(f"--resume needs a checkpoint in {self.out}; found none")
        if resume and json.loads(config.read_text()) != json.loads(text(self.config)):
            raise ValueError(f"--resume needs the settings of {config}; they differ")
        if not resume and config.exists():
            raise ValueError(f"--out {self.out} holds a run; add --resume to go on")

    @property
    def judged(self) -> str:
        """Which actions count, ``drawn`` or ``mode``; the others stand beside them.

        In the mazes the mode gets stuck at corners; a hand that trembles drops blocks.
        """
        return "mode" if self.name in TABLETOP else "drawn"

    def policy(self, agent, kind: str) -> Callable:
        """The agent as a policy for `rollout`."""
        return lambda s, g, key: agent.act(s, g, key=key, greedy=kind == "mode")

    def manifest(self, agent, seconds: float) -> dict:
        """What ran where, for how long, and how well, on goals not seen in training.

        Beside the success of the judged actions stands that of the others, drawn or
        mode, and for random data that of the random walk.
        """
        tests, seed = self.config["tests"], 20_000 + self.seed
        other = {"mode": "drawn", "drawn": "mode"}[self.judged]
        more = {other: self.policy(agent, other)}
        if self.data == "random":
            more["data"] = self.walk(seed)
        scores = self.success(self.policy(agent, self.judged), seed=seed)
        intervals = {
            f"{k}_interval": wilson(round(v * tests), tests) for k, v in scores.items()
        }
        for kind, policy in more.items():
            found = self.success(policy, seed=seed)
            intervals |= {f"{k}_of_{kind}": v for k, v in found.items()}
        return {
            "task": self.task,
            "agent": self.agent,
            "data": self.data,
            "preset": self.preset,
            "seed": self.seed,
            "judged": self.judged,
            "episodes": tests,
            **scores,
            **intervals,
            "minutes": round(seconds / 60, 2),
            "device": device(),
            "versions": versions(str(self.spec.entry_point).partition(".")[0]),
        }


@dataclass(frozen=True)
class Recorded(Run):
    """A run as its files tell it, whatever presets and data there are today."""

    recorded: dict = field(default_factory=dict)
    """What `config.json` holds."""

    def __post_init__(self):
        pass  # all of it was checked when the run began

    @property
    def config(self) -> dict:
        """What decided the result."""
        return self.recorded

    @property
    def settings(self) -> Settings:
        """The agent's, as it was trained."""
        own = self.recorded["settings"]
        return AGENTS[self.agent][1](**own | {"hidden": tuple(own["hidden"])})

    @classmethod
    def of(cls, config: dict, out: Path) -> "Recorded":
        """The run that has this configuration."""
        known = {f.name for f in fields(Run)} & set(config)
        what = {"preset": ""} | {name: config[name] for name in known} | {"out": out}
        return cls(**what, recorded=config)


def restored(folder: Path) -> tuple[Recorded, Any]:
    """The run of a folder and its agent, as the last checkpoint has it.

    Errors: ``ValueError`` where the folder holds none, or one that does not fit.
    """
    try:
        run = Recorded.of(json.loads((folder / "config.json").read_text()), folder)
        return run, load(run.fresh(), folder / "checkpoint.safetensors")
    except (
        *(OSError, KeyError, TypeError, ValueError),
        *(ImportError, gymnasium.error.Error),
    ) as problem:
        raise ValueError(f"{folder} holds no trained agent: {problem}") from problem
