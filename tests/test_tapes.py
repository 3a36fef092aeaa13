"""Milestones of the episodes that a run collected: of made ones, and of a run."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from crl_mini.critic import paired
from crl_mini.runs import results
from crl_mini.runs.run import Run

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import tapes  # noqa: E402


def test_milestones_of_made_episodes():
    """Four episodes of three moments; the block begins in the red bin, at x < 0."""
    states = np.zeros((5, 3, 7))
    states[..., :3] = 0.5, 0.5, 0.2  # the hand, far away
    states[..., 4:] = -0.1, 0.0, 0.02  # the block
    states[1, 1, :3] = -0.1, 0.0, 0.045  # 2.5 cm above it
    states[2, 2, 4] -= 0.06  # pushed, away from the wall
    states[3, 1, 6] = 0.08  # lifted by 6 cm
    states[4, :, 4] *= -1  # it lies on the other side from the start
    states[4, 2, 4] = -0.1
    passed = tapes.milestones(states)
    assert {k: np.flatnonzero(x).tolist() for k, x in passed.items()} == {
        "near": [1],
        "moved": [2, 3, 4],
        "lifted": [3],
        "crossed": [],
    }
    states[0, 2, 4] = 0.01
    assert np.flatnonzero(tapes.milestones(states)["crossed"]).tolist() == [0]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs that ended: one on BinPick, one on Reach."""
    changes = {"collect": 2000, "copies": 4, "per_update": 200, "tests": 2}
    folder = tmp_path_factory.mktemp("tapes")
    made = [
        Run(task, "smoke", 0, folder / task, "crl", changes=changes)
        for task in ("BinPick", "Reach")
    ]
    for run in made:
        run()
    return made


def test_rows_have_all_own_episodes_and_no_others(runs, tmp_path):
    run = runs[0]
    assert tapes.main([str(run.out), "--out", str(tmp_path)]) == 0
    rows, about = results.read(str(tmp_path / "tapes.csv"))
    assert str(run.out) in about["command"]
    collected = [row["collected"] for row in rows]
    assert collected == [400, 800, 1200, 1600, 2000]
    replay = tapes.start(run, resume=True)[2]
    own = np.asarray(replay.observations[-20:])  # behind the walks that it began with
    assert int(replay.added) == len(replay.observations) == 24
    expected = tapes.milestones(own.reshape(5, 4, *own.shape[1:])[2])
    for name, x in expected.items():
        assert rows[2][name] == x.mean()
    assert sum(row["moved"] for row in rows) * 4 == tapes.milestones(own)["moved"].sum()
    climbs, _ = results.read(str(tmp_path / "climbs.csv"))
    assert [r["goals"] for r in climbs][-1] == "the task's"
    assert json.loads((tmp_path / "tapes.json").read_text())["versions"]
    ways, _ = results.read(str(tmp_path / "stands.csv"))
    assert len({r["acts"] for r in ways}) == len(ways) == 5
    ends, _ = results.read(str(tmp_path / "ends.csv"))
    gaps = [np.hypot(r["end_x"] - r["goal_x"], r["end_y"] - r["goal_y"]) for r in ends]
    assert len(gaps) == tapes.GOALS
    aims, _ = results.read(str(tmp_path / "aims.csv"))
    assert aims[0]["aims"] == "practice"
    assert aims[0]["held"] <= np.mean(np.array(gaps) < 0.05)  # heights count, too


def test_on_reach_it_writes_where_hands_end(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(tapes, "GOALS", 20)
    assert tapes.main([str(runs[1].out), "--out", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ends.csv", "ends.json"]
    rows, _ = results.read(str(tmp_path / "ends.csv"))
    assert {(r["agent"], r["seed"], r["updates"]) for r in rows} == {("crl", 0, 10)}
    goals, ends = (
        np.array([[r[f"{k}_{a}"] for a in "xyz"] for r in rows])
        for k in ("goal", "end")
    )
    far = np.linalg.norm(ends - goals, axis=1)
    assert [r["held"] for r in rows] == (far < 0.05).tolist()
    assert goals.std(0).min() > 0.02 < ends.std(0).max()


def test_aims_are_corrected_after_practice(runs, monkeypatch):
    """Episodes are made: all end 3 cm beside their goals, and one of four holds."""
    goals = np.tile([0, 0, 0, 0.04, 0.5, 0, 0.02], (12, 1))
    states = np.repeat(goals[:, None], 60, 1)
    states[:, -1, 5] = 0.03
    success = np.zeros((12, 59), bool)
    success[::2, 7] = success[::4, -1] = True
    seen = SimpleNamespace(observations=states, goals=goals, success=success)
    seen.at_end, seen.ever, given = success[:, -1], success.any(1), []

    def episodes(self, policy, n, *, seed):
        given.append(policy(*map(jnp.asarray, (goals, goals)), tapes.KEY))
        return seen

    run, agent = tapes.restored(runs[0].out)
    monkeypatch.setattr(type(run.env), "episodes", episodes)
    monkeypatch.setattr(tapes, "GOALS", 12)
    rows, ends = tapes.aims_of(run, agent)
    ways = [("practice", 0), ("as it is", 0)]
    ways += [("corrected", near) for near in (0.08, 0.1, 0.12)]
    assert [(r["aims"], r["near"]) for r in rows] == ways
    for r in rows:
        assert (r["held"], r["ever"], round(r["off"], 6)) == (0.25, 0.5, 0.03)
        assert 0 < r["low"] < 0.25 < r["top"] < 1
    places = ("goal_x", "goal_y", "end_x", "end_y")
    assert [[r[k] for k in places] for r in ends] == [[0.5, 0, 0.5, 0.03]] * 12
    for a, r in zip(given, rows, strict=True):  # they are asked at their goals
        assert (np.asarray(a) == given[0]).all() == (r["aims"] != "corrected")


def test_how_often_a_random_action_is_better(runs):
    """f is the first entry of the action: an actor at 1/2 loses 1 of 4 draws."""
    run = runs[0]

    class Known:
        """A critic and an actor of which everything is known."""

        config = SimpleNamespace(gamma=0.9)
        see = staticmethod(lambda s, g: (s, g))
        psi = phi = staticmethod(lambda *x: x[-1])
        logits = staticmethod(lambda phi, psi, *, pairs: phi[..., 0])
        takes = 0.5

        def __call__(self, s, a, g, *, pairs):
            return a[:, 0]

        def act(self, s, g, *, key, greedy):
            assert greedy
            return jnp.full((len(s), 4), self.takes)

    Known.critic = Known()
    expected = {0.5: 1 - 0.75**tapes.PROPOSALS, 0.9: 1 - 0.95**tapes.PROPOSALS, 1: 0}
    for Known.takes, share in expected.items():
        rows = list(tapes.climbs_of(run, Known.critic))
        assert len(rows) == 3
        for row in rows:
            assert row["better"] == pytest.approx(share, abs=0.02)
    assert not list(tapes.climbs_of(run, SimpleNamespace(actor=None)))


def test_hands_that_stand_still():
    """Four hands: one moves once, long ago; one in its last steps; one always a bit."""
    states = np.zeros((4, 60, 7))
    states[1, 39:, 0] = 0.1  # the last 20 steps begin at moment 39
    states[2, 40:, 0] = 0.1
    states[3, :, 0] = 0.0019 * np.arange(60)
    assert tapes.stands(states).tolist() == [True, True, False, True]
    states[3] *= 1.1
    assert not tapes.stands(states)[3]


def test_ways_of_acting_are_counted(runs, monkeypatch):
    """Episodes are made: four of four kinds, and the same for each way."""
    states = np.zeros((4, 60, 7))
    states[..., 6] = 0.02
    states[1, -1, 6] = 0.08  # high, and still
    states[2, -1, :3] = 0.1  # it moves
    states[3, -1, 4:] = 0.0, 0.079, 0.02  # it lies near its goal
    success = np.zeros((4, 59), bool)
    success[0, -1] = success[1, 7] = True
    goals = np.zeros((4, 7)) + states[0, -1]
    goals[:3, 4] = 0.5
    seen = SimpleNamespace(observations=states, goals=goals, success=success)
    seen.at_end = success[:, -1]
    given = []

    def episodes(self, policy, n, *, seed):
        s, g = jnp.zeros((64, 7)), jnp.zeros((64, 7))
        given.append(policy(s, g, tapes.KEY))
        return seen

    run, agent = tapes.restored(runs[0].out)
    monkeypatch.setattr(type(run.env), "episodes", episodes)
    monkeypatch.setattr(tapes, "GOALS", 4)
    rows = list(tapes.stands_of(run, agent))
    assert [r["acts"] for r in rows] == [
        "mode",
        "mode, noise 0.3",
        "drawn",
        "best of 64 uniform",
        "best of a drawn and 15 uniform",
    ]
    for row in rows:
        shares = {
            k: row[k] for k in ("held", "ever", "stands", "high", "both", "close")
        }
        assert list(shares.values()) == [0.25, 0.5, 0.5, 0.25, 0.25, 0.25]
        assert 0 < row["low"] < 0.25 < row["top"] < 1
    mode, noisy, drawn, best, few = (np.asarray(a) for a in given)
    assert (mode == mode[0]).all()  # equal states, equal goals: one action
    assert abs((noisy - mode).std() - 0.3) < 0.06
    for a in (drawn, best, few):
        assert (a.std(0) > 0.1).all()
    s, g = jnp.zeros((64, 7)), jnp.zeros((64, 7))
    many = map(jnp.asarray, (drawn, few, best))
    f = [agent.critic(s, a, g, pairs=paired).mean() for a in many]
    assert f[0] < f[1] < f[2]  # the more choice, the better to the critic
    given.clear()
    acting = replace(agent, config=replace(agent.config, proposals=15))
    assert len(list(tapes.stands_of(run, acting))) == 5
    np.testing.assert_array_equal(given[0], mode)  # by its actor alone, too
    given.clear()
    one = Run("BinPick", "smoke", 0, runs[0].out, "td3_her")  # nothing to draw from
    agent = one.fresh()
    assert [r["acts"] for r in tapes.stands_of(one, agent)] == [
        "mode",
        "mode, noise 0.3",
        "best of 64 uniform",
        "best of the mode and 15 uniform",
    ]
    mode, _, best, few = map(jnp.asarray, given)
    q = [agent.critic(s, a, g).min(0) for a in (mode, few, best)]
    assert (q[1] >= q[0]).all()  # the mode is among them
    assert q[2].mean() > q[1].mean()
    alone = Run("BinPick", "smoke", 0, runs[0].out, "gcbc")  # no critic
    assert len(list(tapes.stands_of(alone, alone.fresh()))) == 3


@pytest.mark.parametrize(
    ("which", "message"),
    [((1, 0), "task must be one of Reach"), ((), "a run has config.json")],
)
def test_other_folders_get_one_line(which, message, runs, tmp_path, capsys):
    folders = [runs[k].out for k in which] or [tmp_path]
    with pytest.raises(SystemExit, match="2"):
        tapes.main([str(folder) for folder in folders])
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
