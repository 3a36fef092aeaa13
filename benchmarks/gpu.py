"""Trainings of one GPU in as many minutes as there are, and its speeds.

Each training is a `python -m crl_mini train --seeds 0,1,2` in a process of its own: its
seeds train at once, each in a folder of its own below --out. There are two queues, of
trainings from pixels and from states; so many of each run at a time. The speeds are
measured first (`_speeds.py`), while the trainings from pixels make their data; those
from states begin when that is done.

Half a minute before the end all trainings are stopped, as by Ctrl-C. The same command
goes on with them, and skips those that are finished. Whatever happens, DIR/packs holds
the tables, settings, curves and last words of the trainings (gpu-0.tar.gz), and the
networks of finished ones as float16 (gpu-1.tar.gz, ...): every minute they are made
anew, beside the old ones, which they then replace.

    python benchmarks/gpu.py --out DIR                        # 10 minutes
    python benchmarks/gpu.py --out DIR --only play --at-a-time 4 0
    python benchmarks/gpu.py --out DIR --smoke                # some small trainings

Studies, each in the order of what is most worth to know:

* speeds: see `_speeds.py`.
* play: four agents learn five tasks from play, from pixels, in equally many updates.
* shifts: pictures moved each by itself in an update, or all alike.
* own-states: from nothing, from states, a million own steps.
* own-pixels: the same from pixels.
* t4: BinPick from pixels, by the preset for a small GPU.
"""

import contextlib
import csv
import io
import itertools
import os
import signal
import subprocess
import sys
import tarfile
import time
from argparse import Namespace
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from crl_mini import checks
from crl_mini.__main__ import Parser
from crl_mini.devices import CACHE
from crl_mini.runs.files import csv_text, parsed, taken, whole, write

TRAIN = (sys.executable, "-m", "crl_mini", "train")
MEASURE = (sys.executable, str(Path(__file__).with_name("_speeds.py")))
MARGIN, GRACE = 25, 15  # seconds for the end, and of them for a training to stop
SPEEDS, OVERTIME = 90, 30  # seconds that the speeds may take, and until they are killed
PACKED, SAID = 60, 15  # seconds between two packs, and between two lines
PACKS, ROOM = 6, 14_500_000  # most packs, and most bytes that go into one
NETWORKS = ("critic/", "actor/")  # the arrays of a checkpoint that are kept
LAST = 15  # lines of a log
# Of pixels and of states. Processes use a GPU by turns: five from states, of eight
# seeds each, made 5,000 updates a second in all on an H200; one alone makes 20,000.
PLACES = (2, 2)

PLAYED = ("Push", "BinPick", "PickPlace", "Drawer", "Reach")
FROM_PLAY = (("crl", "bc=0.1"), ("crl", "bc=0.5"), ("gcbc",), ("td3_her",))
FROM_NOTHING = (
    ("c_learning", "nce=true"),
    ("td3_her",),
    ("crl",),
    ("td3_her", "told=false"),
    ("gcbc",),
)


# --- Trainings


@dataclass(frozen=True)
class Job:
    """A training, or the measurement of the speeds."""

    study: str
    lane: str
    """Its queue: a name in `LANES`."""
    name: str
    """Of its folder and of its log."""
    words: tuple[str, ...]
    """Arguments of the command."""
    seeds: tuple[int, ...] = ()
    """Of a training."""

    def folders(self, out: Path) -> dict[str, Path]:
        """Where the seeds of a training write, by names of their own."""
        place = out / "runs" / self.name
        return {f"{self.name}-{seed}": place / str(seed) for seed in self.seeds}

    def have(self, out: Path, name: str) -> list[bool]:
        """Whether the folder of each seed holds a file."""
        return [(folder / name).exists() for folder in self.folders(out).values()]

    def done(self, out: Path) -> bool:
        """Is there all that it makes?"""
        if self.lane == "speeds":
            return (out / "speeds.json").exists()
        return all(self.have(out, "manifest.json"))

    def command(self, out: Path) -> list[str]:
        """What to run: for a training that has begun, to go on with it."""
        if self.lane == "speeds":
            return [*MEASURE, *self.words, "--out", str(out)]
        more = ["--resume"] * any(self.have(out, "config.json"))
        return [*TRAIN, *self.words, "--out", str(out / "runs" / self.name), *more]


LANES = ("speeds", "pixels", "states")


def training(
    study: str, task: str, agent: tuple, seeds: Iterable[int], *settings, **more
) -> Job:
    """A training of an agent, given as its name and its own settings."""
    seeds = tuple(seeds)
    what = {"task": task, "agent": agent[0], "seeds": ",".join(map(str, seeds))} | more
    words = [f"--{name}={value}" for name, value in what.items()]
    if settings := (*settings, *agent[1:]):
        words += ["--set", *settings]
    name = "-".join([study, task, *agent]).replace("=", "")
    lane = "pixels" if more.get("obs") == "pixels" else "states"
    return Job(study, lane, name, tuple(words), seeds)


def play() -> Iterator[Job]:
    """From play, from pixels: all agents make equally many updates."""
    how = {"obs": "pixels", "data": "play"}
    for task in PLAYED:
        for agent in FROM_PLAY:
            sizes = "episodes=4000", "steps=20000", "every=4000"
            yield training("play", task, agent, range(3), *sizes, **how)


def shifts() -> Iterator[Job]:
    """Does it matter that pictures are moved each by itself, or all alike?"""
    how = {"obs": "pixels", "data": "play"}
    sizes = "episodes=4000", "steps=10000", "every=1000"
    for alike in ("true", "false"):
        agent = "crl", f"shift_alike={alike}"
        yield training("shifts", "PickPlace", agent, range(2), *sizes, **how)


def own(study: str, tasks: Iterable[str], seeds: int, **how) -> Iterator[Job]:
    """From nothing: each task with each agent."""
    sizes = "collect=1000000", "copies=64", "per_update=4"
    for task in tasks:
        for agent in FROM_NOTHING:
            yield training(study, task, agent, range(seeds), *sizes, **how)


def studies() -> dict[str, list[Job]]:
    """All trainings by their study, the one that is worth most first."""
    pixels = own("own-pixels", ["Reach", "Push", "BinPick"], 1, obs="pixels")
    how = {"preset": "t4", "obs": "pixels", "data": "play"}
    t4 = training("t4", "BinPick", ("crl",), [0], **how)
    return {
        "speeds": [Job("speeds", "speeds", "speeds", (f"--seconds={SPEEDS}",))],
        "play": [*play()],
        "shifts": [*shifts()],
        "own-states": [*own("own-states", ["BinPick", "Push", "BinPickPaper"], 4)],
        "own-pixels": [*pixels],
        "t4": [t4],
    }


def smoke() -> dict[str, list[Job]]:
    """Small trainings, which take a CPU seconds once they are compiled."""
    how = {"preset": "smoke", "data": "play"}
    seen, sizes = how | {"obs": "pixels"}, ("steps=20", "every=10", "episodes=4")
    return {
        "speeds": [Job("speeds", "speeds", "speeds", ("--small", "--seconds=30"))],
        "play": [training("play", "Reach", ("gcbc",), [0], *sizes, "tests=4", **seen)],
        "own-states": [
            training("own-states", "Reach", ("gcbc",), range(2), *sizes, **how)
        ],
    }


# --- Processes

# Where a program begins: other work goes first, and if its parent dies, it does, too.
TIED = """
import ctypes, os, sys
os.nice(5)
if sys.platform == "linux":
    PR_SET_PDEATHSIG, SIGKILL = 1, 9
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL)
os.execv(sys.argv[1], sys.argv[1:])
"""


def environment(out: Path) -> dict[str, str]:
    """Variables of a process: it takes what memory it needs, and one CPU thread."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    cache = os.environ.get(CACHE, str(out / "cache"))
    told = threads | {CACHE: cache, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    return os.environ | told | {"TQDM_MININTERVAL": "10", "PYTHONUNBUFFERED": "1"}


@dataclass
class Session:
    """Everything that is waiting, running and finished."""

    out: Path
    places: dict[str, int]
    """How many jobs of each lane may run at a time."""
    jobs: list[Job]
    running: dict[Job, tuple[subprocess.Popen, float]] = field(default_factory=dict)
    """Processes, and when they began, in seconds."""
    ended: dict[Job, str] = field(default_factory=dict)
    """What became of a job: done or failed."""
    again: set[Job] = field(default_factory=set)
    """Jobs that had a second try."""

    def __post_init__(self):
        done = [job for job in self.jobs if job.done(self.out)]
        self.ended |= dict.fromkeys(done, "done")
        self.waiting = {lane: deque() for lane in LANES}
        for job in self.jobs:
            if job not in self.ended:
                self.waiting[job.lane].append(job)

    def log(self, job: Job) -> Path:
        """What a job says."""
        return self.out / "logs" / f"{job.name}.txt"

    def next(self) -> Job | None:
        """The job to start now, if there is a place: of the lane that lacks most.

        A lane whose queue is empty leaves its places to the other one. Beside the
        speeds only trainings from pixels begin, in their own places.
        """
        if self.waiting["speeds"]:
            return self.waiting["speeds"].popleft()
        busy = Counter(job.lane for job in self.running)
        lanes = [x for x in LANES[1:] if self.waiting[x] and self.places[x]]
        most = self.places["pixels"] + self.places["states"]
        if busy["speeds"]:
            lanes, most = [x for x in lanes if x == "pixels"], self.places["pixels"]
        if not lanes or busy.total() - busy["speeds"] >= most:
            return None
        lane = min(lanes, key=lambda x: busy[x] / self.places[x])
        return self.waiting[lane].popleft()

    def start(self, job: Job) -> None:
        """Run a job in a process of its own."""
        self.log(job).parent.mkdir(parents=True, exist_ok=True)
        with self.log(job).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", TIED, *job.command(self.out)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(self.out),
                start_new_session=True,
            )
        self.running[job] = process, time.monotonic()

    def look(self) -> None:
        """Take note of what has ended; what failed with a checkpoint is tried again."""
        for job, (process, begun) in list(self.running.items()):
            if process.poll() is None:
                if (
                    job.lane == "speeds"
                    and time.monotonic() - begun > SPEEDS + OVERTIME
                ):
                    process.kill()
                continue
            del self.running[job]
            if job.done(self.out):
                self.ended[job] = "done"
                say(f"{job.name}: done")
                continue
            say(f"{job.name} ended with status {process.returncode}:")
            say("\n".join(f"  {line}" for line in tail(self.log(job), 5)))
            kept = job.have(self.out, "checkpoint.safetensors")
            if any(kept) and job not in self.again:
                self.again.add(job)
                self.waiting[job.lane].appendleft(job)
            else:
                self.ended[job] = "failed"

    def stop(self) -> None:
        """Stop all that runs, as Ctrl-C would; kill what takes longer than `GRACE`."""
        for process, _ in self.running.values():
            process.terminate()
        end = time.monotonic() + GRACE
        for process, _ in self.running.values():
            try:
                process.wait(max(end - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for job in self.running:
            if job.done(self.out):
                self.ended[job] = "done"
        self.running.clear()

    @property
    def left(self) -> int:
        """How many jobs wait."""
        return sum(map(len, self.waiting.values()))

    def state(self, job: Job) -> str:
        """What a job does or became: running, stopped, done, failed or waiting."""
        if job in self.ended:
            return self.ended[job]
        if job in self.running:
            return "running"
        begun = job.have(self.out, "config.json")
        return "stopped" if any(begun) else "waiting"

    def progress(self, minutes: float) -> str:
        """One line."""
        ends = Counter(self.ended.values())
        return (
            f"{minutes:.1f} minutes left, {len(self.running)} running, {self.left} "
            f"waiting, {ends['done']} done, {ends['failed']} failed"
        )

    def rows(self) -> list[dict]:
        """The table of all trainings that have begun."""
        rows = []
        for job in self.jobs:
            state = self.state(job)
            for name, folder in job.folders(self.out).items():
                if state != "waiting":
                    done = (folder / "manifest.json").exists()
                    kind = {"run": name, "state": "done" if done else state}
                    rows.append(kind | reached(folder))
        return rows


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a file that are not empty; bars end with a carriage return."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(max(path.stat().st_size - 20_000, 0))
        text = file.read().decode(errors="replace").replace("\r", "\n")
        return [line for line in text.splitlines() if line.strip()][-lines:]
    return []


def reached(folder: Path) -> dict:
    """How far a run came: by its manifest, or by its metrics so far."""
    names = ("step", "collected", "at_end", "ever")
    last = dict.fromkeys((*names, "minutes"), "")
    with contextlib.suppress(FileNotFoundError):
        lines = (folder / "metrics.csv").read_text().splitlines()
        for row in csv.DictReader(lines):
            last |= {k: row[k] for k in names if row.get(k)}
            last["minutes"] = round(float(row["seconds"]) / 60, 2)
    with contextlib.suppress(FileNotFoundError):
        manifest = parsed(folder / "manifest.json")
        last |= {k: manifest[k] for k in ("at_end", "ever", "minutes")}
    return last


# --- Packs


def pack(path: Path, files: dict[str, bytes]) -> None:
    """Write files into an archive, which appears whole or not at all."""
    with whole(path) as part, tarfile.open(part, "w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(content), int(time.time())
            archive.addfile(entry, io.BytesIO(content))


def tables(session: Session) -> dict[str, bytes]:
    """All small files: tables, settings, curves, manifests, and ends of the logs."""
    out = session.out
    files = {"summary.csv": csv_text(session.rows())}
    paths = [out / "speeds.csv", out / "speeds.json"]
    for job in session.jobs:
        names = ("config.json", "manifest.json", "metrics.csv")
        paths += [x / name for x in job.folders(out).values() for name in names]
        if last := tail(session.log(job), LAST):
            files[f"logs/{job.name}.txt"] = "\n".join(last).encode()
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            files[str(path.relative_to(out))] = path.read_bytes()
    return files


def networks(session: Session) -> Iterator[tuple[str, bytes]]:
    """Names and networks of finished trainings, those that are worth most first."""
    named = (job.folders(session.out).items() for job in session.jobs)
    for name, folder in itertools.chain.from_iterable(named):
        if not (folder / "manifest.json").exists():
            continue
        kept = session.out / "networks" / f"{name}.safetensors"
        if not kept.exists():
            arrays = load_file(folder / "checkpoint.safetensors")
            own = {k: x for k, x in arrays.items() if k.startswith(NETWORKS)}
            write(kept, save({k: x.astype(np.float16) for k, x in own.items()}))
        yield f"networks/{kept.name}", kept.read_bytes()


def pack_all(session: Session) -> None:
    """Make all packs anew; each network goes into the first one that has room."""
    folder = session.out / "packs"
    pack(folder / "gpu-0.tar.gz", tables(session))
    packs = [{} for _ in range(PACKS - 1)]
    for name, content in networks(session):
        for files in packs:
            if sum(map(len, files.values())) + len(content) < ROOM:
                files[name] = content
                break
    for k, files in enumerate(packs, 1):
        if files:
            pack(folder / f"gpu-{k}.tar.gz", files)


def packed(session: Session) -> None:
    """Make the packs; what goes wrong there stops no training."""
    try:
        pack_all(session)
    except (OSError, ValueError, SafetensorError) as problem:
        say(f"packs: {type(problem).__name__} {problem}")


# --- The command


def work(session: Session, end: float) -> None:
    """Run all jobs until the end, in seconds of the monotonic clock."""
    packs = lines = time.monotonic()
    while (now := time.monotonic()) < end and (session.running or session.left):
        session.look()
        while (job := session.next()) is not None:
            session.start(job)
        if now >= lines:
            say(session.progress((end - now) / 60))
            lines = now + SAID
        if now >= packs:
            packed(session)
            packs = now + PACKED
        time.sleep(0.2)


def summary(session: Session) -> str:
    """Text: how far each training came."""
    head = ("run", "state", "updates", "own steps", "held", "ever", "minutes")
    rows = [head, *(tuple(row.values()) for row in session.rows())]
    width = max(len(row[0]) for row in rows)
    lines = []
    for name, state, *numbers in rows:
        cells = "".join(f"{cell:>11}" for cell in numbers)
        lines.append(f"{name:{width}}  {state:8}{cells}")
    return "\n".join(lines)


def run(session: Session, minutes: float) -> int:
    """Work, stop in time, pack and say what there is; the exit status."""
    end, status = time.monotonic() + 60 * minutes - MARGIN, 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        work(session, end)
    except KeyboardInterrupt:
        status = 130
    session.stop()
    packed(session)
    say(summary(session))
    say(session.progress(0))
    return status


def parse(argv: list[str] | None) -> tuple[Parser, Namespace]:
    """The command line's arguments, checked."""
    names = list(studies())
    parser = Parser(prog="gpu.py", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of everything")
    parser.add_argument("--minutes", type=float, default=10, help="all that it takes")
    text = "trainings at a time: from pixels, from states"
    two = {"type": int, "nargs": 2, "metavar": ("PIXELS", "STATES")}
    parser.add_argument("--at-a-time", default=PLACES, help=text, **two)
    text = f"studies, with commas: {', '.join(names)}"
    parser.add_argument("--only", default=",".join(names), help=text)
    parser.add_argument("--smoke", action="store_true", help="some small trainings")
    args = parser.parse_args(argv)
    try:
        checks.inside("--minutes", args.minutes, MARGIN / 60, 60 * 24)
        checks.at_least("--at-a-time", min(args.at_a_time), 0)
        checks.at_least("--at-a-time together", sum(args.at_a_time), 1)
        for name in args.only.split(","):
            checks.one_of("--only", name, names)
    except ValueError as problem:
        parser.error(str(problem))
    return parser, args


def main(argv: list[str] | None = None) -> int:
    """The command line; the exit status."""
    parser, args = parse(argv)
    known = smoke() if args.smoke else studies()
    jobs = [job for name in args.only.split(",") for job in known.get(name, [])]
    places = dict(zip(LANES, (1, *args.at_a_time), strict=True))
    out = args.out.absolute()
    try:
        with taken(out):
            return run(Session(out, places, jobs), args.minutes)
    except (OSError, ValueError) as problem:
        return parser.error(str(problem))


if __name__ == "__main__":
    sys.exit(main())
