"""Training loops: jitted chunks of updates, a progress bar, a history of metrics."""

from functools import partial

import jax
import numpy as np
from jaxtyping import PRNGKeyArray
from tqdm import tqdm

from crl_mini import checks
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
    watch=None,
    progress: bool = True,
) -> tuple[object, History]:
    """Train on a fixed replay, with a row of metrics every `every` steps.

    `watch(agent)` may return more metrics for the row. Returns the agent and the
    history: arrays of one length, with ``step`` among them.
    """
    checks.at_least("every", every, 1)
    checks.at_least("steps", steps, every)
    rows = []
    with tqdm(total=steps, disable=not progress, unit="step") as bar:
        for done in range(every, steps + 1, every):
            agent, metrics = updates(agent, replay, every, key=key)
            metrics = {k: float(v) for k, v in metrics.items()}
            metrics |= watch(agent) if watch else {}
            rows.append({"step": done, **metrics})
            bar.update(every)
            bar.set_postfix(loss=f"{metrics['loss']:.4f}")
    return agent, {k: np.array([row[k] for row in rows]) for k in rows[0]}
