"""Training loops: jitted chunks of updates; from data, and then from own episodes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from tqdm import tqdm

from crl_mini import checks
from crl_mini.devices import spread
from crl_mini.replay import Replay

History = dict[str, np.ndarray]
FIRST = "compiling"  # what a bar says until its first step is done


@partial(jax.jit, static_argnames="n")
def updates(agent, replay: Replay, n: int, *, key: PRNGKeyArray):
    """`n` updates on fresh batches in one call; metrics are averaged over the call.

    Batches depend on the key and on the agent's step alone: a stopped and resumed
    run gives what one long run gives.
    """
    config = agent.config

    def one(agent, _):
        at = jax.random.fold_in(key, agent.step)
        batch = replay.sample(at, config.batch_size, config.gamma)
        return agent.update(spread(batch))

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

    `watch(agent)` may return more metrics for the row; `log(agent, replay, row)` may
    keep it. Returns the agent and the history: arrays of one length, with ``step``
    among them.
    """
    checks.at_least("every", every, 1)
    checks.at_least("steps", steps, every)
    rows = []
    with tqdm(total=steps, disable=not progress, unit="update", desc=FIRST) as bar:
        for _ in range(steps // every):
            agent, row = chunk(agent, replay, every, key, watch)
            rows.append(row)
            if log:
                log(agent, replay, row)
            show(bar, every, rows)
    return agent, {k: np.array([row[k] for row in rows]) for k in rows[0]}


def train(
    agent,
    replay: Replay,
    steps: int,
    rounds: int,
    *,
    n_updates: int,
    collect: Callable,
    key: PRNGKeyArray,
    every: int = 100,
    watch: Callable | None = None,
    log: Callable | None = None,
) -> tuple[Any, Replay]:
    """Learn offline for `steps` updates, then online for `rounds` of collecting.

    In round k the agent acts, `collect(agent, k)` gives its `Episodes`, the replay
    takes them in, and `n_updates` follow on all episodes in store. What the agent's
    step says was done before is not done again. `watch` and `log` are as in
    `train_offline`; a round's row also holds ``explored``, the share of its episodes
    that end at their goals. Returns the agent and the replay.
    """
    if left := max(steps - int(agent.step), 0):
        loop = {"every": min(every, steps), "watch": watch, "log": log}
        agent, _ = train_offline(agent, replay, left, key=key, **loop)
    rows, first = [], (int(agent.step) - steps) // n_updates
    look = {"initial": first, "disable": not rounds, "unit": "round", "desc": FIRST}
    with tqdm(total=rounds, **look) as bar:
        for k in range(first, rounds):
            new = collect(agent, k)
            replay = with_episodes(replay, new)
            agent, row = chunk(agent, replay, n_updates, key, watch)
            rows.append(row | {"explored": float(new.at_end.mean())})
            if log:
                log(agent, replay, rows[-1])
            show(bar, 1, rows)
    return agent, replay


def with_episodes(replay: Replay, new) -> Replay:
    """The replay with new `Episodes`; it takes over the memory of the old one."""
    ends = {"lengths": new.lengths, "terminal": new.terminal}
    return replay.add(new.observations, new.actions, new.achieved, **ends)


def chunk(agent, replay: Replay, n: int, key: PRNGKeyArray, watch: Callable | None):
    """The agent after `n` updates, and a row of their metrics.

    Errors: ``FloatingPointError`` if a metric or a network is no longer finite.
    """
    before = int(agent.step)
    agent, metrics = updates(agent, replay, n, key=key)
    row = {"step": int(agent.step)} | {k: float(v) for k, v in metrics.items()}
    if not (finite(agent) and np.isfinite(list(row.values())).all()):
        raise FloatingPointError(f"training {no_longer_finite(agent, before, row)}")
    return agent, row | (watch(agent) if watch else {})


def no_longer_finite(agent, before: int, row: dict) -> str:
    """What happened after the update `before`, and what may help."""
    return (
        f"is no longer finite: after update {row['step']} the loss is "
        f"{row['loss']:.4g}; the agent after update {before} is the last good one; "
        f"try a learning_rate below {agent.config.learning_rate:g}, or layer_norm"
    )


@jax.jit
def finite(agent):
    """Whether all numbers of an agent are finite."""
    leaves = [
        x for x in jax.tree.leaves(agent) if jnp.issubdtype(x.dtype, jnp.floating)
    ]
    return jnp.stack([jnp.isfinite(x).all() for x in leaves]).all()


def show(bar: tqdm, n: int, rows: list[dict]) -> None:
    """Advance the bar by `n`; beside it are the latest loss and success."""
    names = ("loss", "ever", "at_end")
    last = {k: row[k] for row in rows for k in names if row.get(k, "") != ""}
    bar.set_description_str(refresh=False)
    bar.set_postfix({k: f"{float(v):.4g}" for k, v in last.items()}, refresh=False)
    bar.update(n)
