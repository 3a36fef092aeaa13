"""Recorded results of the longer runs: CSV curves and the manifests beside them."""

import csv
import json
from pathlib import Path

# In a checkout the folder `results`; in an installed package a copy of it.
FOLDERS = (Path(__file__).parent / "_results", Path(__file__).parents[1] / "results")

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
    """Manifests of recorded runs whose folder matches, with their rows as ``curve``."""
    found = sorted(folder().glob(f"{pattern}/manifest.json"))
    return [
        json.loads(path.read_text()) | {"curve": rows(path.with_name("metrics.csv"))}
        for path in found
    ]


def markdown(found: list[dict]) -> str:
    """One row a task, data and agent: each seed's success, 95 % interval, and cost."""
    what = ("task", "data", "agent")
    header = (*what, "success of each seed (95 % interval)", "held at the end", "cost")
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for kind in dict.fromkeys(tuple(run[k] for k in what) for run in found):
        mine = [run for run in found if tuple(run[k] for k in what) == kind]
        ever = [
            f"{run['ever']:.1%} ({run['ever_interval'][0]:.0%} to "
            f"{run['ever_interval'][1]:.0%})"
            for run in mine
        ]
        end = [f"{run['at_end']:.1%}" for run in mine]
        minutes = [run["minutes"] for run in mine]
        cost = f"{min(minutes):.1f} to {max(minutes):.1f} min on {mine[0]['device']}"
        cells = (*kind, ", ".join(ever), ", ".join(end), cost)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
