"""Seeds at once: runs that differ in their seeds alone, trained as one program.

The agents are stacked, and `vmap` makes one update of all. Where the task allows it,
all simulations are in one vector. Each folder then holds what a run of its own
would leave, except for rounding.
"""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import compress, groupby
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from tqdm import tqdm

from crl_mini import checks
from crl_mini.devices import everywhere
from crl_mini.envs.tasks import GoalTask
from crl_mini.replay import Replay
from crl_mini.rollouts import Episodes
from crl_mini.runs.files import parsed, taken, text
from crl_mini.runs.run import (
    FRESH,
    TESTS,
    Run,
    before_now,
    begin,
    begun,
    check_folder,
    due,
    keep,
    kinds,
    manifest_of,
    not_tested,
    pictured,
    save,
    shares,
    walks,
)
from crl_mini.train import finite, no_longer_finite, show, updates, with_episodes


def groups(runs: Sequence[Run], at_once: int | None = None) -> list[list[Run]]:
    """The runs in groups that differ in their seeds alone, of `at_once` at most.

    None: all on an accelerator, and on a CPU one by one, which is faster there.
    """
    if at_once is None:
        at_once = 1 if jax.default_backend() == "cpu" else max(len(runs), 1)
    checks.at_least("at_once", at_once, 1)
    found = []
    for _, same in groupby(runs, lambda run: replace(run, seed=0, out=Path())):
        same = list(same)
        found += [same[i : i + at_once] for i in range(0, len(same), at_once)]
    return found


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Stacked:
    """Agents or replays of one form: their arrays, with a first axis for the seeds."""

    arrays: list
    form: Any = field(metadata={"static": True})

    @classmethod
    def of(cls, several: Sequence) -> "Stacked":
        """All of them as one."""
        arrays = zip(*map(jax.tree.leaves, several), strict=True)
        return cls([jnp.stack(x) for x in arrays], jax.tree.structure(several[0]))

    def one(self):
        """The one that `vmap` shows."""
        return jax.tree.unflatten(self.form, self.arrays)

    def each(self) -> list:
        """All of them, each by itself: by way of the host, which compiles nothing."""
        keys = jax.dtypes.prng_key
        on_host = [
            x if jnp.issubdtype(x.dtype, keys) else np.asarray(x) for x in self.arrays
        ]
        rows = jax.device_put([*zip(*on_host, strict=True)])
        return [jax.tree.unflatten(self.form, row) for row in rows]


@partial(jax.jit, static_argnames="n")
def updates_at_once(
    agents: Stacked, replays: Sequence[Replay], n: int, *, keys: Array
) -> tuple[Stacked, dict[str, Array]]:
    """`train.updates` of several agents: each has its own replay and its own key."""
    scene = replays[0].scene
    if any(replay.lengths is not None for replay in replays):
        replays = [replay.with_lengths() for replay in replays]
    rows = Stacked.of([replace(replay, scene=None) for replay in replays])

    def of_one(agent, rows, key):
        replay = replace(rows.one(), scene=scene)
        agent, metrics = updates(agent.one(), replay, n, key=key)
        return Stacked(jax.tree.leaves(agent), agents.form), metrics

    return jax.vmap(of_one)(agents, rows, keys)


_finite = jax.jit(jax.vmap(finite))


def policy(agents: Stacked, scene, kind: str) -> Callable:
    """`Run.policy` of several agents: the rows of each follow those of the one before.

    It takes a key for each agent.
    """

    def acts(s, g, keys):
        if scene is not None:
            pictures = scene.draw(np.concatenate([s, g]))
            s, g = pictures[: len(s)], pictures[len(s) :]
        s, g = (x.reshape(len(keys), -1, *x.shape[1:]) for x in (s, g))
        actions = np.asarray(_act(agents, s, g, keys, kind == "mode"))
        return actions.reshape(-1, *actions.shape[2:])

    return acts


@partial(jax.jit, static_argnums=4)
def _act(agents: Stacked, s, g, keys, greedy: bool) -> Array:
    def of_one(agent, s, g, key):
        return agent.one().act(s, g, key=key, greedy=greedy)

    return jax.vmap(of_one)(agents, s, g, keys)


@dataclass(eq=False)
class Going:
    """A run that is trained with others: what it has so far."""

    run: Run
    agent: Any
    replay: Replay
    rows: list[dict]
    seconds: float = field(init=False)
    """That it took before."""
    collected: int = field(init=False)
    """Steps of the environment."""
    outcome: dict | FloatingPointError | None = None
    """Its manifest, or what stopped it."""

    def __post_init__(self):
        self.seconds, self.collected = before_now(self.rows)

    @property
    def step(self) -> int:
        """Updates so far."""
        return int(self.agent.step)

    @property
    def form(self) -> tuple:
        """What must be equal for two runs to be stacked: settings, bounds and sizes."""
        replay = replace(self.replay, scene=None, lengths=None, terminal=None)
        leaves, tree = jax.tree.flatten((self.agent, replay))
        return tree, [(x.shape, x.dtype) for x in leaves]

    def take(self, new: Episodes) -> float:
        """Add episodes to the replay; the share of them that end at their goals."""
        scene = self.run.env.scene
        if scene is not None and self.replay.scene is None:
            new = pictured(new, scene)
        self.replay = with_episodes(self.replay, new)
        self.collected += int(new.lengths.sum())
        return float(new.at_end.mean())


def train_at_once(runs: Sequence[Run]) -> list[dict | FloatingPointError]:
    """Train runs that differ in their seeds alone; the manifest of each.

    Each goes on where its folder says, and finished ones are left alone. Those that are
    behind go first, until they are level. One that is no longer finite is left behind
    with its last good checkpoint, and its outcome is the error. Runs whose agents or
    data differ in form, as by bounds that were fitted to the data, come one after the
    other. Errors: ``ValueError`` for other runs; those of a single run, before anything
    is trained.
    """
    if len(groups(runs, len(runs))) != 1:
        raise ValueError("runs must be alike but for their seeds and folders")
    since, env = time.perf_counter(), runs[0].env
    with ExitStack() as folders:
        for run in runs:
            vars(run)["env"] = env  # made once
            folders.enter_context(taken(run.out))
            check_folder(run, begun(run))
        todo = [run for run in runs if not (run.out / "manifest.json").exists()]
        going = [Going(run, *begin(run, begun(run))) for run in todo]
        _say(going)
        end = runs[0].last_update
        total = sum(end - x.step for x in going)
        with tqdm(total=total, unit="update", disable=not total) as bar:
            while left := [x for x in going if not x.outcome and x.step < end]:
                _train(*_level(left, end), since, bar)
        while left := [x for x in going if not x.outcome]:
            _judge([x for x in left if x.form == left[0].form], len(runs))
    found = {x.run.out: x.outcome for x in going}
    return [found.get(run.out) or parsed(run.out / "manifest.json") for run in runs]


def _say(going: list[Going]) -> None:
    """One line each about what keeps the runs from training as one."""
    steps = ", ".join(f"seed {x.run.seed}: {x.step}" for x in going)
    if len({x.step for x in going}) > 1:
        tqdm.write(f"not level, those behind go first; updates of {steps}", sys.stderr)
    if any(x.form != going[0].form for x in going):
        said = "the seeds' data differ in form (bounds or sizes)"
        tqdm.write(f"{said}: those alike train at once", sys.stderr)


def _level(left: list[Going], end: int) -> tuple[list[Going], int]:
    """The runs that train now, which are alike and furthest behind, and how far."""
    last = min(left, key=lambda x: x.step)
    alike = [x for x in left if x.form == last.form]
    ahead = [x.step for x in alike if x.step > last.step]
    return [x for x in alike if x.step == last.step], min(ahead, default=end)


def _train(group: list[Going], until: int, since: float, bar: tqdm) -> None:
    """Train runs that are level; each folder gets a row and a checkpoint a chunk."""
    run, budget = group[0].run, group[0].run.budget
    agents = everywhere(Stacked.of([x.agent for x in group]))
    while group and (step := group[0].step) < until:
        explored, n = [""] * len(group), min(budget.every, budget.steps)
        if step >= budget.steps:
            n = run.updates_of_round
            explored = _collected(group, agents, (step - budget.steps) // n)
        keys = jnp.stack([x.run.keys[1] for x in group])
        replays = [x.replay for x in group]
        agents, metrics = updates_at_once(agents, replays, n, keys=keys)
        rows = _rows(group, step + n, metrics, explored)
        group, agents, rows = _finite_ones(group, agents, rows)
        tests = [not_tested(run)] * len(group)
        if group and due(run, step + n):
            tests = _tested(group, agents, run.env.judged, [TESTS] * len(group))
        seconds = time.perf_counter() - since
        each = zip(group, agents.each(), rows, tests, strict=True)
        for x, x.agent, row, test in each:
            x.rows.append(row | test | {"seconds": round(x.seconds + seconds, 1)})
            save(x.run, x.agent, x.replay, x.rows)
            show(bar, n, x.rows)


def _rows(group: list[Going], step: int, metrics: dict, explored: list) -> list[dict]:
    """A row of metrics for each run, before its test."""
    rows = []
    for i, (x, share) in enumerate(zip(group, explored, strict=True)):
        row = {"step": step} | {k: float(v[i]) for k, v in metrics.items()}
        rows.append(row | {"collected": x.collected, "explored": share})
    return rows


def _finite_ones(group: list[Going], agents: Stacked, rows: list[dict]) -> tuple:
    """The group, its agents and rows without those that are no longer finite."""
    numbers = ([v for v in row.values() if v != ""] for row in rows)
    good = np.asarray(_finite(agents)) & [np.isfinite(x).all() for x in numbers]
    for i in np.flatnonzero(~good):
        x, step = group[i], group[i].step
        said = no_longer_finite(x.agent, step, rows[i])
        x.outcome = FloatingPointError(f"training of seed {x.run.seed} {said}")
    if not good.all():
        at = np.flatnonzero(good)
        agents = jax.tree.map(lambda x: x[at], agents)
    return [*compress(group, good)], agents, [*compress(rows, good)]


def _collected(group: list[Going], agents: Stacked, k: int) -> list[float]:
    """Round k of collecting; which share of each run's episodes ends at the goals."""
    run, seeds = group[0].run, [x.run.seed_of_round(k) for x in group]
    how = {"length": run.data_length} | run.env.exploring
    new = _episodes(run.env, group, agents, "drawn", run.budget.copies, seeds, **how)
    return [x.take(episodes) for x, episodes in zip(group, new, strict=True)]


def _tested(
    group: list[Going], agents: Stacked, kind: str, seeds: list[int]
) -> list[dict]:
    """Success of each agent in a test."""
    run = group[0].run
    both = [
        [None] * len(group)
        if env is None
        else _episodes(env, group, agents, kind, run.budget.tests, seeds)
        for env in (run.env, run.env.paper)
    ]
    return [*map(shares, *both)]


def _episodes(
    env: GoalTask,
    group: list[Going],
    agents: Stacked,
    kind: str,
    n: int,
    seeds: list[int],
    **how,
) -> list[Episodes]:
    """`n` episodes of each agent with its seed, in one vector where that is allowed."""
    if env.shared:
        acts = policy(agents, env.scene, kind)
        return env.shared_episodes(acts, n, seeds=seeds, **how)
    acts = [x.run.policy(a, kind) for x, a in zip(group, agents.each(), strict=True)]
    each = zip(acts, seeds, strict=True)
    return [env.episodes(act, n, seed=seed, **how) for act, seed in each]


def _judge(group: list[Going], at_once: int) -> None:
    """Give each run its manifest."""
    agents = everywhere(Stacked.of([x.agent for x in group]))
    scores, seeds = [{} for _ in group], [FRESH + x.run.seed for x in group]
    for kind in kinds(group[0].run):
        found = _tested(group, agents, kind, seeds)
        for score, of_kind in zip(scores, found, strict=True):
            score[kind] = of_kind
    for x, score, seed in zip(group, scores, seeds, strict=True):
        for kind, walk in walks(x.run).items():
            score[kind] = x.run.success(walk, seed=seed)
        manifest = manifest_of(x.run, x.replay, x.rows[-1], score)
        x.outcome = manifest | {"seeds_at_once": at_once}
        keep(x.run, "manifest.json", text(x.outcome))
