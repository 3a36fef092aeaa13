"""Which part makes the difference? One part of finished runs from states is swapped.

Each row is a new agent on the data of a run; its step size falls to 0. In rows of kind

* ``actor`` the critic is that of the run and stays as it is: an untrained actor climbs
  it, with a share `bc` of cloning;
* ``agent`` all is new: another agent learns from the steps that the run collected, with
  its settings for own data.

`ever`, `at_end` and `paper` are success by the mode, see `run.shares`. Of the critic,
at states and goals of other rows: `size`, the mean of abs(f) at the actor's actions;
`spread`, the mean over states of the standard deviation of f over uniform actions;
`ratio of data` and `ratio of actor`, the mean of exp(f) at the actions of either. For
one policy an exact density ratio has mean 1 over goals; a policy for each goal may have
more. The critics of InfoNCE are ratios up to a factor.

    python benchmarks/swaps.py runs/one runs/other --bc 0.1 0.5 --out results
"""

import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
from tqdm import tqdm

from crl_mini import checks
from crl_mini.__main__ import Parser
from crl_mini.agents import AGENTS
from crl_mini.agents.crl import CRL, actor_loss
from crl_mini.critic import paired
from crl_mini.runs.files import record
from crl_mini.runs.run import Run, restored, start
from crl_mini.train import train_offline

ROWS, TRIED, SEED = 10_000, 16, 40_000


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Climber(CRL):
    """Agent whose critic stays as it is."""

    @jax.jit
    def update(self, batch):
        """One gradient step of the actor."""
        key, config = jax.random.fold_in(self.key, self.step), self.config
        s, g = self.critic.see(batch.s, batch.g)
        given = batch, batch._replace(s=s, g=g), self.critic.psi(g), config

        def loss_of(actor):
            return actor_loss(actor, self.critic, *given, key=key)

        grads, metrics = jax.grad(loss_of, has_aux=True)(self.actor)
        actor, optimizer = config.descend(self.actor, grads, self.optimizer)
        step = self.step + 1
        return replace(self, actor=actor, optimizer=optimizer, step=step), metrics


def climber(run: Run, critic, updates: int, bc: float) -> Climber:
    """An untrained actor for a critic."""
    fresh, config = run.fresh(), replace(run.config, bc=bc, decay_steps=updates)
    optimizer = config.adam().init(fresh.actor)
    return Climber(config, critic, fresh.actor, optimizer, fresh.key, fresh.step)


def learner(run: Run, updates: int, agent: str):
    """An untrained agent with its settings for own data."""
    changes = {"decay_steps": updates}
    changes |= {"nce": True} if agent == "c_learning" else {}
    return replace(run, agent=agent, data="own", changes=changes).fresh()


def of_critic(agent, replay) -> dict[str, float]:
    """Size and spread of f, and the mean of exp(f)."""
    batch = replay.sample(jax.random.key(SEED), ROWS, agent.config.gamma)
    s, g = batch.s, jnp.roll(batch.g, 1, axis=0)
    own = agent.act(s, g, key=jax.random.key(SEED))
    some = jax.random.uniform(jax.random.key(SEED), (TRIED, *own.shape), minval=-1)
    *f, of_data, of_actor = (
        agent.critic(s, a, g, pairs=paired) for a in (*some, batch.a, own)
    )
    found = {
        "size": jnp.abs(of_actor).mean(),
        "spread": jnp.std(jnp.stack(f), 0).mean(),
    }
    found |= {"ratio of data": jnp.exp(of_data).mean()}
    found |= {"ratio of actor": jnp.exp(of_actor).mean()}
    return {name: float(x) for name, x in found.items()}


def rows_of(folder: Path, args: Namespace) -> Iterator[dict]:
    """A row for each new actor on the run's critic, then for each new agent."""
    run, agent = restored(folder)
    checks.one_of("obs", run.obs, ("state",))
    replay, n = start(run, resume=True)[2], args.updates or run.last_update
    about = {"task": run.env.name, "data": run.data, "seed": run.seed}
    about |= {"of": run.agent, "bc of run": getattr(run.config, "bc", ""), "updates": n}
    new = {("actor", "", bc): climber(run, agent.critic, n, bc) for bc in args.bc}
    new |= {("agent", name, ""): learner(run, n, name) for name in args.agents}
    for (kind, name, bc), one in new.items():
        how = {"key": run.keys[1], "every": n, "progress": False}
        one, _ = train_offline(one, replay, n, **how)
        row = about | {"kind": kind, "agent": name, "bc": bc}
        row |= run.success(run.policy(one, "mode"), seed=SEED)
        nothing = dict.fromkeys(
            ("size", "spread", "ratio of data", "ratio of actor"), ""
        )
        yield row | (of_critic(one, replay) if hasattr(one, "critic") else nothing)


def main(argv: list[str] | None = None) -> int:
    """The command line; the exit status."""
    parser = Parser(prog="swaps.py", description=__doc__.splitlines()[0])
    parser.add_argument(
        "runs", nargs="+", type=Path, help="folders of runs from states"
    )
    many = {"nargs": "+", "default": []}
    parser.add_argument("--bc", type=float, **many, help="cloning of new actors")
    parser.add_argument("--agents", **many, help="new agents")
    about = "as many as the run made, unless said"
    parser.add_argument("--updates", type=int, default=0, help=about)
    parser.add_argument("--out", type=Path, help="folder for swaps.csv and .json")
    args = parser.parse_args(argv)
    begun, rows = time.perf_counter(), []
    try:
        checks.at_least("--updates", args.updates, 0)
        for bc in args.bc:
            checks.share("--bc", bc)
        for name in args.agents:
            checks.one_of("--agents", name, AGENTS)
        for folder in tqdm(args.runs, unit="run", leave=False):
            for row in rows_of(folder, args):
                rows.append(row)
                tqdm.write(str(row))
    except (ValueError, OSError) as problem:
        parser.error(str(problem))
    if args.out:
        minutes = round((time.perf_counter() - begun) / 60, 1)
        known = {
            "command": " ".join(["python benchmarks/swaps.py", *(argv or sys.argv[1:])])
        }
        record(args.out, "swaps", rows, known | {"minutes": minutes})
    return 0


if __name__ == "__main__":
    sys.exit(main())
