"""An agent and an environment that the library has never heard of, by its commands.

A newcomer writes one file, and for an agent one line in `AGENTS`; nothing else.
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import gymnasium
import imageio.v3 as imageio
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from jaxtyping import Array, PRNGKeyArray
from safetensors.numpy import load_file

import crl_mini
from crl_mini import agents, train
from crl_mini.__main__ import main
from crl_mini.agents import AGENTS
from crl_mini.agents.base import Config, Recipe
from crl_mini.envs.tasks import TASKS
from crl_mini.figures import plots
from crl_mini.runs import results

NEAR = 0.2  # a goal of the square nearer than this is reached


class Square(gymnasium.Env):
    """A point in a square that draws itself, 8 x 8. Goals are places."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, render_mode=None):
        self.render_mode = render_mode
        place = spaces.Box(-1, 1, (2,))
        names = ("observation", "achieved_goal", "desired_goal")
        self.observation_space = spaces.Dict(dict.fromkeys(names, place))
        self.action_space = spaces.Box(-1, 1, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.goal = np.float32(self.np_random.uniform(-1, 1, (2, 2)))
        return self.look(), {}

    def step(self, action):
        self.place = np.clip(self.place + 0.2 * np.float32(action), -1, 1)
        reward = self.compute_reward(self.place, self.goal, {})
        return self.look(), reward, False, False, {"success": reward == 0}

    def look(self):
        values = (self.place, self.place, self.goal)
        names = ("observation", "achieved_goal", "desired_goal")
        return dict(zip(names, map(np.array, values), strict=True))

    def compute_reward(self, achieved, desired, info):
        return -float(np.linalg.norm(achieved - desired) >= NEAR)

    def render(self):
        picture = np.zeros((8, 8, 3), np.uint8)
        picture[tuple(np.int32(4 + 3.9 * self.place))] = 255
        return picture


gymnasium.register("Square-v0", entry_point=Square, max_episode_steps=15)
SQUARE = f"{__name__}:Square-v0"


@dataclass(frozen=True)
class LinearConfig(Config):
    """Settings of :class:`Linear`."""

    greed: float = 5.0
    """By how much an action overshoots what was cloned."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Linear:
    """Agent: a = W (g - s), cloned from the actions that led to g."""

    config: LinearConfig = field(metadata={"static": True})
    weights: Array
    key: PRNGKeyArray
    step: Array

    @classmethod
    def create(cls, config, observation_spec, action_spec, *, key, goal_spec=None):
        shape = (observation_spec.shape[0], action_spec.shape[0])
        return cls(config, jnp.zeros(shape), key, jnp.zeros((), int))

    @jax.jit
    def update(self, batch):
        def loss_of(weights):
            return ((batch.a - (batch.g - batch.s) @ weights) ** 2).mean()

        loss, slope = jax.value_and_grad(loss_of)(self.weights)
        weights = self.weights - self.config.learning_rate * slope
        return replace(self, weights=weights, step=self.step + 1), {"loss": loss}

    def act(self, s, g, *, key, greedy=False):
        way = (g - s) @ self.weights
        return np.clip(self.config.greed * np.asarray(way), -1, 1)


RECIPE = Recipe(Linear, LinearConfig, {"random": {"learning_rate": 0.5}})


@pytest.fixture
def newcomer(monkeypatch):
    """The one line in `AGENTS`."""
    monkeypatch.setitem(AGENTS, "linear", RECIPE)


def training(out, task, agent, *more):
    what = ["--task", task, "--agent", agent, "--data", "random", "--preset", "smoke"]
    return ["train", *what, "--out", str(out), *more]


def test_a_new_agent_in_a_new_environment(newcomer, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "results"
    for task, agent in ((SQUARE, "linear"), (SQUARE, "td3_her"), ("Reach", "gcbc")):
        out = folder / f"{task.rpartition(':')[2]}-random-{agent}-0"
        assert main(training(out, task, agent)) == 0
    monkeypatch.setattr(results, "FOLDERS", (folder,))
    recorded = {run["agent"]: run for run in results.runs()}
    assert recorded["linear"]["ever"] == 1.0
    assert recorded["linear"]["ever_of_data"] < 0.7

    capsys.readouterr()
    assert main(["results"]) == 0
    header, _, *rows = capsys.readouterr().out.splitlines()
    columns = [cell.strip() for cell in header.split("|")[1:-1]]
    row = next(line for line in rows if line.startswith("| Square | random, 20 ep"))
    cells = dict(zip(columns, map(str.strip, row.split("|")[1:-1]), strict=True))
    assert cells["linear"] == "100.0%"
    assert cells["TD3+HER"].endswith("%")
    assert cells["GCBC"] == ""
    assert len(plots.runs(list(recorded.values())).axes) == 2

    film = tmp_path / "square.gif"
    agent = str(folder / "Square-v0-random-linear-0")
    what = ["evaluate", "--agent", agent, "--episodes", "3", "--video", str(film)]
    assert main(what) == 0
    assert "of 3 goals reached 100.0%" in capsys.readouterr().out
    assert imageio.imread(film).any()


def test_a_new_agent_learns_the_tasks_that_are_there(newcomer, tmp_path):
    out, slow = tmp_path / "run", ["--set", "greed=2.0", "learning_rate=0.01"]
    assert main(training(out, "PointMaze-U-v0", "linear", *slow)) == 0
    more = ["--set", "collect=100", "copies=2", "per_update=10"]
    assert main(training(tmp_path / "more", SQUARE, "linear", *more)) == 0


def test_hindsight_asks_the_environment_what_is_reached(tmp_path, monkeypatch):
    """Being told the threshold by hand gives the same training."""
    out = [tmp_path / name for name in ("asked", "told", "other")]
    calls = []
    rule = Square.compute_reward

    def counted(self, achieved, desired, info):
        calls.append(achieved)
        return rule(self, achieved, desired, info)

    def told(threshold):
        def success(achieved, desired):
            return jnp.linalg.norm(achieved - desired, axis=-1) < threshold

        return Recipe(
            lambda: None,
            agents.TD3HERConfig,
            AGENTS["td3_her"].tuned,
        )._replace(agent=TaughtTD3(success))

    few = ["--set", "steps=20", "every=10", "tests=2"]
    monkeypatch.setattr(Square, "compute_reward", counted)
    assert main(training(out[0], SQUARE, "td3_her", *few)) == 0
    assert len(calls) > 20 * 32
    for path, threshold in zip(out[1:], (NEAR, 2 * NEAR), strict=True):
        monkeypatch.setitem(AGENTS, "td3_her", told(threshold))
        assert main(training(path, SQUARE, "td3_her", *few)) == 0
    asked, same, other = (load_file(path / "checkpoint.safetensors") for path in out)
    far = []
    for name, x in asked.items():
        np.testing.assert_allclose(same[name], x, rtol=1e-4, atol=1e-5)
        far.append(np.abs(other[name] - x.astype(float)).max())
    assert max(far) > 1e-3


class TaughtTD3:
    """TD3 with hindsight whose rule is given by hand."""

    def __init__(self, success):
        self.success = success

    def create(self, *spaces, **settings):
        return agents.TD3HER.create(*spaces, **settings, success=self.success)


LIBRARY = Path(crl_mini.__file__).parent
RUNS = {*(LIBRARY / "runs").glob("*.py")} - {LIBRARY / "runs" / "presets.py"}
NAMED = [Path(train.__file__), *sorted(RUNS)]


@pytest.mark.parametrize("path", NAMED, ids=lambda path: path.name)
def test_loops_and_runs_name_no_agent_and_no_task(path):
    names = [*AGENTS, *(task.removesuffix("-v0") for task in TASKS)]
    word = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b")
    code = re.sub(r'""".*?"""|#[^\n]*', "", path.read_text(), flags=re.S)
    found = [line for line in code.splitlines() if word.search(line)]
    assert found == []
