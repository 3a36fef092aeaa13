"""Seeds at once: each folder is what it would be if its run had been alone."""

import csv
import json

import jax
import numpy as np
import pytest
from folders import TINY, first_is_quick, refused, slow
from safetensors.numpy import load_file

from crl_mini.__main__ import main
from crl_mini.agents import AGENTS
from crl_mini.envs.tasks import task
from crl_mini.runs import seeds
from crl_mini.runs.run import Run, restored
from crl_mini.runs.seeds import Stacked, groups, train_at_once, updates_at_once
from crl_mini.train import updates

SMALL = {"steps": 10, "every": 5, "episodes": 4, "tests": 2, "hidden": (8,)}
ROUNDS = {
    "collect": 200,
    "copies": 2,
    "per_update": 10,
}  # two of Reach, 10 updates each
SEEN = SMALL | {"batch_size": 4, "tests": 1, "steps": 4, "every": 2}


BY_COST = sorted(AGENTS, key=lambda name: name != "gcbc")


def runs_of(out, which=(0, 1), agent="gcbc", changes=SMALL, **more):
    """Small runs of Reach that differ in their seeds."""
    how = {"agent": agent, "data": "random", "changes": changes} | more
    name = how.pop("name", "Reach")
    return [Run(name, "smoke", seed, out / str(seed), **how) for seed in which]


def alone(runs):
    """Train runs one by one."""
    return [run() for run in runs]


def rows_of(run):
    """Metrics, as numbers where they are some."""
    rows = csv.DictReader((run.out / "metrics.csv").read_text().splitlines())
    return [{k: float(v or "nan") for k, v in row.items()} for row in rows]


def check_same(one, other, share_off=0.0):
    """Two folders hold the same: settings, curves, networks, replay and scores."""
    files = [{path.name for path in run.out.iterdir()} for run in (one, other)]
    assert files[0] == files[1]
    settings = [(run.out / "config.json").read_bytes() for run in (one, other)]
    assert settings[0] == settings[1]
    for row, want in zip(rows_of(one), rows_of(other), strict=True):
        assert [*row] == [*want]
        del row["seconds"], want["seconds"]
        assert row == pytest.approx(want, rel=1e-3, abs=1e-4, nan_ok=True)
    kept, wanted = (
        load_file(run.out / "checkpoint.safetensors") for run in (one, other)
    )
    assert {k: x.dtype for k, x in kept.items()} == {
        k: x.dtype for k, x in wanted.items()
    }
    off = size = 0
    for name, x in kept.items():
        if x.dtype.kind == "f":
            off += (~(np.abs(x - wanted[name]) <= 2e-4)).sum()
            size += x.size
        else:
            np.testing.assert_array_equal(x, wanted[name], err_msg=name)
    assert off <= share_off * size
    told = [json.loads((run.out / "manifest.json").read_text()) for run in (one, other)]
    assert told[0].pop("seeds_at_once") == 2
    for manifest in told:
        del manifest["minutes"]
    assert told[0] == told[1]


# --- The same as alone


@pytest.mark.parametrize("agent", first_is_quick(BY_COST))
@pytest.mark.parametrize(
    "more",
    [{}, *slow([{"changes": SMALL | ROUNDS}])],
    ids=["offline", "then-online"],
)
def test_states(agent, more, tmp_path):
    one, other = (runs_of(tmp_path / x, agent=agent, **more) for x in "ab")
    train_at_once(one)
    alone(other)
    for x, y in zip(one, other, strict=True):
        check_same(x, y)
    first, second = (load_file(run.out / "checkpoint.safetensors") for run in one)
    assert any((first[name] != second[name]).any() for name in first)


@pytest.mark.slow
def test_from_nothing(tmp_path):
    changes = {k: v for k, v in SMALL.items() if k not in ("steps", "episodes")}
    how = {"changes": changes | ROUNDS, "data": "own"}
    one, other = (runs_of(tmp_path / x, **how) for x in "ab")
    train_at_once(one)
    alone(other)
    for x, y in zip(one, other, strict=True):
        check_same(x, y)
        assert [row["collected"] for row in rows_of(x)] == [100, 200]


@pytest.mark.slow
@pytest.mark.parametrize("agent", AGENTS)
def test_pixels(agent, tmp_path):
    online = {"collect": 100, "copies": 1, "per_update": 25}
    how = {"agent": agent, "obs": "pixels", "changes": SEEN | online}
    one, other = (runs_of(tmp_path / x, **how) for x in "ab")
    train_at_once(one)
    alone(other)
    for x, y in zip(one, other, strict=True):
        # Adam makes whole steps of gradients near 0, whose signs are those of rounding.
        check_same(x, y, share_off=1e-3)


@pytest.mark.slow
def test_a_maze_collects_for_one_seed_after_the_other(tmp_path):
    changes = SMALL | ROUNDS
    one, other = (
        runs_of(tmp_path / x, name="PointMaze-U-v0", agent="crl", changes=changes)
        for x in "ab"
    )
    train_at_once(one)
    alone(other)
    for x, y in zip(one, other, strict=True):
        check_same(x, y)


def test_seeds_whose_bounds_differ_come_one_after_the_other(tmp_path, capsys):
    one, other = (runs_of(tmp_path / x, name="line:Line-v0") for x in "ab")
    train_at_once(one)
    said = capsys.readouterr().err
    assert said.count("the seeds' data differ in form (bounds or sizes)") == 1
    alone(other)
    for x, y in zip(one, other, strict=True):
        assert x.bounds == y.bounds
        check_same(x, y)


@pytest.mark.parametrize("obs", ["state", "pixels"])
def test_episodes_in_one_vector_are_those_of_each_seed(obs):
    push, which, n, asked = task("Push", obs), [7, 3, 10_000], 2, []

    def noisy(s, g, key):
        return np.asarray(jax.random.uniform(key, (n, 4), minval=-1))

    def of_each(s, g, keys):
        asked.append(len(keys))
        return np.concatenate([noisy(s, g, key) for key in keys])

    how = {"length": 5, "goals": "mixed"}
    found = push.shared_episodes(of_each, n, seeds=which, **how)
    assert asked == [3] * 5
    for seed, episodes in zip(which, found, strict=True):
        alone = push.episodes(noisy, n, seed=seed, **how)
        assert episodes.achieved is episodes.observations
        for x, y in zip(episodes, alone, strict=True):
            np.testing.assert_array_equal(x, y)


# --- What happens on the way


class Stopped:
    """Stands for `save`: stops the training at the n-th call."""

    def __init__(self, n):
        self.left, self.save = n, seeds.save

    def __call__(self, *what):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        self.save(*what)


@pytest.mark.parametrize("n", first_is_quick([4, 1, 7]))
def test_a_group_that_was_stopped_goes_on(n, tmp_path, monkeypatch, capsys):
    """Before a first checkpoint, when one seed is ahead, and while it collects."""
    how = {"changes": SMALL | ROUNDS}
    one, other = (runs_of(tmp_path / x, **how) for x in "ab")
    with monkeypatch.context() as patch:
        patch.setattr(seeds, "save", Stopped(n))
        with pytest.raises(KeyboardInterrupt):
            train_at_once(one)
    assert all((run.out / "config.json").exists() for run in one)
    one = runs_of(tmp_path / "a", **how)
    train_at_once(one)
    said = capsys.readouterr().err
    ahead = {1: "", 4: "seed 0: 10, seed 1: 5", 7: ""}[n]
    assert ("not level, those behind go first; updates of " in said) == bool(ahead)
    assert ahead in said
    train_at_once(other)
    for x, y in zip(one, other, strict=True):
        y_told = y.out / "manifest.json"
        told = json.loads(y_told.read_text())
        del told["seeds_at_once"]
        y_told.write_text(json.dumps(told))
        check_same(x, y)


def test_a_seed_that_is_not_finite_is_left_behind(tmp_path, monkeypatch, capsys):
    learn, calls = seeds.updates_at_once, []

    def fail(agents, *data, **keys):
        agents, metrics = learn(agents, *data, **keys)
        calls.append(len(keys["keys"]))
        if len(calls) == 2:
            first = agents.arrays[0]
            agents.arrays[0] = first.at[1].set(np.nan)
        return agents, metrics

    monkeypatch.setattr(seeds, "updates_at_once", fail)
    out = tmp_path / "runs"
    words = ["train", "--task", "Reach", "--data", "random", "--agent", "gcbc"]
    words += ["--preset", "smoke", "--seeds", "0,1,2", "--at-once", "3"]
    few = ["--set", *TINY, "steps=15"]
    assert main([*words, *few, "--out", str(out)]) == 1
    said = capsys.readouterr()
    (line,) = (x for x in said.err.splitlines() if "finite" in x)
    assert line.startswith(
        f"{out}/1: training of seed 1 is no longer finite: after upda"
    )
    assert "the agent after update 5 is the last good one" in line
    assert calls == [3, 3, 2]
    assert int(restored(out / "1")[1].step) == 5
    assert len((out / "1" / "metrics.csv").read_text().splitlines()) == 2
    for seed in (0, 2):
        assert json.loads((out / str(seed) / "manifest.json").read_text())
        assert int(restored(out / str(seed))[1].step) == 15
    assert not (out / "1" / "manifest.json").exists()


# --- The commands

TRAIN = ["train", "--task", "Reach", "--data", "random", "--agent", "gcbc"]
TRAIN += ["--preset", "smoke", "--set", *TINY, "--seeds", "0,1"]


def test_the_command_on_a_cpu_is_that_of_each_seed(tmp_path, capsys):
    out, single = tmp_path / "several", tmp_path / "single"
    assert main([*TRAIN, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert all(f"{out}/{seed}/manifest.json" in said for seed in (0, 1))
    words = [*TRAIN[:-2], "--seed", "1", "--out", str(single)]
    assert main(words) == 0
    same = [x / "checkpoint.safetensors" for x in (out / "1", single)]
    assert same[0].read_bytes() == same[1].read_bytes()
    assert "holds a run; add --resume to go on" in refused(
        [*TRAIN, "--out", out], capsys
    )
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*")}
    assert len(before) == 8
    more = [*TRAIN[:-1], "0,1,2", "--out", str(out), "--resume"]
    assert main(more) == 0
    assert "finished before: 2 of 3 seeds\n" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (out / "2" / "manifest.json").exists()


def test_the_command_trains_seeds_at_once_and_goes_on(tmp_path, monkeypatch, capsys):
    out, words = tmp_path / "runs", [*TRAIN, "--at-once", "2", "--out"]
    with monkeypatch.context() as patch:
        patch.setattr(seeds, "save", Stopped(2))
        assert main([*words, str(out)]) == 130
    assert capsys.readouterr().err.endswith(
        f"stopped; go on with: --out {out} --resume\n"
    )
    assert main([*words, str(out), "--resume"]) == 0
    manifests = [out / str(seed) / "manifest.json" for seed in (0, 1)]
    assert [json.loads(x.read_text())["seeds_at_once"] for x in manifests] == [2, 2]


@pytest.mark.tried("arguments")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--seed", "3"], "not allowed with argument --seeds"),
        (["--seeds", "1,1"], "must be different whole numbers from 0 up, with commas"),
        (["--at-once", "0"], "at_once must be at least 1; got 0"),
        (["--at-once", "two"], "invalid int value"),
        (["--resume"], "--resume needs runs of these seeds in"),
        (["--distributed"], "--distributed trains one seed: give --seed"),
        (["--data", "no.npz"], "data must be one of own, random, play"),
    ],
)
def test_wrong_arguments_get_one_line_and_leave_nothing(
    change, message, tmp_path, capsys
):
    assert message in refused([*TRAIN, "--out", tmp_path / "x", *change], capsys)
    assert list(tmp_path.iterdir()) == []


def test_one_seed_is_not_told_how_many_train_at_once(tmp_path, capsys):
    words = [*TRAIN[:-2], "--at-once", "2", "--out", tmp_path / "x"]
    assert "--at-once is for several seeds" in refused(words, capsys)


def test_groups_are_of_one_training(tmp_path, monkeypatch):
    some = runs_of(tmp_path, (0, 1, 2)) + runs_of(tmp_path, (0, 1), agent="crl")
    sizes = {2: [2, 1, 2], 3: [3, 2], 1: [1] * 5, None: [1] * 5}
    for at_once, want in sizes.items():
        assert [len(group) for group in groups(some, at_once)] == want
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert [len(group) for group in groups(some)] == [3, 2]
    assert groups([]) == []
    with pytest.raises(ValueError, match="alike but for their seeds and folders"):
        train_at_once(some)
    assert list(tmp_path.iterdir()) == []


# --- The program


def test_one_program_makes_the_updates_of_all(tmp_path):
    """Each with its own replay: of one of them episodes have ended early."""
    some = runs_of(tmp_path)
    agents, replays = [run.fresh() for run in some], [run.replay() for run in some]
    replays[1] = replays[1].with_lengths()
    keys = jax.numpy.stack([run.keys[1] for run in some])
    together, metrics = updates_at_once(Stacked.of(agents), replays, 5, keys=keys)
    each = zip(agents, replays, keys, together.each(), metrics["loss"], strict=True)
    for agent, replay, key, got, loss in each:
        want, wanted = updates(agent, replay, 5, key=key)
        assert loss == pytest.approx(float(wanted["loss"]), rel=1e-5)
        assert int(got.step) == 5
        for x, y in zip(*map(jax.tree.leaves, (got.actor, want.actor)), strict=True):
            np.testing.assert_allclose(x, y, atol=1e-5)
