"""How fast is the tabletop? Control steps and pictures a second, beside others'.

All contenders take turns for a moment each, round after round, so that they meet the
same machine. Printed are medians over the rounds, of speeds and of their ratios.
Actions are random; what an episode's start costs is included.

The others are our environment and FetchPush of gymnasium-robotics, one in each process
of an `AsyncVectorEnv`. Ours is drawn there by `mujoco.Renderer` without shadows and
multisampling (our ray caster has shadows), FetchPush by its own renderer as it is. A
control step of ours is 10 physics steps of 5 ms, one of FetchPush 20 of 2 ms.

    python benchmarks/simulation.py                                 # 1 to 2 minutes
    python benchmarks/simulation.py --fetch-python PATH/bin/python  # FetchPush too
    python benchmarks/simulation.py --out results                   # and keep them
    python benchmarks/simulation.py --sanity                        # a million steps
"""

import copy
import json
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
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain, cycle
from pathlib import Path
from typing import IO

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv
from tqdm import tqdm, trange

from crl_mini import checks
from crl_mini.__main__ import Parser
from crl_mini.devices import device
from crl_mini.envs.pixels import Scene
from crl_mini.envs.play import Wander
from crl_mini.envs.tabletop import OBJECT, PIXELS, TASKS, TabletopVector
from crl_mini.runs.files import table, text, versions, write
from crl_mini.runs.run import OBS

SIMULATIONS = (1, 16, 64, 256)
MANY = 64  # simulations in the comparison with others
ROUNDS, SECONDS = 5, 0.5  # a contender is measured so often, for so long
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


@dataclass(eq=False)
class Contender:
    """Something that does control steps, or only draws, and how fast it was."""

    what: str
    obs: str
    """What is observed: a name in `OBS`; of the ray caster, what it draws."""
    simulations: int
    measure: Callable[[float], float]
    """Seconds -> control steps (or frames) a second."""
    rates: list[float] = field(default_factory=list)

    @property
    def row(self) -> dict:
        """Medians, and the slowest and the fastest round."""
        middle, low, high = np.median(self.rates), min(self.rates), max(self.rates)
        steps = "" if self.what == RAYS else round(middle)
        frames = "" if self.obs == "state" else round(middle)
        return {
            "contender": self.what,
            "obs": self.obs,
            "simulations": self.simulations,
            "steps_per_second": steps,
            "frames_per_second": frames,
            "slowest": round(low),
            "fastest": round(high),
        }


def per_second(act: Callable[[], int], seconds: float) -> float:
    """How many a second, if `act` does something and returns how often it did it."""
    done, begun, passed = 0, time.perf_counter(), 0.0
    while passed < seconds or not done:
        done += act()
        passed = time.perf_counter() - begun
    return done / passed


def acting(env: gymnasium.Env | gymnasium.vector.VectorEnv) -> Callable[[], int]:
    """Step with random actions; returns the number of control steps done.

    A vector resets itself, in a step that is no control step.
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


def take_turns(contenders: list[Contender], rounds: int, seconds: float) -> None:
    """Measure everybody once in each round."""
    turns = [contender for _ in range(rounds) for contender in contenders]
    for contender in tqdm(turns, desc="measuring", leave=False):
        contender.rates.append(contender.measure(seconds))


def ratio(ours: Contender, other: Contender) -> tuple[float, float, float]:
    """Median, lowest and highest of the rounds: how many times as fast as another."""
    ratios = np.divide(ours.rates, other.rates)
    return float(np.median(ratios)), float(ratios.min()), float(ratios.max())


# --- This package


def ours(task: str, simulations: Iterable[int]) -> Iterator[Contender]:
    """Our environments, in this process."""
    name = f"crl_mini/{task}-v0"
    for obs in OBS:
        env = gymnasium.make(name, obs_type=obs)
        yield Contender(ONE, obs, 1, partial(per_second, acting(env)))
        for n in simulations:
            env = gymnasium.make_vec(name, num_envs=n, obs_type=obs)
            yield Contender(OURS, obs, n, partial(per_second, acting(env)))
    for draws in SHADOWS:
        act = drawing(task, SHADOWS[draws])
        yield Contender(RAYS, draws, MANY, partial(per_second, act))


def drawing(task: str, shadows: bool) -> Callable[[], int]:
    """Draw the start of `MANY` episodes; the pictures end on the host."""
    env = TabletopVector(MANY, task)
    env.reset(seed=0)
    scene, poses = Scene.of(env.model, size=PIXELS, shadows=shadows), env.poses

    def draw() -> int:
        return len(np.asarray(scene.draw(poses)))

    draw()
    return draw


# --- Others. They run in processes of their own, which alone know of OpenGL: this file,
# started with --serve, reads seconds from its input and answers with rates.


class Seen(gymnasium.ObservationWrapper):
    """Observes a picture and nothing else: the environment's own."""

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        one = gymnasium.spaces.Box(0, 255, (PIXELS, PIXELS, 3), np.uint8)
        self.observation_space = one

    def observation(self, observation):
        return self.draw()

    def draw(self) -> np.ndarray:
        return self.env.render()


class SeenByMuJoCo(Seen):
    """Our environment, drawn with `mujoco.Renderer` as fast as it can.

    No shadows and no multisampling. Planes that end outside the picture, and faces in
    one piece, give the same picture as endless planes in many pieces, 8 times faster.
    """

    @cached_property
    def renderer(self):
        # Not in __init__: a process that has opened OpenGL must not fork.
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


def other(what: str, obs: str, task: str) -> gymnasium.Env:
    """One environment of another contender."""
    if what == PROCESSES:
        env = gymnasium.make(f"crl_mini/{task}-v0")
        return SeenByMuJoCo(env) if obs == "pixels" else env
    import gymnasium_robotics

    gymnasium.register_envs(gymnasium_robotics)
    size = {"width": PIXELS, "height": PIXELS}
    env = gymnasium.make("FetchPush-v4", render_mode="rgb_array", **size)
    return Seen(env) if obs == "pixels" else env


def serve(what: str, obs: str, task: str, simulations: str) -> None:
    """Be a contender: first the versions, then a rate for every line with seconds."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed
    makers = [partial(other, what, obs, task)] * int(simulations)
    env = AsyncVectorEnv(makers, context="fork")
    act = acting(env)
    module = "gymnasium_robotics" if what == FETCH else "crl_mini"
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
            # Mesa draws in the process itself: the cores are busy with the others.
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
    """The first way to OpenGL that works here, and what draws then."""
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
) -> Iterator[Contender]:
    """The others, as far as they run here; a line about those that do not."""
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
    for what, python, obs, n in wanted:
        settings = (what, obs, args.task, str(n))
        errors = stack.enter_context(tempfile.TemporaryFile("w+"))  # noqa: SIM115
        process = Elsewhere(python, gl[0], settings, errors)
        yield Contender(what, obs, n, stack.enter_context(process))


# --- Showing


def comparisons(contenders: list[Contender]) -> list[dict]:
    """`MANY` of our simulations against each contender from elsewhere."""
    found = []
    for other in contenders:
        if other.what in (PROCESSES, FETCH):
            (ours,) = (
                c
                for c in contenders
                if (c.what, c.obs, c.simulations) == (OURS, other.obs, MANY)
            )
            middle, low, high = (round(r, 2) for r in ratio(ours, other))
            names = {"against": other.what, "obs": other.obs}
            sizes = {"simulations": MANY, "processes": other.simulations}
            times = {"times_as_fast": middle, "lowest": low, "highest": high}
            found.append(names | sizes | times)
    return found


def report(contenders: list[Contender]) -> str:
    """A table of the speeds, and the ratios below it."""
    head = ("", "observes", "simulations", "control steps/s", "frames/s", "range")
    rows = [head]
    for row in (contender.row for contender in contenders):
        what, obs, n, steps, frames, low, high = row.values()
        numbers = (f"{x:,}" if x != "" else "" for x in (n, steps, frames))
        rows.append((what, obs, *numbers, f"{low:,} to {high:,}"))
    lines = [
        f"{what:28}{obs:11}{n:>12}{steps:>17}{frames:>11}{span:>20}"
        for what, obs, n, steps, frames, span in rows
    ]
    for one in contenders:
        if (one.what, one.obs) == (ONE, "pixels"):
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


def facts(args: Namespace, contenders: list[Contender], **more) -> dict:
    """What a reader has to know beside the speeds."""
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
        "versions_elsewhere": {c.what: c.measure.versions for c in elsewhere},
    }


def speed(args: Namespace) -> int:
    """Measure everybody and print the table; with ``--out`` keep it."""
    args.task = args.task or "BinPick"
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
    gl, before = opengl(), os.getloadavg()[0]
    with ExitStack() as stack:
        everybody = chain(ours(args.task, SIMULATIONS), others(stack, args, gl))
        contenders = list(tqdm(everybody, desc="starting", leave=False))
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
        write(args.out / "simulation.csv", table(rows))
    return 0


# --- Sanity


def explore(task: str, steps: int) -> dict:
    """What happens in so many random steps, rounded up to whole episodes.

    Half of the hands wander, the others wander at full speed. Returns counts, and the
    ``lowest`` and ``highest`` of each entry of the object's place, in metres.
    """
    env = TabletopVector(MANY, task)
    wander = Wander(env.single_action_space, seed=0)
    low, high = (bound[OBJECT] for bound in env.task.bounds)
    episodes = -(-steps // (MANY * env.task.length))
    lowest, highest, count = high.copy(), low.copy(), Counter()
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
        found = explore(task, args.steps // len(tasks))
        bad += found["not finite"] + found["warnings"] + found["outside"]
        places = zip(
            TASKS[task].entries[OBJECT], found["lowest"], found["highest"], strict=True
        )
        print(
            f"{task}: {found['steps']:,} steps in {time.perf_counter() - begun:.0f} s, "
            f"{found['not finite']} not finite, {found['warnings']} MuJoCo warnings, "
            f"{found['outside']} with the object out of its range"
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
