"""Scripted behaviour and the files it is kept in."""

import os
import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import jax
import numpy as np
import pytest

from crl_mini.__main__ import main
from crl_mini.envs.play import BRING, FUMBLE, LEAVE, WANDER, Expert, Play, expert
from crl_mini.envs.tabletop import OPENING, TASKS
from crl_mini.replay import Replay
from crl_mini.rollouts import rollout
from crl_mini.runs import data as files
from crl_mini.runs.data import CHUNK, Data, collect, save
from crl_mini.runs.formats import load

each = pytest.mark.parametrize("task", TASKS)


def vector(task, n):
    return gymnasium.make_vec(f"crl_mini/{task}-v0", num_envs=n)


@pytest.fixture(scope="module")
def binpick():
    """Play in the bins: clean, noisy, and random actions."""
    settings = (("play", 0.0), ("play", 0.8), ("random", None))
    return [
        collect("BinPick", "state", policy, 100, noise=noise, progress=False)
        for policy, noise in settings
    ]


def lifted(data):
    """Share of episodes in which the block is carried above the walls."""
    return (data.observations[..., 6] > 0.09).any(1).mean()


def test_play_lifts_carries_and_drops(binpick):
    play, noisy, random = binpick
    assert lifted(play) > 0.9
    assert 0.5 < lifted(noisy) < lifted(play)
    assert lifted(random) < 0.02
    bins = play.observations[..., 4] > 0  # right of the wall in the middle
    assert (bins[:, 1:] & ~bins[:, :-1]).any(1).mean() > 0.5  # carried there
    assert (~bins[:, 1:] & bins[:, :-1]).any(1).mean() > 0.1  # and back
    z, opening = play.observations[..., 6], play.observations[..., OPENING]
    falls = (z[:, 1:] < z[:, :-1] - 0.02) & (opening[:, 1:] > opening[:, :-1])
    assert falls.any()  # a block let go in the air


def test_play_does_not_know_the_goal(binpick):
    """Shifting all goals of the environment changes nothing that play does."""
    env = vector("BinPick", 8)
    runs = []
    for shift in (0, 0.05):
        play = Play(env, seed=0)
        env.reset(seed=0)
        env.unwrapped.goal_state = env.unwrapped.goal_state + shift
        actions = []
        for _ in range(40):
            actions.append(play(None, None, None))
            env.step(actions[-1])
        runs.append(np.stack(actions))
    np.testing.assert_array_equal(*runs)
    assert binpick[0].success.any(1).mean() > 0.2  # yet some goals are met by chance


@each
def test_play_does_all_it_can_do(task):
    env = vector(task, 50)
    play, skills = Play(env, seed=0), []
    env.reset(seed=0)
    for _ in range(TASKS[task].length):
        env.step(play(None, None, None))
        skills.append(play.skill.copy())
    skills = np.stack(skills)
    assert set(np.unique(skills)) == {BRING, LEAVE, WANDER, FUMBLE}
    assert (skills == BRING).mean() > 0.4
    after = skills[1:][(skills[:-1] == BRING) & (skills[1:] != BRING)]
    assert (after == LEAVE).all()


def test_noise_is_gaussian_and_halved_on_the_gripper():
    env = vector("Reach", 4000)
    env.reset(seed=0)
    a = Expert(env, noise=0.2, seed=0)(None, None, None)
    clean = Expert(env)(None, None, None)
    free = np.abs(clean) < 0.2  # where clipping is rare
    spread = [(a - clean)[:, k][free[:, k]].std() for k in range(4)]
    np.testing.assert_allclose(spread, [0.2, 0.2, 0.2, 0.1], rtol=0.05)
    assert np.abs(a).max() == 1


@each
def test_the_expert_looks_only_at_what_the_task_is_about(task):
    now, _ = vector(task, 20).reset(seed=0)
    s, g = (now[k].astype(float) for k in ("observation", "desired_goal"))
    other = np.random.default_rng(0).uniform(size=g.shape)
    other[:, TASKS[task].part] = g[:, TASKS[task].part]
    np.testing.assert_array_equal(expert(task, s, g), expert(task, s, other))


def test_the_expert_works_from_pictures_too():
    """It reads the physical state, so pictures and states give the same actions."""
    actions = []
    for obs_type in ("state", "pixels"):
        env = gymnasium.make_vec("crl_mini/Reach-v0", num_envs=2, obs_type=obs_type)
        actions.append(rollout(env, Expert(env), 5, seed=0).actions)
    np.testing.assert_array_equal(*actions)


def test_one_seed_repeats_two_differ_and_fewer_episodes_are_a_part():
    n = CHUNK + 3
    a, b = (collect("Reach", episodes=n, seed=0, progress=False) for _ in range(2))
    c = collect("Reach", episodes=n, seed=1, progress=False)
    for x, y, z in zip(a[:2], b[:2], c[:2], strict=True):
        np.testing.assert_array_equal(x, y)
        assert not (x == z).all(tuple(range(2, x.ndim))).any(1).any()
    assert len(np.unique(a.observations[:, 0], axis=0)) == n  # in later chunks too
    short = collect("Reach", episodes=CHUNK, seed=0, progress=False)
    np.testing.assert_array_equal(short.observations, a.observations[:CHUNK])


def test_actions_lead_from_one_observation_to_the_next():
    """The file's actions, taken again in the same episodes, show the same states."""
    data = collect("Push", episodes=4, seed=3, progress=False)
    env = vector("Push", 4)
    now, _ = env.reset(seed=files.FIRST_SEED * 4)
    for t in range(100):
        np.testing.assert_allclose(
            now["observation"], data.observations[:, t], atol=1e-4
        )
        now, _, _, _, info = env.step(data.actions[:, t])
        np.testing.assert_array_equal(info["success"], data.success[:, t])


@pytest.mark.parametrize("obs_type", ["state", "pixels", "poses"])
def test_a_file_holds_what_was_collected(tmp_path, obs_type):
    data = collect("Reach", obs_type, "random", 3, seed=5, progress=False)
    kind = np.uint8 if obs_type == "pixels" else np.float32
    assert data.observations.dtype == kind
    assert data.actions.dtype == np.float32
    assert data.observations.nbytes == files.n_bytes("Reach", obs_type, 3)
    path = tmp_path / "new" / "x.npz"
    save(path, data)
    again = load(path)
    for name in ("observations", "actions", "success"):
        x, y = getattr(data, name), getattr(again, name)
        np.testing.assert_array_equal(x, y)
        assert x.dtype == y.dtype
    assert again.about == data.about
    assert again.about["policy"] == "random"
    assert again.about["noise"] == 0
    assert "mujoco" in again.about["versions"]
    assert [p.name for p in path.parent.iterdir()] == ["x.npz"]


def oblique(x):
    """A copy that begins where JAX wants none to begin, so that it copies it again."""
    memory = np.empty(x.nbytes + 128, np.uint8)
    first = -memory.ctypes.data % 64 + 16
    copy = memory[first:][: x.nbytes].view(x.dtype).reshape(x.shape)
    copy[:] = x
    return copy


def test_what_is_read_from_a_file_is_in_memory_once(tmp_path):
    path = tmp_path / "x.npz"
    save(path, collect("Reach", "pixels", "random", 2, progress=False))
    data = load(path)
    with pytest.raises(ValueError, match="read-only"):
        data.observations[0] = 0
    where, again = data.observations.ctypes.data, data.observations.copy()
    given = data.observations, data.actions
    kept = Replay.from_trajectories(*given).observations
    np.testing.assert_array_equal(kept, data.observations)
    if jax.default_backend() == "cpu":
        assert kept.unsafe_buffer_pointer() == where
    for _ in range(20):  # JAX works while Python goes on
        writable = [oblique(x) for x in given]  # its owner may change it
        kept = Replay.from_trajectories(*writable)
        writable[0][:] = 0
        np.testing.assert_array_equal(kept.observations, data.observations)
        writable = [oblique(x) for x in given]
        kept = kept.add(*writable)
        writable[0][:] = 0
        np.testing.assert_array_equal(kept.observations, data.observations)
    of_another = [x.view() for x in writable]  # read-only, but not for its owner
    for view, x in zip(of_another, given, strict=True):
        view[:] = x
        view.flags.writeable = False
    kept = Replay.from_trajectories(*of_another).observations
    writable[0][:] = 0
    np.testing.assert_array_equal(kept, data.observations)
    full = Replay.from_trajectories(*given).add(*(1 - x[:1] for x in given))
    np.testing.assert_array_equal(full.observations[0], 1 - given[0][0])
    assert (given[0] == again).all()  # what was taken over is not written to
    more = Replay.from_trajectories(*given, capacity=3)
    more = more.add(*(x[:1] for x in given))
    np.testing.assert_array_equal(more.observations[:2], data.observations)
    np.testing.assert_array_equal(more.observations[2], data.observations[0])


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    data = collect("Reach", episodes=1, progress=False)
    path = tmp_path / "x.npz"
    save(path, data)
    before = path.read_bytes()

    def fails(file, array, **options):
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", fails)
    with pytest.raises(OSError, match="No space left"):
        save(path, data)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    for content in (b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"x.npz is no file of `collect`"):
            load(path)
    np.savez(path, a=1)
    with pytest.raises(ValueError, match=r"x.npz is no file of `collect`"):
        load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.npz")


def test_the_command_writes_a_file(tmp_path, capsys):
    out = tmp_path / "data" / "play.npz"
    command = ["collect", "--task", "Drawer", "--episodes", "2", "--out", str(out)]
    assert main([*command, "--noise", "0.1", "--seed", "4"]) == 0
    data = load(out)
    assert isinstance(data, Data)
    assert data.observations.shape == (2, 101, 5)
    assert (data.about["noise"], data.about["seed"]) == (0.1, 4)
    said = capsys.readouterr()
    assert "2 episodes: 0.000 GB of memory" in said.err
    assert "(2, 101, 5) float32" in said.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--task Throw", "task must be one of Reach, Push"),
        (
            "--task Reach --obs text",
            "obs_type must be one of state, pixels, poses; got 'text'",
        ),
        ("--task Reach --policy lazy", "policy must be one of play, random, expert"),
        ("--task Reach --episodes 0", "episodes must be at least 1; got 0"),
        ("--task Reach --seed -1", "seed must be at least 0; got -1"),
        ("--task Reach --noise -1", "noise must be at least 0; got -1"),
        ("--task Reach --policy random --noise 1", "noise must be 0 for the random"),
    ],
)
def test_wrong_arguments_get_one_line(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["collect", "--out", str(tmp_path / "x.npz"), *arguments.split()])
    assert stop.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert message in said[-1]
    assert not list(tmp_path.iterdir())


def test_too_much_for_memory_or_disk(tmp_path, monkeypatch, capsys):
    with pytest.raises(ValueError, match=r"episodes must fit into .* GiB of memory"):
        collect("BinPick", "pixels", episodes=10**8)
    command = ["collect", "--task", "Reach", "--out", str(tmp_path / "x.npz")]
    usage = os.statvfs(tmp_path)
    free = usage.f_bavail * usage.f_frsize
    too_many = str(free // (51 * 64 * 64 * 3) + 2**20)
    with pytest.raises(SystemExit):
        main([*command, "--obs", "pixels", "--episodes", too_many])
    assert "GB are free" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command[:-1], str(tmp_path)])
    assert "--out must name a file" in capsys.readouterr().err
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(SystemExit):
        main([*command[:-1], str(blocked / "x.npz")])
    assert "--out must be where one may write" in capsys.readouterr().err


def test_a_kill_leaves_no_file(tmp_path):
    out = tmp_path / "x.npz"
    command = [sys.executable, "-m", "crl_mini", "collect", "--task", "BinPick"]
    command += ["--episodes", "100000", "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, cwd=Path.cwd())
    while b"episode" not in process.stderr.read(200):
        time.sleep(0.1)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"stopped; nothing was written" in err
    assert not list(tmp_path.iterdir())
