"""Recorded results of the longer runs: CSV curves and the manifests beside them."""

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
    """Where the recorded results are."""
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
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def read(name: str) -> tuple[list[Row], dict]:
    """Rows and manifest of a recorded study."""
    path = folder() / name
    manifest = json.loads(path.with_suffix(".json").read_text())
    return rows(path.with_suffix(".csv")), manifest


def runs(pattern: str = "*") -> list[dict]:
    """Manifests of recorded runs whose folder matches, in the order of their names.

    Each with its rows as ``curve`` and what it was told as ``config``.
    """
    found = []
    for path in sorted(folder().glob(f"{pattern}/manifest.json")):
        curve, config = (path.with_name(n) for n in ("metrics.csv", "config.json"))
        more = {"curve": rows(curve), "config": json.loads(config.read_text())}
        found.append(json.loads(path.read_text()) | more)
    return found


def measure(run: dict) -> str:
    """What counts as success: ``at_end``, or ``ever`` in mazes and elsewhere.

    See `train.Run.judged`: where the mode is judged, the goal has to be held.
    """
    return "at_end" if run.get("judged") == "mode" else "ever"


def data(run: dict) -> str:
    """What a run learned from, and how much of it."""
    given, own = run.get("data_episodes"), run.get("collected", 0)
    parts = []
    if run["data"] != "own":
        parts.append(
            Path(run["data"]).stem + (f", {given:,} episodes" if given else "")
        )
    if own or not parts:
        parts.append(f"own, {own:,} steps")
    return "; ".join(parts)


#: Question -> is a run about it?
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


def grouped(found: list[dict], *names: str) -> dict[tuple, list[dict]]:
    """Runs that share what is named: ``task``, ``data``, ``agent``, ``device``."""
    groups = {}
    for run in found:
        task = run["task"].rpartition(":")[2].removesuffix("-v0")  # without its module
        task += ", pixels" if run.get("obs") == "pixels" else ""
        known = run | {"data": data(run), "task": task}
        groups.setdefault(tuple(known[name] for name in names), []).append(run)
    return groups


def scores(found: list[dict]) -> Float[np.ndarray, "R 1"]:
    """Success of each run of one kind, as its task judges it."""
    return np.array([[run[measure(run)]] for run in found], float)


def steps_to(run: dict, level: float) -> float:
    """Steps that the agent itself had collected when success first reached `level`.

    It is 0 where data alone were enough, and NaN where success never got there. It is
    known at evaluations only.
    """
    rows = (row for row in run["curve"] if row.get(measure(run), -1) >= level)
    return float(next((row.get("collected", 0) for row in rows), np.nan))


def markdown(found: list[dict]) -> str:
    """The `summary` and, below it, the `details`."""
    return f"{summary(found)}\n\n{details(found)}"


def summary(found: list[dict]) -> str:
    """One row a task and data, one column an agent: see `middle`."""
    agents = [agent for agent in AGENTS if (agent,) in grouped(found, "agent")]
    rows = []
    for kind, mine in grouped(found, "task", "data").items():
        of = grouped(mine, "agent")
        cells = [middle(of[agent,]) if (agent,) in of else "" for agent in agents]
        seeds = " or ".join(str(n) for n in sorted({len(runs) for runs in of.values()}))
        rows.append([*kind, seeds, *cells, cost(mine)])
    return table(["task", "data", "seeds", *agents, "cost of a run"], rows)


def details(found: list[dict]) -> str:
    """One row a task, data and agent: each seed with its 95 % interval, and cost."""
    header = ["task", "data", "agent", "success", "each seed, % (95 % interval)"]
    header += ["IQM (lowest to highest)", "minutes"]
    rows = []
    for kind, mine in grouped(found, "task", "data", "agent").items():
        name = measure(mine[0])
        ends = ([100 * end for end in run[f"{name}_interval"]] for run in mine)
        each = [
            f"{100 * run[name]:.1f} ({low:.0f}\N{EN DASH}{high:.0f})"
            for run, (low, high) in zip(mine, ends, strict=True)
        ]
        means = {"ever": "ever, drawn", "at_end": "at end, mode"}[name]
        rows.append([*kind, means, ", ".join(each), middle(mine), minutes(mine)])
    return table(header, rows)


def overall(found: list[dict]) -> str:
    """One row a data and agent, over several tasks: the IQM with its 95 % interval.

    Left out are tasks with fewer seeds than others, and all where only one task or one
    seed is left.
    """
    rows = []
    for kind, mine in grouped(found, "data", "agent").items():
        tasks = grouped(mine, "task")
        seeds = max(len(runs) for runs in tasks.values())
        tasks = {task: runs for (task,), runs in tasks.items() if len(runs) == seeds}
        if len(tasks) > 1 and seeds > 1:
            every = np.hstack([scores(runs) for runs in tasks.values()])
            interval = share(iqm(every), *iqm_interval(every))
            rows.append([*kind, ", ".join(tasks), str(seeds), interval])
    return table(["data", "agent", "tasks", "seeds", "IQM (95 % interval)"], rows)


def ledger(found: list[dict]) -> str:
    """One row a device: runs, and minutes of training, evaluations included."""
    rows = []
    for (device,), mine in grouped(found, "device").items():
        spent = [run["minutes"] for run in mine]
        each = f"{minutes(mine)}, median {np.median(spent):.1f}"
        rows.append([device, f"{len(mine)}", each, f"{sum(spent):,.0f}"])
    return table(["device", "runs", "minutes of a run", "minutes in all"], rows)


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def middle(found: list[dict]) -> str:
    """The interquartile mean of runs of one kind, with the lowest and the highest."""
    every = scores(found)
    if len(every) == 1:
        return f"{every[0, 0]:.1%}"
    return share(iqm(every), every.min(), every.max())


def share(value: float, low: float, high: float) -> str:
    """A share in percent, with its ends in brackets."""
    return f"{value:.1%} ({100 * low:.1f} to {100 * high:.1f})"


def minutes(found: list[dict]) -> str:
    """Minutes of the shortest and of the longest run."""
    each = [run["minutes"] for run in found]
    return " to ".join(dict.fromkeys(f"{end:.1f}" for end in (min(each), max(each))))


def cost(found: list[dict]) -> str:
    """The `minutes`, on which devices."""
    devices = dict.fromkeys(run["device"] for run in found)
    return f"{minutes(found)} min on {', '.join(devices)}"
