"""Episodes from files of others: OGBench's flat arrays, Minari, and malformed ones."""

import json

import gymnasium
import line
import minari
import numpy as np
import pytest
from folders import TINY, refused
from minari.data_collector import EpisodeBuffer

from crl_mini.__main__ import main
from crl_mini.envs.tasks import task
from crl_mini.rollouts import rollout
from crl_mini.runs.data import Data, collect, save
from crl_mini.runs.formats import load, load_for
from crl_mini.runs.run import Run, restored

ENDS = "line:LineThatEnds-v0"


def training(out, data, *more, name=ENDS):
    what = ["--task", name, "--agent", "gcbc", "--preset", "smoke", "--data", data]
    return ["train", *what, "--out", str(out), "--set", *TINY, *more]


@pytest.fixture(scope="module")
def walks():
    """Episodes of different lengths."""
    env = gymnasium.make_vec(ENDS, num_envs=30)
    rng = np.random.default_rng(0)
    walk = lambda s, g, key: rng.uniform(-1, 1, (len(s), 1))  # noqa: E731
    walks = rollout(env, walk, line.LENGTH, seed=0)
    assert len({*walks.lengths}) > 5
    return walks


def flat(walks, **changes):
    """The arrays of an OGBench file; the last action of an episode means nothing."""
    seen, done, goals, ends = [], [], [], []
    for i, n in enumerate(walks.lengths):
        seen.append(walks.observations[i, : n + 1])
        goals.append(walks.achieved[i, : n + 1])
        done.append(np.append(walks.actions[i, :n], [[0.5]], axis=0))
        ends.append(np.arange(n + 1) == n)
    arrays = {
        "observations": np.concatenate(seen),
        "actions": np.concatenate(done).astype(np.float32),
        "terminals": np.concatenate(ends).astype(np.float32),
        "achieved": np.concatenate(goals),
        "qpos": np.zeros((len(ends), 2)),  # nobody reads it
    }
    return {k: x for k, x in (arrays | changes).items() if x is not None}


def same_episodes(data: Data, walks) -> None:
    np.testing.assert_array_equal(data.lengths, walks.lengths)
    for i, n in enumerate(walks.lengths):
        for mine, theirs, rows in (
            (data.observations, walks.observations, n + 1),
            (data.achieved, walks.achieved, n + 1),
            (data.actions, walks.actions, n),
        ):
            np.testing.assert_array_equal(mine[i, :rows], theirs[i, :rows])


@pytest.mark.tried("data")
def test_flat_files_of_ogbench(walks, tmp_path, capsys):
    path, out = tmp_path / "walks.npz", tmp_path / "run"
    np.savez_compressed(path, **flat(walks))
    data = load(path)
    same_episodes(data, walks)
    assert not data.terminal.any()
    assert main(training(out, str(path))) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["data_episodes"] == 30
    replay = restored(out)[0].replay()
    assert replay.n_transitions == walks.lengths.sum()


@pytest.mark.tried("data")
def test_one_long_walk_whose_goals_are_its_observations(tmp_path):
    """Without a mark at its end, and with rows that are alone."""
    path, n = tmp_path / "x.npz", 60
    s = np.random.default_rng(0).uniform(1, 5, (n, 2)).astype(np.float32)
    a = np.full((n, 2), 0.25, np.float32)
    ends = np.isin(np.arange(n), [0, 1, 20])
    np.savez(path, observations=s, actions=a, terminals=ends)
    data = load_for(str(path), task("PointMaze-U-v0"))
    np.testing.assert_array_equal(data.lengths, [18, 38])
    np.testing.assert_array_equal(data.observations[0, :19], s[2:21])
    np.testing.assert_array_equal(data.observations[1, :39], s[21:])
    assert data.achieved is None


@pytest.mark.tried("data")
# Minari asks for links and authors, and cannot write down the line's space of actions.
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_data_sets_of_minari(walks, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    episodes = [
        EpisodeBuffer(
            observations={
                "observation": walks.observations[i, : n + 1],
                "achieved_goal": walks.achieved[i, : n + 1],
                "desired_goal": walks.goals[i][None].repeat(n + 1, 0),
            },
            actions=walks.actions[i, :n],
            rewards=np.zeros(n),
            terminations=np.arange(1, n + 1) == n * walks.terminal[i],
            truncations=np.arange(1, n + 1) == n * ~walks.terminal[i],
        )
        for i, n in enumerate(walks.lengths)
    ]
    minari.create_dataset_from_buffers("line/walks-v0", episodes, gymnasium.make(ENDS))
    out = tmp_path / "run"
    assert main(training(out, "minari:line/walks-v0")) == 0
    run = restored(out)[0]
    data = run.first_data()
    same_episodes(data, walks)
    np.testing.assert_array_equal(data.terminal, walks.terminal)
    assert run.replay().n_transitions == walks.lengths.sum()
    minari.delete_dataset("line/walks-v0")
    said = refused(training(tmp_path / "x", "minari:line/walks-v0"), capsys)
    assert "data minari:line/walks-v0 cannot be read: " in said
    assert not (tmp_path / "x").exists()


@pytest.mark.tried("data")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_data_that_minari_recorded_in_another_environment(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env = minari.DataCollector(gymnasium.make("crl_mini/PointMaze-U-v0"))
    for seed in range(2):
        env.reset(seed=seed)
        while not any(env.step(np.ones(2, np.float32))[2:4]):
            pass
    env.create_dataset("maze/walks-v0")
    data = load_for("minari:maze/walks-v0", task("PointMaze-U-v0"))
    assert data.observations.shape == (2, 51, 2)
    assert capsys.readouterr().err == ""
    load_for("minari:maze/walks-v0", task("PointMaze-Spiral-v0"))
    said = "of crl_mini/PointMaze-U-v0, not of crl_mini/PointMaze-Spiral-v0"
    assert capsys.readouterr().err == f"data minari:maze/walks-v0: {said}\n"


@pytest.mark.tried("data")
@pytest.mark.parametrize("told", ["LineThatEnds", "line:LineThatEnds-v0"])
def test_own_files_with_lengths_and_goals(told, walks, tmp_path):
    path = tmp_path / "x.npz"
    data = Data(
        walks.observations,
        walks.actions,
        about={"task": told, "obs_type": "state"},
        achieved=walks.achieved,
        lengths=walks.lengths,
        terminal=walks.terminal,
    )
    save(path, data)
    again = load_for(str(path), task(ENDS))
    assert again.success is None
    same_episodes(again, walks)
    run = Run(ENDS, "smoke", 0, tmp_path, data=str(path))
    np.testing.assert_array_equal(run.replay().terminal, walks.terminal)


@pytest.mark.tried("data")
@pytest.mark.parametrize("told", ["Reach", "Reach-v0", "crl_mini/Reach-v0"])
def test_a_task_may_be_written_as_for_the_command(told, tmp_path):
    path = tmp_path / "x.npz"
    data = collect("Reach", episodes=2, progress=False)
    save(path, data._replace(about={"task": told, "obs_type": "state"}))
    assert len(load_for(str(path), task("Reach")).actions) == 2


X = np.zeros((40, 3), np.float32)


@pytest.mark.tried("data")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observations": None}, "observations is missing"),
        ({"actions": None}, "actions is missing"),
        ({"achieved": None}, "achieved is missing; goals have shape (1,)"),
        ({"observations": X}, "must have shape (40, 1)"),
        ({"terminals": np.ones(2)}, "must have shape ("),
        ({"observations": np.array([None])}, "observations holds Python objects"),
        ({"observations": 0 * 1j}, "observations must be numbers; got complex128"),
        ({"observations": "name"}, "observations must be numbers; got <U4"),
        ({"actions": 7.0}, "actions must be of Box(-1.0, 1.0, (1,), float32); got 7 "),
        ({"actions": np.nan}, "actions must be finite"),
        ({"achieved": np.inf}, "achieved must be finite"),
        ({"terminals": 1}, "terminals must leave an episode of two rows or more"),
    ],
)
def test_malformed_files_get_one_line(changes, message, walks, tmp_path, capsys):
    arrays = flat(walks)
    for name, x in changes.items():
        if np.shape(x) == () and x is not None:
            changes = changes | {name: np.full(arrays[name].shape, x)}
    path, out = tmp_path / "walks.npz", tmp_path / "run"
    np.savez(path, **flat(walks, **changes))
    said = refused(training(out, str(path)), capsys)
    assert str(path) in said
    assert message in said
    assert not out.exists()


@pytest.mark.tried("data")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"about": {}}, "task of about must be a name; got None"),
        ({"about": {"task": "Reach"}}, "obs_type of about must be a name; got None"),
        ({"about": {"task": 3, "obs_type": "state"}}, "task of about must be a name"),
        (
            {"about": {"task": "Reach", "obs_type": "x"}},
            "obs_type of about must be on",
        ),
        (
            {"lengths": np.array([3, 51])},
            "lengths must be within 1 and 50; got 3 to 51",
        ),
        ({"lengths": np.array([3])}, "lengths must have shape (2)"),
        ({"terminal": np.ones((2, 2))}, "terminal must have shape (2)"),
        ({"success": np.ones(3, bool)}, "success must have shape (2, 50)"),
        ({"actions": np.ones((2, 50, 3))}, "actions must have shape (2, 50, 4)"),
    ],
)
def test_malformed_files_of_our_own_get_one_line(changes, message, tmp_path, capsys):
    data = collect("Reach", episodes=2, progress=False)
    assert data.actions.shape == (2, 50, 4)
    path, out = tmp_path / "reach.npz", tmp_path / "run"
    save(path, data._replace(**changes))
    said = refused(training(out, str(path), name="Reach"), capsys)
    assert str(path) in said
    assert message in said
    assert not out.exists()
