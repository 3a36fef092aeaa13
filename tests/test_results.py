"""Recorded results: numbers come back as numbers, and the shipped ones are whole."""

import json
from pathlib import Path

import numpy as np
import pytest

from crl_mini.__main__ import main
from crl_mini.figures import plots
from crl_mini.measure.statistics import iqm, iqm_interval, wilson
from crl_mini.runs import results

ROOT = Path(__file__).resolve().parents[1]
RUNS = results.runs()
ALL = RUNS + results.runs("ablations/*")


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
        (recorded / name / "config.json").write_text('{"steps": 1}')
    found = results.runs("A-*")
    assert [run["task"] for run in found] == ["A-0", "A-1"]
    assert found[0]["curve"] == [{"step": 1}]
    assert found[0]["config"] == {"steps": 1}


def test_missing_folder_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(results, "FOLDERS", (tmp_path / "none",))
    with pytest.raises(FileNotFoundError, match="no recorded results in"):
        results.folder()


def test_there_are_recorded_runs():
    assert len(RUNS) >= 9


@pytest.mark.parametrize("run", ALL, ids=lambda run: f"{run['task']}-{run['seed']}")
def test_recorded_run_is_complete_and_consistent(run):
    steps = [row["step"] for row in run["curve"]]
    assert steps == sorted(steps)
    assert run["minutes"] * 60 == pytest.approx(run["curve"][-1]["seconds"], abs=0.5)
    successes = run["ever"] * run["episodes"]
    assert successes == pytest.approx(round(successes))
    assert run["ever_interval"] == pytest.approx(
        wilson(round(successes), run["episodes"])
    )


# What README shows: from play, in pictures and in states, and from nothing.
SHOWN = [
    ("BinPick, pixels", "play, 4,000 episodes"),
    ("BinPick", "play, 1,000 episodes"),
    ("Push", "play, 1,000 episodes"),
    ("Reach", "own, 25,600 steps"),
    ("Push", "own, 300,800 steps"),
    ("BinPick", "own, 403,200 steps"),
]


def test_the_command_prints_every_recorded_run(capsys):
    assert main(["results"]) == 0
    printed = capsys.readouterr().out
    assert results.summary(RUNS) in printed
    for run in RUNS:
        assert f" {100 * run[results.measure(run)]:.1f} (" in printed


# README's second table: the recorded runs of a row, what they are told, and who acts.
FROM_SCRATCH = {
    "BinPick-own403-gcbc-*": ("GCBC", "nothing", "its actor"),
    "BinPick-own403-crl-*": ("CRL", "nothing", "its actor"),
    "from-scratch/crl-acts-*": ("CRL", "nothing", "its critic"),
    "BinPick-own403-c_learning-*": ("C-learning with NCE", "nothing", "its actor"),
    "from-scratch/steps-alone-*": ("C-learning", "nothing", "its actor"),
    "from-scratch/alone-acts-*": (
        "C-learning, one critic",
        "nothing",
        "its critic",
    ),
    "from-scratch/pair-acts-*": ("C-learning", "nothing", "its critic"),
    "from-scratch/pair-turns-*": (
        "C-learning",
        "nothing",
        "its critic, then its actor",
    ),
    "BinPick-own403-td3_her-*": ("TD3+HER", "what counts", "its actor"),
    "from-scratch/told-*": ("TD3+HER, trained again", "what counts", "its actor"),
}
WAYS = "proposals", "proposal_steps"  # settings, if they are not 0
WHO = {
    (): "its actor",
    WAYS[:1]: "its critic",
    WAYS: "its critic, then its actor",
}


def from_scratch():
    """README's second table, from the recorded runs."""
    header = ["BinPick, from scratch", "told", "who acts", "held at the end"]
    rows = []
    for pattern, words in FROM_SCRATCH.items():
        mine = results.runs(pattern)
        assert [run["seed"] for run in mine] == list(range(len(mine)))
        assert {run["collected"] for run in mine} == {403_200}
        assert {run["curve"][-1]["step"] for run in mine} == {100_800}
        assert {results.told(run) for run in mine} == {words[1] != "nothing"}
        ways = {
            tuple(k for k in WAYS if run["config"]["settings"].get(k)) for run in mine
        }
        assert [words[2]] == [WHO[way] for way in ways]
        each = [[results.late(run, k)[0] for run in mine] for k in ("at_end", "paper")]
        ends = [", ".join(f"{100 * x:.0f}" for x in shares) for shares in each]
        rows.append([*words, *ends])
    return results.markdown_table([*header, "the paper's protocol"], rows)


def test_readme_shows_what_is_recorded():
    text = (ROOT / "README.md").read_text()
    aims = results.read("from-scratch/pair-acts/aims.csv")[0]
    held = [f"{100 * r['held']:.0f}" for r in aims if r["near"] == 0.1]
    said = f"the same agents hold {held[0]}, {held[1]} and {held[2]} %"
    assert said in " ".join(text.split())
    _, section = text.split("## Results\n")
    shown = [line for line in section.splitlines() if line.startswith("|")]
    header, rule, *rows = results.summary(RUNS).splitlines()
    row_of = {tuple(row.strip("| ").split(" | ")[:2]): row for row in rows}
    first = [header, rule, *(row_of[kind] for kind in SHOWN)]
    assert shown == [*first, *from_scratch().splitlines()]
    mine = [
        run for kind in SHOWN for run in results.grouped(RUNS, "task", "data")[kind]
    ]
    assert {results.measure(run) for run in mine} == {"at_end"}  # as README says
    assert {run["episodes"] for run in mine} == {200}


def test_each_recorded_run_is_about_one_question():
    for run in RUNS:
        assert sum(about(run) for about in results.QUESTIONS.values()) == 1


# Runs of which everything is known.


def made(task="Push", agent="crl", seed=0, score=0.5, **more):
    """A run that collects 100 steps for each of three updates; success grows to 1."""
    judged = "drawn" if "Maze" in task else "mode"
    known = {"mode": "at_end", "drawn": "ever"}[judged]
    curve = [{"step": k, "collected": 100 * k, known: k / 3} for k in (1, 2, 3)]
    if "collected" not in more:
        curve = [{k: v for k, v in row.items() if k != "collected"} for row in curve]
    scores = dict.fromkeys(("ever", "at_end"), 0.0) | {known: score}
    intervals = {
        f"{k}_interval": wilson(round(200 * v), 200) for k, v in scores.items()
    }
    what = {"task": task, "agent": agent, "seed": seed, "data": "play"}
    where = {"minutes": 1.0 + seed, "device": "2 CPU cores", "episodes": 200}
    return what | where | scores | intervals | {"judged": judged, "curve": curve} | more


SEEDS = [made(seed=k, score=s) for k, s in enumerate((0.2, 0.7, 0.9))]
MAZE = made("some.where:PointMaze-U-v0", score=0.25, data="random")
OLD = {k: v for k, v in MAZE.items() if k != "judged"}
MIXED = [*SEEDS, made(agent="gcbc", score=0.75), MAZE]


def cells(table):
    """Header -> cells below it."""
    lines = [line.strip("| ").split(" | ") for line in table.splitlines()]
    return dict(zip(lines[0], zip(*lines[2:], strict=True), strict=True))


def test_success_is_what_the_task_judges():
    assert [results.measure(run) for run in (SEEDS[0], MAZE, OLD)] == [
        "at_end",
        "ever",
        "ever",
    ]
    np.testing.assert_array_equal(
        results.scores(MIXED)[:, 0], [0.2, 0.7, 0.9, 0.75, 0.25]
    )


@pytest.mark.parametrize(
    ("data", "collected", "question"),
    [
        ("play", 0, "From play"),
        ("noisy", 0, "From random walks and other data"),
        ("data/x.npz", 0, "From random walks and other data"),
        ("play", 100, "From data, then from own episodes"),
        ("noisy", 100, "From data, then from own episodes"),
        ("own", 100, "From own episodes only"),
    ],
)
def test_a_run_is_about_one_question(data, collected, question):
    run = made(data=data, collected=collected)
    assert [k for k, about in results.QUESTIONS.items() if about(run)] == [question]


def test_data_are_named_with_how_much_there_was():
    assert results.data(OLD) == "random"
    given = {"data_episodes": 1000, "collected": 0}
    assert results.data(made(**given)) == "play, 1,000 episodes"
    assert results.data(made(**given, data="data/x.npz")) == "x, 1,000 episodes"
    own = {"data_episodes": 8, "collected": 3200}
    assert results.data(made(**own, data="own")) == "own, 3,200 steps"
    assert results.data(made(**own)) == "play, 8 episodes; own, 3,200 steps"


def test_details_hold_every_seed_and_the_summary_one_cell_an_agent():
    found = cells(results.details(MIXED))
    assert found["agent"] == ("CRL", "GCBC", "CRL")
    assert found["success"] == ("at end, mode",) * 2 + ("ever, sampled",)
    seeds = found["each seed, % (95 % interval)"][0]
    assert (
        seeds.replace("\N{EN DASH}", "-") == "20.0 (15-26), 70.0 (63-76), 90.0 (85-93)"
    )
    middle = ("60.0% (20.0 to 90.0)", "75.0%", "25.0%")
    assert found["IQM (lowest to highest)"] == middle
    assert found["minutes"] == ("1.0 to 3.0", "1.0", "1.0")
    short = cells(results.summary(MIXED))
    costs = tuple(f"{minutes} min on 2 CPU cores" for minutes in ("1.0 to 3.0", "1.0"))
    assert short["cost of a run"] == costs
    assert short["CRL"] == (middle[0], middle[2])
    assert short["GCBC"] == (middle[1], "")
    assert short["seeds"] == ("1 or 3", "1")
    both = results.markdown(MIXED)
    assert both == f"{results.summary(MIXED)}\n\n{results.details(MIXED)}"


def test_c_learning_says_whether_it_has_nce():
    run = made("Push") | {"agent": "c_learning"}
    assert results.called(run) == "C-learning"
    assert results.called(run | {"config": {"settings": {"nce": True}}}) == (
        "C-learning with NCE"
    )


def test_runs_from_pixels_stand_by_themselves():
    found = cells(
        results.summary([made("Push"), made("Push", obs="pixels", score=0.4)])
    )
    assert found["task"] == ("Push", "Push, pixels")
    assert found["CRL"][1] == "40.0%"


def test_overall_takes_what_has_the_same_seeds_on_several_tasks():
    other = [made("Drawer", seed=k, score=s) for k, s in enumerate((0.4, 0.5, 0.6))]
    found = cells(results.overall([*MIXED, *other]))
    assert found["agent"] == ("CRL",)
    assert found["tasks"] == ("Push, Drawer",)
    every = np.array([[0.2, 0.4], [0.7, 0.5], [0.9, 0.6]])
    low, high = iqm_interval(every)
    interval = f"{iqm(every):.1%} ({100 * low:.1f} to {100 * high:.1f})"
    assert found["IQM (95 % interval)"] == (interval,)
    for few in ([*SEEDS, *other[:2]], SEEDS, [SEEDS[0], other[0]]):  # one task, seed
        assert results.overall(few).count("\n") == 1


def test_ledger_adds_up_by_device():
    fast = made(device="1 x GPU", minutes=0.5)
    found = cells(results.ledger([*SEEDS, fast]))
    assert found["device"] == ("2 CPU cores", "1 x GPU")
    assert found["runs"] == ("3", "1")
    assert found["minutes of a run"][0] == "1.0 to 3.0, median 2.0"
    assert found["minutes in all"] == ("6", "0")
    assert found["memory, at most"] == ("not noted", "not noted")


def test_ledger_counts_minutes_of_seeds_at_once_once():
    how = {"device": "1 x GPU", "minutes": 8.0, "seeds_at_once": 2}
    both = [made(**how, memory_gib=memory) for memory in (0.5, 0.74)]
    found = cells(results.ledger(both))
    assert found["minutes of a run"] == ("8.0, median 8.0",)
    assert found["minutes in all"] == ("8",)
    assert found["memory, at most"] == ("0.7 GiB",)


def test_steps_to_a_level_are_those_the_agent_collected():
    run = made(collected=300)
    assert [results.steps_to(run, level) for level in (0.1, 0.5, 1)] == [100, 200, 300]
    assert np.isnan(results.steps_to(run | {"curve": run["curve"][:1]}, 0.5))
    assert results.steps_to(SEEDS[0], 0.5) == 0
    unknown = run | {"curve": [{"step": 1, "collected": 100}]}
    assert np.isnan(results.steps_to(unknown, 0))


# Figures.


def test_figures_show_every_seed_and_their_mean():
    figure = plots.runs(MIXED)
    (push, maze) = figure.axes
    assert push.get_title(loc="left") == "Push\nplay"
    assert maze.get_title(loc="left") == "PointMaze-U\nrandom"
    assert len(push.lines) == 3 + 1 + 1 + 1
    for line in push.lines:
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
        np.testing.assert_allclose(line.get_ydata(), [1 / 3, 2 / 3, 1])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "CRL",
        "GCBC",
    ]
    colours = [line.get_color() for line in push.lines]
    assert colours == 4 * [plots.COLOURS[0]] + 2 * [plots.COLOURS[1]]
    assert maze.lines[0].get_color() == plots.COLOURS[0]


def test_means_are_drawn_where_all_seeds_are_known():
    short, long = made(collected=300), made(seed=1, collected=300)
    short["curve"] = [{**row, "at_end": 0.0} for row in short["curve"][:2]]
    *thin, mean = plots.runs([short, long], "collected").axes[0].lines
    assert [list(line.get_xdata()) for line in thin] == [[100, 200], [100, 200, 300]]
    np.testing.assert_array_equal(mean.get_xdata(), [100, 200])
    np.testing.assert_allclose(mean.get_ydata(), [1 / 6, 1 / 3])


def test_figures_show_the_recorded_numbers():
    drawn = [line for ax in plots.runs(RUNS).axes for line in ax.lines]
    thin = [list(line.get_ydata()) for line in drawn if line.get_label()[0] == "_"]
    for run in RUNS:
        name = results.measure(run)
        assert [row[name] for row in run["curve"] if name in row] in thin
    assert len(thin) == len(RUNS)


def test_stopped_trainings_are_read_and_who_was_told(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "folder", lambda: tmp_path)
    for name, agent, settings in (
        ("a", "td3_her", {"told": False}),
        ("b", "td3_her", {}),  # an older one, which had no other choice
        ("c", "crl", {}),
    ):
        (tmp_path / name).mkdir()
        config = {"agent": agent, "obs": "state", "settings": settings}
        (tmp_path / name / "config.json").write_text(json.dumps(config))
        (tmp_path / name / "metrics.csv").write_text("step,collected\n1,64\n2,128\n")
    (tmp_path / "c" / "manifest.json").write_text('{"at_end": 0.5}')
    found = results.trainings("*")
    assert [run["collected"] for run in found.values()] == [128] * 3
    assert ["end" in run for run in found.values()] == [False, False, True]
    assert [results.told(run) for run in found.values()] == [False, True, False]
    seen = found["b"] | {"obs": "pixels"}
    assert not results.told(seen)
