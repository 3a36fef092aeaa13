"""Trainings of one GPU: in order, in time, one by one, whatever happens to them."""

import csv
import io
import json
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load, save_file

from crl_mini.__main__ import Parser, _settings, _train_arguments
from crl_mini.runs.run import Run

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import _speeds  # noqa: E402
import gpu  # noqa: E402

# A training that learns nothing. Its task says what becomes of it.
TRAINING = """
import fcntl, os, pathlib, sys, time
import numpy as np
from safetensors.numpy import save_file
task = next(x for x in sys.argv if x.startswith("--task=")).removeprefix("--task=")
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1]) / "0"
out.mkdir(parents=True, exist_ok=True)
fcntl.flock(os.open(out, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
with (out / "starts").open("a") as file:
    file.write("resumed\\n" if "--resume" in sys.argv else "fresh\\n")
(out / "config.json").write_text("{}")
if task == "bad":
    sys.exit("this one fails")
(out / "metrics.csv").write_text("step,ever,at_end,seconds\\n5,0.5,0.25,6\\n10,,,12\\n")
networks = {"actor/w": np.ones(8, np.float32), "optimizer/w": np.ones(99, np.float32)}
save_file(networks, out / "checkpoint.safetensors")
if "--resume" not in sys.argv and task == "torn":
    sys.exit("the machine had a bad moment")
if task == "worn":
    sys.exit("this one fails each time")
if "--resume" not in sys.argv and task == "slow":
    time.sleep(600)
(out / "manifest.json").write_text('{"at_end": 0.75, "ever": 1.0, "minutes": 0.2}')
"""
# A command line whose trainings are those.
MAIN = """
import sys
sys.path.insert(0, {benchmarks!r})
import gpu
gpu.TRAIN, gpu.MARGIN, gpu.PACKED = (sys.executable, {program!r}), 1, 1
jobs = [gpu.training("play", task, ("x",), [0]) for task in {tasks}]
gpu.smoke = lambda: {{"play": jobs}}
sys.exit(gpu.main(sys.argv[1:]))
"""


@pytest.fixture
def session(tmp_path, monkeypatch):
    """`session(tasks, minutes)` runs trainings of that kind and returns its folder."""
    program = tmp_path / "training.py"
    program.write_text(TRAINING)
    monkeypatch.setattr(gpu, "TRAIN", (sys.executable, str(program)))
    monkeypatch.setattr(gpu, "MARGIN", 1)

    def run(tasks: list[str], minutes: float):
        jobs = [gpu.training("play", task, ("x",), [0]) for task in tasks]
        monkeypatch.setattr(gpu, "smoke", lambda: {"play": jobs})
        command = ["--smoke", f"--minutes={minutes}", f"--out={tmp_path / 'out'}"]
        assert gpu.main([*command, "--at-a-time", "1", "1"]) == 0
        return tmp_path / "out"

    return run


def unpacked(out: Path) -> dict[str, bytes]:
    """All files of all packs."""
    files = {}
    for path in sorted((out / "packs").glob("gpu-?.tar.gz")):
        with tarfile.open(path) as archive:
            for entry in archive:
                assert entry.name not in files
                files[entry.name] = archive.extractfile(entry).read()
    return files


def states(out: Path) -> dict[str, str]:
    """What the packed table says of each run, by its task."""
    table = unpacked(out)["summary.csv"].decode()
    rows = csv.DictReader(io.StringIO(table))
    return {row["run"].split("-")[1]: row["state"] for row in rows}


def starts(out: Path) -> dict[str, list[str]]:
    """How each run was started, by its task."""
    paths = (out / "runs").glob("*/0/starts")
    return {p.parts[-3].split("-")[1]: p.read_text().split() for p in paths}


# --- What is planned


def runs_of(job) -> list[Run]:
    """The runs that a job's command describes."""
    parser = Parser()
    _train_arguments(parser)
    args = parser.parse_args([*job.words, "--out", "x"])
    assert tuple(args.seeds) == job.seeds
    return [Run(**_settings(args), seed=seed, out=args.out) for seed in args.seeds]


def test_studies_are_what_they_say():
    known = gpu.studies()
    runs = {
        study: [run for job in known[study] for run in runs_of(job)]
        for study in [*known][1:]
    }
    for study, jobs in known.items():
        assert len({job.name for job in jobs}) == len(jobs) > 0, study
    for run in runs["play"]:
        assert (run.obs, run.data, run.rounds) == ("pixels", "play", 0)
        assert (run.budget.steps, run.budget.episodes) == (20_000, 4000)
        assert run.budget.tests == 200
    counts = Counter((run.task, run.agent) for run in runs["play"])
    assert {counts[task, "crl"] for task in gpu.PLAYED} == {6}  # two shares of cloning
    assert {counts[task, "gcbc"] for task in gpu.PLAYED} == {3}
    for study in ("own-states", "own-pixels"):
        for run in runs[study]:
            tested = max(run.rounds // 20, 1) * run.steps_of_round
            assert run.data == "own"
            assert 40_000 <= tested <= 50_000
            assert run.agent != "c_learning" or run.config.nce
    counts = Counter((run.task, run.agent) for run in runs["own-states"])
    tasks = {"BinPick", "BinPickPaper", "Push"}
    assert {counts[task, "td3_her"] for task in tasks} == {8}  # told and untold
    assert sorted(counts.values()) == [4] * 9 + [8] * 3
    alike = [run.config.shift_alike for run in runs["shifts"]]
    assert alike == [True, True, False, False]
    assert runs["t4"][0].config.batch_size == 512


def test_lanes_have_their_places():
    places = {"speeds": 1, "pixels": 3, "states": 2}
    jobs = [job for some in gpu.studies().values() for job in some]
    session = gpu.Session(Path("nowhere"), places, jobs)

    def fill():
        while job := session.next():
            session.running[job] = None
        return Counter(job.lane for job in session.running)

    assert fill() == {"speeds": 1, "pixels": 3}
    session.running = {x: None for x in session.running if x.lane != "speeds"}
    assert fill() == {"pixels": 3, "states": 2}
    begun = [job.name for job in session.running if job.lane == "states"]
    assert begun == [job.name for job in gpu.studies()["own-states"][:2]]
    session.waiting["states"].clear()
    session.running = {x: None for x in session.running if x.lane != "states"}
    assert fill() == {"pixels": 5}  # nobody waits for the other places


@pytest.mark.parametrize(
    "words",
    [
        ("--minutes", "0.1"),
        ("--minutes", "nan"),
        ("--only", "play,nonsense"),
        ("--at-a-time", "0", "0"),
        ("--at-a-time", "-1", "4"),
    ],
    ids=" ".join,
)
def test_bad_arguments_get_one_line(words, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        gpu.main(["--out", str(tmp_path / "x"), *words])
    said = capsys.readouterr()
    assert end.value.code == 2
    assert (said.err.count("\n"), said.out) == (1, "")
    assert words[0] in said.err
    assert not (tmp_path / "x").exists()


# --- What happens


def test_a_failing_job_stops_no_other(session, capsys):
    out = session(["bad", "torn", "worn", "good"], minutes=1)
    wanted = {"bad": "failed", "torn": "done", "worn": "failed", "good": "done"}
    assert states(out) == wanted
    assert starts(out) == {
        "bad": ["fresh"],
        "torn": ["fresh", "resumed"],
        "worn": ["fresh", "resumed"],
        "good": ["fresh"],
    }
    files = unpacked(out)
    assert files["logs/play-bad-x.txt"] == b"this one fails"
    kept = load(files["networks/play-good-x-0.safetensors"])
    assert {k: x.dtype for k, x in kept.items()} == {"actor/w": np.float16}
    said = capsys.readouterr().out
    assert "play-bad-x ended with status 1:\n  this one fails" in said
    (line,) = (x for x in said.splitlines() if x.startswith("play-good-x-0  "))
    assert line.split() == ["play-good-x-0", "done", "10", "0.75", "1.0", "0.2"]


def test_it_stops_in_time_and_goes_on(session):
    begun = time.monotonic()
    out = session(["slow", "good"], minutes=0.1)
    assert 4 < time.monotonic() - begun < 60  # of the 600 that it wants
    assert states(out) == {"slow": "stopped", "good": "done"}
    assert not (out / "runs/play-slow-x/0/manifest.json").exists()
    session(["slow", "good"], minutes=1)
    assert states(out) == {"slow": "done", "good": "done"}
    assert starts(out) == {"slow": ["fresh", "resumed"], "good": ["fresh"]}


def test_after_a_kill_it_goes_on(session, tmp_path):
    out, program = tmp_path / "out", str(tmp_path / "training.py")
    tasks = ["slow", "good"]
    code = MAIN.format(benchmarks=str(BENCHMARKS), program=program, tasks=tasks)
    command = [sys.executable, "-c", code, "--smoke", f"--out={out}"]
    process = subprocess.Popen([*command, "--at-a-time", "1", "1"])
    end = time.monotonic() + 120
    wanted = {"slow": "running", "good": "done"}
    curve = "runs/play-slow-x/0/metrics.csv"  # it runs before it has a curve

    def packed():
        files = unpacked(out) if (out / "packs/gpu-1.tar.gz").exists() else {}
        whole = files.get(curve, b"").count(b"\n") == 3
        return whole and states(out) == wanted

    while not packed():
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    files = unpacked(out)
    assert json.loads(files["runs/play-good-x/0/manifest.json"])["at_end"] == 0.75
    session(tasks, minutes=1)
    assert states(out) == dict.fromkeys(tasks, "done")
    assert starts(out) == {"slow": ["fresh", "resumed"], "good": ["fresh"]}


def test_packs_have_room(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "ROOM", 5000)
    monkeypatch.setattr(gpu, "PACKS", 3)
    jobs = [gpu.training("play", "Reach", ("x",), range(6))]
    sizes = (2000, 3000, 500, 1500, 2000, 100)  # numbers; a network takes twice as many
    for folder, n in zip(jobs[0].folders(tmp_path).values(), sizes, strict=True):
        folder.mkdir(parents=True)
        told = '{"at_end": 1, "ever": 1, "minutes": 1}'
        (folder / "manifest.json").write_text(told)
        x = {"critic/x": np.zeros(n, np.float32)}
        save_file(x, folder / "checkpoint.safetensors")
    gpu.pack_all(gpu.Session(tmp_path, {"pixels": 1, "states": 1}, jobs))
    kept = {}
    for path in sorted((tmp_path / "packs").iterdir())[1:]:
        with tarfile.open(path) as archive:
            kept[path.name] = [x.split("-")[-1][0] for x in archive.getnames()]
    assert kept == {"gpu-1.tar.gz": ["0", "5"], "gpu-2.tar.gz": ["2", "3"]}


# --- Speeds


def test_products_are_counted():
    def program(a, b):
        many = jax.lax.scan(lambda c, _: (c @ b, None), a, length=7)[0]
        return jax.jit(jnp.matmul)(many, b) + jax.nn.relu(a @ b)

    a, b = jnp.ones((3, 5)), jnp.ones((5, 5))
    assert _speeds.products(jax.make_jaxpr(program)(a, b).jaxpr) == 9 * 2 * 3 * 5 * 5


def test_shares_are_of_the_peaks():
    def row(name, flop, moved):
        return {"work": name, "tflop_per_second": flop, "gb_per_second": moved}

    rows = [row(_speeds.MATRICES, 8, 1), row("updates", 2, 3)]
    assert [r["share_of_peak"] for r in _speeds.shared(rows)] == [1, 0.25]
    assert [r["share_of_bandwidth"] for r in _speeds.shared(rows)] == ["", ""]
    rows.append(row(_speeds.COPY, 0, 4))
    assert [r["share_of_bandwidth"] for r in _speeds.shared(rows)] == [0.25, 0.75, 1]


@pytest.mark.slow
def test_a_small_session(tmp_path, monkeypatch):
    """Real trainings, and real speeds."""
    monkeypatch.setattr(gpu, "OVERTIME", 600)
    assert gpu.main(["--smoke", "--minutes=15", f"--out={tmp_path}"]) == 0
    files = unpacked(tmp_path)
    rows = list(csv.DictReader(io.StringIO(files["summary.csv"].decode())))
    assert [(row["state"], row["step"]) for row in rows] == [("done", "20")] * 3
    speeds = list(csv.DictReader(io.StringIO(files["speeds.csv"].decode())))
    assert speeds[0]["work"] == _speeds.MATRICES
    assert all(float(row["per_second"]) > 0 for row in speeds)
    assert json.loads(files["speeds.json"])["versions"]["jax"] == jax.__version__
    assert sum(name.startswith("networks/") for name in files) == 3
