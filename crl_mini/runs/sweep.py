"""Several runs by one command: tasks x agents x seeds, or the seeds of one training."""

import json
import shlex
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from crl_mini.runs.run import Run, begun, check_folder, check_same


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
    return left(runs)


def left(runs: Sequence[Run]) -> list[Run]:
    """Those without a manifest. Errors: as `unfinished`."""
    finished = [run for run in runs if (run.out / "manifest.json").exists()]
    for run in finished:
        check_same(run)
    return [run for run in runs if run not in finished]


def of_seeds(seeds, *, out: Path, resume: bool, **settings) -> list[Run]:
    """The runs of one training's seeds that have no manifest yet, in out/SEED.

    Errors: as for a single run, before anything is made.
    """
    runs = [Run(seed=seed, out=out / str(seed), **settings) for seed in seeds]
    for run in runs:
        check_folder(run, resume and begun(run))
    if resume and not any(map(begun, runs)):
        raise ValueError(f"--resume needs runs of these seeds in {out}; found none")
    return left(runs)


def command(*runs: Run) -> str:
    """The command that makes or resumes a run, or several seeds at once."""
    run, several = runs[0], len(runs) > 1
    names = ("task", "agent", "obs", "data", "preset", "seed", "out")
    values = {name: getattr(run, name) for name in names}
    if several:
        del values["seed"]
        seeds = ",".join(str(run.seed) for run in runs)
        values |= {"out": run.out.parent, "seeds": seeds, "at-once": len(runs)}
    words = [f"--{name}={value}" for name, value in values.items()]
    if run.length:
        words.append(f"--length={run.length}")
    if run.changes:
        words += ["--set", *(f"{k}={json.dumps(v)}" for k, v in run.changes.items())]
    if begun(run) and not several:  # a sweep goes on by itself
        words.append("--resume")
    kind = "sweep" if several else "train"
    return shlex.join(["python", "-m", "crl_mini", kind, *words])
