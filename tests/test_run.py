"""Runs in a folder, through the command line: kept, resumed, refused, and learning."""

import contextlib
import csv
import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import gymnasium
import jax
import line
import numpy as np
import pytest
from folders import TINY, begun, first_is_quick, raw, refused

from crl_mini import Replay, train
from crl_mini.__main__ import main
from crl_mini.agents import AGENTS
from crl_mini.envs.play import Wander
from crl_mini.rollouts import rollout
from crl_mini.runs import run as runs
from crl_mini.runs.data import collect, save
from crl_mini.runs.files import REPLAY, load, text
from crl_mini.runs.formats import load as load_data
from crl_mini.runs.run import Run, check_same, of_config, restored
from crl_mini.train import updates

KEY = jax.random.key(3)


def arguments(out, *more):
    task = ["--task", "PointMaze-U-v0", "--data", "random", "--preset", "smoke"]
    return ["train", *task, "--out", str(out), *more]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert main(arguments(out)) == 0
    return out


def test_run_keeps_settings_curve_checkpoint_and_manifest(finished):
    files = {path.name for path in finished.iterdir()}
    assert files == {
        "config.json",
        "metrics.csv",
        "checkpoint.safetensors",
        "manifest.json",
    }
    manifest = json.loads((finished / "manifest.json").read_text())
    low, high = manifest["ever_interval"]
    assert 0 <= low <= manifest["ever"] <= high <= 1
    assert manifest["versions"]["jax"] == jax.__version__
    rows = list(csv.DictReader((finished / "metrics.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == [50, 100, 150, 200]
    losses = [float(row["loss"]) for row in rows]
    assert losses[-1] < losses[0]
    assert all(0 <= float(row["ever"]) <= 1 for row in rows)


def test_interrupted_run_goes_on_to_the_same_result(
    finished, tmp_path, monkeypatch, capsys
):
    success, out = Run.success, tmp_path / "halves"
    calls = []

    def interrupted(self, policy, *, seed):
        calls.append(seed)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return success(self, policy, seed=seed)

    monkeypatch.setattr(Run, "success", interrupted)
    assert main(arguments(out)) == 130
    assert "--resume" in capsys.readouterr().err
    assert not (out / "manifest.json").exists()
    monkeypatch.setattr(Run, "success", success)
    assert main(arguments(out, "--resume")) == 0
    same = [path / "checkpoint.safetensors" for path in (finished, out)]
    assert same[0].read_bytes() == same[1].read_bytes()

    def learned(path):
        rows = csv.DictReader((path / "metrics.csv").read_text().splitlines())
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]

    assert learned(finished) == learned(out)
    again = [
        json.loads((path / "manifest.json").read_text()) for path in (finished, out)
    ]
    assert again[0]["ever"] == again[1]["ever"]


@pytest.mark.tried("finite")
@pytest.mark.parametrize("broken", ["networks", "loss"])
def test_a_training_that_is_not_finite_stops(broken, tmp_path, monkeypatch, capsys):
    """One number of the third chunk is not: its checkpoint is not kept."""
    learn, out = train.updates, tmp_path / "run"

    def fail(agent, *data, **key):
        agent, metrics = learn(agent, *data, **key)
        if agent.step == 150 and broken == "networks":
            bias = agent.actor.tower.out.bias
            bias[...] = bias[...].at[0].set(np.nan)
        elif agent.step == 150:
            metrics["loss"] *= np.inf
        return agent, metrics

    monkeypatch.setattr(train, "updates", fail)
    said = refused(arguments(out), capsys)
    assert "no longer finite: after update 150 the loss is " in said
    assert "the agent after update 100 is the last good one" in said
    assert "learning_rate below 0.003" in said
    assert not (out / "manifest.json").exists()
    assert int(restored(out)[1].step) == 100
    assert len((out / "metrics.csv").read_text().splitlines()) == 1 + 2


ONLINE = ["--task", "Reach", "--data", "play", "--set", "collect=800", "episodes=8"]


def test_a_run_that_collects_goes_on_to_the_same_result(tmp_path, monkeypatch):
    assert main(arguments(tmp_path / "whole", *ONLINE)) == 0
    explore, out = Run.explore, tmp_path / "halves"
    calls = []

    def interrupted(self, policy, k, n):
        calls.append(k)
        if len(calls) in (3, 5):
            raise KeyboardInterrupt
        return explore(self, policy, k, n)

    monkeypatch.setattr(Run, "explore", interrupted)
    assert main(arguments(out, *ONLINE)) == 130
    assert main(arguments(out, *ONLINE, "--resume")) == 130
    assert main(arguments(out, *ONLINE, "--resume")) == 0
    assert calls == [0, 1, 2, 2, 3, 3]
    same = [tmp_path / x / "checkpoint.safetensors" for x in ("whole", "halves")]
    assert same[0].read_bytes() == same[1].read_bytes()
    run, agent = restored(out)
    replay = load(run.replay(), same[1], REPLAY)
    assert int(replay.added) == 8 + 4 * 4
    assert np.abs(replay.observations).sum((1, 2)).all()
    first, other = (run.explore(run.policy(agent, "mode"), k, 4) for k in range(2))
    assert (first.observations != other.observations).any()
    rows = list(csv.DictReader((out / "metrics.csv").read_text().splitlines()))
    assert [int(row["collected"]) for row in rows] == 4 * [0] + [200, 400, 600, 800]
    assert [row["explored"] == "" for row in rows] == 4 * [True] + 4 * [False]
    assert [int(row["step"]) for row in rows] == [*range(50, 401, 50)]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["data_episodes"] == 8
    assert manifest["collected"] == 800


def test_large_checkpoints_are_written_less_often(tmp_path, monkeypatch):
    """At a byte a second only the first and the last one: what follows the first is
    done again, with the same result."""
    assert main(arguments(tmp_path / "whole", *ONLINE)) == 0
    explore, out = Run.explore, tmp_path / "halves"

    def interrupted(self, policy, k, n):
        if k == 3:
            raise KeyboardInterrupt
        return explore(self, policy, k, n)

    monkeypatch.setattr(runs, "PACE", 1)
    monkeypatch.setattr(Run, "explore", interrupted)
    assert main(arguments(out, *ONLINE)) == 130
    assert int(restored(out)[1].step) == 50
    assert len((out / "metrics.csv").read_text().splitlines()) == 1 + 4 + 3
    monkeypatch.setattr(Run, "explore", explore)
    assert main(arguments(out, *ONLINE, "--resume")) == 0
    same = [tmp_path / x / "checkpoint.safetensors" for x in ("whole", "halves")]
    assert same[0].read_bytes() == same[1].read_bytes()


def test_without_data_an_agent_begins_with_random_walks(tmp_path):
    run = Run("Reach", "smoke", 0, tmp_path / "run")
    assert run.budget.steps == 0
    replay = run.replay()
    assert int(replay.added) == run.budget.copies == 4
    assert len(replay.actions) == 4 + run.rounds * 4
    assert run.config.decay_steps == 0
    rows = []
    run(log=rows.append)
    assert [row["collected"] for row in rows] == [200, 400, 600, 800]
    goals = run.explore(run.env.walk(0), 0, 4).goals
    assert not np.allclose(goals[0], goals[1])


def test_settings_can_be_changed_and_are_kept(tmp_path):
    sizes = ["--set", "steps=100", "hidden=[8]", "--set", "bc=0.5", "energy=dot"]
    assert main(arguments(tmp_path / "run", *sizes)) == 0
    run, agent = restored(tmp_path / "run")
    assert agent.config.hidden == (8,)
    assert (agent.config.bc, agent.config.energy) == (0.5, "dot")
    assert agent.config.decay_steps == int(agent.step) == run.budget.steps == 100
    kept = json.loads((tmp_path / "run" / "config.json").read_text())
    assert json.loads(text(run.identity)) == kept
    with pytest.raises(ValueError, match="has config.json and a checkpoint; "):
        restored(tmp_path)


def test_two_seeds_differ(finished, tmp_path):
    assert main(arguments(tmp_path / "other", "--seed", "1")) == 0
    other = (tmp_path / "other" / "checkpoint.safetensors").read_bytes()
    assert other != (finished / "checkpoint.safetensors").read_bytes()


def test_checkpoints_of_other_networks_are_refused(finished):
    agent = Run("Reach", "smoke", 0, finished).fresh()
    with pytest.raises(ValueError, match="was made with other networks"):
        load(agent, finished / "checkpoint.safetensors")


@pytest.mark.parametrize("name", first_is_quick(["LineOfFetch", "LineOfKeys"]))
def test_environments_from_elsewhere_train_by_the_same_command(name, tmp_path, capsys):
    task = f"line:{name}-v0"
    assert main(arguments(tmp_path / "run", "--task", task)) == 0
    assert f"{task}: " in capsys.readouterr().out
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["task"] == task
    assert 0 < manifest["ever_of_data"] < 1
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["length"] == line.LENGTH
    run = Run(task, "smoke", 0, tmp_path, data="random")
    replay = run.replay()
    assert replay.observations.shape == (20, line.LENGTH + 1, 3)
    assert replay.achieved.shape == (20, line.LENGTH + 1, 1)
    other = Run(task, "smoke", 1, tmp_path, data="random")
    unlike = other.replay()
    useless = (set(np.unique(x.observations[..., 2])) for x in (replay, unlike))
    assert len(set.union(*useless)) == 40


@pytest.mark.parametrize("name", ["line:LineWithoutEnd-v0", "line:Line-v0"])
def test_a_length_is_told_where_none_or_another_is_registered(name, tmp_path, capsys):
    """It holds while walking, collecting, testing, and for the kept run."""
    out, few = tmp_path / "run", [*TINY, "collect=10", "copies=2", "per_update=2"]
    told = arguments(out, "--task", name, "--set", *few, "--length", "5")
    assert main(told) == 0
    run, _ = restored(out)
    assert run.env.length == run.replay().observations.shape[1] - 1 == 5
    assert json.loads((out / "manifest.json").read_text())["collected"] == 10
    assert main(["evaluate", "--agent", str(out), "--episodes", "2"]) == 0
    assert "settings must be those of" in refused([*told[:-1], "6", "--resume"], capsys)
    assert main([*told, "--resume"]) == 0


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize(
    "task", ["PointMaze-U-v0", pytest.param("BinPick", marks=pytest.mark.slow)]
)
def test_every_agent_trains_by_the_same_command(agent, task, tmp_path):
    data = "random" if task != "BinPick" else "noisy"
    what = ["--task", task, "--agent", agent, "--data", data]
    assert main(arguments(tmp_path / "run", *what)) == 0
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    kind = {k: manifest[k] for k in ("task", "agent", "data")}
    assert kind == {"task": task, "agent": agent, "data": data}
    drawn = manifest["judged"] == "drawn"
    assert drawn == (task != "BinPick")
    assert ("ever_of_mode" if drawn else "ever_of_drawn") in manifest
    assert ("ever_of_data" in manifest) == (data == "random")
    settings = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    tuned = AGENTS[agent].tuned[data]
    assert {name: settings[name] for name in tuned} == tuned
    assert settings["decay_steps"] == 200


def test_the_data_are_what_was_asked_for(tmp_path):
    noisy, play, random = (
        Run("BinPick", "smoke", 0, tmp_path, data=data).replay()
        for data in ("noisy", "play", "random")
    )
    for replay, settings in (
        (play, {}),
        (noisy, {"noise": 0.8}),
    ):
        want = collect("BinPick", episodes=20, **settings, progress=False)
        np.testing.assert_array_equal(replay.observations, want.observations)
        np.testing.assert_array_equal(replay.actions, want.actions)
    lifts = [(x.observations[..., 6] > 0.09).any(1).mean() for x in (play, random)]
    assert lifts[0] > 0.8
    assert lifts[1] < 0.1
    other = Run("BinPick", "smoke", 1, tmp_path, data="play").replay()
    assert (other.observations != play.observations).any()


def test_data_from_a_file(tmp_path, capsys):
    path = tmp_path / "reach.npz"
    data = collect("Reach", episodes=3, progress=False)
    save(path, data)
    run = Run("Reach", "smoke", 0, tmp_path, data=str(path))
    np.testing.assert_array_equal(run.replay().observations, data.observations)
    with pytest.raises(SystemExit):
        main(arguments(tmp_path / "x", "--task", "Push", "--data", str(path)))
    assert "it must be of Push; it is of 'Reach'" in capsys.readouterr().err
    frames = tmp_path / "frames.npz"
    save(frames, collect("Reach", "pixels", "random", 1, progress=False))
    with pytest.raises(SystemExit):
        main(arguments(tmp_path / "x", "--task", "Reach", "--data", str(frames)))
    assert "it must fit the obs state; it holds" in capsys.readouterr().err
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(SystemExit):
        main(arguments(tmp_path / "x", "--task", "Reach", "--data", str(path)))
    assert "is no file of `collect` or of OGBench: " in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def seeing(out, **settings):
    """A small run from pixels."""
    few = {"episodes": 3, "steps": 4, "every": 2, "tests": 2, "batch_size": 8}
    about = {"agent": "crl", "data": "play"} | settings
    few |= about.pop("changes", {})
    return Run("BinPick", "smoke", 0, out, obs="pixels", changes=few, **about)


def drawn_before(replay):
    """The same replay, with frames instead of poses."""
    poses = replay.observations
    frames = replay.scene.draw(poses.reshape(-1, *poses.shape[2:]))
    frames = frames.reshape(*poses.shape[:2], *frames.shape[1:])
    return Replay.from_trajectories(frames, replay.actions)


@pytest.mark.slow
def test_poses_and_frames_give_the_same_update(tmp_path):
    run = seeing(tmp_path)
    poses = run.replay()
    frames = drawn_before(poses)
    assert frames.observations.dtype == np.uint8
    assert poses.observations.nbytes * 100 < frames.observations.nbytes
    key = jax.random.key(0)
    one, other = (updates(run.fresh(), x, 2, key=key) for x in (poses, frames))
    for x, y in zip(*map(jax.tree.leaves, (one, other)), strict=True):
        # To the bit as XLA compiles for users; its older emitters sum in another order.
        x, y = (np.asarray(raw(z), float) for z in (x, y))
        assert np.linalg.norm(x - y) <= 1e-4 * np.linalg.norm(x)


def test_the_networks_see_pictures_and_no_poses(tmp_path):
    """Where all pictures are black, other poses change nothing."""

    @jax.tree_util.register_static
    class Dark:
        def draw(self, poses):
            return jax.numpy.zeros((len(poses), 64, 64, 3), np.uint8)

    run = seeing(tmp_path)
    replay = replace(run.replay(), scene=Dark())
    moved = replace(replay, observations=replay.observations + 1)
    agent, key = run.fresh(), jax.random.key(0)
    one, other = (updates(agent, x, 2, key=key)[0] for x in (replay, moved))
    for x, y in zip(*map(jax.tree.leaves, (one, other)), strict=True):
        np.testing.assert_array_equal(raw(x), raw(y))
    run.env.__dict__["scene"] = Dark()
    s, g = replay.observations[:2, 0], replay.observations[:2, 5]
    acts = [run.policy(agent, "mode")(x, g, key) for x in (s, s + 1)]
    np.testing.assert_array_equal(*acts)


def sizes_of(jaxpr, kind):
    """Sizes of all arrays of a kind that a program makes."""
    for eqn in jaxpr.eqns:
        for inner in jax.tree.leaves(eqn.params, is_leaf=lambda x: hasattr(x, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            yield from sizes_of(inner, kind) if hasattr(inner, "eqns") else ()
        yield from (v.aval.size for v in eqn.outvars if v.aval.dtype == kind)


@pytest.mark.slow
def test_frames_are_never_copied_as_floats(tmp_path):
    run = seeing(tmp_path)
    replay = drawn_before(run.replay())
    n = replay.observations.size
    program = jax.make_jaxpr(updates, static_argnums=2)
    program = program(run.fresh(), replay, 2, key=jax.random.key(0))
    batch = 2 * 8 * 64 * 64 * 3
    assert batch < n / 10
    assert max(sizes_of(program.jaxpr, np.float32)) < n / 2
    assert batch in set(sizes_of(program.jaxpr, np.float32))


@pytest.mark.parametrize("agent", AGENTS)
def test_pictures_ask_for_more(agent, tmp_path):
    about = {"agent": agent, "data": "play"}
    state, seen = (
        Run("Reach", "cpu", 0, tmp_path, obs=obs, **about)
        for obs in ("state", "pixels")
    )
    assert seen.budget == replace(state.budget, episodes=2 * state.budget.episodes)
    tuned = AGENTS[agent].tuned  # "near play" is for play, not for noise
    more = tuned["pixels"] | tuned.get("near play", {})
    assert more["shift"] == 4
    assert seen.config == replace(state.config, **more)
    seen = replace(seen, changes={"episodes": 3, "shift": 0})
    assert (seen.budget.episodes, seen.config.shift) == (3, 0)
    calm, noisy = (replace(x, data="noisy").config for x in (state, seen))
    assert getattr(noisy, "bc", None) == getattr(calm, "bc", None)


def test_an_agent_that_goes_on_collecting_clones_more(tmp_path):
    offline = Run("BinPick", "smoke", 0, tmp_path, data="play")
    online = replace(offline, changes={"collect": 800})
    assert (offline.config.bc, online.config.bc) == (0.1, 0.5)
    for data in ("noisy", "random"):  # these have shares of their own
        one, other = (replace(run, data=data) for run in (offline, online))
        assert other.config == replace(one.config, decay_steps=0)
    mine = replace(online, changes=online.changes | {"bc": 0.2})
    assert mine.config.bc == 0.2


def test_a_run_from_pixels(tmp_path, capsys):
    task = ["--task", "Reach", "--obs", "pixels", "--data", "play", "--agent", "gcbc"]
    few = ["episodes=2", "steps=2", "every=1", "collect=100", "copies=1", "tests=2"]
    few += ["per_update=50", "batch_size=4", "shift=2"]
    out = tmp_path / "run"
    assert main(arguments(out, *task, "--set", *few)) == 0
    assert "replay: 4 episodes, 0.000 GB" in capsys.readouterr().out
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["obs"], manifest["collected"]) == ("pixels", 100)
    assert main(["evaluate", "--agent", str(out), "--episodes", "2"]) == 0
    said = refused(arguments(out, *task[:2], "--set", *few[:-1], "--resume"), capsys)
    assert "settings must be those of" in said


def test_a_test_reports_both_protocols(tmp_path):
    changes = {"tests": 100, "hidden": (8,), "batch_size": 2, "every": 25}
    run = Run("BinPick", "smoke", 0, tmp_path, "td3_her", data="play", changes=changes)
    walk = run.env.walk(0)
    shares = run.success(run.env.walk(0), seed=3)
    usual = run.env.episodes(walk, 100, seed=3)
    other = run.env.paper.episodes(walk, 100, seed=3)
    want = {"ever": usual.ever, "at_end": usual.at_end, "paper": other.ever}
    assert shares == {name: reached.mean() for name, reached in want.items()}
    assert 0 < shares["paper"] < 1
    few, steps = replace(run, changes=changes | {"tests": 1}), (1, 50)
    agents = (replace(few.fresh(), step=jax.numpy.array(n)) for n in steps)
    rows = [runs.tested(few, agent) for agent in agents]
    assert [row["paper"] == "" for row in rows] == [True, False]


def test_a_bar_says_that_it_compiles_and_a_run_what_memory_it_had(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("crl_mini.runs.run.peak_memory_gib", lambda: 1.25)
    assert main(arguments(tmp_path / "run", "--set", *TINY)) == 0
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["memory_gib"] == 1.25
    said, bars = capsys.readouterr()
    assert "1.25 GiB on the device" in said
    first, *_, last = [x for x in bars.split("\r") if "update" in x]
    assert first.startswith("compiling: ")
    assert "compiling" not in last


def test_what_td3_is_told_is_a_setting(tmp_path):
    run = Run("line:Line-v0", "smoke", 0, tmp_path, "td3_her")
    untold = replace(run, changes={"told": False})
    assert run.fresh().success is not None
    assert untold.fresh().success is None
    config = untold.identity
    assert not config["settings"]["told"]
    assert of_config(config, tmp_path).fresh().success is None


def test_a_setting_that_is_new_had_its_default(finished, tmp_path):
    """A run that was made before can go on; one with another value cannot."""
    run, _ = restored(finished)
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    run, config = replace(run, out=out), json.loads((out / "config.json").read_text())
    del config["settings"]["exploration"]
    (out / "config.json").write_text(json.dumps(config))
    check_same(run)
    with pytest.raises(ValueError, match="settings must be those of"):
        check_same(replace(run, changes=run.changes | {"exploration": 0.5}))


@pytest.mark.slow
@pytest.mark.parametrize("kept", ["pixels", "poses"])
def test_pictures_from_a_file(kept, tmp_path, capsys):
    path, out = tmp_path / "data.npz", tmp_path / "run"
    save(path, collect("Reach", kept, episodes=2, progress=False))
    task = ["--task", "Reach", "--data", str(path)]
    few = ["steps=1", "every=1", "collect=50", "copies=1", "tests=1"]
    few += ["per_update=50", "batch_size=4"]
    said = refused(arguments(out, *task), capsys)
    assert f"data {path}: it must fit the obs state; it holds {kept}" in said
    assert main(arguments(out, *task, "--obs", "pixels", "--set", *few)) == 0
    run, agent = restored(out)
    replay = load(run.replay(), out / "checkpoint.safetensors", REPLAY)
    assert replay.n_transitions == 3 * 50
    assert (replay.scene is None) == (kept == "pixels")
    assert replay.observations.dtype == {"pixels": np.uint8, "poses": np.float32}[kept]


def test_success_in_hindsight_is_that_of_the_task(tmp_path):
    agent = Run("BinPick", "smoke", 0, tmp_path, agent="td3_her", data="play").fresh()
    goals = np.zeros((2, 7), np.float32)
    near = goals + 0.04 * np.eye(7, dtype=np.float32)[4]
    assert np.asarray(agent.success(near, goals)).all()
    assert not np.asarray(agent.success(goals + np.eye(7)[4], goals)).any()
    maze = Run("PointMaze-U-v0", "smoke", 0, tmp_path, agent="td3_her").fresh()
    assert maze.success is not None


def test_long_walks_are_recorded_in_our_mazes_only(tmp_path):
    lengths = {
        task: Run(task, "cpu", 0, tmp_path, data="random").identity["length"]
        for task in ("PointMaze-U-v0", "crl_mini/PointMaze-U-v0", "line:Line-v0")
    }
    assert list(lengths.values()) == [200, 200, line.LENGTH]


@pytest.mark.tried("arguments")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--task", "Maze"], "task must be one of PointMaze-U-v0"),
        (["--task", "Maze"], "module:Name-v0; got 'Maze': Environment `Maze` does"),
        (["--task", "nowhere:Line-v0"], "No module named 'nowhere'"),
        (["--task", "line:Line-v7"], "version `v7` for environment `Line` does"),
        (
            ["--task", "CartPole-v1"],
            "task must observe a Dict of observation, achieved",
        ),
        (
            ["--task", "line:LineOfBits-v0"],
            "must be a bounded Box or a Discrete from 0; got Mul",
        ),
        (["--task", "line:LineFromOne-v0"], "a Discrete from 0; got Discrete(3, start"),
        (
            ["--task", "line:LineWithoutBounds-v0"],
            "a bounded Box or a Discrete from 0; got Box",
        ),
        (["--task", "line:LineWithoutEnd-v0"], "has none: add --length STEPS"),
        (["--length", "1"], "length must be at least 2; got 1"),
        (["--length", "3000000000"], "length must be less than 2,147,483,648; got"),
        (["--task", "line:LineWithoutEnd-v0", "--length", "2147483647"], "replay must"),
        (["--preset", "huge"], "preset must be one of smoke, cpu"),
        (["--agent", "dqn"], "agent must be one of crl, gcbc, td3_her, c_learning"),
        (["--data", "play"], "data must be one of own, random, a file of ep"),
        (["--task", "Push", "--data", "no.npz"], "random, play, noisy, a file of"),
        (["--set", "bc"], "'bc' is not name=value"),
        (["--set", "speed=3"], "a setting must be one of episodes, steps, every, col"),
        (["--set", "bc=2"], "bc must lie in [0, 1]; got 2"),
        (["--set", "gamma=word"], "gamma must be of type float; got word"),
        (["--set", "episodes=0.5"], "episodes must be of type int; got 0.5"),
        (["--set", "actor_tower=False"], "actor_tower must be true or false; got Fal"),
        (["--set", "tests=0"], "tests must be at least 1"),
        (["--set", "steps=75"], "steps must be a multiple of 50; got 75"),
        (["--set", "steps=0"], "steps + collect must be at least 1"),
        (["--set", "per_update=1000"], "updates after a round must be at least 1"),
        (["--seed", "-1"], "seed must be at least 0"),
        (["--seed", "one"], "invalid int value"),
        (["--resume"], "--resume needs a run"),
        (["--obs", "sound"], "obs must be one of state, pixels; got 'sound'"),
        (["--obs", "pixels"], "pixels need one of Reach, Push, PickPlace"),
        (["--set", "tower=eiffel"], "must be one of conv, patch, narrow; got 'eiffel'"),
        (["--set", "episodes=1000000000"], "the replay must fit into"),
        (["--set", "episodes=1000000000000"], "episodes must be less than"),
        (["--out", "/proc/nowhere"], "/proc/nowhere"),
    ],
)
def test_wrong_arguments_get_one_line_and_leave_nothing(
    change, message, tmp_path, capsys
):
    with pytest.raises(SystemExit) as stop:
        main(arguments(tmp_path / "run") + change)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_never_overwritten(finished, capsys):
    before = (finished / "metrics.csv").read_bytes()
    for more, message in (
        ([], "holds a run"),
        (["--resume", "--seed", "5"], "they differ"),
    ):
        with pytest.raises(SystemExit):
            main(arguments(finished, *more))
        assert message in capsys.readouterr().err
    assert (finished / "metrics.csv").read_bytes() == before


def test_momentum_of_the_random_walk():
    env = gymnasium.make_vec("crl_mini/PointMaze-U-v0", num_envs=500)
    walk = Wander(env.unwrapped.single_action_space, keep=0.8, seed=0)
    a = rollout(env, walk, 40, seed=0).actions
    kept = (a[:, 1:] == a[:, :-1]).all(-1).mean()
    assert kept == pytest.approx(0.8, abs=0.02)
    assert np.abs(a).max() <= 1
    assert abs(a.mean()) < 0.05
    with pytest.raises(ValueError, match=r"keep must lie in \[0, 1\)"):
        Wander(env.unwrapped.single_action_space, keep=1.0, seed=0)


# What is broken, and disks that are full.


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A checkpoint of larger networks."""
    out, larger = tmp_path_factory.mktemp("foreign") / "run", {"hidden": (17,)}
    begun(out, "PointMaze-U-v0", data="random", changes=larger)
    return (out / "checkpoint.safetensors").read_bytes()


@pytest.mark.tried("files")
@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("config.json", lambda old, _: old[:100], "config.json is no JSON"),
        ("config.json", lambda old, _: b"", "config.json is no JSON"),
        ("config.json", lambda old, _: b"[]\n", "they differ"),
        ("config.json", lambda old, _: old.replace(b"32", b"33"), "they differ"),
        ("metrics.csv", lambda old, _: old[:-1], "must hold whole rows up to step 200"),
        ("metrics.csv", lambda old, _: old[:-40], "must hold whole rows up to step"),
        ("metrics.csv", lambda old, _: old[:20], "must hold whole rows up to step"),
        ("metrics.csv", lambda old, _: old[: old.index(b"\n200,") + 1], "up to step"),
        ("metrics.csv", lambda old, _: b"", "must hold whole rows up to step 200"),
        ("metrics.csv", None, "No such file or directory: "),
        ("checkpoint.safetensors", lambda old, _: old[:-9], "is no safetensors file"),
        ("checkpoint.safetensors", lambda old, _: old[:99], "is no safetensors file"),
        ("checkpoint.safetensors", lambda old, _: b"", "is no safetensors file"),
        ("checkpoint.safetensors", lambda _, other: other, "made with other networks"),
    ],
)
def test_damaged_runs_are_left_as_they_are(
    name, damage, message, finished, foreign, tmp_path, capsys
):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    (out / "manifest.json").unlink()
    if damage:
        (out / name).write_bytes(damage((out / name).read_bytes(), foreign))
    else:
        (out / name).unlink()
    before = bytes_of(out)
    line = refused(arguments(out, "--resume"), capsys)
    assert message in line
    assert name in line
    assert bytes_of(out) == before


@pytest.mark.tried("data")
def test_damaged_data_are_refused(tmp_path, capsys):
    path, out = tmp_path / "reach.npz", tmp_path / "run"
    data = collect("Reach", episodes=2, progress=False)
    save(path, data)
    good = path.read_bytes()
    for n in [*range(0, len(good), len(good) // 10), len(good) - 1]:
        path.write_bytes(good[:n])
        with pytest.raises(ValueError, match="is no file of `collect` or of OGBench: "):
            load_data(path)
    for at in range(40, len(good), len(good) // 25):
        path.write_bytes(good[:at] + bytes([good[at] ^ 255]) + good[at + 1 :])
        with contextlib.suppress(ValueError):  # or it is a byte that nothing reads
            np.testing.assert_array_equal(load_data(path).actions, data.actions)
    path.write_bytes(good[:-1])
    data = ["--task", "Reach", "--data", path]
    assert "is no file of" in refused(arguments(out, *data), capsys)
    assert list(tmp_path.iterdir()) == [path]
    path.unlink()
    assert "data must be one of own, " in refused(arguments(out, *data), capsys)
    assert list(tmp_path.iterdir()) == []


FULL = (errno.ENOSPC, "No space left on device")


def tiny(out, *more):
    what = ["--task", "Reach", "--agent", "gcbc", "--preset", "smoke"]
    return ["train", *what, "--out", out, "--data", "random", "--set", *TINY, *more]


@pytest.mark.tried("kills")
@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("write", "config.json"),
        ("write", "metrics.csv"),
        ("write", "checkpoint.safetensors"),
        ("write", "manifest.json"),
        ("rename", "config.json"),
        ("rename", "checkpoint.safetensors"),
    ],
)
def test_a_full_disk_gets_one_line(what, name, tmp_path, monkeypatch, capsys):
    write, rename = Path.write_bytes, os.replace
    new, out = tmp_path / "new", tmp_path / "new" / "run"

    def half(path, content):
        full = what == "write" and path.name.startswith(name)
        write(path, content[: len(content) // 2] if full else content)
        if full:
            raise OSError(*FULL)

    def refuse(part, path):
        if what == "rename" and path.name == name:
            raise OSError(*FULL, str(path))
        rename(part, path)

    monkeypatch.setattr(Path, "write_bytes", half)
    monkeypatch.setattr(os, "replace", refuse)
    line = refused(tiny(out), capsys)
    assert f"No space left on device: '{out / name}'" in line
    order = ["config.json", "metrics.csv", "checkpoint.safetensors", "manifest.json"]
    begun = order[: order.index(name)]
    assert sorted(path.name for path in out.glob("*")) == sorted(begun)
    assert new.exists() == bool(begun)


@pytest.mark.tried("kills")
def test_a_disk_that_fills_up_keeps_the_last_checkpoint(tmp_path, monkeypatch, capsys):
    whole, out, left, write = tmp_path / "0", tmp_path / "1", [6], Path.write_bytes
    assert main([str(x) for x in tiny(whole)]) == 0

    def fills(path, content):
        left[0] -= 1
        if not left[0]:
            raise OSError(*FULL)
        write(path, content)

    monkeypatch.setattr(Path, "write_bytes", fills)
    refused(tiny(out), capsys)
    assert int(restored(out)[1].step) == 5
    assert main([str(x) for x in tiny(out, "--resume")]) == 0
    same = [path / "checkpoint.safetensors" for path in (whole, out)]
    assert same[0].read_bytes() == same[1].read_bytes()


# Learning: better than a random walk, with a wide margin (three seeds were tried).


def beats_walk(out, agent, data, **sizes) -> float:
    """Share of goals that a small agent reaches on Reach, if it is thrice a walk's."""
    changes = {"hidden": (64,), "batch_size": 128, "tests": 100, **sizes}
    run = Run("Reach", "smoke", 0, out, agent=agent, data=data, changes=changes)
    reached = run()["ever"]
    assert reached > 3 * run.success(run.env.walk(0), seed=20_000)["ever"]
    return reached


#: The data and the updates with which an agent beats the walk in seconds.
LEARNS_FROM = {
    "crl": ("random", 1500),
    "td3_her": ("play", 4000),
    "gcbc": ("random", 4000),
}


@pytest.mark.parametrize("agent", first_is_quick(AGENTS))
def test_every_agent_learns_from_data(agent, tmp_path):
    data, steps = LEARNS_FROM.get(agent, ("random", 3000))
    sizes = {"episodes": 500, "steps": steps, "every": steps}
    assert beats_walk(tmp_path / "run", agent, data, **sizes) > 0.5


@pytest.mark.slow
def test_an_agent_learns_from_nothing(tmp_path):
    sizes = {"collect": 10_000, "copies": 16, "per_update": 16}
    assert beats_walk(tmp_path / "run", "crl", "own", **sizes) > 0.6
