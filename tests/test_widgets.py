"""Widgets: their numbers against the library, and their behaviour in a real browser."""

import base64
import io
import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import traitlets
from flax import nnx
from folders import first_is_quick
from gymnasium import spaces
from ipywidgets.embed import embed_data
from PIL import Image
from scipy import optimize, stats

from crl_mini import widgets
from crl_mini.actor import Actor
from crl_mini.critic import ENERGIES, Critic
from crl_mini.envs.maze import GridMaze, PointMazeVector, move, within_reach
from crl_mini.envs.tabletop import TASKS
from crl_mini.losses import LOSSES, logsumexp_penalty
from crl_mini.measure import occupancy, planning, statistics
from crl_mini.measure.critics import pca
from crl_mini.measure.occupancy import SAMPLERS, offset_pmf
from crl_mini.measure.statistics import iqm
from crl_mini.specs import Spec
from crl_mini.widgets import base

MOUNTER = Path(__file__).parents[1] / "book" / "assets" / "static-widgets.js"
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 8, 8)) + np.arange(6)[:, None, None] * (2 * np.eye(8) - 1)
STEPS = np.arange(6) * 100
# Milliseconds of a drag's redrawing: under 33 (30 a second) where nothing else runs.
# The tests share their cores: they see only what has become several times slower.
DRAWN = 200


def critics_of(maze="NineRooms", hidden=(16, 16), layer_norm=True, **changes):
    """Fresh networks whose biases, norms and scales are not the trivial ones."""
    env = PointMazeVector(1, maze, 10)
    place = Spec.of(env.single_observation_space["observation"])
    made = {}
    for k, energy in enumerate(ENERGIES):
        sizes = {"repr_dim": 6, "hidden": hidden, "layer_norm": layer_norm} | changes
        one = Critic(place, Spec.of(env.single_action_space), energy=energy,
                     rngs=nnx.Rngs(k), **sizes)  # fmt: skip
        rng = np.random.default_rng(k)
        for x in jax.tree.leaves(one, is_leaf=lambda x: isinstance(x, nnx.Param)):
            x[...] = x[...] + jnp.asarray(0.3 * rng.normal(size=x.shape), x.dtype)
        made[energy] = one
    return made


def explorer(maze="NineRooms", critics=None, **kwargs):
    kwargs = {"state": [1.5, 1.5], "goal": [10.5, 10.5], "action": [0.6, -0.8]} | kwargs
    return widgets.RepresentationExplorer(
        critics_of(maze) if critics is None else critics, GridMaze(maze), **kwargs
    )


def tabletop_networks(task="BinPick", hidden=(16, 16), layer_norm=True, energy="l2"):
    """A fresh critic and three actors, with biases, norms and scales of their own."""
    low, high = TASKS[task].bounds
    place, hand = Spec.of(spaces.Box(low, high)), Spec.of(spaces.Box(-1, 1, (4,)))
    sizes = {"hidden": hidden, "layer_norm": layer_norm}
    critic = Critic(place, hand, energy=energy, repr_dim=6, rngs=nnx.Rngs(0), **sizes)
    shares = (0.0, 0.25, 1.0)
    actors = {
        x: Actor(place, hand, rngs=nnx.Rngs(k + 1), **sizes)
        for k, x in enumerate(shares)
    }
    rng = np.random.default_rng(0)
    for x in jax.tree.leaves(
        (critic, actors), is_leaf=lambda x: isinstance(x, nnx.Param)
    ):
        x[...] = x[...] + jnp.asarray(0.3 * rng.normal(size=x.shape), x.dtype)
    return critic, actors


AT = {  # hand, opening and, on the table, a block
    "Reach": ([-0.05, 0.02, 0.12, 0.04], [0.06, -0.04, 0.08, 0.04]),
    "BinPick": (
        [-0.05, 0.02, 0.12, 0.08, -0.08, 0.05, 0.02],
        [0.08, 0.06, 0.02, 0.04, 0.08, 0.06, 0.02],
    ),
}


def action_plane(task="BinPick", networks=None, **kwargs):
    s, g = AT[task]
    networks = tabletop_networks(task) if networks is None else networks
    kwargs = {"state": s, "goal": g, "typical": 3.0} | kwargs
    return widgets.ActionPlane(*networks, task, **kwargs)


ROOMS = GridMaze("NineRooms")
TRUTH = occupancy.discounted_occupancy(ROOMS.P, ROOMS.uniform_policy, 0.9)
NOISY = np.log(TRUTH) + 0.5 * RNG.normal(size=TRUTH.shape)  # greedy gets stuck on it
ROLLOUTS, MOMENTS, SIDE = 3, 12, 16


def player(energy="l2", **kwargs):
    """Rollouts of noise, judged by a fresh critic whose constants are not trivial."""
    rng = np.random.default_rng(0)
    n, of_pictures = (ROLLOUTS, MOMENTS), (SIDE, SIDE, 3)
    critic = Critic(
        Spec(of_pictures, 0, (0.0,), (255.0,)),
        Spec((4,), 0, (-1.0,) * 4, (1.0,) * 4),
        energy=energy, repr_dim=6, hidden=(8,), layer_norm=True, rngs=nnx.Rngs(0),
    )  # fmt: skip
    critic.bias[...] = jnp.asarray(0.7)
    if energy == "cosine":
        critic.log_scale[...] = jnp.asarray(0.4)
    parts = {
        "films": rng.integers(0, 256, (ROLLOUTS, MOMENTS + 1, *of_pictures), np.uint8),
        "goals": rng.integers(0, 256, (ROLLOUTS, *of_pictures), np.uint8),
        "actions": rng.uniform(-1, 1, (*n, 4)),
        "best": rng.uniform(-1, 1, (*n, 4)),
        "success": np.arange(MOMENTS) > np.array([[3], [7], [99]]),
    }
    return widgets.RolloutPlayer(critic, **parts | kwargs), critic, parts


def detour(**kw):
    """A film of noise, with two distances that rise and one that never does."""
    rng = np.random.default_rng(3)
    film = rng.integers(0, 256, (MOMENTS, SIDE, SIDE, 3), np.uint8)
    curves = {
        "hand": 1 + np.sin(np.arange(MOMENTS)) / 2,
        "phi(s, a)": 1 - np.arange(MOMENTS) / MOMENTS,
        "pixels": 1 + rng.normal(size=MOMENTS) / 9,
    }
    return widgets.Detour(film, film[-1], kw.pop("curves", curves), **kw)


PSI = np.append(ROOMS.cells, RNG.normal(size=(ROOMS.n_states, 3)), 1)
PHI = PSI[:, None] + RNG.normal(size=(ROOMS.n_states, ROOMS.n_actions, PSI.shape[1]))
SEEDS = {
    group: {
        measure: {
            agent: (RNG.binomial(200, rate, size) / 200).tolist()
            for agent, rate, size in (("a", 0.9, 10), ("b", 0.85, 7), ("c", 0.88, 3))
        }
        for measure in ("end", "ever")
    }
    for group in ("Reach", "Push")
}
FILMS = np.repeat([f"play {k}" for k in range(4)], 6)  # of 6 frames each
STEPS_OF = 10 * np.arange(24)
FRAMES = RNG.integers(0, 256, (24, 1, 1, 3), np.uint8).repeat(8, 1).repeat(8, 2)
ASKING, ANSWERING = RNG.normal(size=(2, 24, 5))
SPACES = {"pixels": FRAMES.reshape(24, -1), "what comes next": (ASKING, ANSWERING)}


def neighbours(spaces=SPACES, **kw):
    return widgets.Neighbours(FRAMES, FILMS, STEPS_OF, spaces, **kw)


MAKE = {
    "occupancy-maze": lambda **kw: widgets.OccupancyMaze(GridMaze(), **kw),
    "density-ratio": lambda **kw: widgets.DensityRatio(**kw),
    "free-offsets": lambda **kw: widgets.FreeOffsets(GridMaze(), **kw),
    "sampler-explorer": lambda **kw: widgets.SamplerExplorer(**kw),
    "logits-scrubber": lambda **kw: widgets.LogitsScrubber(LOGITS, STEPS, **kw),
    "representation-explorer": explorer,
    "planner": lambda **kw: widgets.Planner(ROOMS, NOISY, PSI, PHI, **kw),
    "detour": detour,
    "seeds": lambda **kw: widgets.SeedDraw(SEEDS, **kw),
    "action-plane": action_plane,
    "rollout-player": lambda **kw: player(**kw)[0],
    "stitching": lambda **kw: widgets.Stitching(HALL, TAPES, goal=6, **kw),
    "neighbours": neighbours,
    "which-later": lambda **kw: widgets.WhichLater(GridMaze(), **kw),
    "maze-lab": lambda **kw: widgets.MazeLab(**kw),
}
HALL = GridMaze("U")
TAPES = [[0, 1, 2, 2, 3, 4, 5], [5, 10, 9, 8, 7, 6, 7], [3, 4, 5, 4]]  # none: 0 to 6
every_widget = pytest.mark.parametrize("name", MAKE)

# ---------------------------------------------------------------- the numbers, in node
PRELUDE = """
import fs from "fs";
const w = await import(process.argv[2]);
const { state, given } = JSON.parse(fs.readFileSync(0, "utf8"));
const bytes = (x) => Uint8Array.from(Buffer.from(x.base64, "base64"));
const view = (x) => (x?.base64 === undefined ? x : new DataView(bytes(x).buffer));
const model = { get: (name) => view(state[name]) };
const plain = (_, x) => (ArrayBuffer.isView(x) ? [...x] : x);
const result = await (async () => { BODY })();
console.log(JSON.stringify(result, plain));
"""


def state_of(widget):
    """The synced state, bytes as base64: what a page would hold."""
    state = {k: getattr(widget, k) for k in widget.keys if not k.startswith("_")}
    state = {
        k: v for k, v in state.items() if k not in ("layout", "tabbable", "tooltip")
    }
    return {
        k: {"base64": base64.b64encode(v).decode()} if isinstance(v, bytes) else v
        for k, v in state.items()
    }


@pytest.fixture
def node(tmp_path):
    """`node(widget, body, **given)` runs JavaScript with the widget's module as `w`."""
    if shutil.which("node") is None:
        pytest.skip("no node on this machine: the browser tests check the numbers")

    def run(widget, body, **given):
        module, script = tmp_path / "widget.mjs", tmp_path / "script.mjs"
        module.write_text(widget._esm)
        script.write_text(PRELUDE.replace("BODY", body))
        payload = json.dumps({"state": state_of(widget), "given": given})
        command = ["node", str(script), str(module)]
        done = subprocess.run(command, input=payload, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_zero_has_no_sign(node):
    body = "return given.values.map((x) => w.fixed(x, 1));"
    found = node(widgets.MazeLab(), body, values=[-0.04, 0, -0.06, -12.34, 2.5])
    assert found == ["0.0", "0.0", "−0.1", "−12.3", "2.5"]


def random_policy(maze):
    return np.random.default_rng(1).dirichlet(np.ones(maze.n_actions), maze.n_states)


@pytest.mark.parametrize(
    ("layout", "slip", "gamma"),
    [("FourRooms", 0.0, 0.9), ("U", 0.2, 0.99), ("Spiral", 0.1, 0.5)],
)
def test_maze_numbers(node, layout, slip, gamma):
    maze = GridMaze(layout, slip)
    pi = random_policy(maze)
    M = occupancy.discounted_occupancy(maze.P, pi, gamma)
    goal, start = maze.n_states // 3, 2
    widget = widgets.OccupancyMaze(maze, pi, gamma, goal)
    body = """
      const maze = w.readMaze(model), gamma = model.get("gamma");
      return { ...w.valueOfGoal(maze, gamma, model.get("goal")),
        row: w.occupancyFrom(maze, gamma, given.start), M: w.occupancy(maze, gamma) };
    """
    found = node(widget, body, start=start)
    near = {"rtol": 1e-6, "atol": 1e-15}
    np.testing.assert_allclose(found["q"], M[..., goal].ravel(), **near)
    np.testing.assert_allclose(found["v"], (pi * M[..., goal]).sum(1), **near)
    np.testing.assert_allclose(found["row"], pi[start] @ M[start], **near)
    np.testing.assert_allclose(found["M"], M.ravel(), **near)


def test_walkers_end_where_the_occupancy_says(node):
    maze, gamma, n, start = GridMaze("U", 0.2), 0.8, 4000, 3
    pi = random_policy(maze)
    body = """
      const steps = w.stepsOf(w.readMaze(model)), gamma = model.get("gamma");
      const walks = [...Array(given.n).keys()].map((k) =>
        w.walk(steps, gamma, given.start, w.uniforms(k)));
      const chance = [0.5, gamma, 0.99].map(w.stopping);
      return { walks, chance, wide: w.binWidth(0.99) };
    """
    found = node(widgets.OccupancyMaze(maze, pi, gamma), body, n=n, start=start)
    ends = np.bincount([walk[-1] for walk in found["walks"]], minlength=maze.n_states)
    M = occupancy.discounted_occupancy(maze.P, pi, gamma)
    assert stats.chisquare(ends, n * (pi[start] @ M[start])).pvalue > 1e-3
    ticks = np.array([len(walk) for walk in found["walks"]])
    assert ticks.mean() == pytest.approx(1 / (1 - gamma), rel=0.1)
    assert [sum(chance) for chance in found["chance"]] == pytest.approx([1, 1, 1])
    first = sum(offset_pmf("truncated", 0.99, 2500)[: found["wide"]])
    assert found["chance"][2][0] == pytest.approx(first, rel=1e-6)


@pytest.mark.parametrize("layout", ["U", "FourRooms", "NineRooms", "Spiral"])
def test_greedy_actions_and_ties(node, layout):
    maze = GridMaze(layout)
    M = occupancy.discounted_occupancy(maze.P, maze.uniform_policy, 0.9)
    body = """
      const maze = w.readMaze(model), { S, A } = maze, range = [...Array(S).keys()];
      const qs = range.map((g) => w.valueOfGoal(maze, model.get("gamma"), g).q);
      return range.map((s) => qs.map((q) => w.best(q.subarray(s * A, (s + 1) * A))));
    """
    found = node(widgets.OccupancyMaze(maze), body)
    greedy = occupancy.greedy_policy(M)
    assert (greedy > 0).sum(-1).max() > 1  # there are ties to get right
    expected = [[np.flatnonzero(row).tolist() for row in state] for state in greedy]
    assert found == expected


def loss_of(name, logits):
    return float(LOSSES[name](jnp.asarray(logits)))


def test_losses(node):
    logits = 3 * RNG.normal(size=(9, 9))
    found = node(
        MAKE["density-ratio"](), "return w.losses(given.logits.flat(), 9)",
        logits=logits.tolist(),
    )  # fmt: skip
    expected = {name: loss_of(name, logits) for name in LOSSES}
    expected["logsumexp"] = float(logsumexp_penalty(jnp.asarray(logits)))
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("gamma", "remaining"), [(0.9, 20), (0.5, 1), (0.99, 50)])
def test_sampler_numbers(node, gamma, remaining):
    body = """
      return Object.fromEntries(given.names.map((name) => {
        const p = w.offsetPmf(name, given.gamma, given.remaining);
        const counts = w.countDraws(p, 5000, 3);
        return [name, { p, ...w.summary(p, given.gamma), counts }];
      }));
    """
    given = {"names": SAMPLERS, "gamma": gamma, "remaining": remaining}
    found = node(MAKE["sampler-explorer"](), body, **given)
    endless = (1 - gamma) * gamma ** np.arange(20_000)
    for name in SAMPLERS:
        p = offset_pmf(name, gamma, remaining)
        padded = np.pad(p, (0, len(endless) - len(p)))
        np.testing.assert_allclose(found[name]["p"], p, rtol=1e-6)
        mean, distance = (
            p @ np.arange(1, remaining + 1),
            abs(padded - endless).sum() / 2,
        )
        assert found[name]["mean"] == pytest.approx(mean, rel=1e-6)
        assert found[name]["distance"] == pytest.approx(distance, abs=1e-9)
        counts = np.array(found[name]["counts"])
        assert counts.sum() == 5000
        sigma = np.sqrt(5000 * p * (1 - p))
        assert (abs(counts - 5000 * p) <= 5 * sigma + 1).all()


def test_density_numbers(node):
    widget = MAKE["density-ratio"](p_mean=0.8, q_width=1.2, negatives=5, n=300, seed=4)
    body = """
      const d = Object.fromEntries(given.names.map((name) => [name, model.get(name)]));
      const data = w.samples(d), f = w.fit(data);
      const ball = (k) => ({ k, ...w.ball(d, k) });
      const balls = [...Array(4000).keys()].map(ball);
      const truth = balls.map((b) => b.from);
      return { ...data, learned: given.x.map(f), judged: w.judge(f, d), balls,
        score: w.score(d, truth, f),
        optimum: given.x.map((x) => w.optimum(x, d)) };
    """
    x = np.linspace(-3, 3, 13)
    names = ["p_mean", "p_width", "q_mean", "q_width", "negatives", "n", "seed"]
    found = node(widget, body, x=x.tolist(), names=names)
    p, q = stats.norm(0.8, 0.7), stats.norm(-1.0, 1.2)
    optimum = lambda x: p.logpdf(x) - q.logpdf(x) - np.log(5)  # noqa: E731
    np.testing.assert_allclose(found["optimum"], optimum(x), rtol=1e-6)
    np.testing.assert_allclose(widget.optimum(x), optimum(x), rtol=1e-6)

    positives, others = np.array(found["positives"]), np.array(found["others"])
    assert stats.kstest(positives, p.cdf).pvalue > 1e-3
    assert stats.kstest(others, q.cdf).pvalue > 1e-3
    assert len(others) == 5 * len(positives) == 1500

    features = lambda x: np.stack([np.ones_like(x), x / 3, x**2 / 9], 1)  # noqa: E731
    signs = np.repeat([1, -1], [300, 1500])[:, None]
    X = features(np.concatenate([positives, others])) * signs
    loss = lambda w: np.logaddexp(0, -X @ w).sum() + 5e-4 * w @ w  # noqa: E731
    weights = optimize.minimize(loss, np.zeros(3), tol=1e-9).x
    learned = lambda x: features(x) @ weights  # noqa: E731
    np.testing.assert_allclose(found["learned"], learned(x), rtol=1e-3, atol=1e-3)

    grid = np.linspace(-12, 12, 100_001)
    said = 1 / (1 + np.exp(-learned(grid)))
    mass, tenth = p.pdf(grid) + 5 * q.pdf(grid), np.minimum(9, (10 * said).astype(int))
    gaps = [np.sum((said * mass - p.pdf(grid))[tenth == k]) for k in range(10)]
    calibration = np.abs(gaps).sum() / mass.sum()
    error = np.average(abs(learned(grid) - optimum(grid)), weights=p.pdf(grid))
    assert found["judged"]["calibration"] == pytest.approx(calibration, abs=2e-4)
    assert found["judged"]["logit"] == pytest.approx(error, rel=1e-2)

    best = np.maximum(p.pdf(grid), 5 * q.pdf(grid)).sum() / mass.sum()
    assert found["judged"]["best"] == pytest.approx(best, abs=1e-4)
    at, is_p = (np.array([b[k] for b in found["balls"]]) for k in ("x", "from"))
    is_p = is_p == "p"
    assert stats.binomtest(int(is_p.sum()), 4000, 1 / 6).pvalue > 1e-3
    assert stats.kstest(at[is_p], p.cdf).pvalue > 1e-3
    assert stats.kstest(at[~is_p], q.cdf).pvalue > 1e-3
    right = [((f(at) > 0) == is_p).sum() for f in (optimum, learned)]
    assert found["score"] == {
        **{"you": 4000, "q": (~is_p).sum()},
        **{"best": right[0], "learned": right[1]},
    }
    assert right[0] / 4000 == pytest.approx(best, abs=0.02)


OFFSETS = """
  const maze = w.readMaze(model), { S, A } = maze, batch = model.get("batch");
  const f = w.optimalLogits(w.occupancy(maze, model.get("gamma")), S, A, batch.length);
  const moved = w.shifted(f, S, given);
  const logits = w.batchLogits(moved, S, A, batch);
  return { f, moved, losses: w.losses(logits, batch.length) };
"""


def test_offset_numbers(node):
    maze = GridMaze()
    widget, pi = widgets.FreeOffsets(maze, 0.9, batch_size=16), maze.uniform_policy
    M = occupancy.discounted_occupancy(maze.P, pi, 0.9)
    f = occupancy.optimal_logits(M, occupancy.goal_marginal(M, pi), 16)
    s, a, g = np.array(widget.batch).T
    free = {"pair": {"infonce"}, "goal": {"backward_infonce"}, "none": set(LOSSES)}
    for kind, blind in free.items():
        found = node(widget, OFFSETS, kind=kind, size=0.7, seed=2)
        np.testing.assert_allclose(found["f"], f.ravel(), rtol=1e-6, atol=1e-9)
        offset = np.reshape(found["moved"], f.shape) - f
        axis = {"pair": 2, "goal": (0, 1), "none": None}[kind]
        assert np.ptp(offset, axis=axis).max() == pytest.approx(0, abs=1e-9)
        assert (kind == "none") == (np.ptp(offset) < 1e-9)
        batch = (f + offset)[s[:, None], a[:, None], g]
        for name in LOSSES:
            assert found["losses"][name] == pytest.approx(
                loss_of(name, batch), rel=1e-5
            )
            moved = abs(
                loss_of(name, batch) - loss_of(name, f[s[:, None], a[:, None], g])
            )
            assert (moved < 1e-6) == (name in blind)


def test_logits_survive_shipping(node):
    body = """
      const B = model.get("size"), stored = w.array(Uint16Array, model.get("stored"));
      const at = { stored, low: model.get("low"), scale: model.get("scale"), B };
      return model.get("steps").map((_, k) => {
        const logits = w.checkpoint(at, k);
        return { logits, accuracy: w.accuracy(logits, B), ...w.losses(logits, B) };
      });
    """
    for got, true in zip(node(MAKE["logits-scrubber"](), body), LOGITS, strict=True):
        tolerance = np.ptp(LOGITS) / 131_000
        np.testing.assert_allclose(got["logits"], true.ravel(), atol=tolerance)
        assert got["accuracy"] == (true.argmax(1) == np.arange(8)).mean()
        assert got["nce"] == pytest.approx(loss_of("nce", true), abs=1e-3)


@pytest.mark.parametrize(
    ("maze", "hidden", "norm"), [("NineRooms", (16, 16), True), ("U", (9,), False)]
)
def test_networks_in_the_page_are_those_of_python(node, maze, hidden, norm):
    critics = critics_of(maze, hidden, norm)
    widget = explorer(maze, critics, state=[1.3, 1.9], goal=[2.25, 1.5])
    body = """
      const critics = w.readCritics(model), { points } = w.places(model.get("cells"));
      const s = model.get("state"), a = model.get("action"), g = model.get("goal");
      return Object.fromEntries(Object.entries(critics).map(([name, c]) => {
        const phi = c.phi([s], [a]), fine = c.psi(points);
        const over = c.phi(points, points.map(() => a)), psi = c.psi([g]);
        return [name, { points, phi, psi,
          goals: points.map((_, k) => c.f(phi, fine, 0, k)),
          states: points.map((_, k) => c.f(over, psi, k, 0)),
          at: c.project(phi, 0), plane: points.map((_, k) => c.project(fine, k)) }];
      }));
    """
    found = node(widget, body)
    s, a, g = (jnp.array([x]) for x in (widget.state, widget.action, widget.goal))
    near = {"atol": 1e-4, "rtol": 0}
    for energy, c in critics.items():
        got = found[energy]
        points = jnp.array(got["points"], jnp.float32)
        assert len(points) == 25 * GridMaze(maze).n_states
        np.testing.assert_allclose(got["phi"], c.phi(*c.see(s), a)[0], **near)
        np.testing.assert_allclose(got["psi"], c.psi(c.see_goal(g))[0], **near)
        np.testing.assert_allclose(got["goals"], c(s, a, points)[0], **near)
        everywhere = c(points, a.repeat(len(points), 0), g)[:, 0]
        np.testing.assert_allclose(got["states"], everywhere, **near)
        unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
        drawn = unit if energy == "cosine" else np.asarray
        places = jnp.asarray(GridMaze(maze).cells[:, ::-1] + 0.5)
        plane = pca(drawn(c.psi(c.see_goal(places))))
        fine = plane(drawn(c.psi(c.see_goal(points))))
        np.testing.assert_allclose(got["plane"], fine, **near)
        at = plane(drawn(c.phi(*c.see(s), a)))[0]
        np.testing.assert_allclose(got["at"], at, **near)


RING = np.arange(16) * np.pi / 8
TURNS = jnp.stack([jnp.cos(RING), jnp.sin(RING)], 1)


def greedy_walk(critic, s, g, steps):
    """Places on a walk that takes the best of 16 directions in the nine rooms."""
    places, walls = [jnp.array(s)], jnp.asarray(ROOMS.walls)
    for _ in range(steps):
        f = critic(places[-1][None].repeat(16, 0), TURNS, jnp.array([g]))[:, 0]
        places.append(move(walls, places[-1], TURNS[f.argmax()]))
    return np.array(places)


def test_greedy_walks_are_those_of_python(node):
    critics, widget = critics_of(), explorer()
    body = """
      const critics = w.readCritics(model), cells = model.get("cells").map(String);
      const free = ([x, y]) => cells.includes(String([y, x].map(Math.floor)));
      return given.goals.map((g) => Object.values(critics).map((c) =>
        w.greedyWalk(c, model.get("rules"), free, given.start, g)));
    """
    start, goals = [1.53, 1.46], [[10.5, 10.5], [6.2, 2.8], [2.4, 1.9], [1.2, 2.4]]
    found, ends = node(widget, body, start=start, goals=goals), []
    for g, walks in zip(goals, found, strict=True):
        for critic, walk in zip(critics.values(), walks, strict=True):
            places = greedy_walk(critic, start, g, len(walk["actions"]))
            np.testing.assert_allclose(walk["places"], places, atol=1e-3)
            reached = [bool(within_reach(p, np.array(g))) for p in places[1:]]
            assert reached == [False] * (len(reached) - 1) + [walk["arrived"]]
            gaps = np.linalg.norm(places[:-1] - places[-1], axis=1)
            assert walk["again"] == (gaps.min() < 0.01)
            assert walk["arrived"] or walk["again"] or len(reached) == 100
            assert walk["left"] == pytest.approx(
                np.linalg.norm(places[-1] - g), abs=1e-3
            )
            ends.append(walk["arrived"])
    assert set(ends) == {True, False}


@pytest.mark.parametrize("limit", [0.5, 3.0, 6.0])
def test_planner_numbers(node, limit):
    widget = MAKE["planner"](limit=limit)
    body = """
      const maze = w.readMaze(model), critic = w.readCritic(model, maze), { S } = maze;
      const cost = w.travelCost(critic, model.get("gamma")), all = [...Array(S).keys()];
      const limit = model.get("limit"), onward = w.graphDistances(cost, S, limit);
      const pairs = (f) => all.map((s) => all.map((g) => f(s, g)));
      return {
        f: critic.f, psi: critic.psi, cost, step: critic.step,
        onward: onward.map((x) => Math.min(x, 1e9)),
        graph: pairs((s, g) => w.nextNode(cost, onward, S, limit, s, g)),
        interpolation: pairs((s, g) => w.halved(critic, cost, limit, s, g)),
        actions: pairs((s, g) => w.towards(critic, s, g)),
      };
    """
    found = {k: np.array(v) for k, v in node(widget, body).items()}
    cost, shape = planning.travel_cost(widget.f, 0.9), NOISY.shape
    np.testing.assert_array_equal(found["f"].reshape(shape), widget.f)
    np.testing.assert_allclose(widget.f, NOISY, atol=np.ptp(NOISY) / 131_000)
    np.testing.assert_array_equal(found["psi"].reshape(PSI.shape), widget.psi)
    np.testing.assert_allclose(found["cost"].reshape(cost.shape), cost, atol=1e-9)
    onward = np.minimum(planning.graph_distances(cost, limit), 1e9)
    np.testing.assert_allclose(found["onward"].reshape(cost.shape), onward, atol=1e-9)
    np.testing.assert_array_equal(found["step"].reshape(shape[:2]), ROOMS.P.argmax(-1))
    ways = widget.ways()
    np.testing.assert_array_equal(
        found["actions"], planning.toward(widget.f, ways["greedy"])
    )
    off_diagonal = ~np.eye(len(cost), dtype=bool)  # nobody plans who has arrived
    for plan in ("graph", "interpolation"):
        same = found[plan] == ways[plan]
        assert same[off_diagonal].all()


def test_detour_refuses_as_python_does(node):
    for slack in (0.0, 0.01, 0.3):
        widget = detour(slack=slack)
        body = """
          const curves = w.readCurves(model);
          return Object.entries(curves).map(([name, curve]) =>
            [name, curve, w.refused(curve, model.get("slack"))]);
        """
        found = node(widget, body)
        for (name, curve, flags), own, no in zip(
            found, widget.distances, widget.refused(), strict=True
        ):
            np.testing.assert_allclose(curve, own, atol=1e-6)
            assert flags == no.tolist()
            if name != "pixels":  # whose noise may stay below the slack
                assert any(flags) == (name == "hand")


SCORES = [[0.5], [0.9, 0.1], [0.2, 0.7, 0.9], [1.0] * 5, SEEDS["Push"]["end"]["a"]]


def test_intervals_of_seeds_are_those_of_python(node):
    body = "return given.scores.map((x) => [w.iqm(w.ascending(x)), ...w.interval(x)])"
    for xs, found in zip(
        SCORES, node(MAKE["seeds"](), body, scores=SCORES), strict=True
    ):
        expected = [
            iqm(np.array(xs)[:, None]),
            *statistics.exact_interval(np.array(xs)),
        ]
        np.testing.assert_allclose(found, expected, atol=1e-9)


def every_iqm(scores, n):
    return [iqm(np.array(c)[:, None]) for c in combinations(scores, n)]


def share_won(losers, winners):
    """Share of pairs of choices that the first wins; sums may differ by rounding."""
    gap = np.subtract.outer(losers, winners)
    return np.mean((gap > 1e-12) + (abs(gap) <= 1e-12) / 2)


@pytest.mark.parametrize("n", [1, 3, 6])
def test_who_wins_over_all_draws_of_seeds(node, n):
    of = SEEDS["Reach"]["end"]
    body = """
      const lists = given.pair.map((xs) => w.allIqms(xs, given.n));
      const all = [...Array(2000).keys()];
      const draws = all.map((k) => w.drawn(k + 1, [10, 7], given.n));
      return { lists, share: w.shareWon(...lists), draws };
    """
    pair = [of["b"], of["a"]]
    found = node(MAKE["seeds"](), body, pair=pair, n=n)
    lists = [sorted(every_iqm(xs, n)) for xs in pair]
    for got, expected in zip(found["lists"], lists, strict=True):
        np.testing.assert_allclose(got, expected)
    assert found["share"] == pytest.approx(share_won(*lists))
    for which, size in enumerate((10, 7)):
        picked = np.array([draw[which] for draw in found["draws"]])
        assert all(len(set(row)) == n for row in picked.tolist())
        often = np.bincount(picked.ravel(), minlength=size) / len(picked)
        assert len(often) == size
        np.testing.assert_allclose(often, n / size, atol=0.05)


def every_verdict(firsts, seconds, n):
    """Gaps of IQMs over all pairs of choices, and whether their intervals lie apart."""
    both = [
        [
            (iqm(np.array(c)[:, None]), *statistics.exact_interval(np.array(c)))
            for c in combinations(sorted(xs), n)
        ]
        for xs in (firsts, seconds)
    ]
    (a, a_low, a_high), (b, b_low, b_high) = (np.array(x).T for x in both)
    gaps = np.subtract.outer(b, a).T
    apart = np.less.outer(a_high, b_low) | np.greater.outer(a_low, b_high)
    return gaps, apart


@pytest.mark.parametrize("n", [1, 3])
def test_verdicts_over_all_draws_of_seeds(node, n):
    of = SEEDS["Push"]["end"]
    pair = [of["a"], [x - 0.06 for x in of["b"]]]
    body = """
      const lists = given.pair.map((xs) => w.choices(xs, given.n).map((one) =>
        ({ iqm: w.iqm(one), interval: w.interval(one) })));
      return w.verdicts(...lists, 5);
    """
    found = node(MAKE["seeds"](), body, pair=pair, n=n)
    gaps, apart = every_verdict(*pair, n)
    clear = [np.mean(apart & (gaps < 0)), np.mean(apart & (gaps > 0))]
    assert max(clear) > 0
    np.testing.assert_allclose(found["clear"], clear, atol=1e-9)
    widest = abs(gaps).max()
    assert found["widest"] == pytest.approx(widest)
    edges = np.linspace(-widest, widest, 6)
    edges[[0, -1]] += -1e-9, 1e-9
    for k in range(2):
        shares = np.histogram(gaps[apart == k], edges)[0] / gaps.size
        np.testing.assert_allclose(np.array(found["shares"])[:, k], shares, atol=1e-9)


def told(widget):
    """What a widget of actions should say, from the networks that it ships."""
    values, mean, std = widget.slice()
    s, g = (jnp.array([x], jnp.float32) for x in (widget.state, widget.goal))
    here = widget.critic(s, jnp.tanh(mean)[None], g)[0, 0]
    return np.ravel(values), mean, std, float(here)


@pytest.mark.parametrize(
    ("task", "energy", "hidden", "norm", "share"),
    [
        ("BinPick", "l2", (16, 16), True, 0.0),
        ("Reach", "cosine", (9,), False, 0.25),
        ("Reach", "dot", (12, 7), True, 0.6),
        ("BinPick", "l2", (9,), True, 1.0),
    ],
)
def test_action_plane_in_the_page_is_that_of_python(
    node, task, energy, hidden, norm, share
):
    critic, actors = tabletop_networks(task, hidden, norm, energy)
    widget = action_plane(task, (critic, actors), share=share)
    body = """
      const n = w.readNetworks(model), at = [model.get("state"), model.get("goal")];
      return { ...w.slice(n, model.get("share"), ...at), plane: w.plane };
    """
    found = node(widget, body)
    values, mean, std, here = told(widget)
    near = {"atol": 1e-4, "rtol": 1e-4}
    np.testing.assert_allclose(found["values"], values, **near)
    np.testing.assert_allclose(found["mean"], mean, **near)
    np.testing.assert_allclose(found["std"], std, **near)
    np.testing.assert_allclose(found["mode"], np.tanh(mean), **near)
    assert found["here"] == pytest.approx(here, abs=1e-4)
    s, g = (jnp.array([x], jnp.float32) for x in AT[task])
    rest, (s, g) = np.tanh(mean)[2:], (jnp.array([x], jnp.float32) for x in AT[task])
    ends = actors[1.0](s, g)
    for (x, y), got in zip(found["plane"][::47], found["values"][::47], strict=True):
        a = jnp.array([[x, y, *rest]], jnp.float32)
        f, cloned = critic(s, a, g)[0, 0], actors[1.0].log_prob(a, *ends)[0]
        climbed = (1 - share) * float(f) / 3 + share * float(cloned)
        assert climbed == pytest.approx(got, abs=0.05, rel=0.01)  # unrounded networks
    if share in actors:
        assert float(actors[share](s, g)[0][0, 0]) == pytest.approx(mean[0], abs=0.01)
    else:  # between 0.25 and 1
        two = [float(actors[x](s, g)[0][0, 0]) for x in (0.25, 1.0)]
        assert np.interp(share, (0.25, 1), two) == pytest.approx(mean[0], abs=0.01)


def test_tails_of_the_normal_distribution(node):
    x = np.linspace(-30, 6, 73)
    found = node(MAKE["action-plane"](), "return given.x.map(w.logNdtr)", x=x.tolist())
    np.testing.assert_allclose(found, stats.norm.logcdf(x), rtol=1e-6, atol=2e-7)


def test_half_precision_is_read_as_numpy_reads_it(node):
    bits = np.r_[0:31745:7, 32768:64513:7].astype("<u2")  # all kinds, up to infinity
    finite = bits[np.isfinite(bits.view("<f2"))]
    body = "return w.halves(new DataView(Uint16Array.from(given.bits).buffer))"
    found = node(MAKE["action-plane"](), body, bits=finite.tolist())
    np.testing.assert_array_equal(found, finite.view("<f2").astype(float))


def values(critic, parts, r):
    """Logits (T, R) of a rollout's moments for every goal."""
    looks = parts["films"][r, :-1], parts["actions"][r], parts["goals"]
    return np.asarray(critic(*map(jnp.asarray, looks)))


@pytest.mark.parametrize("energy", first_is_quick(ENERGIES))
def test_rollout_player_numbers(node, energy):
    widget, critic, parts = player(energy)
    body = """
      const all = w.readRollouts(model), range = (n) => [...Array(n).keys()];
      return range(all.R).map((r) => ({
        f: range(all.T).map((t) => range(all.R).map((g) => all.f(r, t, g))),
        curve: all.curve(r, 0), path: all.path(r), goal: all.goalAt(r),
        moves: range(all.T).map((t) => [0, 1].map((k) => all.action(k, r, t))),
        ok: range(all.T + 1).map((t) => all.ok(r, t)),
      }));
    """
    found, near = node(widget, body), {"atol": 1e-3, "rtol": 0}
    seen = zip(parts["films"][:, :-1], parts["actions"], strict=True)
    seen = [(jnp.asarray(s), jnp.asarray(a, jnp.float32)) for s, a in seen]
    phi = np.stack([critic.phi(*critic.see(s), a) for s, a in seen])
    psi = np.asarray(critic.psi(critic.see_goal(jnp.asarray(parts["goals"]))))
    plane = pca(np.concatenate([phi.reshape(-1, 6), psi]))
    for r, got in enumerate(found):
        f = values(critic, parts, r)
        np.testing.assert_allclose(got["f"], f, **near)
        np.testing.assert_allclose(got["curve"], f[:, 0], **near)
        np.testing.assert_allclose(got["path"], plane(phi[r]), **near)
        np.testing.assert_allclose(got["goal"], plane(psi[r : r + 1])[0], **near)
        moves = np.stack([parts["actions"][r], parts["best"][r]], 1)
        np.testing.assert_allclose(got["moves"], moves, atol=1e-6)
        assert got["ok"] == [False, *parts["success"][r].tolist()]


def test_rollout_player_ships_every_pixel():
    widget, _, parts = player()
    sheet = np.asarray(Image.open(io.BytesIO(widget.sheet)))
    rows = sheet.reshape(ROLLOUTS, SIDE, -1, SIDE, 3).swapaxes(1, 2)
    np.testing.assert_array_equal(rows[:, :-1], parts["films"])
    np.testing.assert_array_equal(rows[:, -1], parts["goals"])


@pytest.mark.parametrize(("layout", "gamma"), [("U", 0.9), ("NineRooms", 0.6)])
def test_stitching_numbers(node, layout, gamma):
    maze = GridMaze(layout)
    states, _ = maze.random_walk(np.random.default_rng(2), 8, 40)
    used, start, goal = [True] * 7 + [False], int(states[0, 3]), int(states[1, 20])
    widget = widgets.Stitching(maze, states, gamma, start=start, goal=goal, used=used)
    body = """
      const maze = w.readMaze(model), next = w.leadsTo(maze), { S, A } = maze;
      const walks = model.get("walks").filter((_, k) => model.get("used")[k]);
      const world = w.empirical(walks, next, maze), gamma = model.get("gamma");
      const s = model.get("start"), g = model.get("goal");
      const counted = w.monteCarlo(walks, next, maze, gamma);
      const tables = [counted, w.occupancy(world, gamma)];
      return tables.map((M) => {
        const greedy = [...Array(S).keys()].map((x) => w.known(M, maze, x, g));
        return { M, futures: w.futuresOf(M, world, s), greedy,
          path: w.follow(greedy, next, A, s, g) };
      });
    """
    near, views = {"rtol": 1e-6, "atol": 1e-12}, (widget.futures(), widget.greedy())
    for name, found in zip(widget.METHODS, node(widget, body), strict=True):
        np.testing.assert_allclose(found["M"], widget.estimates()[name].ravel(), **near)
        np.testing.assert_allclose(found["futures"], views[0][name], **near)
        greedy = [np.flatnonzero(row).tolist() for row in views[1][name]]
        assert found["greedy"] == greedy
        assert found["path"] == widget.paths()[name]


def test_stitching_counts_what_is_on_tape():
    widget = MAKE["stitching"](gamma=0.8)
    M = widget.estimates()["monte carlo"]
    right, n = GridMaze.ACTIONS.index("right"), 6
    weights = 0.8 ** np.arange(n)
    expected = np.zeros(11)
    np.add.at(expected, TAPES[0][1:], weights / weights.sum())
    np.testing.assert_allclose(M[0, right], expected)
    assert widget.futures()["monte carlo"][6] == 0 < widget.futures()["td"][6]
    way = [0, 1, 2, 3, 4, 5, 10, 9, 8, 7, 6]
    assert widget.paths() == {"monte carlo": [0], "td": way}
    knows = widget.greedy()["monte carlo"].sum(1)
    np.testing.assert_array_equal(np.flatnonzero(knows), [5, 7, 8, 9, 10])


@pytest.mark.parametrize("within", ["others", "all"])
def test_neighbours_in_the_page_are_those_of_python(node, within):
    widget = neighbours(within=within)
    body = """
      const names = model.get("names"), spaces = w.readSpaces(model);
      const may = (i) => (j) => (given.others ? names[j] !== names[i] : j !== i);
      return spaces.map((space) => ({ ...space,
        found: names.map((_, i) => w.nearest(space, i, 5, may(i))) }));
    """
    found = node(widget, body, others=within == "others")
    expected = widget.neighbours()
    points = {"pixels": [FRAMES.reshape(24, -1)] * 2}
    points["what comes next"] = [ASKING, ANSWERING]
    for space in found:
        name = space["name"]
        for key, shipped, true in zip(
            ("asking", "answering"), widget.points[name], points[name], strict=True
        ):
            got = np.reshape(space[key], shipped.shape)
            np.testing.assert_array_equal(got, shipped)
            np.testing.assert_allclose(got, true, rtol=1e-3, atol=1e-4)
        index, gap = np.moveaxis(space["found"], -1, 0)
        np.testing.assert_array_equal(index, expected[name])
        asking, answering = widget.points[name]
        apart = asking[:, None].astype(float) - answering[index.astype(int)]
        np.testing.assert_allclose(gap, np.linalg.norm(apart, axis=-1), rtol=1e-6)


def test_the_game_of_which_came_later(node):
    """The critic is the exact one, and as often right as it must be."""
    maze, gamma, n = GridMaze("U"), 0.8, 4_000
    M = occupancy.discounted_occupancy(maze.P, maze.uniform_policy, gamma)
    p_g = occupancy.goal_marginal(M, maze.uniform_policy / maze.n_states)
    body = """
      const maze = w.readMaze(model), f = w.bestCritic(maze, given.gamma);
      const cells = [...Array(maze.S).keys()], rounds = [...Array(given.n).keys()];
      return { f: cells.map((g) => f(3, 2, g)), rounds: rounds.map((k) => {
        const round = w.roundOf(maze, given.gamma, 1, k);
        return { ...round, critic: w.answer(f, round) };
      }) };"""
    found = node(widgets.WhichLater(maze, gamma=gamma), body, gamma=gamma, n=n)
    assert found["f"] == pytest.approx(np.log(M[3, 2] / p_g).tolist())
    for one in found["rounds"]:
        own = one["ends"][one["right"]]
        assert (one["path"][0], one["path"][-1]) == (one["s"], own)
        assert len({one["s"], *one["ends"]}) == 3
        steps = zip(one["path"], one["path"][1:], strict=False)
        assert all(maze.P[s, :, x].any() for s, x in steps)
        assert maze.P[one["s"], one["a"], one["path"][1]] == 1
    # Its own end is g, the other one h: all pairs of three different cells.
    g, h, s = np.ogrid[: maze.n_states, : maze.n_states, : maze.n_states]
    apart = (g != h) & (g != s) & (h != s)  # (G, H, S)
    ratio = np.log(M / p_g)
    pairs = np.einsum("sag,h,ghs->sagh", M, p_g, apart)
    won = ratio[..., :, None] > ratio[..., None, :]
    share = (pairs * won).sum() / pairs.sum()
    right = np.mean([one["critic"] == one["right"] for one in found["rounds"]])
    assert right == pytest.approx(share, abs=4.5 * np.sqrt(share * (1 - share) / n))
    assert np.mean([one["right"] for one in found["rounds"]]) == pytest.approx(
        0.5, abs=4.5 / 2 / np.sqrt(n)
    )


# ---------------------------------------------------------------- in a browser
@pytest.fixture
def mount(page_factory, tmp_path):
    """`mount(widgets...)` opens a static page with them, as the book would."""

    def open_page(*shown, **context):
        data = embed_data(views=shown, drop_defaults=False)
        kind = "application/vnd.jupyter.widget"
        tags = "".join(
            f'<script type="{kind}-view+json">{json.dumps(v)}</script>'
            for v in data["view_specs"]
        )
        state = json.dumps(data["manager_state"]).replace("</", "<\\/")
        page = tmp_path / "page.html"
        page.write_text(
            '<!doctype html><html lang="en" data-theme="light"><head><title>w</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"</head><body><main><h1>Widgets</h1>{tags}</main>"
            f'<script type="{kind}-state+json">{state}</script>'
            f'<script src="{MOUNTER.as_uri()}"></script></body></html>'
        )
        opened = page_factory(page.as_uri(), **context)
        opened.wait_for_function(
            "n => document.querySelectorAll('.crl-widget').length === n", arg=len(shown)
        )
        return opened

    return open_page


def data(page, name):
    """What the widget says it computed."""
    return page.locator(f".crl-{name}").evaluate("node => ({ ...node.dataset })")


def drawn(page, name, which=0):
    return page.locator(f".crl-{name} canvas").nth(which).evaluate("c => c.toDataURL()")


def drag(page, canvas, start, stop):
    """Drag the mouse between two places given as shares of the canvas."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    at = lambda p: (box["x"] + p[0] * box["width"], box["y"] + p[1] * box["height"])  # noqa: E731
    page.mouse.move(*at(start))
    page.mouse.down()
    page.mouse.move(*at(stop), steps=4)
    page.mouse.up()


def cell_at(maze, s):
    """Where a cell's centre lies on its canvas (shares); the outer wall is cropped."""
    height, width = np.array(maze.walls.shape) - 1.2
    row, col = maze.cells[s] + 0.5 - 0.6
    return col / width, row / height


@pytest.mark.browser
def test_occupancy_maze_is_dragged(mount):
    maze = GridMaze()
    page = mount(widgets.OccupancyMaze(maze), has_touch=True)
    canvas = page.locator("canvas").first
    M = lambda gamma: occupancy.discounted_occupancy(maze.P, maze.uniform_policy, gamma)  # noqa: E731
    value = lambda s, g, gamma=0.9: pytest.approx(M(gamma)[s, :, g].mean(), rel=1e-6)  # noqa: E731

    def says(cell, goal, gamma=0.9):
        found = data(page, "occupancy-maze")
        assert (int(found["cell"]), int(found["marker"])) == (cell, goal)
        assert float(found["value"]) == value(cell, goal, gamma)

    says(103, 103)
    before, goal = drawn(page, "occupancy-maze"), maze.index(3, 6)
    drag(page, canvas, cell_at(maze, 103), cell_at(maze, goal))
    says(goal, goal)
    assert drawn(page, "occupancy-maze") != before
    assert (
        f"{M(0.9)[goal, :, goal].mean():.4f}"
        in page.locator(".crl-readout").inner_text()
    )

    page.mouse.move(0, 0)
    canvas.press("ArrowLeft")
    goal = maze.index(3, 5)
    says(goal, goal)
    canvas.press("Shift+ArrowDown")
    says(maze.index(4, 5), goal)

    goal = maze.index(10, 2)
    box, (x, y) = canvas.bounding_box(), cell_at(maze, goal)
    page.touchscreen.tap(box["x"] + x * box["width"], box["y"] + y * box["height"])
    says(goal, goal)

    page.locator("input[type=range]").press("ArrowLeft")
    says(goal, goal, 0.89)
    scale = page.get_by_label("Colour scale from 1.0 × 10⁻⁶ to 0.001 to 1")
    assert scale.count() == 1  # whatever gamma is
    table = page.locator("table").first
    assert table.is_visible()
    page.locator("input[value=occupancy]").check(force=True)
    table.wait_for(state="hidden", timeout=5_000)  # its Q is about one goal
    canvas.press("ArrowRight")
    found, start = data(page, "occupancy-maze"), maze.index(1, 2)
    assert int(found["marker"]) == start
    assert float(found["value"]) == pytest.approx(M(0.89)[start, :, start].mean())
    assert page.errors == []


@pytest.mark.browser
@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_walkers_leave_with_their_clocks(mount, motion):
    maze, name = GridMaze(), "occupancy-maze"
    goal, start = maze.index(8, 8), maze.index(8, 7)
    widget = widgets.OccupancyMaze(maze, gamma=0.8, goal=goal, start=start)
    page = mount(widget, reduced_motion=motion)
    button = lambda text: page.get_by_role("button", name=text, exact=True)  # noqa: E731
    says = lambda: {k: json.loads(v) for k, v in data(page, name).items()}  # noqa: E731
    maze_at, clock = (drawn(page, name, k) for k in (0, 2))
    button("Send 100").click()
    assert says()["walkers"] == 100
    assert (says()["stopped"] == 100) == (motion == "reduce")  # then at once
    assert drawn(page, name) != maze_at
    for _ in range(4):
        button("Send 100").press("Enter")
    page.wait_for_function(
        f"document.querySelector('.crl-{name}').dataset.stopped > 499"
    )
    assert drawn(page, name, 2) != clock
    M = occupancy.discounted_occupancy(maze.P, maze.uniform_policy, 0.8)
    expected, counts = M[start].mean(0), np.array(says()["counts"])
    assert counts.sum() == 500
    assert abs(counts - 500 * expected).max() < 5 * np.sqrt(500 * expected.max())
    assert (
        f"{counts[goal]} stopped on the star"
        in page.locator(".crl-readout").inner_text()
    )
    canvas = page.locator("canvas").first
    drag(
        page, canvas, cell_at(maze, start), cell_at(maze, maze.index(9, 9))
    )  # the disc
    found = says()
    assert (found["start"], found["walkers"]) == (maze.index(9, 9), 0)
    button("Send a walker").click()
    page.wait_for_function(
        f"document.querySelector('.crl-{name}').dataset.stopped == 1"
    )
    drag(page, canvas, cell_at(maze, goal), cell_at(maze, maze.index(8, 9)))
    assert says()["marker"] == maze.index(8, 9)
    assert says()["stopped"] == 1  # another goal, the same walks
    page.locator("input[type=range]").press("ArrowLeft")
    assert says()["walkers"] == 0
    assert page.errors == []


@pytest.mark.browser
def test_density_ratio_is_dragged(mount):
    widget = MAKE["density-ratio"]()
    page = mount(widget, has_touch=True)
    before, place = drawn(page, "density-ratio"), lambda x: (x + 6) / 12
    canvas = page.locator("canvas").first

    def says_optimum():
        found = data(page, "density-ratio")
        assert float(found["optimum"]) == pytest.approx(
            float(widget.optimum(np.zeros(1))[0])
        )
        return float(found["learned"])

    first = says_optimum()
    height = 0.55 * canvas.bounding_box()["width"]

    def tall(width):  # where the disc of a bag lies
        share = stats.norm(0, width).pdf(0) / 0.85
        return (height - 40 - share * (height - 56)) / height

    drag(page, canvas, (place(1.0), tall(0.7)), (place(2.5), tall(1.2)))
    widget.p_mean, widget.p_width = 2.5, 1.2
    assert says_optimum() != first
    assert drawn(page, "density-ratio") != before
    canvas.press("ArrowLeft")
    canvas.press("ArrowUp")
    widget.p_mean, widget.p_width = 2.4, 1.1
    says_optimum()
    page.touchscreen.tap(*tap_at(canvas, (place(-3), 0.1)))  # its mean alone
    widget.q_mean = -3.0
    says_optimum()
    page.locator("input[value=p]").check(force=True)
    canvas.press("ArrowDown")
    widget.p_width = 1.2
    says_optimum()
    page.get_by_label("negatives for each positive").press("End")
    widget.negatives = 31
    learned = says_optimum()
    page.get_by_role("button", name="Sample new balls").click()
    assert says_optimum() != learned
    assert page.errors == []


@pytest.mark.browser
def test_the_reader_guesses_from_which_bag_a_ball_is(mount, node):
    widget, name = MAKE["density-ratio"](negatives=1), "density-ratio"
    page, said = mount(widget), []
    ask = page.locator(".crl-readout").first
    body = """
      const d = { ...state };
      return [...Array(20).keys()].map((k) => w.ball(d, k));
    """
    balls = node(widget, body)
    for k, one in enumerate(balls):
        assert f"x = {one['x']:.2f}".replace("-", "−") in ask.inner_text()
        said.append("pq"[k % 3 == 0])
        page.get_by_role("button", name=f"Bag {said[-1]}").press("Enter")
        verdict = "right" if said[-1] == one["from"] else "wrong"
        assert f"from {one['from']}: you were {verdict}" in ask.inner_text()
    right = json.loads(data(page, name)["right"])
    pairs = list(zip(said, balls, strict=True))
    assert right["you"] == sum(x == one["from"] for x, one in pairs)
    best = widget.optimum(np.array([one["x"] for one in balls])) > 0
    assert right["best"] == sum(
        x == (one["from"] == "p") for x, one in zip(best, balls, strict=True)
    )
    assert f"{right['you']} of 20" in page.locator("td").first.inner_text()
    page.locator("canvas").first.press("ArrowLeft")  # other bags, other balls
    assert page.locator("td").first.inner_text() == "0 of 0"
    assert page.errors == []


@pytest.mark.browser
def test_free_offsets_are_dragged(mount, node):
    maze, name = GridMaze(), "free-offsets"
    widget = widgets.FreeOffsets(maze, size=1.0)
    page = mount(widget)
    moved = np.reshape(
        node(widget, OFFSETS, kind="pair", size=1.0, seed=0)["moved"],
        (maze.n_states, maze.n_actions, maze.n_states),
    )
    M = occupancy.discounted_occupancy(maze.P, maze.uniform_policy, 0.9)
    taken = occupancy.greedy_policy(np.exp(moved)) > 0
    broken = (taken & ~(occupancy.greedy_policy(M) > 0)).any(-1)  # (S, G)

    found = data(page, name)
    assert int(found["broken"]) == broken[:, 103].sum() > 0
    assert int(found["brokenAll"]) == broken.sum()
    before, goal = drawn(page, name), maze.index(1, 1)
    canvas = page.locator("canvas")
    drag(page, canvas, cell_at(maze, 103), cell_at(maze, goal))
    assert int(data(page, name)["broken"]) == broken[:, goal].sum()
    assert drawn(page, name) != before
    canvas.press("ArrowDown")
    goal = maze.index(2, 1)
    assert int(data(page, name)["broken"]) == broken[:, goal].sum()

    rows = page.locator("tbody tr")
    unmoved = lambda: rows.evaluate_all(  # noqa: E731
        "rows => rows.filter((r) => r.lastChild.textContent === 'none').map((r) => "
        "r.firstChild.textContent)"
    )
    assert unmoved() == ["InfoNCE, forward"]
    page.locator("input[value=pair]").press("ArrowRight")
    assert unmoved() == ["InfoNCE, backward"]
    assert data(page, name)["brokenAll"] == "0"
    page.locator("input[value=none]").check(force=True)
    assert len(unmoved()) == 5
    assert page.errors == []


@pytest.mark.browser
def test_sampler_explorer_is_dragged(mount):
    page, name = mount(MAKE["sampler-explorer"](t=30)), "sampler-explorer"

    def says(t, gamma=0.9):
        found = json.loads(data(page, name)["summary"])
        for sampler in SAMPLERS:
            p = offset_pmf(sampler, gamma, 50 - t)
            assert found[sampler]["p"] == pytest.approx(p.tolist(), rel=1e-6)
        return found

    says(30)
    before, canvas = drawn(page, name), page.locator("canvas").first
    width = canvas.bounding_box()["width"]
    place = lambda t: ((8 + t / 50 * (width - 16)) / width, 0.05)  # noqa: E731
    drag(page, canvas, place(30), place(12))
    says(12)
    assert drawn(page, name) != before
    page.get_by_label("current step t").press("ArrowRight")
    says(13)
    page.get_by_role("button", name="Sample 100").click()
    page.get_by_role("button", name="Sample 1", exact=True).press("Enter")
    assert [sum(s["counts"]) for s in says(13).values()] == [101] * 3
    page.get_by_role("slider", name="discount").press("ArrowLeft")
    assert [sum(s["counts"]) for s in says(13, 0.89).values()] == [0] * 3
    assert page.errors == []


@pytest.mark.browser
def test_tape_and_maze_show_one_walk(mount):
    widget, name = MAKE["sampler-explorer"](t=20, gamma=0.95), "sampler-explorer"
    page, maze, walk = mount(widget), GridMaze(), np.array(widget.walk)
    assert len(walk) == 51
    assert (maze.P[walk[:-1], :, walk[1:]].max(1) > 0).all()  # it is a walk
    tape, rooms = page.locator("canvas").all()[:2]

    def says(t, sampler="truncated"):
        found = data(page, name)
        assert int(found["t"]) == t
        p, expected = offset_pmf(sampler, 0.95, 50 - t), np.zeros(maze.n_states)
        np.add.at(expected, walk[t + 1 :], p)
        np.testing.assert_allclose(json.loads(found["shares"]), expected, atol=1e-7)
        return expected

    says(20)
    before = [drawn(page, name, k) for k in range(2)]
    there = int(walk[45])
    rooms.scroll_into_view_if_needed()
    page.mouse.move(*tap_at(rooms, cell_at(maze, there)))  # bars of this cell stand out
    share = f"{says(20)[there]:.3g}"
    assert f"with probability {share} (truncated)" in data(page, name)["said"]
    assert all(drawn(page, name, k) != was for k, was in enumerate(before))
    page.mouse.down()
    page.mouse.up()
    later = [k for k in range(50) if walk[k] == there and k > 20]
    says(later[0])
    page.locator("input[value=clipped]").check(force=True)
    says(later[0], "clipped")
    page.get_by_role("button", name="Sample 100").click()
    counts = json.loads(data(page, name)["summary"])["clipped"]["counts"]
    tape.scroll_into_view_if_needed()
    width = tape.bounding_box()["width"]
    page.mouse.move(*tap_at(tape, ((width - 8) / width, 0.05)))
    last = np.array(counts)[walk[later[0] + 1 :] == walk[50]].sum()
    assert f"sampled {last} times" in data(page, name)["said"]
    assert page.errors == []


@pytest.mark.browser
def test_logits_scrubber_is_scrubbed(mount):
    page, name = mount(MAKE["logits-scrubber"]()), "logits-scrubber"
    before, canvas = drawn(page, name), page.locator("canvas").first

    def says(k, loss="nce"):
        found = data(page, name)
        assert int(found["step"]) == STEPS[k]
        assert float(found["loss"]) == pytest.approx(loss_of(loss, LOGITS[k]), abs=1e-3)

    says(5)
    page.get_by_label("training step").press("Home")
    says(0)
    assert drawn(page, name) != before
    page.get_by_label("training step").press("ArrowRight")
    page.get_by_role("combobox").select_option("backward_infonce")
    says(1, "backward_infonce")
    box = canvas.bounding_box()
    page.mouse.move(
        box["x"] + 5.5 / 8 * box["width"], box["y"] + 2.5 / 8 * box["width"]
    )
    assert float(data(page, name)["value"]) == pytest.approx(LOGITS[1, 2, 5], abs=1e-3)
    canvas.press("ArrowDown")
    assert float(data(page, name)["value"]) == pytest.approx(LOGITS[1, 3, 5], abs=1e-3)
    assert page.errors == []


@pytest.mark.browser
def test_logits_scrubber_plays_and_knows_its_maze(mount):
    maze, name = GridMaze("U"), "logits-scrubber"
    pairs = np.stack([np.arange(8), np.arange(8) % 5, np.arange(8)[::-1] + 2], 1)
    widget = widgets.LogitsScrubber(
        LOGITS, [0, 1, 2, 4, 8, 16], k=0, maze=maze, pairs=pairs
    )
    page = mount(widget)
    heat, rooms = page.locator("canvas").nth(0), page.locator("canvas").nth(2)

    def says(i, j, k=0):
        found = data(page, name)
        assert json.loads(found["cell"]) == [i, j]
        assert float(found["value"]) == pytest.approx(LOGITS[k, i, j], abs=1e-3)
        (s, a, _), g = pairs[i], pairs[j, 2]
        text = page.locator(".crl-readout").inner_text()
        for state in (s, g):
            assert "row {}, column {}".format(*maze.cells[state]) in text
        assert f'by "{maze.ACTIONS[a]}"' in text

    says(0, 0)
    before = drawn(page, name, 2)
    heat.press("ArrowDown")
    says(1, 0)
    assert drawn(page, name, 2) != before
    page.mouse.click(*tap_at(rooms, cell_at(maze, int(pairs[5, 2]))))
    says(1, 5)  # the column of this goal
    page.mouse.click(*tap_at(rooms, cell_at(maze, 0)))
    says(0, 5)  # no goal of the batch: its row
    page.get_by_role("button", name="Play").press("Enter")
    page.wait_for_function(f"document.querySelector('.crl-{name}').dataset.step > 1")
    page.get_by_role("button", name="Pause").click()
    step = data(page, name)["step"]
    page.wait_for_timeout(500)
    assert data(page, name)["step"] == step
    page.get_by_role("button", name="Play").click()
    page.wait_for_function(f"document.querySelector('.crl-{name}').dataset.step == 16")
    says(0, 5, 5)
    page.get_by_role("button", name="Play").wait_for()  # it stops at the end
    assert page.errors == []


@pytest.mark.browser
def test_representation_explorer_is_dragged(mount):
    """Markers follow the pointer, the critic follows them, thirty times a second."""
    critics, name, times = (
        critics_of(hidden=(64, 64), repr_dim=16),
        "representation-explorer",
        [],
    )
    page = mount(explorer(critics=critics), has_touch=True)
    canvas = page.locator("canvas").first
    place = lambda x, y: ((x - 0.6) / 11.8, (y - 0.6) / 11.8)  # noqa: E731

    def says(energy, s, a, g):
        found = data(page, name)
        seen = [json.loads(found[key]) for key in ("state", "action", "marked")]
        for got, expected in zip(seen, (s, a, g), strict=True):
            np.testing.assert_allclose(got, expected, atol=0.02)
        s, a, g = (jnp.array([x]) for x in seen)
        c, ring = critics[energy], np.arange(16) * np.pi / 8
        assert float(found["f"]) == pytest.approx(float(c(s, a, g)[0, 0]), abs=1e-4)
        turns = jnp.stack([jnp.cos(ring), jnp.sin(ring)], 1)
        around = c(s.repeat(16, 0), turns, g)[:, 0]
        assert int(found["best"]) == int(around.argmax())
        times.append(float(found["milliseconds"]))

    says("dot", (1.5, 1.5), (0.6, -0.8), (10.5, 10.5))
    pictures = lambda: [drawn(page, name, k) for k in (0, 2)]  # noqa: E731
    before = pictures()
    drag(page, canvas, place(1.5, 1.5), place(6.5, 2.5))  # the state
    says("dot", (6.5, 2.5), (0.6, -0.8), (10.5, 10.5))
    assert all(
        drawn(page, name, k) != was for k, was in zip((0, 2), before, strict=True)
    )
    drag(page, canvas, place(10.5, 10.5), place(2.2, 9.6))  # the goal
    says("dot", (6.5, 2.5), (0.6, -0.8), (2.2, 9.6))
    drag(page, canvas, place(7.04, 1.78), place(6.5, 2.95))  # the action
    says("dot", (6.5, 2.5), (0, 0.5), (2.2, 9.6))
    drag(page, canvas, place(2.2, 9.6), place(4.5, 9.5))  # a wall
    assert json.loads(data(page, name)["marked"])[0] < 4
    page.touchscreen.tap(*tap_at(canvas, place(2.5, 1.5)))  # it jumps
    says("dot", (6.5, 2.5), (0, 0.5), (2.5, 1.5))
    canvas.press("ArrowRight")
    says("dot", (6.5, 2.5), (0, 0.5), (2.75, 1.5))
    page.locator("input[value=cosine]").check(force=True)
    page.locator("input[value=states]").check(force=True)
    says("cosine", (6.5, 2.5), (0, 0.5), (2.75, 1.5))
    page.locator("input[value=action]").check(force=True)
    for _ in range(12):
        canvas.press("ArrowLeft")
    says("cosine", (6.5, 2.5), (-1, 0.5), (2.75, 1.5))
    page.locator("input[value=l2]").check(force=True)
    page.locator("input[value=state]").check(force=True)
    for _ in range(5):
        canvas.press("ArrowDown")
    says("l2", (6.5, 3.75), (-1, 0.5), (2.75, 1.5))
    assert min(times[-3:]) < DRAWN  # of the dearer landscape, f(., a, g)
    assert page.errors == []


@pytest.mark.browser
@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_the_state_walks_greedily(mount, motion):
    critics, name, goal = critics_of(), "representation-explorer", [2.4, 1.9]
    s = [1.53, 1.46]
    widget = explorer(critics=critics, state=s, goal=goal)
    page = mount(widget, reduced_motion=motion)
    plane = drawn(page, name, 2)
    page.get_by_role("button", name="Walk greedily").click()
    ended = f"document.querySelector('.crl-{name}').dataset.outcome"
    page.wait_for_function(ended)
    found = data(page, name)
    trail = [*json.loads(found["trail"]), json.loads(found["state"])]
    places = greedy_walk(critics["dot"], s, goal, len(trail) - 1)
    np.testing.assert_allclose(trail, places, atol=1e-3)
    how = "It arrived" if within_reach(places[-1], np.array(goal)) else "It gave up"
    assert f"{how} after {len(trail) - 1} steps" in found["outcome"]
    assert found["outcome"].strip() in page.locator(".crl-readout").inner_text()
    assert drawn(page, name, 2) != plane
    page.locator("input[value=l2]").check(force=True)
    assert data(page, name)["trail"] == "[]"  # that walk was another critic's
    assert page.errors == []


def tap_at(canvas, share):
    box = canvas.bounding_box()
    return box["x"] + share[0] * box["width"], box["y"] + share[1] * box["height"]


def test_planner_walks_to_the_goal_in_both_spaces(mount):
    start, goal = ROOMS.index(1, 1), ROOMS.index(11, 11)
    widget, name = MAKE["planner"](start=start, goal=goal, plan="graph"), "planner"
    page = mount(widget, reduced_motion="reduce")
    walk = widget.walks()["graph"]
    action = planning.toward(widget.f, widget.ways()["graph"])[:, goal]
    plane = pca(PSI)

    def says(t):
        move = plane(PHI[walk[t], action[walk[t]]][None])[0]
        at = json.loads(data(page, name)["at"])
        np.testing.assert_allclose(at, [*move, *plane(PSI[[goal]])[0]], atol=1e-3)

    says(0)
    before = [drawn(page, name, k) for k in range(2)]
    page.get_by_role("button", name="Next").click()
    says(1)
    assert all(drawn(page, name, k) != before[k] for k in range(2))
    page.get_by_label("step of the walk").press("End")
    says(len(walk) - 1)
    assert page.errors == []


def test_detour_is_played_and_dragged(mount):
    widget, name = detour(slack=0.05), "detour"
    page = mount(widget, reduced_motion="reduce")
    page.wait_for_selector(f".crl-{name}[data-ready]")
    found = json.loads(data(page, name)["refused"])
    assert found == widget.refused().sum(1).tolist()
    before = [drawn(page, name, k) for k in range(2)]
    page.get_by_role("button", name="Next").click()
    assert data(page, name)["step"] == "1"
    assert all(drawn(page, name, k) != before[k] for k in range(2))
    drag(page, page.locator("canvas").nth(1), (0.3, 0.5), (0.999, 0.5))
    assert data(page, name)["step"] == str(MOMENTS - 1)
    page.get_by_label("step of the film").press("Home")
    said = page.locator(f".crl-{name} .crl-readout").inner_text()
    assert said.startswith("Step 0: no rule is against it.")
    assert page.errors == []


def test_planner_is_dragged(mount):
    start, goal = ROOMS.index(1, 1), ROOMS.index(11, 11)
    widget, name = MAKE["planner"](start=start), "planner"
    page = mount(widget, has_touch=True)
    canvas = page.locator("canvas").first

    def says(start, goal, limit=4.0):
        widget.start, widget.goal, widget.limit = start, goal, limit
        found = data(page, name)
        assert json.loads(found["walks"]) == list(widget.walks().values())
        arrived = []
        for way in widget.ways().values():
            action = np.eye(ROOMS.n_actions)[planning.toward(widget.f, way)]
            reach = occupancy.reach_probability(ROOMS.P, action, 200)
            arrived.append(int(reach[:, goal].sum()))
        assert json.loads(found["arriving"]) == arrived
        return arrived

    greedy, _, graph = says(start, goal)
    assert greedy < graph
    before, new = drawn(page, name), ROOMS.index(1, 9)
    drag(page, canvas, cell_at(ROOMS, goal), cell_at(ROOMS, new))
    says(start, new)
    assert drawn(page, name) != before
    other = ROOMS.index(10, 2)  # grab the disc, though the star is what is held
    drag(page, canvas, cell_at(ROOMS, start), cell_at(ROOMS, other))
    says(other, new)
    canvas.press("ArrowDown")
    new = ROOMS.index(2, 9)
    says(other, new)
    page.locator("input[value=start]").check(force=True)
    canvas.press("ArrowRight")
    other = ROOMS.index(10, 3)
    says(other, new)
    box, (x, y) = canvas.bounding_box(), cell_at(ROOMS, ROOMS.index(6, 6))
    page.touchscreen.tap(box["x"] + x * box["width"], box["y"] + y * box["height"])
    other = ROOMS.index(6, 6)
    says(other, new)
    before = drawn(page, name)
    page.locator("input[value=graph]").check(force=True)
    assert drawn(page, name) != before
    page.get_by_label("largest trusted cost").press("ArrowLeft")
    says(other, new, 3.5)
    page.get_by_label("largest trusted cost").press("Home")
    greedy, _, graph = says(other, new, 0.5)
    assert graph == greedy  # no edge is trusted: every waypoint is the goal
    assert page.errors == []


@pytest.mark.browser
def test_seeds_are_drawn(mount):
    page, name = mount(MAKE["seeds"]()), "seeds"
    canvas = lambda: drawn(page, name)  # noqa: E731

    def says(group, measure, first, second, n):
        found = data(page, name)
        pair = [SEEDS[group][measure][agent] for agent in (first, second)]
        n = min(n, *map(len, pair))
        assert int(found["n"]) == n
        for got, xs in zip(json.loads(found["drawn"]), pair, strict=True):
            mine = np.array(xs)[got["picked"]]
            assert len(mine) == n
            assert got["iqm"] == pytest.approx(iqm(mine[:, None]))
            assert got["interval"] == pytest.approx(statistics.exact_interval(mine))
        worst, best = sorted(pair, key=lambda xs: iqm(np.array(xs)[:, None]))
        exact = share_won(every_iqm(worst, n), every_iqm(best, n))
        assert float(found["exact"]) == pytest.approx(exact)
        gaps, apart = every_verdict(*pair, n)
        clear = [np.mean(apart & (gaps < 0)), np.mean(apart & (gaps > 0))]
        assert json.loads(found["all"])["clear"] == pytest.approx(clear, abs=1e-9)
        return found

    first = says("Reach", "end", "a", "b", 3)
    before, heap = canvas(), drawn(page, name, 1)
    page.get_by_role("button", name="Draw again").press("Enter")
    assert says("Reach", "end", "a", "b", 3)["drawn"] != first["drawn"]
    assert canvas() != before
    page.get_by_role("button", name="Draw again").click()  # the second gap is the first
    assert drawn(page, name, 1) != heap  # the triangle has moved
    for _ in range(5):
        page.get_by_role("button", name="100 more").click()
    found = says("Reach", "end", "a", "b", 3)
    assert float(found["wrong"]) / 503 == pytest.approx(float(found["exact"]), abs=0.07)
    page.get_by_role("button", name="Start over").click()
    assert data(page, name)["drawn"] == first["drawn"]
    page.get_by_label("seeds drawn").press("ArrowRight")
    says("Reach", "end", "a", "b", 4)
    pick = lambda k, name: page.locator("select").nth(k).select_option(name)  # noqa: E731
    pick(0, "Push")
    pick(1, "ever")
    pick(3, "c")
    says("Push", "ever", "a", "c", 4)  # three of each: c has no more
    pick(2, "c")
    assert "no wrong winner" in page.locator(".crl-readout").inner_text()


def test_action_plane_is_dragged(mount):
    networks = tabletop_networks(hidden=(64, 64))
    widget, name, times = action_plane(networks=networks), "action-plane", []
    page = mount(widget, has_touch=True)
    canvas = page.locator("canvas").nth(2)  # after the plane and its scale
    (x_0, y_0), (x_1, y_1) = (np.array(b[:2]) for b in (widget.low, widget.high))
    place = lambda x, y: ((x - x_0) / (x_1 - x_0), (y_1 - y) / (y_1 - y_0))  # noqa: E731

    def says(hand, goal):
        found = data(page, name)
        state, marked = (json.loads(found[k]) for k in ("state", "goal"))
        np.testing.assert_allclose(state, [*hand, *AT["BinPick"][0][2:]], atol=2e-3)
        aim = [*goal, *AT["BinPick"][1][2:4], *goal, AT["BinPick"][1][6]]
        np.testing.assert_allclose(marked, aim, atol=2e-3)  # the block is held there
        widget.state, widget.goal = state, marked
        values, mean, std, here = told(widget)
        for key, want in {"mean": mean, "std": std, "mode": np.tanh(mean)}.items():
            np.testing.assert_allclose(json.loads(found[key]), want, atol=1e-3)
        assert float(found["f"]) == pytest.approx(here, abs=1e-3)
        assert float(found["top"]) == pytest.approx(values.max(), abs=1e-3)
        assert values[int(found["best"])] == pytest.approx(values.max(), abs=1e-3)
        assert f"β = {widget.share:.2f}" in page.locator(".crl-readout").inner_text()
        times.append(float(found["milliseconds"]))

    says((-0.05, 0.02), (0.08, 0.06))
    before = [drawn(page, name, k) for k in (0, 2)]
    drag(page, canvas, place(0.08, 0.06), place(0.1, -0.07))
    says((-0.05, 0.02), (0.1, -0.07))
    assert all(
        drawn(page, name, k) != was for k, was in zip((0, 2), before, strict=True)
    )
    drag(page, canvas, place(-0.05, 0.02), place(0.02, 0.09))  # grab the hand
    says((0.02, 0.09), (0.1, -0.07))
    canvas.press("ArrowLeft")
    canvas.press("ArrowDown")
    says((0.01, 0.08), (0.1, -0.07))
    page.locator("input[value=goal]").check(force=True)
    page.touchscreen.tap(*tap_at(canvas, place(-0.1, -0.1)))  # it jumps
    says((0.01, 0.08), (-0.1, -0.1))
    for _ in range(8):
        canvas.press("ArrowLeft")
    says((0.01, 0.08), (x_0, -0.1))  # it stays within the bounds
    before = drawn(page, name)
    page.get_by_label("share of cloning").press("End")
    widget.share = 1.0
    says((0.01, 0.08), (x_0, -0.1))
    assert drawn(page, name) != before
    page.get_by_label("share of cloning").press("ArrowLeft")
    widget.share = 0.99
    says((0.01, 0.08), (x_0, -0.1))
    assert min(times[-3:]) < DRAWN


def test_rollout_player_is_played(mount):
    widget, critic, parts = player()
    page, name = mount(widget, has_touch=True), "rollout-player"
    page.wait_for_selector(f".crl-{name}[data-ready]")
    film, curve = page.locator("canvas").nth(0), page.locator("canvas").nth(2)
    film.scroll_into_view_if_needed()  # then it plays by itself
    page.wait_for_function(f"document.querySelector('.crl-{name}').dataset.step > 2")
    page.evaluate("document.body.style.paddingTop = '2000px'; scrollTo(0, 0)")
    page.get_by_role("button", name="Play").wait_for(state="attached")
    step = data(page, name)["step"]
    page.wait_for_timeout(300)
    assert data(page, name)["step"] == step  # nobody looks
    page.evaluate("document.body.style.paddingTop = 0")
    page.wait_for_function(  # to the end and from the beginning again
        f"s => document.querySelector('.crl-{name}').dataset.step < s", arg=int(step)
    )
    page.get_by_role("slider").press("Home")  # whoever takes hold of it, has it
    page.wait_for_timeout(300)
    film.focus()

    def says(r, t, g):
        found, k = data(page, name), min(t, MOMENTS - 1)
        assert int(found["step"]) == t
        assert float(found["f"]) == pytest.approx(
            values(critic, parts, r)[k, g], abs=1e-3
        )
        np.testing.assert_allclose(
            json.loads(found["best"]), parts["best"][r, k], atol=1e-6
        )

    says(0, 0, 0)
    before = [drawn(page, name, k) for k in range(4)]
    film.press("ArrowRight")
    says(0, 1, 0)
    after = [drawn(page, name, k) for k in range(4)]
    assert all(now != was for now, was in zip(after, before, strict=True))
    film.press("ArrowUp")
    says(0, 11, 0)
    page.get_by_role("slider").press("End")
    says(0, MOMENTS, 0)
    drag(page, curve, (0.9, 0.5), (0.005, 0.5))
    says(0, 0, 0)
    page.get_by_label("Ask the critic about").select_option("2")
    says(0, 0, 2)
    page.get_by_label("Rollout and its goal").select_option("1")
    says(1, 0, 1)
    page.get_by_role("button", name="Play").press("Enter")
    page.wait_for_function(f"document.querySelector('.crl-{name}').dataset.step > 2")
    page.get_by_role("button", name="Pause").click()
    step = int(data(page, name)["step"])
    page.wait_for_timeout(300)
    assert int(data(page, name)["step"]) == step


def test_stitching_is_drawn_and_dragged(mount):
    widget, name = MAKE["stitching"](), "stitching"
    page = mount(widget, has_touch=True)
    tape, counted, stitched = page.locator("canvas").all()[:3]

    def says(**changes):
        for key, value in changes.items():
            setattr(widget, key, value)
        found = {k: json.loads(v) for k, v in data(page, name).items()}
        assert found["walks"] == widget.walks
        assert found["paths"] == list(widget.paths().values())
        np.testing.assert_allclose(
            found["futures"], list(widget.futures().values()), rtol=1e-6, atol=1e-12
        )
        return [path[-1] == widget.goal for path in found["paths"]]

    assert says() == [False, True]
    before = [drawn(page, name, k) for k in range(3)]
    page.get_by_label("1 (6 steps)").uncheck()
    assert says(used=[False, True, True]) == [False, False]
    page.get_by_label("1 (6 steps)").press("Space")
    assert says(used=[True, True, True]) == [False, True]
    drag(page, tape, cell_at(HALL, 0), cell_at(HALL, 4))  # a fast pointer skips no cell
    assert says(used=[True] * 4, walks=[*TAPES, [0, 1, 2, 3, 4]]) == [False, True]
    for key in ["Down", "Down", "Left", "Left", "Left"]:
        tape.press(f"Arrow{key}")
    long = [0, 1, 2, 3, 4, 5, 10, 9, 8, 7]
    assert says(walks=[*TAPES, long]) == [False, True]
    tape.press("ArrowLeft")  # now one trajectory holds the way
    assert says(walks=[*TAPES, [*long, 6]]) == [True, True]
    after = [drawn(page, name, k) for k in range(3)]
    assert all(x != y for x, y in zip(before, after, strict=True))
    page.get_by_role("button", name="Remove").click()
    says(walks=TAPES, used=[True] * 3)
    tape.press("Shift+ArrowLeft")  # the cursor starts at the pen, in cell 4
    tape.press("Enter")
    says(walks=[*TAPES, [3]], used=[True] * 4)
    page.get_by_role("button", name="As at first").press("Enter")
    says(walks=TAPES, used=[True] * 3)
    page.get_by_role("button", name="Begin").click()
    tape.press("ArrowRight")
    says(walks=[*TAPES, [0, 1]], used=[True] * 4)
    stitched.scroll_into_view_if_needed()
    box, (x, y) = stitched.bounding_box(), cell_at(HALL, 9)
    page.touchscreen.tap(box["x"] + x * box["width"], box["y"] + y * box["height"])
    assert says(goal=9) == [False, True]
    counted.press("ArrowRight")
    says(goal=10)
    page.locator("input[value=start]").check(force=True)
    counted.press("ArrowRight")
    says(start=1)
    page.locator("input[type=range]").press("ArrowLeft")
    says(gamma=0.89)


HOSTILE = [
    "<img src=x onerror='window.hacked = 1'>",
    "</script><script>window.hacked = 2</script>",
    '"><svg onload="window.hacked = 3">',
]


def with_texts(name, *texts):
    """A widget with these texts wherever its readers may choose some."""
    if name == "neighbours":
        spaces = dict(zip(texts, SPACES.values(), strict=False))
        films = np.repeat([f"{texts[k % 3]} {k}" for k in range(4)], 6)
        return widgets.Neighbours(FRAMES, films, STEPS_OF, spaces)
    (of,) = list(SEEDS.values())[:1]
    agents = {
        measure: dict(zip(texts, x.values(), strict=True)) for measure, x in of.items()
    }
    measures = dict(zip(texts, agents.values(), strict=False))
    return widgets.SeedDraw(dict.fromkeys(texts[:2], measures))


@pytest.mark.browser
@pytest.mark.tried("text", cases=len(HOSTILE))
@pytest.mark.parametrize("name", ["neighbours", "seeds"])
def test_texts_of_others_are_shown_and_not_executed(name, mount):
    page = mount(with_texts(name, *HOSTILE))
    page.wait_for_timeout(500)
    assert page.evaluate("window.hacked") is None
    shown = page.locator(f".crl-{name}")
    assert shown.evaluate("e => e.querySelectorAll('img, svg, script').length") == 0
    words = shown.evaluate("e => e.textContent + e.outerHTML")
    assert all(text.split("=")[0] in words for text in HOSTILE[:2])
    assert page.errors == []


def test_neighbours_are_picked(mount):
    widget, name = neighbours(), "neighbours"
    page = mount(widget, has_touch=True)
    page.wait_for_function(
        "document.querySelector('.crl-neighbours').dataset.loaded === 'true'"
    )
    canvas = page.locator("canvas").first

    def says(at, within="others"):
        widget.at, widget.within = at, within
        found = [list(map(int, x[at])) for x in widget.neighbours().values()]
        assert json.loads(data(page, name)["found"]) == found
        assert (
            f"{FILMS[at]}, step {10 * at}." in page.locator(".crl-readout").inner_text()
        )

    def picture_of(k):
        """Colour in the middle of a frame of the film, as it is drawn."""
        row, column = divmod(k, 6)
        at = [(2.8 + column + 0.5) / 8.8, (row + 0.5) / 4]
        read = "c.getContext('2d').getImageData(x * c.width, y * c.height, 1, 1).data"
        return canvas.evaluate(f"(c, [x, y]) => [...{read}]", at)[:3]

    says(0)
    for k in (7, 23):
        np.testing.assert_allclose(picture_of(k), FRAMES[k, 0, 0], atol=2)
    before = drawn(page, name)
    page.touchscreen.tap(*tap_at(canvas, ((2.8 + 3.5) / 8.8, 1.5 / 4)))
    says(9)
    assert drawn(page, name) != before
    for key, at in (("ArrowRight", 10), ("ArrowDown", 16), ("ArrowLeft", 15)):
        canvas.press(key)
        says(at)
    before = drawn(page, name, 2)
    page.locator("input[value=all]").check(force=True)
    says(15, "all")
    assert drawn(page, name, 2) != before
    page.locator("input[value=all]").press("ArrowLeft")
    says(15)
    assert page.errors == []


@pytest.mark.browser
def test_which_later_is_played(mount):
    maze, name = GridMaze(), "which-later"
    page = mount(MAKE[name]())
    right = data(page, name)["right"]
    before = drawn(page, name)
    page.get_by_role("button", name=right, exact=True).press("Enter")
    found = data(page, name)
    assert (json.loads(found["won"])[0], found["open"]) == (1, "false")
    assert f"{right} came later" in page.locator(".crl-readout").inner_text()
    assert drawn(page, name) != before
    page.keyboard.press("Enter")  # the focus is on "Next round"
    found = data(page, name)
    assert found["open"] == "true"
    wrong = "AB".index(found["right"]) ^ 1
    place = cell_at(maze, json.loads(found["ends"])[wrong])
    drag(page, page.locator(f".crl-{name} canvas"), place, place)
    assert json.loads(data(page, name)["won"])[0] == 1
    assert page.locator("tbody tr").first.inner_text().split() == [
        "you",
        "1",
        "2",
        "50",
        "%",
    ]
    page.get_by_role("button", name="Start over").click()
    assert json.loads(data(page, name)["won"]) == [0, 0]
    assert page.errors == []


@pytest.mark.browser
def test_rollout_player_holds_still_for_who_asks_for_it(mount):
    page, name = mount(player()[0], reduced_motion="reduce"), "rollout-player"
    page.wait_for_timeout(500)
    assert data(page, name)["step"] == "0"
    page.get_by_role("button", name="Skip 10 steps").click()
    page.wait_for_timeout(300)
    assert data(page, name)["step"] == "10"


@pytest.mark.browser
def test_looks(mount):
    """Dark is dark, phones do not scroll sideways, axe finds nothing serious."""
    from axe_playwright_python.sync_playwright import Axe

    page = mount(*(make() for make in MAKE.values()), width=375)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    for canvas in page.locator("canvas").all():
        assert len(canvas.get_attribute("aria-label")) > 20
    colour = "node => getComputedStyle(node).backgroundColor"
    roots = page.locator(".crl-widget")
    light = [root.evaluate(colour) for root in roots.all()]
    pictures = [drawn(page, name, -1) for name in MAKE]
    found = Axe().run(page).response["violations"]
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_function(
        "n => document.querySelectorAll('.crl-dark').length === n", arg=len(MAKE)
    )
    for root, was in zip(roots.all(), light, strict=True):
        assert was == "rgb(255, 255, 255)"
        assert max(map(int, re.findall(r"\d+", root.evaluate(colour)))) < 60
    for name, was in zip(MAKE, pictures, strict=True):
        assert drawn(page, name, -1) != was
    found += Axe().run(page).response["violations"]
    serious = [(v["id"], v["nodes"][0]["html"]) for v in found
               if v["impact"] in ("serious", "critical")]  # fmt: skip
    assert serious == []
    assert (page.errors, page.external) == ([], [])


@pytest.mark.browser
def test_two_views_share_one_model(mount):
    widget = MAKE["sampler-explorer"](t=30)
    page = mount(widget, widget)
    page.get_by_label("current step t").first.press("ArrowLeft")
    values = page.get_by_label("current step t").evaluate_all(
        "all => all.map((i) => i.value)"
    )
    assert values == ["29", "29"]


@pytest.mark.browser
def test_choices_of_two_widgets_are_apart(mount):
    """Also where each has imported the script for itself, as in a notebook."""
    first, second = (MAKE["sampler-explorer"]() for _ in range(2))
    second._esm += "\n// its own"
    page = mount(first, second)
    assert page.locator("input[type=radio]:checked").count() == 2


@pytest.mark.browser
@every_widget
def test_picture_without_javascript(page_factory, name, monkeypatch):
    shown = []
    monkeypatch.setattr(base, "display", lambda data, raw: shown.append(data))
    MAKE[name]()._ipython_display_()
    picture, view = shown
    assert "application/vnd.jupyter.widget-view+json" in view
    page = page_factory(java_script_enabled=False)
    page.set_content(picture["text/html"])
    image = page.locator("img")
    assert image.bounding_box()["width"] > 200
    assert len(image.get_attribute("alt")) > 20
    assert len(picture["text/html"]) < 60_000


# ---------------------------------------------------------------- traits, bad input
@every_widget
def test_traits_round_trip(name):
    """The page sets what Python reads, and everything the script reads is shipped."""
    changes = {
        "occupancy-maze": {"gamma": 0.5, "goal": 7, "start": 3, "mode": "occupancy"}
        | {"walkers": 9, "seed": 2},
        "density-ratio": {
            **{"p_mean": 2.0, "negatives": 3, "n": 50, "seed": 9},
            **{"guesses": ["p", "q"], "moved": "q"},
        },
        "free-offsets": {"kind": "goal", "size": 2.0, "seed": 4, "goal": 0},
        "sampler-explorer": {"t": 3, "gamma": 0.7, "draws": 10, "seed": 1}
        | {"shown": "clipped"},
        "logits-scrubber": {"k": 2, "loss": "infonce"},
        "representation-explorer": {
            **{"state": [2.5, 2.0], "action": [0.0, 1.0], "goal": [1.1, 9.5]},
            **{"energy": "cosine", "over": "states", "moved": "goal"},
        },
        "planner": {"goal": 3, "start": 5, "plan": "graph", "held": "start", "t": 2},
        "detour": {"t": 5, "slack": 0.1},
        "seeds": {
            **{"group": "Push", "measure": "ever", "first": "c", "second": "b"},
            **{"n": 7, "draws": 9},
        },
        "action-plane": {
            **{"state": AT["BinPick"][1], "goal": AT["BinPick"][0]},
            **{"share": 0.4, "moved": "state"},
        },
        "rollout-player": {"rollout": 2, "goal": 1, "t": MOMENTS},
        "stitching": {"walks": [[0, 1]], "used": [True], "start": 2, "gamma": 0.5},
        "neighbours": {"at": 9, "within": "all"},
        "which-later": {"guesses": ["A", "B"], "played": 1, "seed": 3, "gamma": 0.5},
        "maze-lab": {
            **{"goal": [1, 1], "gamma": 0.8, "loss": "infonce", "penalty": True},
            **{"energy": "dot", "dim": 2, "walks": 20, "walkers": "aimless"},
            **{"speed": 1, "brush": "wall", "playing": False, "found": {"updates": 3}},
            "rows": widgets.MazeLab("U").rows,
        },
    }[name]
    widget = MAKE[name]()
    widget.set_state(changes)  # what a message from the page does
    assert {key: getattr(widget, key) for key in changes} == changes
    read = set(re.findall(r'model\.get\("(\w+)"\)', widget._esm)) | set(changes)
    if not isinstance(widget, base.MazeWidget):
        read -= {"triples", "probs", "policy"}  # of readMaze: it reads cells alone
    if name == "maze-lab":  # it draws its own maze
        read -= {"shape", "cells", "triples", "probs", "policy"}
    assert read <= set(widget.keys)
    assert "import " not in re.sub(r"//.*", "", widget._esm)  # a blob has no neighbours


BAD = {
    "played must lie": lambda: MAKE["which-later"](played=-1),
    "rollout must lie in .0, 2.": lambda: MAKE["rollout-player"](rollout=3),
    "t must lie in .0, 12.; got 13": lambda: MAKE["rollout-player"](t=13),
    "best must lie in .-1, 1.": lambda: MAKE["rollout-player"](
        best=np.full((ROLLOUTS, MOMENTS, 4), 1.5)
    ),
    "gamma must lie inside": lambda: MAKE["sampler-explorer"](gamma=1.0),
    "gamma must lie": lambda: MAKE["free-offsets"](gamma=0.0),
    "gamma must": lambda: MAKE["occupancy-maze"](gamma=1.5),
    "goal must lie in .0, 103.; got 104": lambda: MAKE["occupancy-maze"](goal=104),
    "goal must lie": lambda: MAKE["free-offsets"](goal=-1),
    "start must lie": lambda: MAKE["occupancy-maze"](start=200),
    "mode must be one of value": lambda: MAKE["occupancy-maze"](mode="q"),
    "kind must be one of none": lambda: MAKE["free-offsets"](kind="g"),
    "batch_size must lie": lambda: MAKE["free-offsets"](batch_size=1),
    "t must lie in .0, 49.": lambda: MAKE["sampler-explorer"](t=50),
    "shown must be one of truncated": lambda: MAKE["sampler-explorer"](shown="x"),
    "length must lie": lambda: MAKE["sampler-explorer"](length=1),
    "p_width must lie": lambda: MAKE["density-ratio"](p_width=0.0),
    "moved must be one of p, q": lambda: MAKE["density-ratio"](moved="r"),
    "negatives must lie": lambda: MAKE["density-ratio"](negatives=0),
    "loss must be one of nce": lambda: MAKE["logits-scrubber"](loss="cpc"),
    "k must lie in .0, 5.": lambda: MAKE["logits-scrubber"](k=6),
    "logits must have shape": lambda: widgets.LogitsScrubber(LOGITS[0], STEPS),
    "must be square": lambda: widgets.LogitsScrubber(LOGITS[:, :3], STEPS),
    "steps must have shape": lambda: widgets.LogitsScrubber(LOGITS, STEPS[:2]),
    "pairs must have shape .8, 3.": lambda: widgets.LogitsScrubber(
        LOGITS, STEPS, maze=HALL, pairs=[[0, 1, 2]]
    ),
    "a state of a pair must lie in .0, 10.": lambda: widgets.LogitsScrubber(
        LOGITS, STEPS, maze=HALL, pairs=[[0, 1, 11]] * 8
    ),
    "logits must be finite": lambda: widgets.LogitsScrubber(LOGITS * np.inf, STEPS),
    "logits must hold at most": lambda: widgets.LogitsScrubber(
        np.zeros((2, 256, 256)), [0, 1]
    ),
    "state must be .x, y. in a free": lambda: explorer(state=[4.5, 1.5]),
    "goal must be .x, y. in a free": lambda: explorer(goal=[-1.0, 1.5]),
    "action must lie": lambda: explorer(action=[0.0, 1.1]),
    "action must have shape": lambda: explorer(action=[0.0]),
    "energy must be one of dot, l2": lambda: explorer(energy="L2"),
    "energy must be one of dot; got": lambda: explorer(
        critics={"dot": critics_of()["dot"]}, energy="l2"
    ),
    "critics must be one of": lambda: explorer(critics={"L2": critics_of()["l2"]}),
    "critics.'l2'. must be a critic": lambda: explorer(
        critics={"l2": critics_of()["dot"]}
    ),
    "a point in U": lambda: explorer("U", critics_of()),
    "critics must hold at most": lambda: explorer(
        critics=critics_of(hidden=(256, 256))
    ),
    "state must have shape": lambda: action_plane(state=[0.0, 0.0]),
    "goal must lie within": lambda: action_plane(goal=[1.0] * 7),
    "share must lie in .0, 1.": lambda: action_plane(share=1.5),
    "typical must be at least": lambda: action_plane(typical=0.0),
    "actors must have shares from 0 to 1": lambda: action_plane(
        networks=(tabletop_networks()[0], {0.5: tabletop_networks()[1][0.25]})
    ),
    "moved must be one of goal": lambda: action_plane(moved="action"),
    "task must be one of Reach": lambda: widgets.ActionPlane(
        *tabletop_networks(), "Lift", *AT["BinPick"], 1.0
    ),
    "'critic' must be a network for states of Reach": lambda: action_plane(
        "Reach", tabletop_networks("BinPick")
    ),
    "'1.0' must be a network": lambda: action_plane(
        networks=(
            tabletop_networks()[0],
            tabletop_networks()[1] | {1.0: tabletop_networks(hidden=(8,))[1][1.0]},
        )
    ),
    "number of weights allowed": lambda: action_plane(
        networks=tabletop_networks(hidden=(512, 512))
    ),
    "plan must be one of greedy": lambda: MAKE["planner"](plan="best"),
    "held must be one of goal": lambda: MAKE["planner"](held="mouse"),
    "limit must lie in .0.5, 12.": lambda: MAKE["planner"](limit=0.0),
    "start must lie in .0, 9": lambda: MAKE["planner"](start=-1),
    "f must have shape": lambda: widgets.Planner(ROOMS, NOISY[1:], PSI, PHI),
    "psi must have shape": lambda: widgets.Planner(ROOMS, NOISY, PSI[1:], PHI),
    "phi must have shape": lambda: widgets.Planner(ROOMS, NOISY, PSI, PHI[:, 1:]),
    "f must be finite": lambda: widgets.Planner(ROOMS, NOISY * np.inf, PSI, PHI),
    "psi must be finite": lambda: widgets.Planner(ROOMS, NOISY, PSI * np.nan, PHI),
    "phi must be finite": lambda: widgets.Planner(ROOMS, NOISY, PSI, PHI * np.nan),
    "t must lie in .0, 11.": lambda: detour(t=12),
    "slack must lie": lambda: detour(slack=-0.1),
    "curves must have shape": lambda: detour(curves={"hand": np.ones(3)}),
    "curves must be finite": lambda: detour(curves={"x": np.full(MOMENTS, np.nan)}),
    "number of curves allowed": lambda: detour(
        curves={str(k): np.ones(MOMENTS) for k in range(5)}
    ),
    "group must be one of Reach, Push": lambda: MAKE["seeds"](group="Lift"),
    "measure must be one of end, ever": lambda: MAKE["seeds"](measure="mode"),
    "second must be one of a, b, c": lambda: MAKE["seeds"](second="d"),
    "n must lie in .1, 10.": lambda: MAKE["seeds"](n=11),
    "draws must lie": lambda: MAKE["seeds"](draws=0),
    "number of agents must be at least 2": lambda: widgets.SeedDraw({}),
    "scores must hold the same": lambda: widgets.SeedDraw(
        {"x": {"m": {"a": [0, 1], "b": [0, 1]}}, "y": {"m": {"a": [0, 1]}}}
    ),
    "number of scores of a must lie": lambda: widgets.SeedDraw(
        {"x": {"m": {"a": [1]}}}
    ),
    "scores of a must lie": lambda: widgets.SeedDraw({"x": {"m": {"a": [0, 2]}}}),
    "scores of a must have shape": lambda: widgets.SeedDraw({"x": {"m": {"a": [[0]]}}}),
    "a state of a walk must lie in .0, 10": lambda: widgets.Stitching(HALL, [[0, 11]]),
    "walks must go from cell to cell": lambda: widgets.Stitching(
        HALL, [[0, 1], [0, 3]]
    ),
    "the length of a walk must lie in .1, 120": lambda: widgets.Stitching(HALL, [[]]),
    "the number of walks allowed must be": lambda: widgets.Stitching(HALL, [[0]] * 9),
    "maze must not slip": lambda: widgets.Stitching(GridMaze("U", 0.1), TAPES),
    "gamma must lie in .0.5, 0.99": lambda: MAKE["stitching"](gamma=0.4),
    "held must be one of goal, start": lambda: MAKE["stitching"](held="pen"),
    "at must lie in .0, 23.": lambda: neighbours(at=24),
    "within must be one of others": lambda: neighbours(within="none"),
    "frames must be bytes": lambda: widgets.Neighbours(
        FRAMES / 255, FILMS, STEPS_OF, SPACES
    ),
    "frames must have shape": lambda: widgets.Neighbours(
        FRAMES[:2], FILMS, STEPS_OF, SPACES
    ),
    "steps must have shape .24": lambda: widgets.Neighbours(
        FRAMES, FILMS, STEPS_OF[:2], SPACES
    ),
    "spaces.'a'. must have": lambda: neighbours({"a": ANSWERING[:3]}),
    "as 16-bit floats must be finite": lambda: neighbours({"a": 1e6 * ANSWERING}),
    "rows of other groups": lambda: widgets.Neighbours(
        FRAMES, ["a"] * 24, STEPS_OF, SPACES
    ),
    "maze must be one of U": lambda: widgets.MazeLab("T"),
    "rows must be equally long": lambda: widgets.MazeLab(rows=["####", "#..#", "###"]),
    "rows must have walls all": lambda: widgets.MazeLab(
        rows=["#####", "#....", "#####"]
    ),
    "number of free cells must lie in .8, 200": lambda: widgets.MazeLab(
        rows=["#####", "#...#", "#####"], goal=[1, 1]
    ),
    "goal must be a free cell": lambda: widgets.MazeLab(goal=[1, 6]),
    "walks must be one of 20, 200, 2000": lambda: widgets.MazeLab(walks=30),
    "walkers must be one of aimless": lambda: widgets.MazeLab(walkers="drunk"),
    "dim must lie in .2, 16": lambda: widgets.MazeLab(dim=1),
    "policy must have shape": lambda: widgets.OccupancyMaze(
        GridMaze(), np.ones((3, 5))
    ),
    "policy must hold prob": lambda: widgets.OccupancyMaze(
        GridMaze(), np.ones((104, 5))
    ),
}


@pytest.mark.parametrize("message", BAD)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_bad_input(message):
    with pytest.raises(ValueError, match=message) as caught:
        BAD[message]()
    assert "\n" not in str(caught.value)


def test_bad_values_are_refused_later_too():
    widget = MAKE["occupancy-maze"]()
    with pytest.raises(ValueError, match="gamma"):
        widget.gamma = 2.0
    with pytest.raises(traitlets.TraitError, match="gamma"):
        widget.gamma = "high"
    assert widget.gamma == 0.9
