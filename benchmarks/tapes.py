"""What did an agent from scratch find, and when? Does its actor climb its critic?

tapes.csv: each row is about the episodes that a run on BinPick collected between two
tests:

* `near`: share of them in which the hand came within 3 cm of the block;
* `moved`: in which the block moved by more than 5 cm;
* `lifted`: in which it rose above the wall, 6 cm;
* `crossed`: in which it began in the red bin and came to the other side of the wall.

climbs.csv, for a contrastive critic: how often it likes the best of 16 uniform actions
more than its actor's mode, `better`, in states of the tape, for three kinds of goals.

stands.csv: 200 goals of the task for each way of acting with what a run has learned.
`held` is the share that ends well, `ever` that which is well at any step; of all 200,

* `stands`: does not, and the hand stood still for the last 20 steps;
* `high`: does not, and the block ends above the table, in the hand or on the wall;
* `both`: the two of them;
* `close`: does not, and the block ends within 8 cm of its goal, where 5 cm count.

aims.csv: the actor's mode in 200 episodes of practice, and in 200 others as it is and
`corrected` after the practice, closer to the goal than `near`, in metres. `off` is the
median distance of the block from its goal at the end, in metres.

ends.csv, of the practice: where the goal has the block and where the block ends, on the
table, in metres. Of runs on Reach there is this table only, after 200 episodes of the
task: where the goal has the hand and where the hand ends, in space.

    python benchmarks/tapes.py runs/one runs/other --out results
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from parts import PARTS
from tqdm import tqdm

from crl_mini import checks
from crl_mini.__main__ import Parser
from crl_mini.actor import Actor
from crl_mini.agents import AGENTS
from crl_mini.agents.td3_her import QNetworks
from crl_mini.critic import paired
from crl_mini.envs.tabletop import HAND, OBJECT, REST
from crl_mini.measure import planning
from crl_mini.measure.planning import best_of, joined, planner, uniform
from crl_mini.measure.statistics import wilson
from crl_mini.runs.files import record
from crl_mini.runs.run import Run, due, restored, start

NEAR, MOVED, WALL = 0.03, 0.05, 0.06  # metres
ROWS, SEED = 4000, 40_000
PROPOSALS = 16  # actions among which the critic chooses
GOALS, NOISE, MANY = 200, 0.3, 64  # of a way of acting
STILL, LAST = 0.002, 20  # metres in a step, steps
CLOSE = 0.08  # metres
AIMS, PRACTICE, FRESH = (0.08, 0.1, 0.12), 60_000, 80_000  # metres; seeds of goals
KEY = jax.random.key(SEED)


def milestones(states: Float[np.ndarray, "N T1 7"]) -> dict[str, np.ndarray]:
    """Which of N episodes passed which milestone, each (N,)."""
    hand, block = states[..., HAND], states[..., OBJECT]
    away = np.linalg.norm(block - block[:, :1], axis=-1)
    side = block[..., 0]  # the wall stands at 0
    return {
        "near": (np.linalg.norm(hand - block, axis=-1) < NEAR).any(1),
        "moved": (away > MOVED).any(1),
        "lifted": (block[..., 2] > WALL).any(1),
        "crossed": (side[:, 0] < 0) & (side > 0).any(1),
    }


def rows_of(folder: Path) -> Iterator[dict]:
    """A row for all rounds from one test to the next."""
    run, _ = restored(folder)
    checks.one_of("task", run.env.name, ("BinPick",))
    checks.one_of("obs", run.obs, ("state",))
    checks.at_least("collect", run.budget.collect, 1)
    replay = start(run, resume=True)[2]
    n, copies = int(replay.added), run.budget.copies
    checks.less("episodes", n, len(replay.observations) + 1)
    own = np.asarray(replay.observations[n - run.rounds * copies : n])
    passed = milestones(own)
    about = {"task": run.env.name, "agent": run.agent, "seed": run.seed}
    about |= {"told": getattr(run.config, "told", ""), "length": own.shape[1] - 1}
    first = 0
    for k in range(run.rounds):
        if due(run, run.budget.steps + (k + 1) * run.updates_of_round):
            last = (k + 1) * copies
            shares = {k: float(x[first:last].mean()) for k, x in passed.items()}
            yield about | {"collected": last * (own.shape[1] - 1)} | shares
            first = last


def climbs_of(run: Run, agent) -> Iterator[dict]:
    """A row for each kind of goals; none for an agent without a contrastive critic."""
    critic = getattr(agent, "critic", None)
    if not hasattr(critic, "psi"):
        return
    batch = start(run, resume=True)[2].sample(KEY, ROWS, agent.config.gamma)
    with closing(run.env.make(ROWS)) as env:
        task = env.reset(seed=SEED)[0]["desired_goal"]
    goals = {
        "futures": batch.g,
        "futures of other rows": jnp.roll(batch.g, 1, axis=0),
        "the task's": jnp.float32(task),
    }
    propose = uniform(batch.a.shape[-1], PROPOSALS)
    about = {"task": run.env.name, "agent": run.agent, "seed": run.seed}
    for name, g in goals.items():
        mode = agent.act(batch.s, g, key=KEY, greedy=True)
        best = best_of(critic, batch.s, g, propose(batch.s, g, KEY))
        f = [critic(batch.s, a, g, pairs=paired) for a in (best, mode)]
        yield about | {"goals": name, "better": float((f[0] > f[1]).mean())}


def stands(states: Float[np.ndarray, "N T1 7"]) -> np.ndarray:
    """In which of N episodes did the hand stand still at the end? (N,)."""
    steps = np.diff(states[:, -LAST - 1 :, HAND], axis=1)
    return (np.linalg.norm(steps, axis=-1) < STILL).all(1)


@dataclass(frozen=True)
class ByValue:
    """TD3's two Q-functions, asked as `best_of` asks a critic: the smaller value."""

    q: QNetworks
    psi = staticmethod(lambda g: g)
    phi = staticmethod(lambda s, a: (s, a))

    @property
    def see(self) -> Callable:
        """As the Q-functions see states and goals."""
        return self.q.see

    def logits(self, phi, psi, *, pairs: Callable) -> Float[jax.Array, " B"]:
        """The smaller value of pairs of features; nothing but `paired` is asked."""
        return self.q.values(*phi, psi).min(0)


def alone(agent, noise: float = 0.0):
    """The agent that acts by its actor alone: drawn, or its mode with noise."""
    settings = {"exploration": noise}
    if hasattr(agent.config, "proposals"):
        settings |= {"proposals": 0, "proposal_steps": 0}
    return replace(agent, config=replace(agent.config, **settings))


def stands_of(run: Run, agent) -> Iterator[dict]:
    """A row for each way of acting; drawn and greedy ones where there are any."""
    plain, shaken = alone(agent), alone(agent, NOISE)

    def own(s, g, key):
        return plain.act(s, g, key=key)[:, None]

    ways = {
        "mode": run.policy(plain, "mode"),
        f"mode, noise {NOISE}": run.policy(shaken, "drawn"),
    }
    first = "the mode"
    if isinstance(agent.actor, Actor):  # the actor of TD3 has nothing to draw from
        first, ways["drawn"] = "a drawn", run.policy(plain, "drawn")
    if critic := getattr(agent, "critic", None):
        critic = ByValue(critic) if isinstance(critic, QNetworks) else critic
        ways[f"best of {MANY} uniform"] = planner(critic, uniform(4, MANY))
        both = joined(own, uniform(4, PROPOSALS - 1))
        ways[f"best of {first} and {PROPOSALS - 1} uniform"] = planner(critic, both)
    about = {"task": run.env.name, "agent": run.agent, "seed": run.seed}
    for name, policy in ways.items():
        seen = run.env.episodes(policy, GOALS, seed=SEED)
        failed, states = ~seen.at_end, np.asarray(seen.observations)
        end, goals = (x[..., OBJECT] for x in (states[:, -1], np.asarray(seen.goals)))
        still, high = stands(states), end[:, 2] > 2 * REST
        low, top = wilson(int(seen.at_end.sum()), GOALS)
        held = {"held": float(seen.at_end.mean()), "low": low, "top": top}
        held["ever"] = float(seen.success.any(1).mean())
        kinds = {"stands": still, "high": high, "both": still & high}
        kinds["close"] = np.linalg.norm(end - goals, axis=-1) < CLOSE
        shares = {k: float((failed & x).mean()) for k, x in kinds.items()}
        yield about | {"acts": name} | held | shares


def aims_of(run: Run, agent) -> tuple[list[dict], list[dict]]:
    """Rows for each way of aiming, and for each goal of the practice."""
    mode, about = (
        run.policy(alone(agent), "mode"),
        {"agent": run.agent, "seed": run.seed},
    )
    practice = run.env.episodes(mode, GOALS, seed=PRACTICE)
    ends, goals = (
        np.asarray(x) for x in (practice.observations[:, -1], practice.goals)
    )
    places = np.concatenate([x[:, OBJECT][:, :2] for x in (goals, ends)], 1)
    names = "goal_x", "goal_y", "end_x", "end_y"
    table = [
        about | dict(zip(names, place, strict=True))
        for place in places.astype(float).round(4).tolist()
    ]
    ways = {("practice", 0.0): practice}
    hits = np.linalg.norm(ends - goals, axis=1) < planning.WITHIN
    for near in (0.0, *AIMS) if hits.sum() > goals.shape[1] else ():
        aimed = planning.corrected(mode, goals, ends, near=near)
        seen = run.env.episodes(aimed, GOALS, seed=FRESH)
        ways["corrected" if near else "as it is", near] = seen
    rows = []
    for (way, near), seen in ways.items():
        low, high = wilson(int(seen.at_end.sum()), GOALS)
        miss = np.asarray(seen.observations)[:, -1, OBJECT]
        miss = np.linalg.norm(miss - np.asarray(seen.goals)[:, OBJECT], axis=-1)
        row = {"aims": way, "near": near, "held": float(seen.at_end.mean())}
        row |= {"low": low, "top": high, "ever": float(seen.ever.mean())}
        rows.append(about | row | {"off": float(np.median(miss))})
    return rows, table


def hands_of(run: Run, agent) -> list[dict]:
    """A row for each goal of Reach: the hand in it, and at the end, by the mode."""
    checks.one_of("task", run.env.name, ("Reach",))
    seen = run.env.episodes(run.policy(alone(agent), "mode"), GOALS, seed=SEED)
    about = {"agent": run.agent, "loss": getattr(agent.config, "loss", "")}
    about |= {"seed": run.seed, "updates": int(agent.step)}
    names = [f"{kind}_{axis}" for kind in ("goal", "end") for axis in "xyz"]
    where = (..., HAND) if run.obs == "state" else (..., 0, slice(3))  # poses of bodies
    hands = [np.asarray(x)[where] for x in (seen.goals, seen.observations[:, -1])]
    places = np.concatenate(hands, 1).astype(float).round(4)
    held = seen.at_end.tolist()
    return [
        about | {"held": int(h)} | dict(zip(names, place, strict=True))
        for h, place in zip(held, places.tolist(), strict=True)
    ]


def tables_of(folders: list[Path]) -> dict[str, list[dict]]:
    """The rows of each table."""
    agents = [restored(folder) for folder in folders]
    for run, _ in agents:
        checks.one_of("task", run.env.name, ("BinPick", "Reach"))
    if any(run.env.name == "Reach" for run, _ in agents):
        return {"ends": [row for run, agent in agents for row in hands_of(run, agent)]}
    tables = {name: [] for name in ("tapes", "climbs", "stands", "aims", "ends")}
    bar = tqdm(folders, unit="run", leave=False)
    for folder, (run, agent) in zip(bar, agents, strict=True):
        tables["tapes"] += rows_of(folder)
        tables["climbs"] += climbs_of(run, alone(agent))
        tables["stands"] += stands_of(run, agent)
        aims, ends = aims_of(run, agent)
        tables["aims"] += aims
        tables["ends"] += ends
    return tables


def main(argv: list[str] | None = None) -> int:
    """The command line; the exit status."""
    parser = Parser(prog="tapes.py", description=__doc__.splitlines()[0])
    about = "folders of finished runs on BinPick from states, or on Reach"
    parser.add_argument("runs", nargs="+", type=Path, help=about)
    parser.add_argument("--out", type=Path, help="folder for the tables")
    args = parser.parse_args(argv)
    begun = time.perf_counter()
    try:
        tables = tables_of(args.runs)
    except (ValueError, OSError) as problem:
        parser.error(str(problem))
    for name in ("tapes", "climbs", "stands"):
        for row in tables.get(name, ()):
            print(row)
    if args.out:
        command = " ".join(["python benchmarks/tapes.py", *map(str, args.runs)])
        minutes = round((time.perf_counter() - begun) / 60, 1)
        told = {"command": command, "minutes": minutes}
        for name, mine in tables.items():
            record(args.out, name, mine, told)
    return 0


if __name__ == "__main__":
    AGENTS |= PARTS
    sys.exit(main())
