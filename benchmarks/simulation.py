"""Control steps and pictures a second of the tabletop, beside others'.

All contenders take turns for a moment each, round after round, so that they run under
the same load of the machine. The program prints medians over the rounds, of speeds and
of their ratios. Actions are random; speeds include the start of episodes.

The others are our environment and FetchPush of gymnasium-robotics, one in each process
of an `AsyncVectorEnv`. There `mujoco.Renderer` renders ours without shadows and
multisampling (our ray caster has shadows); FetchPush uses its own renderer, unchanged.
Our control step is 10 physics steps of 5 ms, that of FetchPush 20 of 2 ms.

    python benchmarks/simulation.py                                 # 1 to 2 minutes
    python benchmarks/simulation.py --fetch-python PATH/bin/python  # FetchPush too
    python benchmarks/simulation.py --out results                   # and write files
    python benchmarks/simulation.py --sanity                        # a million steps
"""

import copy
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import SUPPRESS, Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, cycle
from pathlib import Path
from typing import IO

import gymnasium
import numpy as np
from _contenders import Contender, medians, per_second, ratio, take_turns
from gymnasium.vector import AsyncVectorEnv
from tqdm import tqdm, trange

from crl_mini import checks
from crl_mini.__main__ import Parser
from crl_mini.devices import device
from crl_mini.envs.pixels import Scene
from crl_mini.envs.play import Wander
from crl_mini.envs.tabletop import OBJECT, PIXELS, TASKS, TabletopVector
from crl_mini.envs.tasks import OBS
from crl_mini.runs.files import csv_text, text, versions, write

SIMULATIONS = (1, 16, 64, 256)
MANY = 64  # simulations in the comparison with others
ROUNDS, SECONDS = 5, 0.5  # measurements of a contender, and the length of each
ONE = "gymnasium.make"
OURS = "gymnasium.make_vec"
RAYS = "ray caster alone"
SHADOWS = {"shadows": True, "no shadows": False}  # the observations have them
PROCESSES = "AsyncVectorEnv of ours"  # one environment a process
FETCH = "AsyncVectorEnv of FetchPush"
NO_GL = (
    "needs OpenGL (Debian: apt install libegl1 libopengl0 libgl1-mesa-dri, or "
    "libosmesa6); not measured"
)
NO_FETCH = (
    "needs --fetch-python, the Python of a virtual environment with gymnasium-robotics "
    '(CONTRIBUTING.md, "Environments from elsewhere"); not measured'
)


# --- Measuring


@dataclass(eq=False, kw_only=True)
class Simulator(Contender):
    """Simulations, measured in control steps; or the ray caster alone, in frames."""

    obs: str
    """Kind of observation: a name in `OBS`; for the ray caster one in `SHADOWS`."""
    simulations: int

    @property
    def row(self) -> dict:
        """Median, slowest and fastest round."""
        middle, low, high = medians(self.rates)
        steps = "" if self.name == RAYS else round(middle)
        frames = "" if self.obs == "state" else round(middle)
        return {
            "contender": self.name,
            "obs": self.obs,
            "simulations": self.simulations,
            "steps_per_second": steps,
            "frames_per_second": frames,
            "slowest": round(low),
            "fastest": round(high),
        }


def acting(env: gymnasium.Env | gymnasium.vector.VectorEnv) -> Callable[[], int]:
    """A function that steps with random actions and returns its control steps.

    A vector resets itself in a step that is no control step.
    """
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = cycle([env.action_space.sample() for _ in range(MANY)])

    def one() -> int:
        over = env.step(next(actions))[3]
        if over:
            env.reset()
        return 1

    def many() -> int:
        over = env.step(next(actions))[3]
        return env.num_envs - int(over.sum())

    act = many if hasattr(env, "num_envs") else one
    act()  # compiles the ray caster, opens the windows
    return act


# --- This package


def ours(task: str, simulations: Iterable[int]) -> Iterator[Simulator]:
    """Our environments, in this process."""

    def simulator(name: str, obs: str, n: int, act: Callable[[], int]) -> Simulator:
        measure = partial(per_second, act)
        return Simulator(name=name, obs=obs, simulations=n, measure=measure)

    env_id = f"crl_mini/{task}-v0"
    for obs in OBS:
        env = gymnasium.make(env_id, obs_type=obs)
        yield simulator(ONE, obs, 1, acting(env))
        for n in simulations:
            env = gymnasium.make_vec(env_id, num_envs=n, obs_type=obs)
            yield simulator(OURS, obs, n, acting(env))
    for name, shadows in SHADOWS.items():
        yield simulator(RAYS, name, MANY, rendering(task, shadows))


def rendering(task: str, shadows: bool) -> Callable[[], int]:
    """A function that renders the start of `MANY` episodes into arrays on the host."""
    env = TabletopVector(MANY, task)
    env.reset(seed=0)
    scene = Scene.of(env.model, size=PIXELS, shadows=shadows)
    poses = env.poses

    def render() -> int:
        return len(np.asarray(scene.draw(poses)))

    render()
    return render


# --- Others. They run in processes of their own, so that only these open OpenGL: this
# file, started with --serve, reads seconds from its input and answers with rates.


class Rendered(gymnasium.ObservationWrapper):
    """Observes only the picture that the environment renders."""

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        one = gymnasium.spaces.Box(0, 255, (PIXELS, PIXELS, 3), np.uint8)
        self.observation_space = one

    def observation(self, observation):
        return self.draw()

    def draw(self) -> np.ndarray:
        return self.env.render()


class RenderedByMuJoCo(Rendered):
    """Our environment, rendered with `mujoco.Renderer` as fast as possible.

    It uses no shadows and no multisampling. Planes that end outside the picture, and
    faces in one piece, give the same picture as endless planes in many pieces, 8 times
    faster.
    """

    @cached_property
    def renderer(self):
        # Not in __init__: a process with open OpenGL must not fork.
        import mujoco

        model = copy.copy(self.unwrapped.sims.model)
        model.geom_size[model.geom_type == int(mujoco.mjtGeom.mjGEOM_PLANE)] = 1
        model.vis.quality.numquads, model.vis.quality.offsamples = 1, 0
        renderer = mujoco.Renderer(model, PIXELS, PIXELS)
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        return renderer, model, mujoco.MjData(model)

    def draw(self) -> np.ndarray:
        import mujoco

        renderer, model, data = self.renderer
        data.qpos = self.unwrapped.sims._qpos[0]
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        renderer.update_scene(data, "front")
        return renderer.render()


def other(name: str, obs: str, task: str) -> gymnasium.Env:
    """One environment of another contender."""
    if name == PROCESSES:
        env = gymnasium.make(f"crl_mini/{task}-v0")
        return RenderedByMuJoCo(env) if obs == "pixels" else env
    import gymnasium_robotics

    gymnasium.register_envs(gymnasium_robotics)
    env = gymnasium.make(
        "FetchPush-v4", render_mode="rgb_array", width=PIXELS, height=PIXELS
    )
    return Rendered(env) if obs == "pixels" else env


def serve(name: str, obs: str, task: str, simulations: str) -> None:
    """Run a contender: print its versions, then a rate for every line with seconds."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # all other output
    makers = [partial(other, name, obs, task)] * int(simulations)
    env = AsyncVectorEnv(makers, context="fork")
    act = acting(env)
    module = "gymnasium_robotics" if name == FETCH else "crl_mini"
    print(json.dumps(versions(module)), file=answers, flush=True)
    for line in sys.stdin:
        print(per_second(act, float(line)), file=answers, flush=True)
    env.close()


class Elsewhere:
    """A contender in a process of its own; the first answer is its versions."""

    def __init__(self, python: str, gl: str, settings: tuple[str, ...], errors: IO):
        self.errors = errors
        self.process = subprocess.Popen(
            [python, __file__, "--serve", *settings],
            # Mesa renders in the process itself: the cores are busy with the others.
            env=os.environ | {"MUJOCO_GL": gl, "LP_NUM_THREADS": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        self.versions = json.loads(self.answer())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.communicate()  # no more lines: it closes its environments

    def __call__(self, seconds: float) -> float:
        print(seconds, file=self.process.stdin, flush=True)
        return float(self.answer())

    def answer(self) -> str:
        """The next line it prints."""
        if line := self.process.stdout.readline():
            return line
        self.process.communicate()
        self.errors.seek(0)
        words = self.errors.read().strip().splitlines() or ["nothing"]
        raise RuntimeError(f"{' '.join(self.process.args)} ended: {words[-1]}")


def opengl(choices: Iterable[str] = ("egl", "osmesa")) -> tuple[str, str] | None:
    """The first OpenGL backend that works here, and its renderer; None without one."""
    script = (
        "import mujoco; context = mujoco.GLContext(64, 64); context.make_current()\n"
        "from OpenGL import GL; print(GL.glGetString(GL.GL_RENDERER).decode())"
    )
    for gl in choices:
        tried = subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"MUJOCO_GL": gl},
            capture_output=True,
            text=True,
        )
        if tried.returncode == 0:
            return gl, tried.stdout.splitlines()[0]
    return None


def others(
    stack: ExitStack, args: Namespace, gl: tuple[str, str] | None
) -> Iterator[Simulator]:
    """The others that run here; prints a line about those that do not."""
    if gl is None:
        tqdm.write(f"{PROCESSES}, {FETCH}: {NO_GL}")
        return
    cores = os.cpu_count() or 1
    wanted = [(PROCESSES, sys.executable, "state", cores)]
    wanted += [(PROCESSES, sys.executable, "pixels", n) for n in args.processes]
    if args.fetch_python is None:
        tqdm.write(f"{FETCH}: {NO_FETCH}")
    else:
        wanted += [(FETCH, args.fetch_python, obs, cores) for obs in OBS]
    for name, python, obs, n in wanted:
        settings = (name, obs, args.task, str(n))
        errors = stack.enter_context(tempfile.TemporaryFile("w+"))  # noqa: SIM115
        process = stack.enter_context(Elsewhere(python, gl[0], settings, errors))
        yield Simulator(name=name, obs=obs, simulations=n, measure=process)


# --- Showing


def comparisons(contenders: list[Simulator]) -> list[dict]:
    """`MANY` of our simulations against each contender from elsewhere."""
    ours = {c.obs: c for c in contenders if (c.name, c.simulations) == (OURS, MANY)}
    rows = []
    for other in contenders:
        if other.name in (PROCESSES, FETCH):
            middle, low, high = (round(r, 2) for r in ratio(ours[other.obs], other))
            names = {"against": other.name, "obs": other.obs}
            sizes = {"simulations": MANY, "processes": other.simulations}
            times = {"times_as_fast": middle, "lowest": low, "highest": high}
            rows.append(names | sizes | times)
    return rows


def report(contenders: list[Simulator]) -> str:
    """Text: a table of the speeds, and the ratios below it."""
    head = ("", "observes", "simulations", "control steps/s", "frames/s", "range")
    rows = [head]
    for row in (contender.row for contender in contenders):
        name, obs, n, steps, frames, low, high = row.values()
        numbers = (f"{x:,}" if x != "" else "" for x in (n, steps, frames))
        rows.append((name, obs, *numbers, f"{low:,} to {high:,}"))
    lines = [
        f"{name:28}{obs:11}{n:>12}{steps:>17}{frames:>11}{span:>20}"
        for name, obs, n, steps, frames, span in rows
    ]
    for one in contenders:
        if (one.name, one.obs) == (ONE, "pixels"):
            wait = 1e3 / np.median(one.rates)
            lines.append(
                f"\nOne simulation: {wait:.2f} ms from an action to its picture."
            )
    for c in comparisons(contenders):
        lines.append(
            f"{c['simulations']} simulations, {c['obs']}: {c['times_as_fast']:.1f} "
            f"times as fast as {c['against']} in {c['processes']} processes "
            f"({c['lowest']:.1f} to {c['highest']:.1f})"
        )
    return "\n".join(lines)


def facts(args: Namespace, contenders: list[Simulator], **more) -> dict:
    """Settings, ratios, device and versions: the manifest beside the speeds."""
    elsewhere = [c for c in contenders if isinstance(c.measure, Elsewhere)]
    return {
        "command": "python benchmarks/simulation.py",
        "task": args.task,
        "rounds": args.rounds,
        "seconds": args.seconds,
        "ratios": comparisons(contenders),
        **more,
        "device": device(),
        "versions": versions(),
        "versions_elsewhere": {c.name: c.measure.versions for c in elsewhere},
    }


def speed(args: Namespace) -> int:
    """Measure all contenders and print the speeds; with ``--out`` write files."""
    args.task = args.task or "BinPick"
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
    gl = opengl()
    before = os.getloadavg()[0]
    with ExitStack() as stack:
        contenders = chain(ours(args.task, SIMULATIONS), others(stack, args, gl))
        contenders = list(tqdm(contenders, desc="starting", leave=False))
        take_turns(contenders, args.rounds, args.seconds)
    load = [round(x, 1) for x in (before, os.getloadavg()[0])]
    print(
        f"{args.task} on {device()}, load average {load[0]} to {load[1]}: medians of "
        f"{args.rounds} rounds of {args.seconds} s, and their range\n"
    )
    print(report(contenders))
    if gl:
        print(f"OpenGL is {gl[0]} on {gl[1]}.")
    if args.out:
        known = facts(args, contenders, load_average=load, opengl=gl)
        write(args.out / "simulation.json", text(known))
        rows = [contender.row for contender in contenders]
        write(args.out / "simulation.csv", csv_text(rows))
    return 0


# --- Sanity


def explore(task: str, steps: int) -> dict:
    """Counts of problems in `steps` random steps, rounded up to whole episodes.

    Half of the hands wander, the others wander at full speed. Also returns the
    ``lowest`` and ``highest`` value of each entry of the object's place, in metres.
    """
    env = TabletopVector(MANY, task)
    wander = Wander(env.single_action_space, seed=0)
    low, high = (bound[OBJECT] for bound in env.task.bounds)
    episodes = math.ceil(steps / (MANY * env.task.length))
    lowest, highest = high.copy(), low.copy()
    count = Counter()
    for episode in trange(episodes, desc=task, unit="episode", leave=False):
        s = env.reset(seed=None if episode else 0)[0]["observation"]
        for _ in range(env.task.length):
            actions = wander(s, None, None)
            actions[::2] = np.sign(actions[::2])
            env.step(actions)
            place = env._qpos[:, 5 : 5 + len(low)]  # not clipped, as states are
            lowest = np.minimum(lowest, place.min(0))
            highest = np.maximum(highest, place.max(0))
            count["steps"] += MANY
            count["not finite"] += int((~np.isfinite(env._qpos)).any(1).sum())
            count["outside"] += int(((place < low) | (place > high)).any(1).sum())
        count["warnings"] += int(env._batch.warning[..., 1].sum())
    return {**count, "lowest": lowest, "highest": highest}


def sanity(args: Namespace) -> int:
    """Random steps in the task, or in all; 1 if anything went wrong."""
    tasks = [args.task] if args.task else list(TASKS)
    bad = 0
    for task in tasks:
        begun = time.perf_counter()
        seen = explore(task, args.steps // len(tasks))
        bad += seen["not finite"] + seen["warnings"] + seen["outside"]
        places = zip(
            TASKS[task].entries[OBJECT], seen["lowest"], seen["highest"], strict=True
        )
        print(
            f"{task}: {seen['steps']:,} steps in {time.perf_counter() - begun:.0f} s, "
            f"{seen['not finite']} not finite, {seen['warnings']} MuJoCo warnings, "
            f"{seen['outside']} with the object out of its range"
            + "".join(f"; {e} {1e3 * a:.1f} to {1e3 * b:.1f} mm" for e, a, b in places)
        )
    return int(bad > 0)


def parse(argv: list[str] | None) -> tuple[Parser, Namespace]:
    """The command line's arguments, checked."""
    cores = os.cpu_count() or 1
    parser = Parser(prog="simulation.py", description=__doc__.splitlines()[0])
    parser.add_argument("--task", help=f"{', '.join(TASKS)}; BinPick")
    parser.add_argument("--fetch-python", help="Python that has gymnasium-robotics")
    parser.add_argument(
        "--processes",
        type=int,
        nargs="+",
        default=[cores, 16],
        help="sizes of our AsyncVectorEnv with pictures (0.1 GB a process)",
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of a turn")
    parser.add_argument("--out", type=Path, help="folder for simulation.csv and .json")
    parser.add_argument("--sanity", action="store_true", help="random steps instead")
    parser.add_argument("--steps", type=int, default=1_000_000, help="of --sanity")
    parser.add_argument("--serve", nargs=4, help=SUPPRESS)
    args = parser.parse_args(argv)
    try:
        if args.task:
            checks.one_of("--task", args.task, TASKS)
        for name in ("rounds", "steps"):
            checks.at_least(f"--{name}", getattr(args, name), 1)
        checks.at_least("--processes", min(args.processes), 1)
        checks.inside("--seconds", args.seconds, 0, 60)
        if args.fetch_python and not shutil.which(args.fetch_python):
            raise ValueError(f"--fetch-python {args.fetch_python} is no program")
    except ValueError as problem:
        parser.error(str(problem))
    return parser, args


def main(argv: list[str] | None = None) -> int:
    """The command line; the exit status."""
    parser, args = parse(argv)
    if args.serve:
        return serve(*args.serve)
    try:
        return sanity(args) if args.sanity else speed(args)
    except (OSError, RuntimeError) as problem:
        return parser.error(str(problem))


if __name__ == "__main__":
    sys.exit(main())
