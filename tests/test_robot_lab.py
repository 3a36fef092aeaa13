"""The robot laboratory: its numbers against Python, its reader in a real browser."""

import base64
import gzip
import json
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from folders import slow
from test_widgets import data, drag, mount, state_of  # noqa: F401

from crl_mini.envs.tabletop import OPEN, REST, TASKS, TabletopVector
from crl_mini.measure import planning
from crl_mini.runs import zoo
from crl_mini.runs.run import Run, of_config
from crl_mini.widgets import RobotLab
from crl_mini.widgets.robot_lab import widget as lab

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import robot_lab  # noqa: E402

PIXELS, STATES = "binpick-pixels-crl", "binpick-state-crl"
SCRATCH = "binpick-state-c-learning-own"
# No agents of the zoo: two critics, a narrow tower, a critic that acts.
TWINS, NARROW, ACTING = "twins", "narrow", "acting"
UNTRAINED = {
    TWINS: (SCRATCH, {"critics": 2}),
    NARROW: (PIXELS, {"tower": "narrow"}),
    ACTING: (STATES, {"proposals": 7}),
}
LOADED = ("mujoco.js", "mujoco.wasm", "tasks", PIXELS, STATES)


@pytest.fixture(scope="module")
def untrained():
    """Untrained agents with other networks than those of the zoo, and their runs."""
    made = {}
    for name, (like, changes) in UNTRAINED.items():
        config = json.loads((zoo.FOLDER / f"{like}.json").read_text())["config"]
        config["settings"] |= changes
        run = of_config(config, zoo.FOLDER)
        made[name] = run, run.fresh()
    return made


@pytest.fixture(scope="module")
def page_of_numbers(tmp_path_factory, untrained):
    """The widget's script in node, with a few of the parts."""
    node = robot_lab.Node(tmp_path_factory.mktemp("lab"), (*LOADED, SCRATCH))
    for name, made in untrained.items():
        (node.folder / name).write_bytes(lab.packed(*made))
    return node


@pytest.fixture
def known(untrained, monkeypatch):
    """The zoo knows the untrained agents, too."""
    load = zoo.load
    monkeypatch.setattr(zoo, "load", lambda x: untrained.get(x) or load(x))


# ---------------------------------------------------------------- the numbers, in node
@pytest.mark.parametrize(
    "task", ["BinPick", "Drawer", *slow(["Reach", "Push", "PickPlace"])]
)
def test_pictures_are_those_of_python(page_of_numbers, task, monkeypatch):
    monkeypatch.setattr(robot_lab, "POSES", 40)
    found = robot_lab.pictures(page_of_numbers, task)
    assert found["pixels off by more than a level"] < 1e-3
    assert found["pixels that differ"] < 1e-2


@pytest.mark.parametrize("task", ["BinPick", *slow(["Reach", "Push", "Drawer"])])
def test_physics_is_that_of_python(page_of_numbers, task, monkeypatch):
    monkeypatch.setattr(robot_lab, "SEEDS", 8)
    found = robot_lab.physics(page_of_numbers, task)
    assert found["hand, mm in the median"] < 1e-3
    assert found["hand, seeds above 1 mm"] <= 2  # a contact decides, now and then


@pytest.mark.parametrize("name", [PIXELS, NARROW, STATES, SCRATCH, TWINS, ACTING])
@pytest.mark.usefixtures("known")
def test_networks_are_those_of_python(page_of_numbers, name):
    found = robot_lab.networks(page_of_numbers, name)
    for key in ("action", "phi", "psi", "f"):
        assert found[key] < 1e-4
        assert found[f"{key} to the zoo's"] < 0.3  # weights are rounded
    assert found["action to the zoo's"] < 0.05


@pytest.mark.parametrize("bits", [8, 16])
def test_weights_survive_shipping(bits, monkeypatch):
    x = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)
    monkeypatch.setattr(lab, "MANY", 100 if bits == 8 else 10_000)
    values, content, shape = lab.stored(x)
    assert shape == [40, 30, bits]
    assert len(content) == 40 * 30 * bits // 8 + (4 * 30 if bits == 8 else 0)
    step = abs(x).max(0) / 127 if bits == 8 else 2.0**-10 * abs(x)
    assert (abs(values - x) <= step / 2 + 1e-7).all()
    assert abs(values - x).max() > 0


@pytest.mark.parametrize(
    ("name", "judge"),
    [
        ("greedy", STATES),
        (f"greedy:{SCRATCH}", SCRATCH),
        ("greedy", TWINS),
        (ACTING,) * 2,
    ],
)
@pytest.mark.usefixtures("known")
def test_the_critic_takes_the_action_that_python_takes(page_of_numbers, name, judge):
    """Among a planner's proposals, or among the actor's action and others."""
    run, agent = zoo.load(judge)
    _, now, episodes = robot_lab.started("BinPick", 20, 11)
    given = {"task": "BinPick", "name": name, "judge": judge, "episodes": episodes}
    given["file"] = judge if name == judge else None
    found = page_of_numbers.run("minds", **given, K=64)
    actions = np.array([row["actions"] for row in found], np.float32)
    s, g = (jnp.asarray(now[k]) for k in ("observation", "desired_goal"))
    if name == judge:
        assert actions.shape == (20, 1 + run.config.proposals, 4)
        mode = agent.policy(s, g, key=jax.random.key(0), greedy=True)
        np.testing.assert_allclose(actions[:, 0], mode, atol=0.05)
    else:
        assert actions.shape == (20, 64, 4)
    assert abs(actions).max() <= 1
    best = planning.best_of(lab.rounded(agent.critic), s, g, jnp.asarray(actions))
    np.testing.assert_allclose([row["action"] for row in found], best, atol=1e-6)


@pytest.mark.parametrize("order", [sorted, reversed])
def test_agents_from_scratch_act_by_their_critic_or_have_a_planner_beside_them(
    order, monkeypatch
):
    shipped = list(order(zoo.names()))
    monkeypatch.setattr(zoo, "names", lambda: shipped)
    names = dict(lab._agents()["BinPick"]["names"])
    planners = {name: label for name, label in names.items() if ":" in name}
    assert planners == {f"greedy:{SCRATCH}": lab.GREEDY.format("from scratch")}
    acting = {name for name, label in names.items() if label.endswith("critic acts")}
    runs = {name: zoo.load(name)[0].config for name in zoo.names() if "bin" in name}
    assert acting == {k for k, c in runs.items() if getattr(c, "proposals", 0)}
    assert len(acting) == 1
    knowing = {name for name, label in names.items() if label.endswith("what counts")}
    assert knowing == {"binpick-state-td3-her", "binpick-state-td3-her-own"}


def test_a_saved_page_lists_agents_from_play_before_those_from_scratch():
    saved = json.loads(json.dumps(RobotLab().agents, sort_keys=True))
    for task, told in saved.items():
        labels = [label for _, label in told["names"]]
        assert " (no " not in labels[0], task
        agents = [label for label in labels if " (no " not in label]
        own = ["from scratch" in label for label in agents]
        assert own == sorted(own)
        assert not own[0]


@pytest.mark.parametrize(
    ("name", "task", "judge"),
    [
        ("greedy:reach-state-crl-own", "Reach", "reach-state-crl-own"),
        ("reach-state-gcbc-own", "Reach", "reach-state-crl"),
        ("greedy", "BinPick", STATES),
    ],
)
def test_success_is_measured_on_the_task_of_the_agent(name, task, judge, monkeypatch):
    asked = []

    class Asked:
        def run(self, way, **given):
            asked.append(given)
            return [{"done": True, "high": 0}] * len(given["episodes"])

    monkeypatch.setattr(robot_lab, "_of_python", lambda *what: {"asked": what})
    found = robot_lab.success(Asked(), name)
    assert found == {"page": robot_lab.SEEDS, "asked": (task, name, judge)}
    assert (asked[0]["task"], asked[0]["judge"]) == (task, judge)
    assert asked[0]["length"] == TASKS[task].length


def test_straight_for_the_goal_never_lifts(page_of_numbers):
    _, _, episodes = robot_lab.started("BinPick", 20, 5)
    told = {"task": "BinPick", "name": "straight", "judge": STATES}
    ends = page_of_numbers.run("episodes", **told, episodes=episodes, length=100, K=1)
    assert max(end["high"] for end in ends) < REST + 0.005
    assert not any(end["done"] for end in ends)


def test_goals_have_the_hand_where_python_has_it(page_of_numbers):
    rng = np.random.default_rng(0)
    for name, task in TASKS.items():
        starts = [task.sample_start("final", rng) for _ in range(9)]
        goals = [task.sample_goal(start, "final", rng) for start in starts]
        asked = [{"place": g[task.part].tolist(), "here": s[task.part].tolist()}
                 for s, g in zip(starts, goals, strict=True)]  # fmt: skip
        found = page_of_numbers.run("goals", task=name, asked=asked)
        np.testing.assert_allclose(found["states"], goals, atol=1e-9)
        low, high = task.bounds
        for episode in found["drawn"]:  # the page's own starts and goals
            start, goal = np.array(episode["start"]), np.array(episode["goal"])
            assert (low <= start).all()
            assert (start <= high).all()
            assert not task.succeeded(start, goal)
            again = task.hand(goal[task.part], start[task.part])
            np.testing.assert_allclose(goal[: len(again)], again, atol=1e-9)
            assert task.closed or start[3] in (OPEN, OPEN / 2)


# ---------------------------------------------------------------- a reader in a browser
@pytest.fixture
def opened(mount, tmp_path):  # noqa: F811
    """`opened(widget, start=True)` is a page that has its parts beside it."""

    def open_page(widget=None, start=True, **context):
        (tmp_path / "parts").mkdir()
        for name in (*LOADED, SCRATCH, "reach-state-crl"):
            content = base64.b64encode(lab.part(name)).decode()
            script = f'(globalThis.crlParts ??= {{}})["{name}"] = "{content}";'
            (tmp_path / "parts" / f"{name}.js").write_text(script)
        page = mount(widget or RobotLab(source="parts/"), **context)
        if start:
            page.get_by_role("button", name="Start").click()
            page.wait_for_selector(".crl-robot-lab[data-ready]", timeout=60_000)
        return page

    return open_page


def until(page, condition):
    """Wait until a condition on the widget's numbers, in JavaScript, holds."""
    script = f"() => {{ const d = document.querySelector('.crl-robot-lab').dataset; return {condition}; }}"  # noqa: E501
    page.wait_for_function(script, timeout=240_000)
    return data(page, "robot-lab")


def numbers(page, name):
    return json.loads(data(page, "robot-lab")[name])


def spot(x, y, z):
    """Where a point of the room lies on the stage, as shares."""
    told = lab._task("BinPick")["scene"]
    eye, forward, right, up = np.array(told["view"]).reshape(5, 3)[:4]
    d = np.array([x, y, z]) - eye
    far, tall = d @ forward, told["spread"]
    return 0.5 + d @ right / far / tall * 4 / 5, 0.5 - d @ up / far / tall


def test_goal_is_set_and_reached_and_the_block_is_taken_away(opened):
    """The agent from pictures does what was asked, and again in another episode."""
    page = opened()
    stage = page.locator("canvas").first
    goal = numbers(page, "goal")
    drag(page, stage, spot(*goal[4:]), spot(0.085, 0.065, REST))
    moved = numbers(page, "goal")
    np.testing.assert_allclose(moved[4:], [0.085, 0.065, REST], atol=0.005)
    np.testing.assert_allclose(moved[:3], moved[4:], atol=1e-6)  # the hand is around it
    assert data(page, "robot-lab")["done"] == "false"
    play = page.get_by_role("button", name="Play")
    play.click()
    found = until(page, "d.done === 'true' && d.step > 10")
    assert float(found["far"]) < 5
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Take it away").click()
    assert data(page, "robot-lab")["done"] == "false"
    assert numbers(page, "state")[4] < -0.05  # in the red bin again
    taken = int(data(page, "robot-lab")["step"])
    play.click()  # it may bring the block again or not: results/robot-lab.csv
    until(page, f"d.step > {taken + 5}")
    page.get_by_role("button", name="Again").click()
    until(page, "d.done === 'true' && d.step > 10")
    assert page.errors == []
    assert page.external == []


def test_block_is_carried_and_keys_move_the_goal(opened):
    page = opened(RobotLab(source="parts/", agent=STATES, seed=3))
    stage = page.locator("canvas").first
    block, goal = numbers(page, "state")[4:], numbers(page, "goal")[4:]
    drag(page, stage, spot(*block), spot(0.09, -0.06, 0.09))
    np.testing.assert_allclose(
        numbers(page, "state")[4:], [0.09, -0.06, 0.09], atol=0.01
    )
    stage.press("ArrowRight")
    stage.press("ArrowUp")
    stage.press("PageUp")
    expected = np.clip(np.add(goal, 0.01), None, [0.11, 0.09, 0.15])
    np.testing.assert_allclose(numbers(page, "goal")[4:], expected, atol=1e-6)
    for _ in range(20):
        stage.press("ArrowRight")
    assert numbers(page, "goal")[4] == pytest.approx(0.11)  # it stays on the table
    for _ in range(8):
        page.get_by_role("button", name="Step").click()
    assert int(data(page, "robot-lab")["step"]) == 8
    assert numbers(page, "state")[6] < 0.08  # the block has fallen
    page.get_by_role("button", name="Again").click()
    assert numbers(page, "state")[4:] == pytest.approx(block, abs=1e-6)
    page.get_by_role("button", name="New start").click()
    assert numbers(page, "state")[4:] != pytest.approx(block, abs=1e-3)
    assert data(page, "robot-lab")["episodes"] == "1"  # the second has had no step


def test_planners_and_tasks_are_chosen(opened):
    page = opened(RobotLab(source="parts/", agent="greedy", proposals=16))
    stage, plane = page.locator("canvas").first, page.locator("canvas").last
    look = lambda node: node.evaluate("c => c.toDataURL()")  # noqa: E731
    before = look(plane)
    page.get_by_role("button", name="Step").click()
    until(page, "d.step === '1'")
    assert look(plane) != before  # proposals are drawn
    slider = page.get_by_label("Proposals K")
    slider.press("End")
    assert slider.get_attribute("aria-valuetext") == "256"
    page.locator("select").nth(1).select_option("straight")
    assert slider.is_hidden()
    page.locator("select").nth(1).select_option(f"greedy:{SCRATCH}")
    page.get_by_role("button", name="Step").click()
    until(page, "d.step === '2'")
    assert slider.is_visible()
    page.locator("select").nth(0).select_option("Reach")
    until(page, "JSON.parse(d.state).length === 4")
    assert page.get_by_role("button", name="Push it").is_hidden()
    page.get_by_role("button", name="Play").click()
    found = until(page, "d.done === 'true'")  # a hand alone may go straight
    assert float(found["far"]) < 3
    assert "Reach" in stage.get_attribute("aria-label")


def test_nothing_is_loaded_before_the_start(opened):
    page = opened(start=False)
    assert page.evaluate("Object.keys(globalThis.crlParts ?? {})") == []
    page.get_by_role("button", name="Start").click()
    page.wait_for_selector(".crl-robot-lab[data-ready]", timeout=60_000)
    loaded = page.evaluate("Object.keys(globalThis.crlParts)")
    assert set(loaded) == {*LOADED} - {STATES}
    assert sum(len(lab.part(name)) for name in loaded) < 4_900_000
    before = json.dumps(state_of(RobotLab())) + RobotLab._esm + RobotLab._css
    assert len(gzip.compress(before.encode())) < 60_000


def test_without_webassembly_it_says_so(opened):
    page = opened(start=False)
    page.evaluate("delete globalThis.WebAssembly")
    page.get_by_role("button", name="Start").click()
    said = page.locator(".crl-readout")
    page.wait_for_function("document.body.innerText.includes('needs WebAssembly')")
    assert "browser" in said.inner_text()


@pytest.mark.parametrize("lacks", ["nothing", "WebAssembly", "JavaScript"])
def test_the_page_shows_a_film_where_the_laboratory_cannot_run(
    book, page_factory, lacks
):
    page = page_factory(java_script_enabled=lacks != "JavaScript")
    if lacks == "WebAssembly":
        page.add_init_script("delete globalThis.WebAssembly")
    page.goto((book / "robot.html").as_uri())
    film = page.locator(".robot-film video")
    if lacks == "nothing":
        page.wait_for_selector(".crl-robot-lab .crl-begin:enabled")
        assert not film.is_visible()
    else:
        film.wait_for(state="visible")
        assert (book / film.get_attribute("src")).exists()
    assert page.errors == page.external == []


def test_pages_in_folders_find_the_parts(book, page_factory):
    """The greedy robot of a chapter starts, and its critic is that of its own steps."""
    page = page_factory()
    page.goto((book / "chapters/12-missing-deeper.html").as_uri())
    page.get_by_role("button", name="Start").first.click()
    page.wait_for_selector(".crl-robot-lab[data-ready]", timeout=60_000)
    assert SCRATCH in page.evaluate("Object.keys(globalThis.crlParts)")
    assert page.errors == page.external == []


def test_shader_draws_what_the_caster_draws(opened):
    """The reader's picture by WebGL is the agent's: the two differ at few edges."""
    page = opened(start=False)
    tasks = json.loads(gzip.decompress(lab.part("tasks")))
    for task in ("BinPick", "Drawer"):
        env, now, _ = robot_lab.started(task, 1, 2, obs_type="poses")
        given = {"esm": RobotLab._esm, "scene": tasks[task]["scene"],
                 "poses": now["observation"].ravel().tolist()}  # fmt: skip
        found = page.evaluate(SHADES, given)
        if found is None:
            pytest.skip("this browser has no WebGL2")
        assert found < 0.01


SHADES = """async ({ esm, scene, poses }) => {
  const blob = URL.createObjectURL(new Blob([esm], { type: "text/javascript" }));
  const w = await import(blob), S = 64, shader = w.shaderOf(scene);
  if (!shader) return null;
  const gl = shader(poses, S, S, 1).getContext("webgl2");
  const seen = new Uint8Array(4 * S * S);
  gl.readPixels(0, 0, S, S, gl.RGBA, gl.UNSIGNED_BYTE, seen);
  const drawn = w.caster(scene, S)(Float32Array.from(poses));
  let off = 0;
  for (let p = 0; p < S * S; p++) {
    const q = (S - 1 - Math.floor(p / S)) * S + (p % S);
    off += [0, 1, 2].some((k) => Math.abs(seen[4 * q + k] - drawn[4 * p + k]) > 2);
  }
  return off / S / S;
}"""


@pytest.mark.parametrize("width", [1280, 375])
def test_looks(opened, width):
    """Dark is dark, phones do not scroll sideways, axe finds nothing serious."""
    from axe_playwright_python.sync_playwright import Axe

    widget = RobotLab(source="parts/", agent="greedy", proposals=4)
    page = opened(widget, width=width, reduced_motion="reduce")
    page.get_by_role("button", name="Play 10 steps").click()
    assert data(page, "robot-lab")["step"] == "10"  # no motion: a jump
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for canvas in page.locator("canvas").all():
        assert len(canvas.get_attribute("aria-label")) > 20
    found = Axe().run(page).response["violations"]
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_selector(".crl-robot-lab.crl-dark")
    paper = page.locator(".crl-robot-lab").evaluate(
        "node => getComputedStyle(node).backgroundColor"
    )
    assert max(map(int, re.findall(r"\d+", paper))) < 60
    found += Axe().run(page).response["violations"]
    serious = [(v["id"], v["nodes"][0]["html"]) for v in found
               if v["impact"] in ("serious", "critical")]  # fmt: skip
    assert serious == []
    assert page.errors == []


# ---------------------------------------------------------------- in a notebook
def test_parts_come_when_they_are_asked_for():
    widget = RobotLab(task="Reach")
    assert widget.parts == {}
    widget.set_state({"wanted": ["tasks", "mujoco.js"]})
    assert set(widget.parts) == {"tasks", "mujoco.js"}
    widget.set_state({"wanted": ["tasks", "mujoco.js", "../conftest"]})
    assert widget.parts == {}  # only what is new, and only what is a part
    episode = {"task": "Reach", "states": [[0.0]], "success": True}
    widget.set_state({"episodes": [episode]})
    assert widget.episodes == [episode]


@pytest.mark.parametrize("agent", ["crl", "c_learning"])
def test_a_readers_own_run_acts(page_of_numbers, tmp_path, agent):
    run = Run(task="Reach", preset="smoke", seed=0, out=tmp_path, agent=agent)
    (tmp_path / "run").mkdir()
    own = _kept(run, tmp_path / "run")
    widget = RobotLab(agent=tmp_path / "run")
    assert (widget.task, widget.agent) == ("Reach", "own")
    assert list(widget.parts) == ["own"]
    widget.set_state({"wanted": ["tasks"]})
    assert set(widget.parts) == {"own", "tasks"}
    (page_of_numbers.folder / "own").write_bytes(widget.parts["own"])
    env = TabletopVector(5, "Reach")
    now, _ = env.reset(seed=1)
    s, g = now["observation"], now["desired_goal"]
    pairs = [{"s": {"state": x.tolist()}, "g": {"state": y.tolist()}, "a": [0.0] * 4}
             for x, y in zip(s, g, strict=True)]  # fmt: skip
    got = page_of_numbers.run("networks", name="own", pairs=pairs)
    true = own.act(s, g, key=jax.random.key(0), greedy=True)
    np.testing.assert_allclose([row["action"] for row in got], true, atol=0.05)


def _kept(run, folder):
    """A finished run's folder with fresh networks; the agent."""
    from dataclasses import replace

    from crl_mini.runs.files import dump, text

    run = replace(run, out=folder, preset="smoke")
    agent = run.fresh()
    (folder / "config.json").write_bytes(text(run.identity))
    (folder / "checkpoint.safetensors").write_bytes(dump(agent))
    return agent


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "Lift"}, "task must be one of Reach"),
        ({"task": "Reach", "agent": STATES}, "agent must be one of reach"),
        ({"proposals": 0}, "proposals must lie in .1, 256."),
        ({"speed": 2.0}, "speed must lie"),
    ],
)
def test_bad_input_gets_a_clear_error(settings, message):
    with pytest.raises(ValueError, match=message):
        RobotLab(**settings)
