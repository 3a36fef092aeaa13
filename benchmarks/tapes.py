"""What did an agent from scratch find, and when? Milestones of its own episodes.

Each row is about the episodes that a run on BinPick collected between two tests:

* `near`: share of them in which the hand came within 3 cm of the block;
* `moved`: in which the block moved by more than 5 cm;
* `lifted`: in which it rose above the wall, 6 cm;
* `crossed`: in which it began in the red bin and came to the other side of the wall.

    python benchmarks/tapes.py runs/one runs/other --out results
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from crl_mini import checks
from crl_mini.__main__ import Parser
from crl_mini.envs.tabletop import HAND, OBJECT
from crl_mini.runs.files import record
from crl_mini.runs.run import due, restored, start

NEAR, MOVED, WALL = 0.03, 0.05, 0.06  # metres


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


def main(argv: list[str] | None = None) -> int:
    """The command line; the exit status."""
    parser = Parser(prog="tapes.py", description=__doc__.splitlines()[0])
    about = "folders of finished runs on BinPick, from states"
    parser.add_argument("runs", nargs="+", type=Path, help=about)
    parser.add_argument("--out", type=Path, help="folder for tapes.csv and .json")
    args = parser.parse_args(argv)
    begun = time.perf_counter()
    try:
        folders = tqdm(args.runs, unit="run", leave=False)
        rows = [row for folder in folders for row in rows_of(folder)]
    except (ValueError, OSError) as problem:
        parser.error(str(problem))
    for row in rows:
        print(row)
    if args.out:
        command = " ".join(["python benchmarks/tapes.py", *map(str, args.runs)])
        minutes = round((time.perf_counter() - begun) / 60, 1)
        record(args.out, "tapes", rows, {"command": command, "minutes": minutes})
    return 0


if __name__ == "__main__":
    sys.exit(main())
