"""Several runs by one command."""

import json
import shlex

import pytest
from folders import TINY, refused

from crl_mini.__main__ import main
from crl_mini.runs.data import collect, save
from crl_mini.runs.run import Run
from crl_mini.runs.sweep import command, unfinished

SWEEP = ["sweep", "--preset", "smoke", "--data", "random", "--agent", "gcbc"]
SWEEP += ["--set", *TINY]


def sweeping(out, *more):
    lists = ["--task", "Reach,Drawer", "--seeds", "0,1"]
    return [*SWEEP, *lists, "--out", str(out), *more]


def commands(argv, capsys):
    """What a dry run prints, as arguments of `main`."""
    capsys.readouterr()
    assert main([*argv, "--dry-run"]) == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert all(words[:3] == ["python", "-m", "crl_mini"] for words in lines)
    return [words[3:] for words in lines]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    out = tmp_path_factory.mktemp("swept")
    assert main(sweeping(out)) == 0
    return out


def learned_by(out):
    """Checkpoint and settings of each run below a folder."""
    files = ("checkpoint.safetensors", "config.json")
    return {x.name: [(x / name).read_bytes() for name in files] for x in out.iterdir()}


def test_a_dry_run_prints_the_commands_that_train_the_same(swept, tmp_path, capsys):
    out = tmp_path / "with space"
    todo = commands(sweeping(out), capsys)
    assert not out.exists()
    assert [main(words) for words in todo] == 4 * [0]
    assert learned_by(out) == learned_by(swept)
    names = [f"{t}-random-gcbc-{s}" for t in ("Reach", "Drawer") for s in (0, 1)]
    assert sorted(learned_by(out)) == sorted(names)
    assert len({checkpoint for checkpoint, _ in learned_by(out).values()}) == 4
    assert commands(sweeping(out), capsys) == []


def test_a_command_of_a_dry_run_trains_seeds_at_once(tmp_path, capsys):
    out = tmp_path / "with space"
    more = ["--seeds", "0,1,2", "--at-once", "2"]
    todo = commands(sweeping(out, *more), capsys)
    seeds = [x for words in todo for x in words if x.startswith("--seed")]
    assert seeds == ["--seeds=0,1", "--seed=2"] * 2
    assert [words[0] for words in todo] == ["sweep", "train"] * 2
    assert main(todo[0]) == 0
    both = [out / f"Reach-random-gcbc-{seed}" for seed in (0, 1)]
    assert sorted(out.iterdir()) == both
    told = [json.loads((x / "manifest.json").read_text()) for x in both]
    assert [x["seeds_at_once"] for x in told] == [2, 2]
    assert commands(sweeping(out, *more), capsys) == todo[1:]


def test_a_dry_run_prints_the_length(tmp_path, capsys):
    task = ["--task", "line:LineWithoutEnd-v0", "--length", "5"]
    [words] = commands([*SWEEP, *task, "--seeds", "0", "--out", str(tmp_path)], capsys)
    assert "--length=5" in words


def test_a_sweep_goes_on_where_it_stopped(swept, tmp_path, monkeypatch, capsys):
    out, success, calls = tmp_path / "runs", Run.success, []

    def interrupted(self, policy, *, seed):
        calls.append(self.out.name)
        if calls.count("Reach-random-gcbc-1") == 2:
            raise KeyboardInterrupt
        return success(self, policy, seed=seed)

    monkeypatch.setattr(Run, "success", interrupted)
    assert main(sweeping(out)) == 130
    assert capsys.readouterr().err.endswith("stopped; go on with the same command\n")
    monkeypatch.setattr(Run, "success", success)
    first, second = out / "Reach-random-gcbc-0", out / "Reach-random-gcbc-1"
    assert sorted(out.iterdir()) == [first, second]
    assert not (second / "manifest.json").exists()
    begun = (second / "checkpoint.safetensors").read_bytes()
    todo = commands(sweeping(out), capsys)
    assert [words[-1] == "--resume" for words in todo] == [True, False, False]
    done = {path: path.stat() for path in first.iterdir()}
    assert main(sweeping(out)) == 0
    assert {path: path.stat() for path in first.iterdir()} == done
    assert learned_by(out) == learned_by(swept)
    assert (second / "checkpoint.safetensors").read_bytes() != begun
    rows = (second / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "5", "10"]


def test_runs_from_pixels_have_folders_of_their_own(tmp_path):
    more = {"data": "play", "preset": "smoke", "changes": {}, "out": tmp_path}
    names = []
    for obs in ("state", "pixels"):
        (run,) = unfinished(["Reach"], ["gcbc"], [3], obs=obs, **more)
        assert run.obs == obs
        assert f"--obs={obs}" in command(run)
        names.append(run.out.name)
    assert names == ["Reach-play-gcbc-3", "Reach-pixels-play-gcbc-3"]


def test_finished_runs_of_other_settings_are_not_taken_for_these(swept, capsys):
    before = learned_by(swept)
    line = refused(sweeping(swept, "--set", "gamma=0.5"), capsys)
    assert "Reach-random-gcbc-0/config.json; they differ" in line
    assert learned_by(swept) == before


def test_a_run_that_fails_does_not_stop_the_others(tmp_path, capsys):
    path, out = tmp_path / "reach.npz", tmp_path / "runs"
    save(path, collect("Reach", episodes=4, progress=False))
    more = ["--task", "Push,Reach", "--seeds", "0", "--data", str(path)]
    assert main(sweeping(out, *more)) == 1
    lines = capsys.readouterr().err.splitlines()
    failed = [line for line in lines if str(out) in line]
    assert failed == [
        f"{out}/Push-reach-gcbc-0: data {path}: it must be of Push; it is of 'Reach'"
    ]
    assert [x.name for x in out.iterdir()] == ["Reach-reach-gcbc-0"]
    assert (out / "Reach-reach-gcbc-0" / "manifest.json").exists()
    path.unlink()
    assert main(sweeping(out, *more)) == 1
    assert "Push-reach-gcbc-0: data must be one of own" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(
            (["--seeds", seeds], f"must be different whole numbers from 0 up, with {x}")
            for seeds in ("0,,1", "a", "1,1", "-1", "0,-1", "", "0.5", "0,1,")
            for x in (f"commas: 0,1,2; got {seeds!r}",)
        ),
        (["--task", "Reach,Pull"], "task must be one of PointMaze-U-v0"),
        (["--task", "Reach,"], "task must be one of PointMaze-U-v0"),
        (["--agent", "crl,dqn"], "agent must be one of crl, gcbc, td3_her, c_learning"),
        (["--set", "bc=0.5"], "a setting must be one of episodes, steps"),
        (["--preset", "huge"], "preset must be one of smoke, cpu"),
        (["--resume"], "unknown arguments --resume"),
    ],
)
def test_a_wrong_sweep_begins_nothing(change, message, tmp_path, capsys):
    assert message in refused(sweeping(tmp_path / "runs", *change), capsys)
    assert list(tmp_path.iterdir()) == []
