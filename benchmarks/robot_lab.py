"""The robot laboratory in the page against Python: its numbers and its success.

Node runs the widget's own script with the parts that a page would load. Both sides get
the same poses, actions, starts and goals.

* pictures: share of the pixels of 200 poses a task that differ by more than one level;
* physics: distances of hand and object after 100 random actions, over 50 seeds;
* networks: largest difference of actions, phi, psi and f, with the shipped weights;
* success: at the end of 50 episodes, in the page and in Python, with Wilson intervals;
* lift: how high the block ever was above the table, for the hand that goes straight;
* taken away: in Python, of the blocks that came home and were taken back to where the
  episode began, those that come home again; they have at least 200 steps.

With `--page` it opens the built page in Chromium, and measures the milliseconds of a
control step: physics, pictures, networks and drawing.

    python benchmarks/robot_lab.py --out results --page _build/html/robot.html
"""

import base64
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from crl_mini.__main__ import Parser
from crl_mini.devices import device
from crl_mini.envs.tabletop import HAND, OBJECT, REST, TASKS, TabletopVector
from crl_mini.measure import planning
from crl_mini.measure.statistics import wilson
from crl_mini.runs import zoo
from crl_mini.runs.files import csv_text, text, versions, write
from crl_mini.widgets import RobotLab
from crl_mini.widgets.robot_lab.widget import CONTRASTIVE, part, parts, rounded

SEEDS, POSES, STEPS, PAIRS, K, LATER = 50, 200, 100, 20, 64, 200
KINDS = ("pictures", "physics", "networks", "success", "taken away", "real time")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
HARNESS = Path(__file__).with_suffix(".mjs")


class Node:
    """The widget's script and all parts, in a folder; `run` asks it something."""

    def __init__(self, folder: Path, names: tuple[str, ...] | None = None):
        self.folder = folder
        (folder / "widget.mjs").write_text(RobotLab._esm)
        for name in parts() if names is None else names:
            (folder / name).write_bytes(part(name))

    def run(self, way: str, **given):
        """What the harness says to a question."""
        (self.folder / "given.json").write_text(json.dumps({"way": way, **given}))
        command = ["node", str(HARNESS), str(self.folder)]
        subprocess.run(command, check=True)
        return json.loads((self.folder / "out.json").read_text())


def started(task: str, n: int, seed: int, **settings):
    """A vector of `n` simulations after its reset, and its episodes as the page's."""
    env = TabletopVector(n, task, **settings)
    now, _ = env.reset(seed=seed)
    q = env._qpos
    turns = 2 * np.arctan2(q[:, 11], q[:, 8]) if q.shape[1] > 8 else np.zeros(n)
    start = np.concatenate([q[:, :3], q[:, 3:4] + q[:, 4:5], q[:, 5:8]], 1)
    rows = zip(start.tolist(), env.goal_state.tolist(), turns.tolist(), strict=True)
    return (
        env,
        now,
        [dict(zip(("start", "goal", "turn"), x, strict=True)) for x in rows],
    )


def pictures(node: Node, task: str) -> dict:
    """Shares of pixels that differ at all, and by more than one level."""
    n, rng = POSES // 4, np.random.default_rng(0)
    env, now, _ = started(task, n, 3, obs_type="poses", goals="mixed")
    seen = [now["observation"], now["desired_goal"]]
    for t in range(60):
        now, *_ = env.step(rng.uniform(-1, 1, (n, 4)))
        seen += [now["observation"]] if t in (20, 59) else []
    poses = np.concatenate(seen)
    drawn = base64.b64encode(np.asarray(env.pictures.draw(poses)).tobytes()).decode()
    given = {"poses": poses.reshape(POSES, -1).tolist(), "pictures": drawn}
    any_, more = node.run("pictures", task=task, **given)
    return {"pixels that differ": any_, "pixels off by more than a level": more}


def physics(node: Node, task: str) -> dict:
    """Distances in millimetres after the same actions."""
    actions = np.random.default_rng(1).uniform(-1, 1, (SEEDS, STEPS, 4))
    settings = {"goals": "mixed", "max_episode_steps": STEPS}
    env, _, episodes = started(task, SEEDS, 7, **settings)
    for t in range(STEPS):
        env.step(actions[:, t])
    end = np.array(
        node.run("physics", task=task, episodes=episodes, actions=actions.tolist())
    )
    found = {}
    for name, which in (("hand", HAND), ("object", OBJECT)):
        gap = 1000 * np.linalg.norm((end - env.state)[:, which], axis=1)
        found[f"{name}, mm at most"] = gap.max()
        found[f"{name}, mm in the median"] = np.median(gap)
        found[f"{name}, seeds above 1 mm"] = int((gap > 1).sum())
    return found if task != "Reach" else {k: v for k, v in found.items() if "hand" in k}


def networks(node: Node, name: str) -> dict:
    """Largest differences of the outputs, to the shipped weights and to the zoo's."""
    run, agent = zoo.load(name)
    s, g, a, sent = _pairs(run)
    got = node.run("networks", name=name, pairs=sent)
    found = {}
    for words, which in (("", rounded(_networks(agent))), (" to the zoo's", agent)):
        own = agent if which is agent else replace(agent, **which)
        actor = getattr(own, "policy", own.act)  # the page asks no critic here
        true = {"action": actor(s, g, key=jax.random.key(0), greedy=True)}
        if run.agent in CONTRASTIVE:
            phi = own.critic.phi(own.critic.see(s)[0], a).reshape(len(a), -1)
            psi = own.critic.psi(own.critic.see_goal(g)).reshape(len(a), -1)
            true |= {"phi": phi, "psi": psi, "f": _logits(agent.critic, phi, psi)}
        for key, x in true.items():
            gap = np.abs(np.array([row[key] for row in got]) - np.asarray(x)).max()
            found[f"{key}{words}"] = gap
    return found


def _logits(critic, phi, psi) -> np.ndarray:
    """Logits for the energy l2 whose constants are shipped whole, as in the page.

    The critic's own f loses digits to squares.
    """
    heads = getattr(critic, "critics", (critic,))
    gaps = [np.split(np.asarray(x, float), len(heads), axis=1) for x in (phi, psi)]
    far = [np.linalg.norm(x - y, axis=1) for x, y in zip(*gaps, strict=True)]
    return np.min([h.bias[...] - x for h, x in zip(heads, far, strict=True)], axis=0)


def _networks(agent) -> dict:
    return {k: getattr(agent, k) for k in zoo.NETWORKS if hasattr(agent, k)}


def _pairs(run):
    """States, goals and actions for the networks; and the same as the page's."""
    env, now, _ = started(run.env.name, PAIRS, 5, obs_type=run.obs)
    s, g = now["observation"], now["desired_goal"]
    a = np.random.default_rng(2).uniform(-1, 1, (PAIRS, 4)).astype(np.float32)
    if run.obs == "state":
        see = [[{"state": x.tolist()} for x in xs] for xs in (s, g)]
    else:
        full = [np.pad(x, ((0, 0),) * 3 + ((0, 1),)) for x in (s, g)]
        see = [
            [{"picture": base64.b64encode(x.tobytes()).decode()} for x in xs]
            for xs in full
        ]
    sent = [{"s": x, "g": y, "a": z} for x, y, z in zip(*see, a.tolist(), strict=True)]
    return *map(jnp.asarray, (s, g, a)), sent


def success(node: Node, name: str) -> dict:
    """Successes of 50 episodes in the page and in Python."""
    tasks = {task.lower(): task for task in TASKS}
    way, _, whose = name.partition(":")
    task = tasks.get((whose or name).partition("-")[0], "BinPick")  # of a planner
    length, file = TASKS[task].length, name if name in zoo.names() else None
    _, _, episodes = started(task, SEEDS, 777)
    judge = whose or f"{task.lower()}-state-crl"
    given = {"task": task, "name": name, "file": file, "judge": file or judge}
    if file and not _has_critic(file):
        given["judge"] = judge
    ends = node.run("episodes", **given, episodes=episodes, length=length, K=K)
    found = {"page": sum(e["done"] for e in ends)}
    if way == "straight":
        return found | {"lift, mm": 1000 * (max(e["high"] for e in ends) - REST)}
    return found | _of_python(task, name, judge)


def _has_critic(name: str) -> bool:
    return json.loads((zoo.FOLDER / f"{name}.json").read_text())["agent"] in CONTRASTIVE


def _of_python(task: str, name: str, judge: str) -> dict:
    greedy = name.startswith("greedy")
    run, agent = zoo.load(judge if greedy else name)
    policy = run.policy(agent, "mode")
    if greedy:
        policy = planning.planner(agent.critic, planning.uniform(4, K))
    with_env = run.env.make(SEEDS, max_episode_steps=TASKS[task].length)
    done = run.env.play(with_env, policy, TASKS[task].length, SEEDS, seed=777)
    n = int(done.at_end.sum())
    low, high = wilson(n, SEEDS)
    return {"Python": n, "low": low, "high": high}


def taken_away(_: Node, name: str) -> dict:
    """Blocks that came home, and those that did so again after they were taken away."""
    run, agent = zoo.load(name)
    obs = "poses" if run.obs == "pixels" else "state"
    settings = {"obs_type": obs, "max_episode_steps": STEPS + LATER}
    env, now, _ = started("BinPick", SEEDS, 777, **settings)
    policy, start, key = run.policy(agent, "mode"), env.state, jax.random.key(0)
    away = again = np.zeros(SEEDS, bool)
    for _ in range(STEPS + LATER):
        a = policy(now["observation"], now["desired_goal"], key)
        now, *_, info = env.step(np.asarray(a))
        again, home = again | away & info["success"], info["success"] & ~away
        away = away | home
        env._qpos[home, 5:8] = start[home, OBJECT]
        env._batch.bind("qvel")[home, 5:] = 0
        env._batch.forward(stage=mujoco.mjtStage.mjSTAGE_POS)
        now = env._observe()
    return {"home": away.sum(), "home again": again.sum()}


def frames(page: Path, seconds: float = 10) -> Iterator[tuple]:
    """Milliseconds of a control step in Chromium, for the agents of the first task.

    By the clock, with all that the machine does besides, and of the page's own thread.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        executable = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.goto(page.resolve().as_uri())
        tab.get_by_role("button", name="Start").click()
        lab = tab.locator(".crl-robot-lab[data-ready]")
        thread = tab.context.new_cdp_session(tab)
        thread.send("Performance.enable", {"timeDomain": "threadTicks"})

        def spent() -> tuple[float, int]:
            metrics = thread.send("Performance.getMetrics")["metrics"]
            busy = {x["name"]: x["value"] for x in metrics}["TaskDuration"]
            return 1000 * busy, int(lab.get_attribute("data-step"))

        minds = tab.locator("select").nth(1)
        for name in minds.evaluate("list => [...list].map(o => o.value)"):
            minds.select_option(name)
            tab.wait_for_timeout(3000)
            before, first = spent()
            tab.get_by_role("button", name="Play").click()
            tab.wait_for_timeout(1000 * seconds)
            tab.get_by_role("button", name="Pause").click()
            after, last = spent()
            times = lab.evaluate("node => node.times")[first - last :]
            middle, most = np.percentile(times, [50, 95])
            found = {"ms, median": middle, "ms, 95th percentile": most}
            yield name, found | {"ms of its thread": (after - before) / (last - first)}
        browser.close()


def measured(node: Node, page: Path | None, kinds: list[str]) -> Iterator[dict]:
    """A row for each number of these kinds."""
    minds = dict.fromkeys(
        x for told in RobotLab().agents.values() for x, _ in told["names"]
    )
    many = {
        "pictures": (TASKS, pictures),
        "physics": (TASKS, physics),
        "networks": (zoo.names(), networks),
        "success": (minds, success),
        "taken away": ([x for x in zoo.names() if "binpick" in x], taken_away),
    }
    found = (
        (kind, of, measure(node, of))
        for kind, (names, measure) in many.items()
        for of in names
        if kind in kinds
    )
    if page and "real time" in kinds:
        found = chain(found, (("real time", *row) for row in frames(page)))
    for kind, of, values in found:
        for name, value in values.items():
            yield {"kind": kind, "of": of, "measure": name, "value": float(value)}


def kept(path: Path, kinds: list[str]) -> list[dict]:
    """Rows of an earlier file that are of other kinds."""
    rows = csv.DictReader(path.open()) if path.exists() else ()
    return [row for row in rows if row["kind"] not in kinds]


def main() -> int:
    """Measure, print, and with `--out` write results; the exit status."""
    parser = Parser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="folder for the results")
    parser.add_argument("--page", type=Path, help="the laboratory's built page")
    text_of = "kinds of numbers to measure; those of others stay in the file"
    parser.add_argument("--only", nargs="+", default=KINDS, choices=KINDS, help=text_of)
    args: Namespace = parser.parse_args()
    begun, table = time.time(), []
    with tempfile.TemporaryDirectory() as folder:
        names = () if args.only == ["real time"] else None  # it has its own in the page
        for row in measured(Node(Path(folder), names), args.page, args.only):
            print(*row.values(), sep="  ", flush=True)
            table.append(row)
    if args.out:
        path = args.out / "robot-lab.csv"
        table = sorted(kept(path, args.only) + table, key=lambda row: row["kind"])
        about = path.with_suffix(".json")
        told = json.loads(about.read_text()) if about.exists() else {}
        told |= {"command": "python benchmarks/robot_lab.py", "seeds": SEEDS}
        told |= {"poses": POSES, "proposals": K, "later": LATER}
        if "real time" in args.only:
            told["load"] = os.getloadavg()[0]
        told |= {"minutes": round((time.time() - begun) / 60, 1), "device": device()}
        write(path, csv_text(table))
        write(about, text(told | {"versions": versions()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
