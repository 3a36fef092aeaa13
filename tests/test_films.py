"""Films show what happened and what was asked for; `evaluate` judges like training."""

import json

import av
import gymnasium
import imageio.v3 as imageio
import line
import numpy as np
import pytest
from folders import begun

from crl_mini.__main__ import main
from crl_mini.envs.tasks import TabletopTask
from crl_mini.measure.statistics import wilson
from crl_mini.rollouts import rollouts
from crl_mini.runs import films
from crl_mini.runs.files import dump
from crl_mini.runs.run import Run, restored


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "u"
    Run("PointMaze-U-v0", "smoke", 0, out, data="random")()
    return out


def evaluate(agent, *more):
    return main(["evaluate", "--agent", str(agent), *map(str, more)])


# What a film shows.


def test_a_sheet_holds_every_picture_and_marks_those_that_are_reached():
    pictures = np.arange(5, dtype=np.uint8)[:, None, None, None] * 10
    pictures = pictures + np.zeros((5, 7, 9, 3), np.uint8)
    reached = np.array([False, True, False, False, True])
    sheet = films.sheet(pictures, reached, 2)
    high, wide = 7 + 2 * films.GAP, 9 + 2 * films.GAP
    assert sheet.shape == (3 * high + 1, 2 * wide, 3)
    for i in range(5):
        row, column = divmod(i, 2)
        tile = sheet[row * high :, column * wide :][:high, :wide]
        inside = tile[films.GAP : -films.GAP, films.GAP : -films.GAP]
        np.testing.assert_array_equal(inside, pictures[i])
        green = (tile == films.GREEN).all(-1)
        ring = (7 + 2 * films.SIGN) * (9 + 2 * films.SIGN) - 7 * 9
        assert green.sum() == ring * reached[i]
        assert (tile[0] == 255).all()
    assert (sheet[2 * high :, wide:] == 255).all()
    assert (sheet[-1] == 255).all()


def test_a_film_follows_the_episode_and_its_success():
    env = gymnasium.make_vec("crl_mini/PointMaze-U-v0", num_envs=6)

    def policy(s, g, key):
        return np.sign(g - s)

    film = films.filmed(env, policy, 12, seed=0)
    seen = rollouts(env, policy, 12, 6, seed=0)
    assert len(film) == 13
    assert 0 < seen.success.mean() < 1
    high, wide, _ = env.render()[0].shape
    for t in range(13):
        env._position = seen.observations[:, t]
        reached = seen.success[:, t - 1] if t else np.zeros(6, bool)
        np.testing.assert_array_equal(film[t], films.sheet(env.render(), reached, 4))


def test_the_goal_of_a_tabletop_stands_on_the_right():
    env = gymnasium.make_vec("crl_mini/Push-v0", num_envs=1, width=40, height=30)
    film = films.filmed(env, lambda s, g, key: np.ones((1, 4)), 2, seed=0)
    gap = films.GAP
    for sheet in film:
        right = sheet[gap:-gap, 40 + 2 * gap : -gap]
        np.testing.assert_array_equal(right, env.render_goals()[0])
    last = film[-1][gap:-gap, gap : 40 + gap]
    np.testing.assert_array_equal(last, env.render()[0])
    assert (film[0] != film[-1]).any()


# The files.


def blocks():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (6, 5, 8, 3), np.uint8)
    return list(coarse.repeat(8, 1).repeat(8, 2))


def test_a_video_is_what_every_browser_plays(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(films.encoded(blocks(), ".mp4", 20))
    with av.open(path) as file:
        (stream,) = file.streams.video
        codec = stream.codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")
        assert (codec.width, codec.height) == (64, 40)
        assert stream.average_rate == 20
    film = imageio.imread(path)
    assert film.shape == (6, 40, 64, 3)
    assert np.abs(film.mean((1, 2, 3)) - np.mean(blocks(), (1, 2, 3))).max() < 4


def test_a_gif_repeats_at_the_right_speed(tmp_path):
    path = tmp_path / "film.gif"
    path.write_bytes(films.encoded(blocks(), ".gif", 20))
    film, about = imageio.imread(path), imageio.immeta(path)
    assert film.shape == (6, 40, 64, 3)
    assert (about["duration"], about["loop"]) == (50, 0)
    np.testing.assert_array_equal(film, blocks())  # not more colours than fit


# The command.


def test_evaluation_repeats_what_the_manifest_says(finished, capsys):
    manifest = json.loads((finished / "manifest.json").read_text())
    assert evaluate(finished, "--episodes", 10, "--seed", 20_000) == 0
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    for name in ("ever", "at_end"):
        low, high = wilson(round(10 * manifest[name]), 10)
        assert f"{manifest[name]:.1%} ({low:.0%} to {high:.0%})" in said
    assert "actions: drawn; seed 20000" in said


@pytest.mark.parametrize(
    ("task", "fps", "settings"),
    [
        ("PointMaze-U-v0", 20, {}),
        ("Reach", 20, {"data": "play", "agent": "gcbc"}),
        ("line:LineInPictures-v0", 10, {}),
    ],
)
@pytest.mark.filterwarnings("ignore:.*render.*")
def test_a_film_comes_out_of_every_kind_of_environment(
    task, fps, settings, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(TabletopTask, "filming", {"width": 32, "height": 32})
    out, path = begun(tmp_path / "run", task, **settings), tmp_path / "new" / "x.mp4"
    assert evaluate(out, "--episodes", 2, "--video", path) == 0
    assert f"{task}: of 2 goals" in capsys.readouterr().out
    length = restored(out)[0].env.length
    assert len(imageio.imread(path)) == length + 1 + fps
    assert [file.name for file in path.parent.iterdir()] == ["x.mp4"]


@pytest.mark.parametrize(
    ("task", "more", "message"),
    [
        ("line:Line-v0", ["--video", "x.mp4"], "line:Line-v0 has no rgb_array"),
        ("line:Line-v0", ["--video", "x.avi"], "--video must be one of .mp4, .gif; go"),
        ("line:Line-v0", ["--episodes", "0"], "--episodes must be at least 1; got 0"),
        ("line:Line-v0", ["--seed", "-1"], "--seed must be at least 0; got -1"),
        (None, [], "a run has config.json and a checkpoint; "),
    ],
)
def test_what_cannot_be_done_gets_one_line_and_leaves_nothing(
    task, more, message, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    out = begun(tmp_path / "run", task) if task else tmp_path / "run"
    before = list(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as stop:
        evaluate(out, *more)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.rglob("*")) == before


def test_a_film_that_cannot_be_drawn_costs_the_film_alone(
    tmp_path, monkeypatch, capsys
):
    """No OpenGL, for example: whatever somebody else's environment raises then."""

    def render(self):
        raise AttributeError("no\nOpenGL")

    monkeypatch.setattr(line.LineInPictures, "render", render)
    out, film = begun(tmp_path / "run", "line:LineInPictures-v0"), tmp_path / "x.mp4"
    capsys.readouterr()
    assert main(["evaluate", "--agent", str(out), "--video", str(film)]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("line:LineInPictures-v0: of 100 goals reached ")
    (error,) = [x for x in said.err.splitlines() if "film" in x]
    assert error.startswith("no film: AttributeError no OpenGL; ")
    assert "Traceback" not in said.err
    assert "MUJOCO_GL=egl" in error
    assert not film.exists()


# Runs that come back from their folder.


def test_a_run_comes_back_as_it_was(finished):
    run, agent = restored(finished)
    assert (run.task, run.agent, run.seed) == ("PointMaze-U-v0", "crl", 0)
    assert agent.config.hidden == (16,)
    assert int(agent.step) == 200
    assert (finished / "checkpoint.safetensors").read_bytes() == dump(agent)


def test_data_that_are_gone_are_not_missed(tmp_path):
    data = tmp_path / "play.npz"
    data.write_bytes(b"")
    out = begun(tmp_path / "run", "Reach", data=str(data))
    data.unlink()
    assert restored(out)[0].data == str(data)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("config.json", '"task"', "task", "config.json is no JSON: Expecting"),
        ("config.json", '"agent"', '"was"', "config.json describes no run: 'agent'"),
        ("config.json", "line:", "nowhere:", "No module named 'nowhere'"),
        ("config.json", "\n      16", "\n      8", "was made with other networks"),
        ("checkpoint.safetensors", "", None, "a run has config.json and a checkpoint"),
    ],
)
def test_folders_that_hold_no_agent_are_refused(file, old, new, message, tmp_path):
    path = begun(tmp_path / "run", "line:Line-v0") / file
    if new is None:
        path.unlink()
    else:
        path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        restored(path.parent)
