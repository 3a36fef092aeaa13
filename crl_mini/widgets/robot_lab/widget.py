"""The robot of chapters 7 to 11, alive in the page: MuJoCo, pictures and agents."""

import gzip
import io
import json
import os
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import traitlets
from jaxtyping import Array, Shaped
from matplotlib.figure import Figure
from PIL import Image

from crl_mini import checks
from crl_mini.envs import tabletop
from crl_mini.envs.pixels import Scene
from crl_mini.envs.tabletop import TASKS, TabletopVector
from crl_mini.figures.plots import pictures
from crl_mini.runs import zoo
from crl_mini.runs.results import called
from crl_mini.runs.results import told as is_told
from crl_mini.runs.run import Run, restored
from crl_mini.widgets.base import (
    Name,
    Real,
    Whole,
    Widget,
    layers_of,
    named,
    seed_trait,
    within,
)

HERE = Path(__file__).parent
MUJOCO = ("mujoco.js", "mujoco.wasm")
MANY = 2**18  # weights; a larger matrix is shipped with 8 bits each
CONTRASTIVE = ("crl", "c_learning")  # agents whose critic the script runs
ACTORS = (*CONTRASTIVE, "gcbc", "td3_her")  # and those whose actor it runs
SIZES = ("SUBSTEPS", "STEP", "OPEN", "REST", "TURN", "GRIP", "AIR", "HANDLE")

# --- What the page loads when its reader starts it: parts by name, gzipped.


@cache
def part(name: str) -> bytes:
    """A file of MuJoCo's, the ``tasks``, or an agent of the zoo, gzipped."""
    if name in MUJOCO:
        return (HERE / "mujoco" / f"{name}.gz").read_bytes()
    if name == "tasks":
        told = {name: _task(name) for name in TASKS}
        return gzip.compress(json.dumps(told).encode(), mtime=0)
    return packed(*zoo.load(name))


def parts() -> tuple[str, ...]:
    """Names of all parts."""
    return (*MUJOCO, "tasks", *zoo.names())


def _task(name: str) -> dict:
    """What the script must know of a task."""
    task = TASKS[name]
    low, high = task.bounds
    part = range(len(task.entries))[task.part]
    return {
        "name": name,
        "entries": task.entries,
        "part": [part.start, part.stop],
        "tolerance": task.tolerance,
        "start": task.start,
        "ends": task.ends,
        "length": task.length,
        "closed": task.closed,
        "low": low.tolist(),
        "high": high.tolist(),
        "world": {k: np.asarray(getattr(tabletop, k)).tolist() for k in SIZES},
        "xml": _xml(task),
        # Compilers differ in the damping that a ratio stands for: 44 or 48 for the
        # hand along x.
        "actuators": task.model.actuator_biasprm.ravel().tolist(),
        "scene": _scene(Scene.of(task.model, shadows=True)),
    }


def _xml(task) -> str:
    """The scene's text with the task's bodies only."""
    root = ElementTree.parse(
        Path(tabletop.__file__).with_name("tabletop.xml")
    ).getroot()
    world = root.find("worldbody")
    for body in world.findall("body"):
        if body.get("name") not in (*task.keep, "hand"):
            world.remove(body)
    return ElementTree.tostring(root, "unicode")


def _scene(scene: Scene) -> dict:
    """A scene's geoms, camera and light as plain values."""

    def geoms(x):
        colours = [[int(c) >> 8 * k & 255 for k in range(3)] for c in x.colours]
        values = {"poses": x.poses.tolist(), "sizes": x.sizes.tolist()}
        return {"kinds": x.kinds, "rows": x.rows, "colours": colours} | values

    return {
        "bodies": scene.bodies,
        "moving": geoms(scene.moving),
        "fixed": geoms(scene.fixed),
        "fixed_views": scene.fixed_views.reshape(-1, 15).tolist(),
        "view": scene.view.ravel().tolist(),
        "spread": float((scene.y[0, 0] - scene.y[1, 0]) * len(scene.y)),
        "ambient": scene.ambient.tolist(),
        "directed": scene.directed.tolist(),
    }


# --- Agents as bytes: a header, then each array with 16 bits a weight, or with 8.


def stored(x: Shaped[Array | np.ndarray, "..."]) -> tuple[np.ndarray, bytes, list[int]]:
    """An array as it is shipped: its rounded values, bytes, and (rows, columns, bits).

    Half precision; a matrix of more than `MANY` weights has whole numbers from -127 to
    127 and a factor for each column.
    """
    x = np.asarray(x, np.float32)
    rows, columns = x.shape if x.ndim == 2 else (1, x.size)
    if x.size <= MANY:
        half = x.astype("<f2")
        return half.astype(np.float32), half.tobytes(), [rows, columns, 16]
    by = np.maximum(abs(x).max(0), 1e-12).astype("<f4") / 127
    whole = np.rint(x / by).astype(np.int8)
    values = whole.astype(np.float32) * by
    return values, by.tobytes() + whole.tobytes(), [rows, columns, 8]


def rounded(network):
    """The network with the weights that are shipped."""
    return jax.tree.map(lambda x: jnp.asarray(stored(x)[0].reshape(x.shape)), network)


def packed(run: Run, agent) -> bytes:
    """The networks of an agent of a tabletop task, for the page.

    Errors: ``ValueError`` for an agent or a tower that the script cannot run.
    """
    task = _task_of(run)
    checks.one_of("task of the agent", task, TASKS)
    checks.one_of("agent", run.agent, ACTORS)
    eyes = run.obs == "pixels"
    checks.one_of("tower", run.config.tower if eyes else "patch", ("patch", "narrow"))
    actor, critic = agent.actor, getattr(agent, "critic", None)
    towers = {"actor": actor.tower}
    if actor.eyes is not None:
        towers["actor_eyes"] = actor.eyes
    if eyes and actor.eyes is None:
        towers["eyes"] = critic.eyes
    told = {"task": task, "obs": run.obs, "agent": run.agent}
    told |= dict(zip(("low", "high"), map(list, _bounds(TASKS[task])), strict=True))
    if run.agent in CONTRASTIVE:
        towers |= {"eyes": critic.eyes} if eyes else {}
        heads = getattr(critic, "critics", (critic,))
        for k, head in enumerate(heads):
            towers |= {f"phi{k}": head.phi_tower, f"psi{k}": head.psi_tower}
        told |= {"energy": heads[0].energy, "heads": [*map(_constants, heads)]}
        told["proposals"] = run.config.proposals_at(int(agent.step))
    layers = {name: _layers(tower) for name, tower in towers.items()}
    arrays = [stored(x[...])[1:] for many in layers.values() for x in many]
    told["towers"] = {
        name: {"count": n, "norms": len(tower.norms)}
        for name, tower in towers.items()
        for n in [len(tower.dense) + hasattr(tower, "out")]
    }
    told["arrays"] = [shape for _, shape in arrays]
    header = json.dumps(told).encode()
    header += b" " * (-len(header) % 4)
    body = b"".join(content for content, _ in arrays)
    return gzip.compress(len(header).to_bytes(4, "little") + header + body, mtime=0)


def _constants(critic) -> dict[str, float]:
    scale = 0.0 if critic.log_scale is None else critic.log_scale[...]
    return {"scale": float(np.exp(scale)), "bias": float(critic.bias[...])}


def _bounds(task) -> tuple[list, list]:
    return tuple(x.tolist() for x in task.bounds)


def _layers(tower) -> list:
    """Parameters of an MLP, or of a tower of patches, in the order of their use."""
    if hasattr(tower, "out"):
        return layers_of(tower)
    pairs = zip(tower.dense, tower.norms, strict=True)
    return [x for d, n in pairs for x in (d.kernel, d.bias, n.scale, n.bias)]


SCRIPTS = ("caster", "shader", "tabletop", "agents", "lab", "stage", "panels", "widget")
GREEDY = "greedy on the critic {} (no actor)"
PLANNERS = {
    "straight": "straight for the goal (no network)",
    "greedy": GREEDY.format("of play"),
}
BESIDE = "_static/robot/"  # where the book's pages find the parts, from its root
OWN = "own"  # name of a reader's own agent
POSTER = (384, 480)  # height and width of the picture before the start


class RobotLab(
    Widget, files=("common", "networks", *(f"robot_lab/{name}" for name in SCRIPTS))
):
    """A robot's hand over a table: its reader chooses, moves goals and takes blocks.

    `agent` is a name of the zoo, ``straight``, ``greedy`` on the critic of play, or
    ``greedy:NAME`` on that of an agent from scratch, or a reader's own finished `Run`,
    or its folder; `task` is a name in `TASKS`. `proposals` is the planner's K,
    `seed` decides starts and goals. What happened is in `episodes`, from when the
    reader begins another one or changes the agent: a list of dicts with ``task``,
    ``agent``, ``states`` (T + 1, S), ``actions`` (T, 4), ``goal`` and ``success``.

    The page loads MuJoCo and the networks when it is started: from the folder `source`
    beside it, where the book has written the `parts`, or else from Python. Errors:
    ``ValueError`` for an unknown task, or an agent that is not of the task or that the
    script cannot run.
    """

    source = traitlets.Unicode().tag(sync=True)
    parts = traitlets.Dict().tag(sync=True)  # name -> gzipped bytes
    wanted = traitlets.List().tag(sync=True)  # names of the parts that were asked for
    megabytes = traitlets.Float().tag(sync=True)
    poster = traitlets.Bytes().tag(sync=True)  # WebP
    # task -> (name, label) of each, in their order, and the judge
    agents = traitlets.Dict().tag(sync=True)
    task = Name("BinPick", named(*TASKS))
    agent = traitlets.Unicode().tag(sync=True)
    proposals = Whole(64, within(1, 256))
    speed = Real(1.0, within(0.05, 1))
    seed = seed_trait()
    episodes = traitlets.List().tag(sync=True)

    def __init__(self, task: str | None = None, agent=None, **kwargs):
        agents, self._own = _agents(), {}
        known = [x for told in agents.values() for x, _ in told["names"]]
        if agent is not None and agent not in known:
            run, trained = restored(
                agent.out if isinstance(agent, Run) else Path(agent)
            )
            self._own, agent = {OWN: packed(run, trained)}, OWN
            task = task or _task_of(run)
            agents[task]["names"].insert(0, (OWN, "your own run"))
        task = task or "BinPick"
        checks.one_of("task", task, TASKS)
        names = [name for name, _ in agents[task]["names"]]
        agent = agent or names[0]
        checks.one_of("agent", agent, names)
        sizes = [len(part(name)) for name in MUJOCO]
        if "CRL_MINI_BOOK" in os.environ:
            kwargs = {"source": BESIDE} | kwargs
        super().__init__(
            parts=self._own,
            megabytes=round(sum(sizes) / 1e6, 1),
            poster=_poster(),
            agents=agents,
            task=task,
            agent=agent,
            **kwargs,
        )

    @traitlets.observe("wanted")
    def _provide(self, change) -> None:
        """Send what the page asks for; it keeps what it has."""
        new = [name for name in change.new if name not in change.old]
        self.parts = self._own | {name: part(name) for name in new if name in parts()}

    def fallback(self) -> Figure:
        """A start, and the picture of its goal."""
        env = TabletopVector(1, self.task, "pixels", width=POSTER[0], height=POSTER[0])
        env.reset(seed=self.seed)
        rows = {self.task: [env.render()[0], env.render_goals()[0]]}
        return pictures(rows, ["what is", "what is asked for"])


def _agents() -> dict:
    """For each task the agents of the zoo and the planners, and whose critic judges."""
    found = {
        name: {"names": {}, "judge": f"{name.lower()}-state-crl"} for name in TASKS
    }
    known = {n: json.loads((zoo.FOLDER / f"{n}.json").read_text()) for n in zoo.names()}
    # Those from scratch come last.
    for name, told in sorted(known.items(), key=lambda item: item[1]["data"] == "own"):
        found[told["task"]]["names"][name] = _label(told)
        asks = told["config"]["settings"].get("proposals")  # its own critic, as it acts
        if told["data"] == "own" and told["agent"] in CONTRASTIVE and not asks:
            found[told["task"]]["own"] = {
                f"greedy:{name}": GREEDY.format("from scratch")
            }
    for told in found.values():
        names = told["names"] | PLANNERS | told.pop("own", {})
        told["names"] = [*names.items()]  # a saved page sorts the keys of a dict
    return found


def _label(told: dict) -> str:
    """An agent of the zoo in words, from its manifest."""
    sees = "pictures" if told.get("obs") == "pixels" else "states"
    words = [called(told), f"from {sees}", *["from scratch"] * (told["data"] == "own")]
    if told["config"]["settings"].get("proposals"):
        words.append("its critic acts")
    if is_told(told):
        words.append("told what counts")
    return ", ".join(words)


def _task_of(run: Run) -> str:
    return run.task.removesuffix("-v0").removeprefix("crl_mini/")


@cache
def _poster() -> bytes:
    """A picture of the scene, for the time before the start."""
    env = TabletopVector(1, "BinPick", "pixels", height=POSTER[0], width=POSTER[1])
    env.reset(seed=0)
    file = io.BytesIO()
    Image.fromarray(env.render()[0]).save(file, "WEBP", quality=80)
    return file.getvalue()
