"""Runs: trainings kept in a folder, which can be stopped and resumed."""

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box
from jaxtyping import PRNGKeyArray
from tqdm import tqdm

from crl_mini import checks
from crl_mini.agents import AGENTS
from crl_mini.agents.base import Config, acting
from crl_mini.devices import device, everywhere, peak_memory_gib, together
from crl_mini.envs import tasks
from crl_mini.measure.statistics import wilson
from crl_mini.replay import Replay
from crl_mini.rollouts import Episodes, key_of
from crl_mini.runs import data as data_files
from crl_mini.runs import formats
from crl_mini.runs.files import (
    REPLAY,
    csv_text,
    dump,
    load,
    names_in,
    parsed,
    rows_until,
    taken,
    text,
    versions,
    write,
)
from crl_mini.runs.presets import (
    AGENT,
    BUDGET,
    PRESETS,
    Budget,
    budget_of,
    check_changes,
    config_of,
)
from crl_mini.specs import fitted
from crl_mini.train import train

TESTS, FRESH = 10_000, 20_000  # seeds of the goals of tests while training, and after
PACE = 5_000_000  # bytes a second, of checkpoints that replace one another
BROKEN = (ArithmeticError, AttributeError, LookupError, TypeError)  # a config.json


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
    agent: str = AGENT
    """A name in `agents.AGENTS`."""
    obs: str = "state"
    """What the agent sees, of its goals too: a name in `tasks.OBS`."""
    data: str = "own"
    """A name in the task's `data`, or a file made by `collect`."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Fields of the budget and settings of the agent that differ from the usual."""
    bounds: dict[str, Any] = field(default_factory=dict)
    """Bounds of observations and goals as the first data have them, [low, high], where
    those of their spaces say little; see `specs.fitted`."""
    length: int | None = None
    """Steps of an episode of the task; None: as many as are registered."""

    def __post_init__(self):
        checks.one_of("preset", self.preset, PRESETS)
        checks.one_of("agent", self.agent, AGENTS)
        checks.at_least("seed", self.seed, 0)
        check_changes(self.agent, self.changes)
        checks.at_least("updates after a round", self.updates_of_round, 1)
        self.config.adam()  # checks the rest

    @cached_property
    def env(self) -> tasks.GoalTask:
        """The task: what a training must know of the environment."""
        return tasks.task(self.task, self.obs, self.length)

    @cached_property
    def budget(self) -> Budget:
        """How much of everything, see `presets.budget_of`."""
        return budget_of(self.preset, self.data, self.obs, self.changes)

    @cached_property
    def config(self) -> Config:
        """The agent's settings, see `presets.config_of`."""
        kind = self.agent, self.preset, self.data, self.obs
        return config_of(*kind, self.budget, self.changes)

    @property
    def data_length(self) -> int:
        """Steps of an episode of the data."""
        return self.env.length_of_data(bool(self.budget.collect))

    @property
    def steps_of_round(self) -> int:
        """Steps of the environment that a round of collecting takes."""
        return self.budget.copies * self.data_length

    @property
    def updates_of_round(self) -> int:
        """Updates after a round of collecting."""
        return self.steps_of_round // self.budget.per_update

    @property
    def rounds(self) -> int:
        """Rounds of collecting."""
        return math.ceil(self.budget.collect / self.steps_of_round)

    @property
    def last_update(self) -> int:
        """The agent's step at the end."""
        return self.budget.steps + self.rounds * self.updates_of_round

    @property
    def identity(self) -> dict:
        """All that decides the result, as plain values: what config.json holds."""
        names = ("task", "obs", "data", "agent", "preset", "seed")
        values = {name: getattr(self, name) for name in names}
        values |= {"length": self.data_length} | asdict(self.budget)
        values |= {"settings": asdict(self.config)}
        values |= {"task_length": self.length} if self.length else {}
        return values | ({"bounds": self.bounds} if self.bounds else {})

    @property
    def keys(self) -> tuple[PRNGKeyArray, PRNGKeyArray]:
        """Random keys of the networks and of the batches."""
        return tuple(jax.random.split(key_of(self.seed)))

    def fresh(self):
        """The untrained agent."""
        recipe, (observation, action) = AGENTS[self.agent], self.env.spaces
        observation = dict(observation.items())
        for name, bounds in self.bounds.items():
            checks.one_of("bounds", name, observation)
            checks.shaped(f"bounds of {name}", bounds, (2, *observation[name].shape))
            observation[name] = Box(*np.asarray(bounds, float), dtype=np.float64)
        told = recipe.needs_success and getattr(self.config, "told", True)
        more = {"success": self.env.success} if told else {}
        return recipe.agent.create(
            self.config,
            observation["observation"],
            action,
            goal_spec=observation["achieved_goal"],
            key=self.keys[0],
            **more,
        )

    def fitted(self, data) -> "Run":
        """The run with bounds from the data where the spaces' own say little."""
        if self.env.bounded:
            return self
        parts = {"observation": data.observations, "achieved_goal": data.achieved}
        if data.achieved is None:
            parts["achieved_goal"] = data.observations
        bounds = {}
        for name, x in parts.items():
            space = self.env.spaces[0][name]
            box = fitted(space, x.reshape(-1, *x.shape[2:]))
            if box is not space:
                bounds[name] = [box.low.tolist(), box.high.tolist()]
        return self.with_bounds(bounds) if bounds else self

    def with_bounds(self, bounds: dict) -> "Run":
        """The same run with bounds, and with the same environment."""
        run = replace(self, bounds=bounds)
        vars(run)["env"] = self.env
        return run

    def replay(self, data=None) -> Replay:
        """The data to begin with, made on the fly or read from a file, and room."""
        data, scene = data or self.first_data(), self.env.scene
        frames = scene is not None and data.observations.dtype == np.uint8
        return Replay.from_trajectories(
            data.observations,
            data.actions,
            data.achieved,
            lengths=data.lengths,
            terminal=data.terminal,
            room=self.data_length if self.rounds else 0,
            capacity=len(data.actions) + self.rounds * self.budget.copies,
            scene=None if frames else scene,
        )

    def first_data(self) -> Episodes | data_files.Data:
        """Episodes of the agent's kind of data; see the task's `data`."""
        if self.data not in self.env.data:
            return formats.load_for(self.data, self.env)
        n, seed = self.budget.episodes, self.seed
        room = n + self.rounds * self.budget.copies
        data_files.check_memory(self.env, room, self.data_length)
        if self.data in self.env.scripted:
            kind = "state" if self.obs == "state" else "poses"
            noise = self.env.scripted[self.data]
            return data_files.collect(
                self.env.name, kind, episodes=n, noise=noise, seed=seed
            )
        if self.data == "own":
            return self.explore(self.env.walk(seed), self.rounds, n)
        return self.env.episodes(self.env.walk(seed), n, self.data_length, seed=seed)

    def explore(self, policy: Callable, k: int, n: int) -> Episodes:
        """Round k of collecting: `n` episodes of a policy, with its own seed."""
        how = self.env.exploring | {"seed": self.seed_of_round(k)}
        return self.env.episodes(policy, n, self.data_length, **how)

    def seed_of_round(self, k: int) -> int:
        """The seed of a round of collecting."""
        return data_files.FIRST_SEED * (1 + self.seed) + k

    def policy(self, agent, kind: str) -> Callable:
        """The agent as a policy: ``mode``, or ``drawn``, which samples its actions.

        Where the agent sees pictures the environment shows poses, and it draws them.
        """
        scene, act = self.env.scene, acting(agent, greedy=kind == "mode")
        if scene is None:
            return act

        def seeing(s, g, key):
            pictures = scene.draw(np.concatenate([s, g]))
            return act(pictures[: len(s)], pictures[len(s) :], key)

        return seeing

    def success(self, policy: Callable, *, seed: int) -> dict[str, float]:
        """The `shares` of a test.

        Where the task has the paper's protocol, too, there are as many episodes of it.
        """
        how = {"n": self.budget.tests, "seed": seed}
        tested, paper = self.env.episodes(policy, **how), self.env.paper
        return shares(tested, paper and paper.episodes(policy, **how))

    def __call__(self, *, resume: bool = False, log: Callable | None = None) -> dict:
        """Train, keep everything in the folder, and return the manifest.

        `log(row)` gets each row of metrics: a hook for TensorBoard and the like.
        """
        first = jax.process_index() == 0
        with taken(self.out) if first else contextlib.nullcontext():
            return self._train(resume, log)

    def _train(self, resume: bool, log: Callable | None) -> dict:
        """What a call does, once the folder is its own."""
        since = time.perf_counter()
        check_folder(self, resume)
        agent, replay, rows = begin(self, resume)
        before, collected = before_now(rows)

        def watch(agent):
            seconds = round(before + time.perf_counter() - since, 1)
            row = {"collected": collected, "explored": ""}
            return row | tested(self, agent) | {"seconds": seconds}

        def kept(agent, replay, row):
            rows.append(row)
            save(self, agent, replay, rows)
            if log:
                log(row)

        frames = self.env.scene is not None and replay.scene is None

        def collect(agent, k):
            nonlocal collected
            new = self.explore(self.policy(agent, "drawn"), k, self.budget.copies)
            collected += int(new.lengths.sum())
            return pictured(new, self.env.scene) if frames else new

        agent, replay = train(
            agent,
            replay,
            self.budget.steps,
            self.rounds,
            n_updates=self.updates_of_round,
            collect=collect,
            key=self.keys[1],
            every=self.budget.every,
            watch=watch,
            log=kept,
        )
        manifest = manifest_of(self, replay, rows[-1], fresh_scores(self, agent))
        keep(self, "manifest.json", text(manifest))
        return manifest


def shares(tested: Episodes, paper: Episodes | None = None) -> dict[str, float]:
    """Share of episodes that reach the goal at any step, and at the last one.

    ``paper`` is the share of those by the paper's protocol, if any, at any step.
    """
    found = {"ever": tested.ever, "at_end": tested.at_end}
    found |= {} if paper is None else {"paper": paper.ever}
    return {name: float(reached.mean()) for name, reached in found.items()}


def not_tested(run: Run) -> dict[str, str]:
    """The `shares` in a row of metrics without a test."""
    return dict.fromkeys(("ever", "at_end", *["paper"] * bool(run.env.paper)), "")


def pictured(episodes: Episodes, scene) -> Episodes:
    """The same episodes with pictures in the place of poses (N, T + 1, K, 7)."""
    poses = episodes.observations
    frames = np.asarray(scene.draw(poses.reshape(-1, *poses.shape[2:])))
    frames = frames.reshape(*poses.shape[:2], *frames.shape[1:])
    return episodes._replace(observations=frames, achieved=frames)


def begin(run: Run, resume: bool) -> tuple[Any, Replay, list[dict]]:
    """The agent, its data, and the rows so far; the folder then has its settings."""
    inner, agent, replay, rows = start(run, resume)
    together(str(inner.identity))  # all have checked the folder before one writes
    agent, replay = everywhere((agent, replay))
    keep(run, "config.json", text(inner.identity))
    keep(run, "metrics.csv", csv_text(rows))
    return agent, replay, rows


def before_now(rows: list[dict]) -> tuple[float, int]:
    """Seconds that a run has taken, and steps that it has collected."""
    last = rows[-1] if rows else {"seconds": 0, "collected": 0}
    return float(last["seconds"]), int(last["collected"])


def save(run: Run, agent, replay: Replay, rows: list[dict]) -> None:
    """Keep the curve so far and the checkpoint, unless that is large and young."""
    keep(run, "metrics.csv", csv_text(rows))
    last = int(agent.step) == run.last_update
    if last or not young(run.out / "checkpoint.safetensors"):
        replay = replay if run.rounds else None  # else it can be made again
        keep(run, "checkpoint.safetensors", dump(agent, replay))


def young(path: Path) -> bool:
    """Is a file younger than a second for each `PACE` bytes of it?"""
    if not path.exists():
        return False
    stat = path.stat()
    return abs(time.time() - stat.st_mtime) < stat.st_size // PACE


def start(run: Run, resume: bool) -> tuple[Run, Any, Replay, list[dict]]:
    """The run with its bounds, the agent, its data, and the rows so far.

    All are fresh, or from the checkpoint.
    """
    checkpoint = run.out / "checkpoint.safetensors"
    if resume and checkpoint.exists():
        run = run.with_bounds(parsed(run.out / "config.json").get("bounds", {}))
        agent, replay = load(blank(run), checkpoint), run.replay()
        if run.rounds:
            if f"{REPLAY}lengths" in names_in(checkpoint):
                replay = replay.with_lengths()
            replay = load(replay, checkpoint, REPLAY)
        return run, agent, replay, rows_until(run.out / "metrics.csv", int(agent.step))
    agent, data = run.fresh(), run.first_data()
    inner = run.fitted(data)
    if inner.bounds:
        agent = inner.fresh()
        names = " and ".join(inner.bounds)
        tqdm.write(f"{names}: scaled by the data, not by their spaces", sys.stderr)
    return inner, agent, inner.replay(data), []


def blank(run: Run):
    """An agent of zeros, for `load` to fill: nothing of a fresh one is computed."""
    return jax.jit(lambda: jax.tree.map(jnp.zeros_like, run.fresh()))()


def tested(run: Run, agent) -> dict:
    """Now and then the success on test goals."""
    if not due(run, int(agent.step)):
        return not_tested(run)
    return run.success(run.policy(agent, run.env.judged), seed=TESTS)


def due(run: Run, step: int) -> bool:
    """Is there a test after this update? There are about ten offline, twenty online."""
    budget = run.budget
    if rounds := max(step - budget.steps, 0) // run.updates_of_round:
        return rounds % max(run.rounds // 20, 1) == 0 or rounds == run.rounds
    every = min(budget.every, budget.steps)
    return step % (every * max(budget.steps // (10 * every), 1)) == 0


def kinds(run: Run) -> tuple[str, str]:
    """Kinds of actions of `Run.policy`: the judged one first."""
    return run.env.judged, {"mode": "drawn", "drawn": "mode"}[run.env.judged]


def fresh_scores(run: Run, agent) -> dict[str, dict[str, float]]:
    """Success on goals not seen in training, by whose actions: the judged ones first.

    Beside it is the success with the other kind of actions, sampled or mode, and
    without scripted data that of the random walk.
    """
    policies = {kind: run.policy(agent, kind) for kind in kinds(run)}
    policies |= walks(run)
    seed = FRESH + run.seed
    return {kind: run.success(policy, seed=seed) for kind, policy in policies.items()}


def walks(run: Run) -> dict[str, Callable]:
    """The random walk to compare with, where there are no scripted data."""
    own = run.data in ("own", "random")
    return {"data": run.env.walk(FRESH + run.seed)} if own else {}


def manifest_of(run: Run, replay: Replay, last: dict, scores: dict) -> dict:
    """What ran where, for how long, and how well: `last` is its last row of metrics.

    `scores` are those of `fresh_scores`.
    """
    tests, (judged, *others) = run.budget.tests, scores
    memory = peak_memory_gib()
    known = dict(scores[judged])
    for name, share in scores[judged].items():
        known[f"{name}_interval"] = wilson(round(share * tests), tests)
    for kind in others:
        known |= {f"{name}_of_{kind}": share for name, share in scores[kind].items()}
    return {
        "task": run.task,
        "obs": run.obs,
        "agent": run.agent,
        "data": run.data,
        "data_episodes": int(replay.added) - run.rounds * run.budget.copies,
        "collected": int(last["collected"]),
        "preset": run.preset,
        "seed": run.seed,
        "judged": judged,
        "counts": run.env.counts,
        "episodes": tests,
        **known,
        "minutes": round(float(last["seconds"]) / 60, 2),
        "device": device(),
        **({"memory_gib": memory} if memory else {}),
        "versions": versions(str(run.env.spec.entry_point).partition(".")[0]),
    }


def keep(run: Run, name: str, content: bytes) -> None:
    """Write a file of the run; of several processes, only the first one does."""
    if jax.process_index() == 0:
        write(run.out / name, content)


def begun(run: Run) -> bool:
    """Is there a run in the folder?"""
    return (run.out / "config.json").exists()


def check_folder(run: Run, resume: bool) -> None:
    """Raise ``ValueError`` unless there are data, and the folder fits."""
    if run.data not in run.env.data:
        formats.check_there(run.data, run.env)
    if resume and not begun(run):
        raise ValueError(f"--resume needs a run in {run.out}; found none")
    if begun(run) and not resume:
        raise ValueError(f"--out {run.out} holds a run; add --resume to go on")
    if resume:
        check_same(run)


def check_same(run: Run) -> None:
    """Raise ``ValueError`` unless the run in the folder has the same settings.

    Those that did not exist when it was made had their defaults.
    """
    path, wanted = run.out / "config.json", json.loads(text(run.identity))
    known = parsed(path)
    with contextlib.suppress(*BROKEN, ValueError):
        known.pop("bounds", None)  # they are of the data
        config = of_config(known, run.out).config
        known["settings"] = json.loads(text(asdict(config))) | known["settings"]
    if known != wanted:
        raise ValueError(f"settings must be those of {path}; they differ")


def restored(folder: Path) -> tuple[Run, Any]:
    """A kept run and its agent. Errors: ``ValueError`` for a folder that holds none."""
    path = folder / "config.json"
    if not path.is_file() or not (folder / "checkpoint.safetensors").is_file():
        raise ValueError(f"a run has config.json and a checkpoint; {folder} has not")
    try:
        run = of_config(parsed(path), folder)
    except BROKEN as problem:
        said = " ".join(str(problem).split())
        raise ValueError(f"{path} describes no run: {said}") from problem
    return run, load(blank(run), folder / "checkpoint.safetensors")


def of_config(config: dict, out: Path) -> Run:
    """The run with the settings of a ``config.json``, whatever the presets are now."""
    own = {k: tuple(v) if type(v) is list else v for k, v in config["settings"].items()}
    changes = {k: config[k] for k in BUDGET if k in config} | own
    names = ("task", "preset", "seed", "agent", "obs", "data")
    known = {"preset": "cpu", "obs": "state"} | config  # the first runs do not say them
    more = {"bounds": config.get("bounds", {}), "length": config.get("task_length")}
    return Run(out=out, changes=changes, **more, **{k: known[k] for k in names})
