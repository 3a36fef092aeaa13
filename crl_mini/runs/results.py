"""Recorded results of the longer runs: CSV curves, and their manifests."""

import contextlib
import csv
import json
from pathlib import Path

import numpy as np
from jaxtyping import Float

from crl_mini.agents import AGENTS
from crl_mini.measure.statistics import iqm, iqm_interval

# In a checkout the folder `results`; in an installed package a copy of it.
FOLDERS = (
    Path(__file__).parents[1] / "_results",
    Path(__file__).parents[2] / "results",
)

Row = dict[str, str | int | float]


def folder() -> Path:
    """Folder of the recorded results. Errors: ``FileNotFoundError`` without one."""
    for path in FOLDERS:
        if path.is_dir():
            return path
    raise FileNotFoundError(f"no recorded results in {' or '.join(map(str, FOLDERS))}")


def rows(path: Path) -> list[Row]:
    """Rows of a CSV file, numbers as numbers, empty fields left out."""
    lines = csv.DictReader(path.read_text().splitlines())
    return [{k: _number(v) for k, v in row.items() if v != ""} for row in lines]


def _number(text: str) -> str | int | float:
    for kind in (int, float):
        with contextlib.suppress(TypeError, ValueError):  # TypeError: a short row
            return kind(text)
    return text


def read(name: str) -> tuple[list[Row], dict]:
    """Rows and manifest of a recorded study."""
    path = folder() / name
    manifest = json.loads(path.with_suffix(".json").read_text())
    return rows(path.with_suffix(".csv")), manifest


def runs(pattern: str = "*") -> list[dict]:
    """Manifests of recorded runs whose folder matches, in the order of their names.

    Each holds the rows of its metrics as ``curve`` and its configuration as ``config``.
    """
    manifests = []
    for path in sorted(folder().glob(f"{pattern}/manifest.json")):
        curve = rows(path.with_name("metrics.csv"))
        config = json.loads(path.with_name("config.json").read_text())
        manifest = json.loads(path.read_text())
        manifests.append(manifest | {"curve": curve, "config": config})
    return manifests


def trainings(pattern: str) -> dict[str, dict]:
    """Recorded trainings whose folder matches, stopped ones included, by folder name.

    Each holds its configuration, as ``config`` too, the rows of its metrics as
    ``curve``, the steps that it ``collected``, and its manifest, if any, as ``end``.
    """
    found = {}
    for path in sorted(folder().glob(f"{pattern}/metrics.csv")):
        config = json.loads(path.with_name("config.json").read_text())
        curve = rows(path)
        collected = max(row.get("collected", 0) for row in curve)
        more = {"config": config, "curve": curve, "collected": collected}
        if (end := path.with_name("manifest.json")).exists():
            more["end"] = json.loads(end.read_text())
        found[path.parent.name] = config | more
    return found


def told(run: dict) -> bool:
    """Does the agent of a training know which goals count as reached?"""
    kind = AGENTS[run["agent"]]
    told = kind.needs_success and run["config"]["settings"].get("told", True)
    return told and run.get("obs") != "pixels"


def called(run: dict) -> str:
    """The agent of a run as people call it."""
    name = AGENTS[run["agent"]].called or run["agent"]
    with_nce = run.get("config", {}).get("settings", {}).get("nce", False)
    return name + " with NCE" * with_nce


def measure(run: dict) -> str:
    """Name of the measure of success, ``at_end`` or ``ever``: `GoalTask.counts`.

    Older runs do not say it: where their mode was judged, the goal had to be held.
    """
    return run.get("counts") or ("at_end" if run.get("judged") == "mode" else "ever")


def data(run: dict) -> str:
    """The data of a run in words, with their amount."""
    given, own = run.get("data_episodes"), run.get("collected", 0)
    if run["data"] == "own":
        return f"own, {own:,} steps"
    words = Path(run["data"]).stem + (f", {given:,} episodes" if given else "")
    return f"{words}; own, {own:,} steps" if own else words


#: Question -> function that says whether a run is about it.
QUESTIONS = {
    "From play": lambda run: run["data"] == "play" and not run.get("collected"),
    "From random walks and other data": lambda run: (
        run["data"] not in ("play", "own") and not run.get("collected")
    ),
    "From data, then from own episodes": lambda run: (
        run["data"] != "own" and bool(run.get("collected"))
    ),
    "From own episodes only": lambda run: run["data"] == "own",
}


def grouped(runs: list[dict], *names: str) -> dict[tuple, list[dict]]:
    """Runs by the values of the names: ``task``, ``data``, ``agent``, ``device``."""
    groups = {}
    for run in runs:
        task = run["task"].rpartition(":")[2].removesuffix("-v0")  # without its module
        task += ", pixels" if run.get("obs") == "pixels" else ""
        known = run | {"data": data(run), "task": task}
        groups.setdefault(tuple(known[name] for name in names), []).append(run)
    return groups


def scores(runs: list[dict]) -> Float[np.ndarray, "R 1"]:
    """Success of each run, by the `measure` of its task."""
    return np.array([[run[measure(run)]] for run in runs], float)


def late(run: dict, name: str) -> tuple[float, float, float]:
    """Mean, lowest and highest of ``ever``, ``at_end`` or ``paper`` in the last tests.

    The last six tests of a run swing less than its last one.
    """
    tests = [row[name] for row in run["curve"] if name in row][-6:]
    return float(np.mean(tests)), min(tests), max(tests)


def steps_to(run: dict, level: float) -> float:
    """Steps that the agent had collected at the first evaluation with this success.

    It is 0 if data alone were enough, and NaN if success never reached `level`.
    """
    enough = (row for row in run["curve"] if row.get(measure(run), -1) >= level)
    return float(next((row.get("collected", 0) for row in enough), np.nan))


def markdown(runs: list[dict]) -> str:
    """The `summary` and, below it, the `details`."""
    return f"{summary(runs)}\n\n{details(runs)}"


def summary(runs: list[dict]) -> str:
    """One row a task and data, one column an agent: see `middle`."""
    agents = {agent: mine for (agent,), mine in grouped(runs, "agent").items()}
    agents = {agent: called(agents[agent][0]) for agent in AGENTS if agent in agents}
    rows = []
    for kind, mine in grouped(runs, "task", "data").items():
        of = grouped(mine, "agent")
        cells = [middle(of[agent,]) if (agent,) in of else "" for agent in agents]
        seeds = " or ".join(str(n) for n in sorted(set(map(len, of.values()))))
        rows.append([*kind, seeds, *cells, cost(mine)])
    header = ["task", "data", "seeds", *agents.values(), "cost of a run"]
    return markdown_table(header, rows)


def details(runs: list[dict]) -> str:
    """One row a task, data and agent: each seed with its 95 % interval, and cost."""
    header = ["task", "data", "agent", "success", "each seed, % (95 % interval)"]
    header += ["IQM (lowest to highest)", "minutes"]
    rows = []
    for kind, mine in grouped(runs, "task", "data", "agent").items():
        name = measure(mine[0])
        seeds = []
        for run in mine:
            low, high = (100 * end for end in run[f"{name}_interval"])
            seeds.append(f"{100 * run[name]:.1f} ({low:.0f}\N{EN DASH}{high:.0f})")
        success = {"ever": "ever, sampled", "at_end": "at end, mode"}[name]
        kind = *kind[:2], called(mine[0])
        rows.append([*kind, success, ", ".join(seeds), middle(mine), minutes(mine)])
    return markdown_table(header, rows)


def overall(runs: list[dict]) -> str:
    """One row a data and agent, over several tasks: the IQM with its 95 % interval.

    It leaves out tasks with fewer seeds than others, and rows with one task or one
    seed only.
    """
    rows = []
    for kind, mine in grouped(runs, "data", "agent").items():
        tasks = {task: scores(some) for (task,), some in grouped(mine, "task").items()}
        seeds = max(map(len, tasks.values()))
        tasks = {task: x for task, x in tasks.items() if len(x) == seeds}
        if len(tasks) > 1 and seeds > 1:
            every = np.hstack(list(tasks.values()))
            interval = share(iqm(every), *iqm_interval(every))
            who = called(mine[0])
            rows.append([kind[0], who, ", ".join(tasks), str(seeds), interval])
    header = ["data", "agent", "tasks", "seeds", "IQM (95 % interval)"]
    return markdown_table(header, rows)


def ledger(runs: list[dict]) -> str:
    """One row a device: runs, minutes of training, evaluations included, and memory.

    Seeds that were trained at once took their minutes together: each counts its share.
    Memory is the largest peak on a GPU, in GiB, where it was noted.
    """
    rows = []
    for (device,), mine in grouped(runs, "device").items():
        spent = [run["minutes"] / run.get("seeds_at_once", 1) for run in mine]
        each = f"{minutes(mine)}, median {np.median([r['minutes'] for r in mine]):.1f}"
        peaks = [run["memory_gib"] for run in mine if "memory_gib" in run]
        memory = f"{max(peaks):.1f} GiB" if peaks else "not noted"
        rows.append([device, f"{len(mine)}", each, f"{sum(spent):,.0f}", memory])
    head = ["device", "runs", "minutes of a run", "minutes in all", "memory, at most"]
    return markdown_table(head, rows)


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def middle(runs: list[dict]) -> str:
    """The interquartile mean of runs of one kind, with the lowest and the highest."""
    every = scores(runs)
    if len(every) == 1:
        return f"{every[0, 0]:.1%}"
    return share(iqm(every), every.min(), every.max())


def share(value: float, low: float, high: float) -> str:
    """A share in percent, with the ends of its interval in brackets."""
    return f"{value:.1%} ({100 * low:.1f} to {100 * high:.1f})"


def minutes(runs: list[dict]) -> str:
    """Minutes of the shortest and of the longest run."""
    each = [run["minutes"] for run in runs]
    return " to ".join(dict.fromkeys(f"{end:.1f}" for end in (min(each), max(each))))


def cost(runs: list[dict]) -> str:
    """The `minutes` and the devices of runs."""
    devices = dict.fromkeys(run["device"] for run in runs)
    return f"{minutes(runs)} min on {', '.join(devices)}"
