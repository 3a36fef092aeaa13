"""Trainings that are killed, starved of disk, or spread over devices and processes."""

import csv
import json
import os
import random
import signal
import socket
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from folders import raw, refused
from forks import Forks, command
from safetensors.numpy import load_file

from crl_mini.agents.crl import critic_loss
from crl_mini.devices import everywhere
from crl_mini.runs.files import whole, write
from crl_mini.runs.run import Run
from crl_mini.train import updates

SMALL = {"hidden": (7,), "repr_dim": 5, "layer_norm": False}
SIZES = {"episodes": 8, "copies": 2, "per_update": 20, "tests": 2, "every": 5}
FILES = ["config.json", "metrics.csv", "checkpoint.safetensors", "manifest.json"]
LAST = 60 + 2400 // 100 * 5  # updates in the end


def training(out, *more, steps=60, collect=2400):
    """A run of rounds and chunks of 5 updates each, of the agent that compiles fastest.

    What is tried here lies in the runs, not in the agents.
    """
    changes = {"hidden": (7,), "batch_size": 32, "steps": steps, "collect": collect}
    sets = [f"{k}={json.dumps(v)}" for k, v in (changes | SIZES).items()]
    what = ["--task", "Reach", "--agent", "gcbc", "--data", "play"]
    what += ["--preset", "smoke", "--out", out]
    return command("train", *what, "--set", *sets, *more)


@pytest.fixture(scope="module")
def forks(tmp_path_factory):
    server = Forks(tmp_path_factory.mktemp("forks"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def finished(forks, tmp_path_factory):
    """The folder of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    status, log = forks.run(training(out))
    assert status == 0, log
    return out


def learned(out: Path) -> list[dict]:
    """Rows of metrics, without the time they took."""
    lines = (out / "metrics.csv").read_text().splitlines()
    return [
        {k: v for k, v in r.items() if k != "seconds"} for r in csv.DictReader(lines)
    ]


def same_checkpoint(a: Path, b: Path) -> bool:
    a, b = ((x / "checkpoint.safetensors").read_bytes() for x in (a, b))
    return a == b


# Killed, and going on.

# Such processes find the programs of others, but keep none: half of one would stay.
READS = """
import jax
jax.config.update("jax_persistent_cache_min_compile_time_secs", 1e9)
"""
# Half of a file is written when the process dies.
TORN = (
    READS
    + """
import os, pathlib
left, write = [{}], pathlib.Path.write_bytes
def torn(path, content):
    left[0] -= 1
    if left[0]:
        return write(path, content)
    write(path, content[: len(content) // 2])
    os.kill(os.getpid(), 9)
pathlib.Path.write_bytes = torn
"""
)


def check_whole(out: Path) -> int:
    """Assert that every file of a killed run is whole; the step it is at."""
    for path in out.glob("*.json"):
        json.loads(path.read_text())
    if not (out / "checkpoint.safetensors").exists():
        return 0
    step = int(load_file(out / "checkpoint.safetensors")["step"])
    lines = (out / "metrics.csv").read_text().splitlines()
    assert len({line.count(",") for line in lines}) == 1
    steps = [int(row["step"]) for row in csv.DictReader(lines)]
    assert steps in ([*range(5, step + 1, 5)], [*range(5, step + 6, 5)])
    return step


@pytest.mark.slow
@pytest.mark.tried("kills")
def test_kills_change_nothing(forks, finished, tmp_path):
    """Half of each kind of file is written, and `kill -9` comes at any moment."""
    out, chance, step = tmp_path / "killed", random.Random(0), 0
    checkpoint = out / "checkpoint.safetensors"
    # Writes: config, metrics, then metrics and checkpoint by turns.
    for torn in (1, 2, None, 3, None, 4, None, 6, None):
        code = training(out, *["--resume"] * (out / "config.json").exists())
        if torn:
            process = forks.start(TORN.format(torn) + code)
        else:
            old = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
            process = forks.start(READS + code)
            end = time.monotonic() + 300
            while time.monotonic() < end and (
                not checkpoint.exists() or checkpoint.stat().st_mtime_ns == old
            ):
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.05))
            os.kill(process, signal.SIGKILL)
        assert forks.wait(process) == -9, forks.log.read_text()
        assert not torn or any(out.glob("*.part"))
        before, step = step, check_whole(out)
        assert step >= before + 5 * (torn in (None, 6))
        assert not (out / "manifest.json").exists()
    assert step < LAST
    status, log = forks.run(training(out, "--resume"))
    assert status == 0, log
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    assert same_checkpoint(out, finished)
    assert learned(out) == learned(finished)


@pytest.mark.slow
@pytest.mark.tried("kills")
def test_sigterm_ends_between_two_chunks(forks, finished, tmp_path):
    out = tmp_path / "stopped"
    process = forks.start(training(out))
    end = time.monotonic() + 300
    while not (out / "checkpoint.safetensors").exists() and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(process, signal.SIGTERM)
    assert forks.wait(process) == 130
    assert forks.log.read_text().endswith(f"go on with: --out {out} --resume\n")
    assert 0 < check_whole(out) < LAST
    assert not list(out.glob("*.part"))
    assert forks.run(training(out, "--resume"))[0] == 0
    assert same_checkpoint(out, finished)


@pytest.mark.tried("kills")
def test_sigterm_before_the_first_file_leaves_nothing(forks, tmp_path):
    early = "import os; from crl_mini.runs.run import Run\n"
    early += "Run.first_data = lambda self: os.kill(os.getpid(), 15)\n"
    status, log = forks.run(early + training(tmp_path / "x"))
    assert status == 130
    assert log.splitlines()[-1] == "stopped; nothing written"
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
@pytest.mark.tried("kills")
def test_a_full_disk_keeps_what_was_written_before(forks, finished, tmp_path):
    out = tmp_path / "full"
    limit = (finished / "checkpoint.safetensors").stat().st_size - 1
    full = READS + "import resource\n"
    full += f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
    status, log = forks.run(full + training(out))
    assert status == 2
    line = log.splitlines()[-1]
    assert f"File too large: '{out}/checkpoint.safetensors'" in line
    assert "Traceback" not in log
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "metrics.csv"]
    assert forks.run(training(out, "--resume"))[0] == 0
    assert same_checkpoint(out, finished)


@pytest.mark.tried("kills")
def test_data_that_find_no_room_leave_the_old_file(forks, tmp_path):
    path = tmp_path / "new" / "reach.npz"
    full = (
        READS
        + "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9999, 9999))\n"
    )
    collect = command("collect", "--task", "Reach", "--episodes", 9, "--out", path)
    status, log = forks.run(full + collect)
    assert status == 2
    assert f"File too large: '{path}'" in log.splitlines()[-1]
    assert "Traceback" not in log
    assert list(tmp_path.iterdir()) == []
    path.parent.mkdir()
    path.write_bytes(b"old")
    assert forks.run(full + collect)[0] == 2
    assert [x.read_bytes() for x in path.parent.iterdir()] == [b"old"]


@pytest.mark.tried("folders")
def test_two_runs_in_one_folder(forks, tmp_path):
    """Whichever comes first has it; the other one gets a line, and writes nothing."""
    out, logs = tmp_path / "one", [tmp_path / "0", tmp_path / "1"]
    processes = [
        forks.start(READS + training(out, "--seed", str(i)), log)
        for i, log in enumerate(logs)
    ]
    ends = [forks.wait(process) for process in processes]
    assert sorted(ends) == [0, 2], [log.read_text() for log in logs]
    said = logs[ends.index(2)].read_text()
    assert said.endswith(f" train: another process is writing {out}\n")
    assert "Traceback" not in said
    winner = ends.index(0)
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    for name in ("config.json", "manifest.json"):
        assert json.loads((out / name).read_text())["seed"] == winner


@pytest.mark.tried("folders")
def test_two_that_write_one_file(tmp_path):
    path = tmp_path / "new" / "file"
    with whole(path) as part:
        part.write_bytes(b"first")
        with pytest.raises(ValueError, match=f"another process is writing {part}"):
            write(path, b"second")
        assert part.read_bytes() == b"first"
    assert path.read_bytes() == b"first"
    assert [x.name for x in path.parent.iterdir()] == ["file"]


@pytest.mark.tried("folders")
@pytest.mark.parametrize("place", ["file/run", "/proc/run"])
def test_where_nothing_can_be_written_nothing_is_computed(
    place, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    monkeypatch.setattr(Run, "first_data", None)
    monkeypatch.setattr(Run, "fresh", None)
    line = refused(["train", "--task", "Reach", "--out", place], capsys)
    assert place.partition("/")[0] in line
    assert Path("file").read_text() == ""
    assert len(list(tmp_path.iterdir())) == 1


# Spread over devices and processes.


def compare(name: str, rows: int = 64, **changes) -> None:
    """Three updates on all devices, and on one by a loop; the parts of a batch."""
    changes = SMALL | {"batch_size": rows, "bc": 0.0} | changes
    if name in ("gcbc", "td3_her"):
        changes.pop("repr_dim")
    if name == "gcbc":
        changes.pop("bc")
    run = Run(
        "Reach", "smoke", 0, Path("x"), agent=name, data="random", changes=changes
    )
    one, replay, key = run.fresh(), run.replay(), run.keys[1]
    many, data = everywhere((one, replay))
    program = updates.lower(many, data, 1, key=key).compile()
    share = -(-rows // jax.device_count())
    assert f"f32[{share},7]" in program.as_text()  # activations of the hidden layer
    assert f"f32[{rows},7]" not in program.as_text()
    sample = jax.jit(replay.sample, static_argnums=(1, 2))
    for step in range(3):
        batch = sample(jax.random.fold_in(key, step), rows, run.config.gamma)
        if name == "crl" and step == 0:
            check_negatives(one, batch, float(program(many, data, key=key)[1]["loss"]))
        one, want = one.update(batch)
        many, got = program(many, data, key=key)
        for k in want:
            np.testing.assert_allclose(got[k], want[k], rtol=1e-4, atol=1e-5)
    for a, b in zip(*map(jax.tree.leaves, (many, one)), strict=True):
        assert len(a.devices()) == jax.device_count()
        np.testing.assert_allclose(raw(a), raw(b), atol=2e-5)


def check_negatives(agent, batch, loss: float) -> None:
    """The loss is that of B x B logits, not the mean over devices of smaller ones."""
    s, g = agent.critic.see(batch.s, batch.g)
    batch = batch._replace(s=s, g=g)
    whole, _ = critic_loss(agent.critic, batch, agent.config)
    rows = np.array_split(np.arange(len(batch.s)), jax.device_count())
    parts = [jax.tree.map(lambda x, i=i: x[i], batch) for i in rows]
    parts = [critic_loss(agent.critic, part, agent.config)[0] for part in parts]
    np.testing.assert_allclose(loss, whole, rtol=1e-5)
    assert abs(loss - np.mean(parts)) > 0.05


def on_four_devices() -> None:
    assert jax.device_count() == 4
    compare("crl", loss="nce")
    compare("crl", loss="symmetric_infonce")
    compare("crl", rows=30)
    for name in ("gcbc", "td3_her", "c_learning"):
        compare(name)


SHORT = {"steps": 20, "collect": 400}
FOUR = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}


@pytest.mark.slow
def test_four_devices_learn_what_one_learns(forks):
    code = "import test_robust; test_robust.on_four_devices()"
    quick = " --xla_backend_optimization_level=0"  # to compile
    status, log = forks.run(code, XLA_FLAGS=FOUR["XLA_FLAGS"] + quick)
    assert status == 0, log


def check_alike(out: Path, finished: Path) -> None:
    """Assert that two runs have the same files, to rounding."""
    a, b = sorted(out.iterdir()), sorted(finished.iterdir())
    assert [path.name for path in a] == [path.name for path in b]
    assert (out / "config.json").read_bytes() == (finished / "config.json").read_bytes()
    a, b = (load_file(x / "checkpoint.safetensors") for x in (out, finished))
    assert {k: v.shape for k, v in a.items()} == {k: v.shape for k, v in b.items()}
    for k in a:
        np.testing.assert_allclose(a[k], b[k], atol=1e-4, err_msg=k)
    for a, b in zip(learned(out), learned(finished), strict=True):
        assert a.keys() == b.keys()
        assert a["step"] == b["step"]
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), abs=1e-3)


@pytest.fixture(scope="module")
def short(forks, tmp_path_factory):
    """The folder of a short run by one process on one device."""
    out = tmp_path_factory.mktemp("runs") / "short"
    status, log = forks.run(training(out, **SHORT))
    assert status == 0, log
    return out


@pytest.mark.slow
def test_a_run_on_four_devices_writes_what_one_device_writes(forks, short, tmp_path):
    status, log = forks.run(training(tmp_path / "four", **SHORT), **FOUR)
    assert status == 0, log
    check_alike(tmp_path / "four", short)


@pytest.mark.slow
def test_two_processes_train_one_agent(forks, short, tmp_path):
    out = tmp_path / "two"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    told = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    code = training(out, "--distributed", **SHORT)
    logs = [tmp_path / "0", tmp_path / "1"]
    writes = READS + "import pathlib, os\n"
    writes += "write = pathlib.Path.write_bytes\n"
    writes += "pathlib.Path.write_bytes = lambda *x: [print('writes'), write(*x)]\n"
    processes = [
        forks.start(writes + code, log, **told, JAX_PROCESS_ID=str(i))
        for i, log in enumerate(logs)
    ]
    ends = [forks.wait(process) for process in processes]
    for process, end in zip(processes, ends, strict=True):
        if end is None:
            os.kill(process, signal.SIGKILL)
    said = [log.read_text() for log in logs]
    assert ends == [0, 0], said
    assert ["writes" in text for text in said] == [True, False]
    check_alike(out, short)
