"""The maze laboratory: its numbers against JAX and the library, its reader in a browser."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_widgets import cell_at, data, mount, node  # noqa: F401

from crl_mini import widgets
from crl_mini.critic import ENERGIES, pairwise
from crl_mini.envs.maze import GridMaze
from crl_mini.losses import LOSSES, logsumexp_penalty
from crl_mini.measure import occupancy
from crl_mini.measure.critics import weighted_correlation
from crl_mini.measure.occupancy import offset_pmf

ROOMS = GridMaze("FourRooms")
S, A, LENGTH = ROOMS.n_states, ROOMS.n_actions, 200


# ---------------------------------------------------------------- the numbers, in node
GRADIENT = """
  const shape = { S: 9, A: 5, D: 6 }, B = 12, random = w.uniforms(4);
  const theta = w.fresh(shape, 3).map((x) => x + 0.2 * (random() - 0.5));
  const batch = Object.fromEntries([["s", 9], ["a", 5], ["g", 9]].map(([name, n]) =>
    [name, Int32Array.from({ length: B }, () => Math.floor(n * random()))]));
  const p = w.parts(theta, shape), parts = Object.entries(p).map(([k, x]) => [k, x.length]);
  return { theta, batch, parts, ...Object.fromEntries(given.cases.map((how) => {
    const slope = new Float64Array(theta.length), m = w.memory(B, shape.D);
    w.gradient(p, w.parts(slope, shape), batch, how, m);
    return [JSON.stringify(how), { slope, logits: m.logits }];
  })) };
"""


def critic_of(parts, energy, s, a, g):
    """Logits of the page's critic, written with the library's energies."""
    D = len(parts["phiBias"])
    table = {k: x.reshape(-1, 64) for k, x in parts.items() if len(x) % 64 == 0}
    hidden = jax.nn.relu(table["phiCell"][s] + table["phiAction"][a])
    phi = hidden @ parts["phiOut"].reshape(-1, D) + parts["phiBias"]
    goals = jax.nn.relu(table["psiCell"][g])
    psi = goals @ parts["psiOut"].reshape(-1, D) + parts["psiBias"]
    scale = jnp.exp(parts["logScale"][0]) if energy == "cosine" else 1
    return scale * pairwise(energy, phi, psi) + parts["bias"][0]


def test_gradients_are_those_of_jax(node):  # noqa: F811
    names = ("energy", "loss", "penalty")
    every = itertools.product(ENERGIES, LOSSES, (0, 0.1))
    cases = [dict(zip(names, case, strict=True)) for case in every]
    found = node(widgets.MazeLab(), GRADIENT, cases=cases)
    ends = np.cumsum([n for _, n in found["parts"]])
    theta, slices = found["theta"], zip(ends, found["parts"], strict=True)
    cut = {name: slice(end - n, end) for end, (name, n) in slices}
    s, a, g = (np.array(found["batch"][name]) for name in "sag")

    def logits_of(theta, energy):
        return critic_of({k: theta[x] for k, x in cut.items()}, energy, s, a, g)

    def loss_of(theta, energy, loss, penalty):
        logits = logits_of(theta, energy)
        return LOSSES[loss](logits) + penalty * logsumexp_penalty(logits)

    assert len(cases) == 24
    with jax.experimental.enable_x64():
        theta = jnp.asarray(theta)
        for case, got in zip(cases, list(found.values())[3:], strict=True):
            slope = jax.grad(loss_of)(theta, **case)
            logits = logits_of(theta, case["energy"])
            assert abs(slope).max() > 1e-3
            np.testing.assert_allclose(got["slope"], slope, rtol=1e-5, atol=1e-9)
            np.testing.assert_allclose(got["logits"], logits.ravel(), rtol=1e-6)


def chain(keep):
    """Transitions of pairs (s, a) when the last action is kept with this probability."""
    again = keep * np.eye(A) + (1 - keep) / A
    return np.einsum("sax,ab->saxb", ROOMS.P, again).reshape(S * A, S * A)


@pytest.mark.parametrize(("keep", "gamma"), [(0, 0.95), (0.5, 0.9), (0.5, 0.98)])
def test_exact_answers(node, keep, gamma):  # noqa: F811
    body = """
      const maze = w.drawn(model.get("rows")), Q = w.exactQ(maze, given.gamma, given.keep);
      const { p, goals } = w.marginals(maze, Q, given.keep);
      return { Q, p, goals, cells: maze.cells, next: maze.next };
    """
    found = node(widgets.MazeLab(), body, keep=keep, gamma=gamma)
    assert found["cells"] == ROOMS.cells.tolist()
    np.testing.assert_array_equal(found["next"], ROOMS.P.argmax(-1).ravel())
    K, step = chain(keep), ROOMS.P.reshape(S * A, S)
    Q = (1 - gamma) * np.linalg.solve(np.eye(S * A) - gamma * K, step)
    np.testing.assert_allclose(np.reshape(found["Q"], Q.shape), Q, rtol=1e-6)
    if keep == 0:
        M = occupancy.discounted_occupancy(ROOMS.P, ROOMS.uniform_policy, gamma)
        np.testing.assert_allclose(Q, M.reshape(Q.shape), rtol=1e-6)
    p, now = np.zeros(S * A), np.full(S * A, 1 / (S * A))
    for _ in range(LENGTH):
        p += now / LENGTH
        now = now @ K
    np.testing.assert_allclose(found["p"], p, rtol=1e-6)
    np.testing.assert_allclose(found["goals"], p @ Q, rtol=1e-6)


def test_walks_and_pairs(node):  # noqa: F811
    """Walks obey the maze and keep out of the fence; futures are truncated geometric."""
    rows = widgets.MazeLab().rows
    fenced = [row[:7] + row[7:].replace(".", "x") if k < 6 else row
              for k, row in enumerate(rows)]  # fmt: skip
    body = """
      const maze = w.drawn(model.get("rows")), random = w.uniforms(5);
      const walks = w.recorder(maze, 400, 0.5, random);
      walks.more(150);
      const some = walks.n;
      walks.more(1000);
      const batch = w.pairs(walks, 20000, 0.9, random);
      return { some, n: walks.n, states: walks.states, actions: walks.actions,
        tread: maze.tread, shut: maze.shut, batch };
    """
    found = node(widgets.MazeLab(rows=fenced), body)
    assert (found["some"], found["n"]) == (150, 400)
    states = np.reshape(found["states"], (400, LENGTH + 1))
    actions = np.reshape(found["actions"], (400, LENGTH))
    tread = np.reshape(found["tread"], (-1, A))
    np.testing.assert_array_equal(tread[states[:, :-1], actions], states[:, 1:])
    assert sum(found["shut"]) == 25
    assert not np.array(found["shut"])[states].any()
    same = (actions[:, 1:] == actions[:, :-1]).mean()
    assert same == pytest.approx(0.5 + 0.5 / A, abs=5 * 0.5 / np.sqrt(actions.size))

    walk, t, k, s, a, g = (np.array(found["batch"][x]) for x in
                           ("walk", "t", "k", "s", "a", "g"))  # fmt: skip
    np.testing.assert_array_equal(s, states[walk, t])
    np.testing.assert_array_equal(a, actions[walk, t])
    np.testing.assert_array_equal(g, states[walk, t + k])
    assert (t + k).max() == LENGTH
    for low, high in ((0, 150), (190, 196), (197, LENGTH)):
        pmf = [offset_pmf("truncated", 0.9, LENGTH - x) for x in range(low, high)]
        mean = np.mean([p @ np.arange(1, len(p) + 1) for p in pmf])
        drawn = k[(t >= low) & (t < high)]
        assert drawn.mean() == pytest.approx(
            mean, abs=5 * drawn.std() / len(drawn) ** 0.5
        )


def test_measures_are_those_of_the_library(node):  # noqa: F811
    body = """
      const get = (name) => model.get(name), lab = w.laboratory({ rows: get("rows"),
        walkers: get("walkers"), count: 20, gamma: 0.95, energy: "l2", loss: "nce",
        penalty: false, dim: 4, seed: 2 });
      for (let k = 0; k < 300; k++) lab.update();
      const f = lab.table();
      return { f, exact: lab.exact, ...lab.measure() };
    """
    found = node(widgets.MazeLab(), body)
    f, truth, Q = (np.reshape(x, (S, A, S)) for x in
                   (found["f"], found["exact"]["f"], found["exact"]["Q"]))  # fmt: skip
    assert found["updates"] == 300
    expected = weighted_correlation(f, truth)
    assert found["correlation"] == pytest.approx(expected, rel=1e-6)
    of_actions = [x - x.mean(1, keepdims=True) for x in (f, truth)]
    expected = weighted_correlation(*of_actions, Q)
    assert found["between"] == pytest.approx(expected, rel=1e-6)
    assert found["constant"] == pytest.approx((truth - f).mean(), rel=1e-6)
    reach = occupancy.reach_probability(ROOMS.P, occupancy.greedy_policy(f), LENGTH)
    share = (reach.sum() - S) / (S * S - S)
    assert found["arrive"] == found["outside"] == pytest.approx(share, rel=1e-9)
    assert 0 < share < 1


def test_learns_the_exact_q_and_walks_by_it(node):  # noqa: F811
    """6,000 updates are 5 to 10 seconds of a quiet core."""
    body = """
      const get = (name) => model.get(name), lab = w.laboratory({ rows: get("rows"),
        walkers: get("walkers"), count: get("walks"), gamma: get("gamma"),
        energy: get("energy"), loss: given.loss, penalty: given.penalty, dim: get("dim"),
        seed: 1 });
      for (let k = 0; k < given.updates; k++) lab.update();
      return lab.measure();
    """
    run = lambda **given: node(widgets.MazeLab(), body, **given)  # noqa: E731
    good = run(loss="nce", penalty=False, updates=6000)
    assert good["correlation"] > 0.95
    assert good["arrive"] > 0.8
    free = run(loss="infonce", penalty=False, updates=3000)
    assert free["correlation"] > 0.8
    assert free["arrive"] < 0.3
    mended = run(loss="infonce", penalty=True, updates=3000)
    assert mended["arrive"] > 0.7
