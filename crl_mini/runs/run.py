"""Training: jitted chunks of updates, a progress bar, and runs that can be resumed."""

import importlib
import json
import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
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
from crl_mini.devices import device, everywhere, memory_gib, together
from crl_mini.envs.maze import LENGTHS, within_reach
from crl_mini.envs.play import Wander
from crl_mini.envs.tabletop import TASKS as TABLETOP
from crl_mini.envs.tasks import OURS, TASKS
from crl_mini.measure.statistics import wilson
from crl_mini.replay import Replay
from crl_mini.rollouts import Episodes, rollout, rollouts
from crl_mini.runs.data import FIRST_SEED, Data, collect
from crl_mini.runs.data import load as load_data
from crl_mini.runs.files import (
    REPLAY,
    csv_text,
    dump,
    load,
    parsed,
    rows_until,
    text,
    versions,
    write,
)
from crl_mini.runs.presets import (
    MORE,
    NEAR_PLAY,
    NETWORKS,
    NOISY_PLAY,
    OWN,
    PIXELS,
    PLAY,
    PRESETS,
    RANDOM,
    SETTINGS,
    SIZES,
)
from crl_mini.train import _chunk, _show, train_offline

History = dict[str, np.ndarray]


# Runs: a folder with config.json, metrics.csv, checkpoint.safetensors, manifest.json.

MAZES = [f"{OURS}PointMaze-{name}-v0" for name in LENGTHS]
COPIES = 8  # simulations at a time of an environment that has no vector form
GOAL_ENV = ("observation", "achieved_goal", "desired_goal")  # parts of an observation

OBS = ("state", "pixels")  # of the tabletop; other tasks show what they show
NOISY = 0.8  # noise of the data called noisy
DATA = ("own", "random", "play", "noisy")  # made on the fly; or a file of `collect`

UNKNOWN = {"ever": "", "at_end": ""}  # success where it was not tested
SHORT_WALK = 50  # steps of a random walk in the mazes, in the preset smoke
WALK = 200  # and otherwise


@dataclass(frozen=True)
class Run:
    """One training, kept in a folder: offline, online, or offline and then online."""

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
    obs: str = "state"
    """What the agent sees, of its goals too: a name in `OBS`."""
    data: str = "own"
    """A name in `DATA`, or a file made by `collect`."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Sizes and settings of the agent that differ from those of preset and data."""

    def __post_init__(self):
        checks.one_of("preset", self.preset, PRESETS)
        checks.one_of("agent", self.agent, AGENTS)
        checks.at_least("seed", self.seed, 0)
        checks.one_of("obs", self.obs, OBS)
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
        if self.obs == "pixels" and self.name not in TABLETOP:
            allowed = ", ".join(TABLETOP)
            raise ValueError(f"pixels need one of {allowed}; got {self.task!r}")
        if not self.spec.max_episode_steps:
            raise ValueError(f"task must have max_episode_steps; {self.task} has none")
        self.check_sizes()

    def check_sizes(self) -> None:
        """Raise ``ValueError`` for unknown settings, wrong types, and odd numbers."""
        of_agent = {f.name: type(f.default) for f in fields(AGENTS[self.agent][1])}
        kinds = dict.fromkeys(SIZES, int) | of_agent
        for name, value in self.changes.items():
            checks.one_of("a setting", name, kinds)
            kind = kinds[name]
            if type(value) not in ((float, int) if kind is float else (kind,)):
                word = "true or false" if kind is bool else f"of type {kind.__name__}"
                raise ValueError(f"{name} must be {word}; got {value}")
        for name, size in self.sizes.items():
            checks.at_least(name, size, 0 if name in ("steps", "collect") else 1)
        steps, every = self.sizes["steps"], self.sizes["every"]
        if steps % min(every, steps or 1):
            raise ValueError(f"steps must be a multiple of {every}; got {steps}")
        checks.at_least("steps + collect", steps + self.sizes["collect"], 1)
        checks.at_least("updates after a round", self.updates_of_round, 1)
        self.settings.adam()  # checks the rest

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
        seen = {"obs_type": self.obs} if self.name in TABLETOP else {}
        with closing(self.make(1, **seen)) as env:
            return env.single_observation_space, env.single_action_space

    @cached_property
    def scene(self):
        """What draws the pictures of a pixel task; None for others."""
        if self.obs == "state":
            return None
        with closing(self.make(1)) as env:
            return env.unwrapped.pictures

    @property
    def name(self) -> str:
        """The task's name in `tabletop.TASKS`, if it is one of those."""
        return self.spec.id.removeprefix(OURS).removesuffix("-v0")

    @property
    def in_maze(self) -> bool:
        """Is the task one of our mazes?"""
        return self.spec.id in MAZES

    @property
    def sizes(self) -> dict[str, int]:
        """How much of everything: the preset's, for these data and obs, as changed.

        Without data the agent begins with one round of random walks; with data it
        collects nothing, unless it is told to.
        """
        preset = dict(PRESETS[self.preset])
        if self.obs == "pixels":
            preset["episodes"] *= MORE
        if self.data == "own":
            preset |= {"episodes": preset["copies"], "steps": 0}
        else:
            preset["collect"] = 0
        return preset | {k: v for k, v in self.changes.items() if k in SIZES}

    @property
    def settings(self) -> Settings:
        """The agent's, for these data and this preset, as changed.

        The step size falls to zero over an offline run. It stays where the agent goes
        on collecting.
        """
        kinds = {"own": OWN, "random": RANDOM, "noisy": NOISY_PLAY}
        more = self.sizes["collect"]
        play = NEAR_PLAY if more or self.obs == "pixels" else PLAY
        of_data = kinds.get(self.data, play)[self.agent]
        decay = 0 if more else self.sizes["steps"]
        own = SETTINGS[self.agent] | of_data | NETWORKS.get(self.preset, {})
        own |= PIXELS[self.agent] if self.obs == "pixels" else {}
        changes = {k: v for k, v in self.changes.items() if k not in SIZES}
        return AGENTS[self.agent][1](**{"decay_steps": decay, **own, **changes})

    @property
    def length(self) -> int:
        """Steps of an episode of the data."""
        if not self.in_maze or self.sizes["collect"]:
            return self.spec.max_episode_steps
        return SHORT_WALK if self.preset == "smoke" else WALK

    @property
    def config(self) -> dict:
        """What decides the result, as plain values."""
        return {
            "task": self.task,
            "obs": self.obs,
            "data": self.data,
            "agent": self.agent,
            "preset": self.preset,
            "seed": self.seed,
            "length": self.length,
            **self.sizes,
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
        if self.agent == "td3_her" and self.obs == "pixels":
            pass  # the goal is reached where the next picture is the goal's
        elif self.agent == "td3_her" and self.name in TABLETOP:
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

    @property
    def steps_of_round(self) -> int:
        """Steps of the environment that a round of collecting takes."""
        return self.sizes["copies"] * self.length

    @property
    def updates_of_round(self) -> int:
        """Updates after a round of collecting."""
        return self.steps_of_round // self.sizes["per_update"]

    @property
    def rounds(self) -> int:
        """Rounds of collecting."""
        return -(-self.sizes["collect"] // self.steps_of_round)

    def collected(self) -> Replay:
        """The data to learn from, made on the fly or read from a file, and room."""
        n, length = self.sizes["episodes"], self.length
        self.check_memory(n)
        if self.data == "own":
            data = self.explore(self.walk(self.seed), self.rounds, n)
        elif self.data == "random":
            data = self.episodes(self.walk(self.seed), n, length, seed=self.seed)
        elif self.data in DATA:
            noise = NOISY if self.data == "noisy" else None
            kept = "state" if self.obs == "state" else "poses"
            data = collect(self.name, kept, episodes=n, noise=noise, seed=self.seed)
        else:
            data = self.read()
        frames = data.observations.dtype == np.uint8
        return Replay.from_trajectories(
            data.observations,
            data.actions,
            getattr(data, "achieved", None),
            capacity=len(data.actions) + self.rounds * self.sizes["copies"],
            scene=None if frames else self.scene,
        )

    def read(self) -> Data:
        """The data of a file. Errors: ``ValueError`` where they are of other things."""
        data = load_data(Path(self.data))
        if data.about["task"] != self.name:
            has = f"{self.data} is of {data.about['task']}"
            raise ValueError(f"data must be of {self.name}; {has}")
        if (data.about["obs_type"] == "state") != (self.obs == "state"):
            has = f"{self.data} holds {data.about['obs_type']}"
            raise ValueError(f"data must fit the obs {self.obs}; {has}")
        return data

    def start(self, agent, resume: bool) -> tuple[Any, Replay, list[dict]]:
        """The agent, its data, and the rows so far: fresh, or from the checkpoint."""
        checkpoint = self.out / "checkpoint.safetensors"
        replay = self.collected()
        if not resume or not checkpoint.exists():
            return agent, replay, []
        agent = load(agent, checkpoint)
        if self.rounds:
            replay = load(replay, checkpoint, REPLAY)
        rows = rows_until(self.out / "metrics.csv", int(agent.step))
        return agent, replay, rows

    def make(self, n: int, **settings) -> VectorEnv:
        """`n` copies of the environment; at most `COPIES` if it has no vector form.

        Where the agent sees pixels it shows poses, of which `policy` draws pictures.
        """
        if self.obs == "pixels" and self.name in TABLETOP:
            settings = {"obs_type": "poses"} | settings
        n = n if self.spec.vector_entry_point else min(n, COPIES)
        return gymnasium.make_vec(self.spec, num_envs=n, **settings)

    def episodes(
        self, policy: Callable, n: int, length: int, *, seed: int, **settings
    ) -> Episodes:
        """`n` episodes of `length` steps in fresh copies of the environment."""
        with closing(self.make(n, max_episode_steps=length, **settings)) as env:
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
        n, length = self.sizes["tests"], self.spec.max_episode_steps
        tried = self.episodes(policy, n, length, seed=seed)
        return {"ever": float(tried.ever.mean()), "at_end": float(tried.at_end.mean())}

    def __call__(self, *, resume: bool = False, log: Callable | None = None) -> dict:
        """Train, keep everything in the folder, and return the manifest.

        `log(row)` gets each row of metrics: a hook for TensorBoard and the like.
        """
        begun, agent = time.perf_counter(), self.fresh()
        self.check(resume)
        agent, replay, rows = self.start(agent, resume)
        together(str(self.config))  # all have checked the folder before one writes
        agent, replay = everywhere((agent, replay))
        self.keep("config.json", text(self.config))
        self.keep("metrics.csv", csv_text(rows))
        before = float(rows[-1]["seconds"]) if rows else 0.0

        def watch(agent):
            seconds = round(before + time.perf_counter() - begun, 1)
            return self.watched(agent) | {"seconds": seconds}

        def kept(agent, row, replay=replay):
            rows.append(row)
            self.keep("metrics.csv", csv_text(rows))
            replay = replay if self.rounds else None
            self.keep("checkpoint.safetensors", dump(agent, replay))
            if log:
                log(row)

        steps, every = self.sizes["steps"], self.sizes["every"]
        if left := max(steps - int(agent.step), 0):
            loop = {"every": min(every, steps), "watch": watch, "log": kept}
            agent, _ = train_offline(agent, replay, left, key=self.keys[1], **loop)
        agent, replay = self.online(agent, replay, watch, kept)
        manifest = self.manifest(agent, replay, float(rows[-1]["seconds"]))
        self.keep("manifest.json", text(manifest))
        return manifest

    def online(self, agent, replay: Replay, watch: Callable, kept: Callable):
        """Collect a round, learn from all there is, and again; the agent and replay."""
        sizes, rows = self.sizes, []
        steps, n = self.steps_of_round, self.updates_of_round
        done = (int(agent.step) - sizes["steps"]) // n
        bar = {"total": self.rounds * steps, "unit": "step", "disable": not self.rounds}
        with tqdm(**bar, initial=done * steps) as bar:
            for k in range(done, self.rounds):
                drawn = self.policy(agent, "drawn")
                frames = self.scene is not None and replay.scene is None
                kind = {"obs_type": "pixels"} if frames else {}
                new = self.explore(drawn, k, sizes["copies"], **kind)
                replay = replay.add(new.observations, new.actions, new.achieved)
                agent, row = _chunk(agent, replay, n, self.keys[1], watch)
                row["explored"] = float(new.at_end.mean())
                rows.append(row)
                kept(agent, row, replay)
                _show(bar, steps, rows)
        return agent, replay

    def explore(self, policy: Callable, k: int, n: int, **settings) -> Episodes:
        """Round k of `n` episodes, on the tabletop with mixed starts and goals."""
        mixed = {"goals": "mixed"} if self.name in TABLETOP else {}
        seed = FIRST_SEED * (1 + self.seed) + k
        return self.episodes(policy, n, self.length, seed=seed, **mixed, **settings)

    def watched(self, agent) -> dict:
        """How much was collected until now; now and then the success on test goals."""
        sizes, step = self.sizes, int(agent.step)
        rounds = max(step - sizes["steps"], 0) // self.updates_of_round
        if rounds:
            known = rounds % max(self.rounds // 20, 1) == 0 or rounds == self.rounds
        else:
            every = min(sizes["every"], sizes["steps"])
            known = step % (every * max(sizes["steps"] // (10 * every), 1)) == 0
        policy = self.policy(agent, self.judged)
        return {
            "collected": rounds * self.steps_of_round,
            "explored": "",
            **(self.success(policy, seed=10_000) if known else UNKNOWN),
        }

    def keep(self, name: str, content: bytes) -> None:
        """Write a file of the run; of several processes, only the first one does."""
        if jax.process_index() == 0:
            write(self.out / name, content)

    def check(self, resume: bool) -> None:
        """Raise ``ValueError`` unless there are data, and the folder fits."""
        made = DATA if self.name in TABLETOP else DATA[:2]
        if self.data not in made and not Path(self.data).is_file():
            allowed = f"{', '.join(made)}, or a file of `collect`"
            raise ValueError(f"data must be one of {allowed}; got {self.data!r}")
        config = self.out / "config.json"
        if resume and not config.exists():
            raise ValueError(f"--resume needs a run in {self.out}; found none")
        if resume:
            self.check_kept()
        if not resume and config.exists():
            raise ValueError(f"--out {self.out} holds a run; add --resume to go on")

    def check_memory(self, episodes: int) -> None:
        """Say how much the replay of made data takes; ``ValueError`` if it is too much.

        Data of a file say it themselves, by their size.
        """
        if self.data not in DATA:
            return
        with closing(self.make(1)) as env:
            step = env.single_observation_space["observation"], env.single_action_space
        per_step = sum(x.dtype.itemsize * math.prod(x.shape) for x in step)
        n = episodes + self.rounds * self.sizes["copies"]
        need = n * (self.length + 1) * per_step
        print(f"replay: {n:,} episodes, {need / 1e9:,.3f} GB")
        if need / 2**30 > memory_gib():
            room = f"{memory_gib():.1f} GiB of memory"
            raise ValueError(f"the replay must fit into {room}; got {need:,} bytes")

    def check_kept(self) -> None:
        """Raise ``ValueError`` unless the run in the folder has the same settings."""
        config = self.out / "config.json"
        if parsed(config) != json.loads(text(self.config)):
            raise ValueError(f"settings must be those of {config}; they differ")

    @property
    def judged(self) -> str:
        """Which actions count, ``drawn`` or ``mode``; the others stand beside them.

        In the mazes the mode gets stuck at corners; a hand that trembles drops blocks.
        """
        return "mode" if self.name in TABLETOP else "drawn"

    def policy(self, agent, kind: str) -> Callable:
        """The agent as a policy for `rollout`; of poses it sees pictures."""

        def act(s, g, key):
            if self.scene is not None and s.ndim == 3:
                both = self.scene.draw(np.concatenate([s, g]))
                s, g = both[: len(s)], both[len(s) :]
            return agent.act(s, g, key=key, greedy=kind == "mode")

        return act

    def manifest(self, agent, replay: Replay, seconds: float) -> dict:
        """What ran where, for how long, and how well, on goals not seen in training.

        Beside the success of the judged actions stands that of the others, drawn or
        mode, and without scripted data that of the random walk.
        """
        tests, seed = self.sizes["tests"], 20_000 + self.seed
        other = {"mode": "drawn", "drawn": "mode"}[self.judged]
        more = {other: self.policy(agent, other)}
        if self.data in ("own", "random"):
            more["data"] = self.walk(seed)
        scores = self.success(self.policy(agent, self.judged), seed=seed)
        intervals = {
            f"{k}_interval": wilson(round(v * tests), tests) for k, v in scores.items()
        }
        for kind, policy in more.items():
            found = self.success(policy, seed=seed)
            intervals |= {f"{k}_of_{kind}": v for k, v in found.items()}
        collected = self.rounds * self.sizes["copies"]
        return {
            "task": self.task,
            "obs": self.obs,
            "agent": self.agent,
            "data": self.data,
            "data_episodes": int(replay.added) - collected,
            "collected": collected * self.length,
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


def restored(folder: Path) -> tuple[Run, Any]:
    """A kept run and its agent. Errors: ``ValueError`` for a folder that holds none."""
    path = folder / "config.json"
    if not path.is_file() or not (folder / "checkpoint.safetensors").is_file():
        raise ValueError(f"a run has config.json and a checkpoint; {folder} has not")
    try:
        run = of_config(parsed(path), folder)
    except (KeyError, TypeError) as problem:
        raise ValueError(f"{path} describes no run: {problem}") from problem
    return run, load(run.fresh(), folder / "checkpoint.safetensors")


def of_config(config: dict, out: Path) -> Run:
    """The run with the settings of a ``config.json``, whatever the presets are now."""
    own = {k: tuple(v) if type(v) is list else v for k, v in config["settings"].items()}
    changes = {k: config[k] for k in SIZES if k in config} | own
    names = ("task", "preset", "seed", "agent", "obs", "data")
    known = {"preset": "cpu", "obs": "state"} | config  # the first runs do not say them
    return Run(out=out, changes=changes, **{k: known[k] for k in names})
