"""The maze laboratory: its numbers against JAX, its reader in a real browser."""

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
WIDTH = 96  # of the hidden layers


# ---------------------------------------------------------------- the numbers, in node
GRADIENT = """
  const shape = { S: 9, A: 5, D: 6 }, B = 12, random = w.uniforms(4);
  const theta = w.fresh(shape, 3).map((x) => x + 0.2 * (random() - 0.5));
  const batch = Object.fromEntries([["s", 9], ["a", 5], ["g", 9]].map(([name, n]) =>
    [name, Int32Array.from({ length: B }, () => Math.floor(n * random()))]));
  const p = w.parts(theta, shape);
  const parts = Object.entries(p).map(([name, x]) => [name, x.length]);
  return { theta, batch, parts, ...Object.fromEntries(given.cases.map((how) => {
    const slope = new Float64Array(theta.length), m = w.memory(B, shape.D);
    w.gradient(p, w.parts(slope, shape), batch, how, m);
    return [JSON.stringify(how), { slope, logits: m.logits }];
  })) };
"""


def critic_of(parts, energy, s, a, g):
    """Logits of the page's critic, written with the library's energies."""
    D = len(parts["phiBias"])
    table = {k: x.reshape(-1, WIDTH) for k, x in parts.items() if len(x) > WIDTH}
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
    theta = jnp.asarray(theta)
    for case, got in zip(cases, list(found.values())[3:], strict=True):
        slope = jax.grad(loss_of)(theta, **case)
        assert abs(np.array(got["slope"]) - slope).max() < 1e-5 * abs(slope).max()
        logits = logits_of(theta, case["energy"])
        np.testing.assert_allclose(got["logits"], logits.ravel(), atol=1e-5)


def chain(keep):
    """Transitions of pairs (s, a) of walkers who keep their action with `keep`."""
    again = keep * np.eye(A) + (1 - keep) / A
    return np.einsum("sax,ab->saxb", ROOMS.P, again).reshape(S * A, S * A)


@pytest.mark.parametrize(("keep", "gamma"), [(0, 0.95), (0.5, 0.9), (0.5, 0.98)])
def test_exact_answers(node, keep, gamma):  # noqa: F811
    body = """
      const maze = w.drawn(model.get("rows")), { gamma, keep } = given;
      const Q = w.exactQ(maze, gamma, keep);
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
    """Walks obey maze and fence; futures are geometric, truncated."""
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
    moves = ROOMS.P[np.arange(S), :, np.arange(S)] < 1  # (S, A): no wall, not "stay"
    pi = occupancy.greedy_policy(np.where(moves[..., None], f, -1e9))
    reach = occupancy.reach_probability(ROOMS.P, pi, LENGTH)
    share = (reach.sum() - S) / (S * S - S)
    assert found["arrive"] == found["outside"] == pytest.approx(share, rel=1e-9)
    assert 0 < share < 1


def test_learns_the_exact_q_and_walks_by_it(node):  # noqa: F811
    """4,000 updates are 4 to 7 seconds of a quiet core."""
    body = """
      const get = (name) => model.get(name), lab = w.laboratory({ rows: get("rows"),
        walkers: get("walkers"), count: get("walks"), gamma: get("gamma"),
        energy: get("energy"), dim: get("dim"), seed: 1, ...given });
      for (let k = 0; k < given.updates; k++) lab.update();
      return lab.measure();
    """
    run = lambda **given: node(widgets.MazeLab(), body, **given)  # noqa: E731
    good = run(loss="nce", penalty=False, updates=4000)
    assert good["correlation"] > 0.95
    assert good["arrive"] > 0.8
    free = run(loss="infonce", penalty=False, updates=2000)
    assert free["correlation"] > 0.8
    assert free["arrive"] < 0.3
    mended = run(loss="infonce", penalty=True, updates=2000)
    assert mended["arrive"] > 0.7


# ---------------------------------------------------------------- in a browser
SLOW = 240_000  # milliseconds: the tests share their cores


def until(page, condition):
    """Wait until a condition of the widget's data, `d`, holds."""
    found = f"(() => {{ const d = document.querySelector('.crl-maze-lab').dataset; return {condition}; }})()"  # noqa: E501
    page.wait_for_function(found, timeout=SLOW)


def canvas_of(page, name):
    return page.locator(f".crl-{name} canvas")


def click(page, cell, maze=ROOMS):
    canvas = canvas_of(page, "learned")
    box, (x, y) = canvas.bounding_box(), cell_at(maze, maze.index(*cell))
    canvas.click(position={"x": x * box["width"], "y": y * box["height"]})


@pytest.mark.browser
def test_it_trains_by_itself_and_walks_where_it_is_sent(mount):  # noqa: F811
    page = mount(widgets.MazeLab())
    until(page, "d.correlation > 0.95 && d.arrive > 0.5")
    until(page, "d.walks === '2000' && d.arrived >= 1")
    before = int(data(page, "maze-lab")["arrived"])
    click(page, (2, 2))
    assert data(page, "maze-lab")["goal"] == "2,2"
    until(page, f"d.arrived > {before}")
    page.get_by_role("button", name="Pause").click()
    page.wait_for_timeout(300)
    held = data(page, "maze-lab")
    page.wait_for_timeout(500)
    assert data(page, "maze-lab") == held  # nothing moves
    page.get_by_role("button", name="Step").click()
    assert int(data(page, "maze-lab")["updates"]) == int(held["updates"]) + 1
    canvas_of(page, "learned").press("ArrowRight")
    assert data(page, "maze-lab")["goal"] == "2,3"
    page.get_by_role("button", name="Reset").click()
    assert data(page, "maze-lab")["updates"] == "1"
    assert (page.errors, page.external) == ([], [])


@pytest.mark.browser
def test_walls_and_fences_are_drawn(mount):  # noqa: F811
    page = mount(widgets.MazeLab(playing=False))
    rows = lambda: data(page, "maze-lab")["rows"].split()  # noqa: E731
    assert rows() == widgets.MazeLab().rows
    page.locator("input[value=wall]").check(force=True)
    click(page, (2, 2))
    assert rows()[2] == "#.#...#.....#"
    canvas = canvas_of(page, "learned")
    for key in ("ArrowDown", "Enter", "ArrowLeft", "Enter"):
        canvas.press(key)
    assert rows()[3] == "###.........#"
    canvas.press("Enter")  # the wall goes again
    assert rows()[3] == "#.#.........#"
    page.locator("input[value=fence]").check(force=True)
    box = canvas.bounding_box()
    at = lambda cell: [  # noqa: E731
        start + share * size
        for start, share, size in zip(
            (box["x"], box["y"]),
            cell_at(ROOMS, ROOMS.index(*cell)),
            (box["width"], box["height"]),
            strict=True,
        )
    ]
    page.mouse.move(*at((1, 8)))
    page.mouse.down()
    page.mouse.move(*at((1, 11)), steps=8)
    page.mouse.up()
    assert rows()[1] == "#.....#.xxxx#"
    assert data(page, "maze-lab")["updates"] == "1"  # it began again
    page.get_by_role("combobox", name="Maze").select_option("U")
    assert rows() == widgets.MazeLab("U").rows
    assert page.errors == []


@pytest.mark.browser
@pytest.mark.slow
def test_greedy_fails_and_is_mended(mount):  # noqa: F811
    page = mount(widgets.MazeLab(loss="infonce"))
    until(page, "d.ticked === '1'")
    assert float(data(page, "maze-lab")["arrive"]) < 0.5
    page.get_by_label("logsumexp penalty").check()
    until(page, "d.ticked === '2'")
    assert page.locator(".crl-ticked").count() == 2
    assert "✓ Done" in page.locator(".crl-ticked").first.inner_text()


@pytest.mark.browser
def test_it_holds_still_for_who_asks_for_it(mount):  # noqa: F811
    page = mount(widgets.MazeLab(), reduced_motion="reduce")
    page.wait_for_timeout(600)
    assert data(page, "maze-lab")["updates"] == "1"
    page.get_by_role("button", name="Play").click()
    until(page, "d.updates > 20")


@pytest.mark.browser
def test_a_phone_shows_maze_and_plane_together(mount):  # noqa: F811
    page = mount(widgets.MazeLab(playing=False), width=375, height=700)
    canvas_of(page, "learned").scroll_into_view_if_needed()
    boxes = [canvas_of(page, name).bounding_box() for name in ("learned", "plane")]
    top = min(box["y"] for box in boxes)
    assert max(box["y"] + box["height"] for box in boxes) - top < 560
    assert min(box["width"] for box in boxes) > 140


@pytest.mark.browser
def test_the_height_of_the_curves_is_not_that_of_their_last_picture(mount):  # noqa: F811
    page = mount(widgets.MazeLab(playing=False), width=1000, height=800)
    found = page.evaluate("""() => {
      const [heat, exact, curves] = ["heat", "exact", "curves"].map((name) =>
        document.querySelector(`.crl-${name} canvas`));
      curves.height = 4000;
      return [heat, exact, curves].map((canvas) => canvas.clientHeight);
    }""")
    assert found[0] > 100
    assert found == pytest.approx([found[0]] * 3, abs=1)
