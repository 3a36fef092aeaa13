"""Tasks: what is asked of any environment, and what counts as reached in it."""

import gymnasium
import jax
import line
import numpy as np
import pytest
from gymnasium import spaces

from crl_mini.agents.td3_her import reached
from crl_mini.envs import tasks
from crl_mini.envs.tasks import TASKS, task
from crl_mini.runs.run import Run

NEAR = 0.3  # a goal of the plane nearer than this is reached


class Plane(gymnasium.Env):
    """A point in a square, as somebody else would write it; episodes of 20 steps."""

    def __init__(self, reward="sparse"):
        place = spaces.Box(-1, 1, (2,), np.float64)
        self.observation_space = spaces.Dict(dict.fromkeys(tasks.GOAL_ENV, place))
        self.action_space = spaces.Box(-1, 1, (2,))
        self.kind = reward
        if reward == "none":
            self.compute_reward = None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.goal = self.np_random.uniform(-1, 1, (2, 2))
        return self.look(), {}

    def step(self, action):
        self.place = np.clip(self.place + 0.1 * action, -1, 1)
        near = np.linalg.norm(self.place - self.goal) < NEAR
        return self.look(), float(near), False, False, {"is_success": near}

    def look(self):
        values = (self.place, self.place, self.goal)
        return dict(zip(tasks.GOAL_ENV, map(np.array, values), strict=True))

    def compute_reward(self, achieved, desired, info):
        gap = np.linalg.norm(achieved - desired, axis=-1)
        if self.kind == "info":
            return info["is_success"]
        kinds = {"sparse": gap < NEAR, "fetch": -(gap > NEAR).astype(np.float32)}
        kinds |= {"dense": -gap, "against": gap > NEAR}
        if self.kind == "mean":  # of one pair right, of a batch one number
            return float(np.linalg.norm(np.subtract(achieved, desired)) < NEAR)
        return kinds[self.kind]


for kind in ("sparse", "fetch", "dense", "against", "mean", "info", "none"):
    gymnasium.register(
        f"Plane-{kind}-v0",
        entry_point=f"{__name__}:Plane",
        max_episode_steps=20,
        kwargs={"reward": kind},
    )


def plane(kind):
    return task(f"{__name__}:Plane-{kind}-v0")


@pytest.mark.parametrize("kind", ["sparse", "fetch", "mean"])
def test_a_goal_is_reached_where_the_environment_rewards_it(kind):
    rng = np.random.default_rng(0)
    achieved, desired = rng.uniform(-1, 1, (2, 500, 2)).astype(np.float32)
    want = np.linalg.norm(achieved - desired, axis=1) < NEAR
    assert 0.01 < want.mean() < 0.3
    success = plane(kind).success
    np.testing.assert_array_equal(success(achieved, desired), want)
    in_a_program = jax.jit(lambda a, g: reached(success, a, g))
    np.testing.assert_array_equal(in_a_program(achieved, desired), want)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("dense", "a reward of two values, the higher one at the goal; compute_reward"),
        ("against", "gave 2 values from 0 to 1, and at the goal 0"),
        ("info", "compute_reward of Plane-info-v0 failed without info: KeyError"),
        ("none", "hindsight needs compute_reward; Plane-none-v0 has none"),
    ],
)
def test_what_does_not_say_which_goals_are_reached_is_refused(kind, message):
    with pytest.raises(ValueError, match=message):
        plane(kind).success  # noqa: B018


@pytest.mark.parametrize("name", TASKS)
def test_our_own_rules_are_those_of_the_environments(name):
    one = task(name)
    seen = one.episodes(one.walk(0), 20, 20, seed=0)
    achieved, desired = seen.achieved[:, -1], np.roll(seen.achieved[:, 5], 1, axis=0)
    achieved[:5] = desired[:5]
    env = gymnasium.make(one.spec).unwrapped
    want = [
        env.compute_reward(a, g, {}) for a, g in zip(achieved, desired, strict=True)
    ]
    assert 0 < np.mean(want) < 1
    np.testing.assert_array_equal(one.success(achieved, desired), want)


def test_short_and_long_names_are_one_task_and_versions_stay():
    names = ("Push", "Push-v0", "crl_mini/Push-v0")
    assert {task(name).name for name in names} == {"Push"}
    assert task("PointMaze-U-v0").name == "PointMaze-U"
    assert task("line:Line-v0").name == "Line"
    assert task("Push", "pixels").scene is not None
    assert task("Push").scene is None
    with pytest.raises(ValueError, match="pixels need one of Reach, Push, PickPlace"):
        task("line:Line-v0", "pixels")


def test_an_episode_that_is_over_costs_no_steps(monkeypatch):
    """And each is the same as in a vector that resets and steps all copies."""
    one, step, calls = task("line:LineThatEnds-v0"), line.Line.step, []

    def counted(self, action):
        calls.append(action)
        return step(self, action)

    monkeypatch.setattr(line.Line, "step", counted)
    seen = one.episodes(one.walk(0), 40, seed=0)
    assert len(calls) == seen.lengths.sum()
    assert {*seen.lengths} >= {1, line.LENGTH}
    env = gymnasium.make_vec(one.spec, num_envs=tasks.COPIES)
    again = one.play(env, one.walk(0), line.LENGTH, 40, seed=0)
    for mine, theirs in zip(seen, again, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert len(calls) > 2 * seen.lengths.sum()


def test_data_and_lengths_are_the_environments():
    assert task("line:Line-v0").data == ("own", "random")
    assert task("BinPick").data == ("own", "random", "play", "noisy")
    assert task("line:Line-v0").length == line.LENGTH
    assert task("line:Line-v0", length=5).length == 5
    assert task("line:Line-v0").length == line.LENGTH  # the registry keeps its own
    maze = task("PointMaze-U-v0")
    assert [maze.length_of_data(collects) for collects in (True, False)] == [50, 200]


def test_two_protocols_of_a_task():
    ours = task("BinPick", "pixels")
    assert (ours.counts, ours.exploring) == ("at_end", {"goals": "mixed"})
    assert (ours.paper.name, ours.paper.obs) == ("BinPickPaper", "pixels")
    assert (ours.paper.counts, ours.paper.exploring) == ("ever", {})
    assert ours.paper.length == 150
    names = ("BinPickPaper", "Reach", "PointMaze-U", "line:Line-v0")
    assert [task(name).paper for name in names] == [None] * 4
    assert [task(name).counts for name in names[1:]] == ["at_end", "ever", "ever"]


@pytest.mark.parametrize("name", TASKS)
def test_our_own_bounds_are_trusted(name, tmp_path):
    """On its first random walk an agent may see a block that hardly moves."""
    run = Run(name, "smoke", 2, tmp_path)
    data = run.first_data()
    still = data._replace(observations=0 * data.observations + 0.01, achieved=None)
    still.observations[:, 0] += 1e-5
    assert run.fitted(still) is run
