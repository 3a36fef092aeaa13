"""Recorded results: numbers come back as numbers, and the shipped ones are whole."""

import json
from pathlib import Path

import numpy as np
import pytest

from crl_mini import plots, results
from crl_mini.__main__ import main
from crl_mini.evaluate import wilson

ROOT = Path(__file__).resolve().parents[1]
RUNS = results.runs()


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDERS", (tmp_path / "none", tmp_path))
    return tmp_path


def test_numbers_come_back_as_numbers_and_gaps_as_gaps(recorded):
    (recorded / "study.csv").write_text("step,loss,ever\n10,0.5,\n20,0.25,1.0\n")
    (recorded / "study.json").write_text('{"minutes": 2}')
    rows, manifest = results.read("study")
    assert rows == [
        {"step": 10, "loss": 0.5},
        {"step": 20, "loss": 0.25, "ever": 1.0},
    ]
    assert isinstance(rows[0]["step"], int)
    assert manifest == {"minutes": 2}


def test_runs_are_found_by_pattern(recorded):
    for name in ("A-0", "A-1", "B-0"):
        (recorded / name).mkdir()
        (recorded / name / "manifest.json").write_text(json.dumps({"task": name}))
        (recorded / name / "metrics.csv").write_text("step\n1\n")
    found = results.runs("A-*")
    assert [run["task"] for run in found] == ["A-0", "A-1"]
    assert found[0]["curve"] == [{"step": 1}]


def test_missing_folder_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(results, "FOLDERS", (tmp_path / "none",))
    with pytest.raises(FileNotFoundError, match="no recorded results in"):
        results.folder()


def test_there_are_recorded_runs():
    assert len(RUNS) >= 9


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run['task']}-{run['seed']}")
def test_recorded_run_is_complete_and_consistent(run):
    steps = [row["step"] for row in run["curve"]]
    assert steps == sorted(steps)
    assert run["minutes"] * 60 == pytest.approx(run["curve"][-1]["seconds"], abs=0.5)
    successes = run["ever"] * run["episodes"]
    assert successes == pytest.approx(round(successes))
    assert run["ever_interval"] == pytest.approx(
        wilson(round(successes), run["episodes"])
    )


def test_readme_holds_the_table_that_the_command_prints(capsys):
    assert main(["results"]) == 0
    table = capsys.readouterr().out.strip()
    assert table.count("\n") == 1 + len({run["task"] for run in RUNS})
    for run in RUNS:
        assert f"{run['ever']:.1%}" in table
    assert table in (ROOT / "README.md").read_text()


def test_figures_show_the_recorded_numbers():
    figure = plots.runs(RUNS)
    tasks = list(dict.fromkeys(run["task"] for run in RUNS))
    assert len(figure.axes) == len(tasks)
    for ax, task in zip(figure.axes, tasks, strict=True):
        mine = [run for run in RUNS if run["task"] == task]
        assert len(ax.lines) == len(mine)
        for line, run in zip(ax.lines, mine, strict=True):
            known = [row["ever"] for row in run["curve"] if "ever" in row]
            np.testing.assert_array_equal(line.get_ydata(), known)
