"""Training: jitted chunks of updates, a progress bar, and runs that can be resumed."""

import csv
import importlib
import json
import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from importlib.metadata import packages_distributions, version
from pathlib import Path

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict, Space
from gymnasium.vector import VectorEnv
from jaxtyping import PRNGKeyArray
from safetensors.numpy import load_file, save
from tqdm import tqdm

from crl_mini import checks
from crl_mini.agents.crl import CRL, CRLConfig
from crl_mini.envs.maze import LENGTHS
from crl_mini.envs.play import Wander
from crl_mini.evaluate import Episodes, rollout, rollouts, wilson
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
    agent: CRL,
    replay: Replay,
    steps: int,
    *,
    key: PRNGKeyArray,
    every: int = 100,
    watch: Callable | None = None,
    log: Callable | None = None,
    progress: bool = True,
) -> tuple[CRL, History]:
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

#: Settings that learn on two CPU cores, and a short form for tests.
CPU = CRLConfig(
    loss="symmetric_infonce",
    energy="l2",
    logsumexp=0.1,
    gamma=0.98,
    entropy=0.02,
    learning_rate=3e-3,
    decay_steps=10_000,
)
SMOKE = CRLConfig(hidden=(16,), repr_dim=8, batch_size=32)
SIZES = ("agent", "episodes", "length", "steps", "every", "tests")
PRESETS = {
    "smoke": dict(zip(SIZES, (SMOKE, 20, 50, 200, 50, 10), strict=True)),
    "cpu": dict(zip(SIZES, (CPU, 2000, 200, 10_000, 500, 200), strict=True)),
}


@dataclass(frozen=True)
class Run:
    """One offline training on random walks, kept in a folder."""

    task: str
    """Environment: a name in `TASKS`, or the id of any GoalEnv, ``module:Name-v0``."""
    preset: str
    """Size: a name in `PRESETS`."""
    seed: int
    """Decides data, networks and batches."""
    out: Path
    """Folder of the run."""

    def __post_init__(self):
        checks.one_of("preset", self.preset, PRESETS)
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

    @cached_property
    def spec(self) -> EnvSpec:
        """The registered environment that the task names."""
        module, _, name = self.task.rpartition(":")
        if module:
            importlib.import_module(module)
        return gymnasium.spec(OURS + name if name in TASKS else name)

    @cached_property
    def spaces(self) -> tuple[Space, Space]:
        """Spaces of one observation and of one action."""
        with closing(self.make(1)) as env:
            return env.single_observation_space, env.single_action_space

    @property
    def config(self) -> dict:
        """What decides the result, as plain values."""
        preset = PRESETS[self.preset]
        changed = {"agent": asdict(preset["agent"])}
        if self.spec.id not in MAZES:
            changed["length"] = self.spec.max_episode_steps
        return {"task": self.task, "seed": self.seed, **preset, **changed}

    @property
    def keys(self) -> tuple[PRNGKeyArray, PRNGKeyArray]:
        """Random keys of the networks and of the batches."""
        return tuple(jax.random.split(jax.random.key(self.seed)))

    def fresh(self) -> CRL:
        """The untrained agent."""
        observation, action = self.spaces
        return CRL.create(
            PRESETS[self.preset]["agent"],
            observation["observation"],
            action,
            goal_spec=observation["achieved_goal"],
            key=self.keys[0],
        )

    def start(self, agent: CRL, resume: bool) -> tuple[CRL, Replay, list[dict]]:
        """The agent, its data, and the rows so far: fresh, or from the checkpoint."""
        n, length = self.config["episodes"], self.config["length"]
        data = self.episodes(self.walk(self.seed), n, length, seed=self.seed)
        replay = Replay.from_trajectories(
            data.observations, data.actions, data.achieved
        )
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
        agent = self.fresh()  # first, because it may refuse a space
        self.prepare(resume)
        begun, config = time.perf_counter(), self.config
        agent, replay, rows = self.start(agent, resume)
        before = float(rows[-1]["seconds"]) if rows else 0.0
        write(self.out / "metrics.csv", table(rows))

        def watch(agent):
            seconds = before + time.perf_counter() - begun
            tenth = config["steps"] // 10
            known = int(agent.step) % max(tenth, config["every"]) == 0
            scores = self.success(sampled(agent), seed=10_000) if known else {}
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

    def prepare(self, resume: bool) -> None:
        """Make the folder, or check that it holds the run to go on with."""
        config = self.out / "config.json"
        if resume and not (self.out / "checkpoint.safetensors").exists():
            raise ValueError(f"--resume needs a checkpoint in {self.out}; found none")
        if resume and json.loads(config.read_text()) != json.loads(text(self.config)):
            raise ValueError(f"--resume needs the settings of {config}; they differ")
        if not resume and config.exists():
            raise ValueError(f"--out {self.out} holds a run; add --resume to go on")
        self.out.mkdir(parents=True, exist_ok=True)
        write(config, text(self.config))

    def manifest(self, agent: CRL, seconds: float) -> dict:
        """What ran where, for how long, and how well, on goals not seen in training.

        Success is that of actions drawn from the policy; beside it stand those of the
        policy's mode and of the random walk that made the data.
        """
        tests, seed = self.config["tests"], 20_000 + self.seed
        scores = self.success(sampled(agent), seed=seed)
        intervals = {
            f"{k}_interval": wilson(round(v * tests), tests) for k, v in scores.items()
        }
        mode = self.success(
            lambda s, g, key: agent.act(s, g, key=key, greedy=True), seed=seed
        )
        walked = self.success(self.walk(seed), seed=seed)
        return {
            "task": self.task,
            "agent": "crl",
            "data": "random",
            "preset": self.preset,
            "seed": self.seed,
            "episodes": tests,
            **scores,
            **intervals,
            **{f"{k}_of_mode": v for k, v in mode.items()},
            **{f"{k}_of_data": v for k, v in walked.items()},
            "minutes": round(seconds / 60, 2),
            "device": device(),
            "versions": versions(str(self.spec.entry_point).partition(".")[0]),
        }


def sampled(agent: CRL) -> Callable:
    """The agent as a policy for `rollout`: actions are drawn, not the mode."""
    return lambda s, g, key: agent.act(s, g, key=key)


def device() -> str:
    """What the numbers were computed on."""
    if jax.default_backend() == "cpu":
        return f"{os.cpu_count()} CPU cores"
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def versions(module: str = "crl_mini") -> dict[str, str]:
    """Versions of the packages that decide a result, with that of a `module`."""
    names = ("crl_mini", "jax", "flax", "optax", "gymnasium", "numpy", "mujoco")
    owners = packages_distributions().get(module, [])
    return {name: version(name) for name in (*names, *owners)}


def text(value: dict) -> bytes:
    """JSON, indented, with a newline at its end."""
    return (json.dumps(value, indent=2) + "\n").encode()


def table(rows: list[dict]) -> bytes:
    """Rows as CSV with a header."""
    lines = [",".join(rows[0])] if rows else []
    lines += [",".join(str(v) for v in row.values()) for row in rows]
    return "".join(line + "\n" for line in lines).encode()


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)


def dump(agent: CRL) -> bytes:
    """All arrays of an agent in the safetensors format."""
    return save({k: np.asarray(v) for k, v in _arrays(agent).items()})


def load(agent: CRL, path: Path) -> CRL:
    """The agent with the arrays of a checkpoint made from one like it."""
    stored, own = load_file(path), _arrays(agent)
    if {k: v.shape for k, v in stored.items()} != {k: v.shape for k, v in own.items()}:
        raise ValueError(f"{path} was made with other networks than this agent's")
    leaves = [
        jax.random.wrap_key_data(jnp.asarray(stored[k]))
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        else jnp.asarray(stored[k])
        for k, leaf in zip(own, jax.tree.leaves(agent), strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(agent), leaves)


def _arrays(agent: CRL) -> dict[str, jax.Array]:
    """Name -> array of every leaf; random keys as their integers."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): jax.random.key_data(x)
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        else x
        for path, x in jax.tree_util.tree_leaves_with_path(agent)
    }
