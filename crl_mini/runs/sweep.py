"""Several runs by one command: tasks x agents x seeds."""

import json
import shlex
from itertools import product
from pathlib import Path

from crl_mini.runs.run import Run, check_same


def unfinished(tasks, agents, seeds, *, out: Path, **settings) -> list[Run]:
    """The runs of all tasks x agents x seeds that have no manifest yet.

    Each has a folder of its own below `out`; `settings` are the same for all. Errors:
    ``ValueError`` where the finished run in a folder had other settings.
    """
    runs = []
    for task, agent, seed in product(tasks, agents, seeds):
        seen = "" if settings.get("obs", "state") == "state" else "pixels-"
        kind = "-".join([task, seen + Path(settings["data"]).stem, agent, str(seed)])
        folder = out / kind.replace(":", "-").replace("/", "-")
        runs.append(Run(task, agent=agent, seed=seed, out=folder, **settings))
    finished = [run for run in runs if (run.out / "manifest.json").exists()]
    for run in finished:
        check_same(run)
    return [run for run in runs if run not in finished]


def command(run: Run) -> str:
    """The command that does a run, or goes on with it."""
    names = ("task", "agent", "obs", "data", "preset", "seed", "out")
    words = [f"--{name}={getattr(run, name)}" for name in names]
    if run.length:
        words.append(f"--length={run.length}")
    if run.changes:
        words += ["--set", *(f"{k}={json.dumps(v)}" for k, v in run.changes.items())]
    if (run.out / "config.json").exists():
        words.append("--resume")
    return shlex.join(["python", "-m", "crl_mini", "train", *words])
