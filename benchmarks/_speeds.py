"""Speeds of the ray caster, of sampling and of updates, as shares of the device's.

`gpu.py` runs this file in a process of its own. All programs are compiled at the same
time. Then each is measured: the median of three timed calls, after one to warm up. What
does not fit into the seconds is left out.

Float operations are those of products of matrices in one update; a multiply-add counts
as two. Bytes are those that XLA says an update reads and writes. `xla_gflop` and
`xla_gb` are XLA's own numbers for a call, in which it counts a loop once; products that
a library computes may be missing. The peaks are a product of two large float32
matrices, and an array that is copied with a one added to each number.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params

from crl_mini.__main__ import Parser
from crl_mini.devices import device, use_compilation_cache
from crl_mini.runs.files import csv_text, text, versions, write
from crl_mini.runs.run import Run
from crl_mini.runs.seeds import Stacked, updates_at_once
from crl_mini.train import updates

CALLS, MOMENT = 3, 0.25  # measurements, and the seconds that each lasts at least
MEASURING = 20  # seconds for all measurements
MATRICES, COPY = "product of matrices", "copy"
SHARES = (
    ("share_of_peak", MATRICES, "tflop_per_second"),
    ("share_of_bandwidth", COPY, "gb_per_second"),
)


@dataclass(frozen=True)
class Sizes:
    """How large everything is."""

    preset: str
    pictures: int
    """Of a call of the ray caster."""
    samples: int
    """Batches of a call."""
    updates: tuple[int, int]
    """Of a call, from pixels and from states."""
    seeds: tuple[int, int]
    """Trained at once, from pixels and from states."""
    matrix: int
    """Rows and columns of the largest matrices."""
    copied: int
    """Numbers of the array that is copied."""


LARGE = Sizes("cpu", 512, 200, (100, 500), (4, 8), 8192, 2**28)
SMALL = Sizes("smoke", 32, 2, (2, 4), (2, 2), 256, 2**20)


@dataclass(frozen=True, eq=False)
class Work:
    """A program, and what one call of it does."""

    name: str
    unit: str
    amount: int
    """Units that a call does."""
    program: Any
    """A function that `jax.jit` made."""
    arguments: tuple
    flop: float = 0.0
    """Float operations of a unit, in products of matrices."""
    passes: int = 1
    """How often a call runs the loop whose bytes XLA counts once."""


def products(jaxpr) -> int:
    """Float operations of a program's products of matrices; loops count each pass."""
    total = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            (inner, _), _ = eqn.params["dimension_numbers"]
            sides = (eqn.invars[0].aval.shape[k] for k in inner)
            total += 2 * int(np.prod([*sides, eqn.outvars[0].aval.size]))
        passes = eqn.params.get("length", 1)
        total += passes * sum(map(products, jaxprs_in_params(eqn.params)))
    return total


def training(obs: str, sizes: Sizes) -> Run:
    """A training from some play of BinPick, of which nothing is kept."""
    how = {"obs": obs, "data": "play", "changes": {"episodes": 16}}
    return Run("BinPick", sizes.preset, 0, Path(), **how)


def learning(obs: str, sizes: Sizes, replay) -> Iterator[Work]:
    """Updates of one agent, and of several seeds at once, as `train --seeds` does."""
    n, seeds = (x[obs == "state"] for x in (sizes.updates, sizes.seeds))
    run = training(obs, sizes)
    agent, key = run.fresh(), run.keys[1]

    def of_one(agent, replay, key):
        return updates(agent, replay, n, key=key)

    def of_all(agents, replays, keys):
        return updates_at_once(agents, replays, n, keys=keys)

    alone = agent, replay, key
    together = (
        Stacked.of([agent] * seeds),
        [replay] * seeds,
        jax.random.split(key, seeds),
    )
    flop = products(jax.make_jaxpr(of_one)(*alone).jaxpr) / n
    known = {"unit": "updates", "flop": flop, "passes": n}
    name = f"CRL, {obs}"
    yield Work(name, amount=n, program=jax.jit(of_one), arguments=alone, **known)
    yield Work(
        f"{name}, {seeds} seeds at once",
        amount=n * seeds,
        program=jax.jit(of_all),
        arguments=together,
        **known,
    )


def works(sizes: Sizes) -> Iterator[Work]:
    """All that is measured; first the peaks."""
    side = sizes.matrix
    x = jax.random.normal(jax.random.key(0), (side, side))
    product = 2.0 * side**3
    yield Work(MATRICES, "products", 1, jax.jit(jnp.matmul), (x, x), flop=product)
    copied = jnp.zeros(sizes.copied)
    yield Work(COPY, "copies", 1, jax.jit(lambda x: x + 1), (copied,))

    run = training("pixels", sizes)
    replay, rows = run.replay(), run.config.batch_size
    poses = replay.observations.reshape(-1, *replay.observations.shape[2:])
    poses = poses[: sizes.pictures]
    draw = jax.jit(run.env.scene.draw)
    yield Work("ray caster", "frames", len(poses), draw, (poses,))

    def sampled(keys):
        """Something of each picture, so that all are drawn."""

        def one(total, key):
            batch = replay.sample(key, rows, run.config.gamma)
            return total + batch.s.mean() + batch.g.mean(), None

        return jax.lax.scan(one, 0.0, keys)[0]

    keys = jax.random.split(jax.random.key(0), sizes.samples)
    name, n = f"batches of {rows}, drawn", sizes.samples
    yield Work(name, "batches", n, jax.jit(sampled), (keys,), passes=n)
    yield from learning("state", sizes, training("state", sizes).replay())
    yield from learning("pixels", sizes, replay)


def timed(call: Callable[[], Any]) -> float:
    """Seconds of a call: the median of `CALLS` measurements, warm."""

    def several(n: int) -> float:
        begun = time.perf_counter()
        for _ in range(n):
            result = call()
        jax.block_until_ready(result)
        return (time.perf_counter() - begun) / n

    several(1)
    n = int(np.ceil(MOMENT / several(1)))
    return float(np.median([several(n) for _ in range(CALLS)]))


def measured(work: Work, compiled) -> dict:
    """Units, float operations and bytes a second."""
    seconds = timed(partial(compiled, *work.arguments))
    counted = {}
    with contextlib.suppress(RuntimeError):  # not every device counts
        counted = compiled.cost_analysis() or {}
    flop, moved = (counted.get(name, 0.0) for name in ("flops", "bytes accessed"))
    known = {"xla_gflop": round(flop / 1e9, 4), "xla_gb": round(moved / 1e9, 4)}
    moved *= work.passes
    if work.name == COPY:
        moved = 2.0 * work.arguments[0].nbytes
    rate = work.amount / seconds
    return {
        "work": work.name,
        "unit": work.unit,
        "per_second": float(f"{rate:.4g}"),
        "milliseconds_of_a_call": round(1e3 * seconds, 3),
        "tflop_per_second": round(rate * work.flop / 1e12, 6),
        "gb_per_second": round(moved / seconds / 1e9, 2),
        **known,
    }


def shared(rows: list[dict]) -> list[dict]:
    """The rows with their shares of the peak and of the bandwidth, if known."""
    peaks = {row["work"]: row for row in rows}
    shares = []
    for row in rows:
        more = {}
        for share, name, column in SHARES:
            peak = peaks.get(name, {}).get(column)
            more[share] = round(row[column] / peak, 4) if peak else ""
        shares.append(row | more)
    return shares


def driver() -> str:
    """The version of NVIDIA's driver; nothing without one."""
    if not shutil.which("nvidia-smi"):
        return ""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    asked = subprocess.run(command, capture_output=True, text=True)
    return asked.stdout.strip()


def speeds(out: Path, sizes: Sizes, seconds: float) -> None:
    """Measure what fits into the seconds, and write speeds.csv and speeds.json."""
    end, rows, left_out = time.monotonic() + seconds, [], []
    before = os.getloadavg()[0]
    with ThreadPoolExecutor() as pool:
        compiling = {}
        for work in works(sizes):
            program = work.program.lower(*work.arguments)
            compiling[work] = pool.submit(program.compile)
        # Programs are tried out while they are compiled: that would disturb the clock.
        wait(compiling.values(), max(end - MEASURING - time.monotonic(), 0))
        for work, compiled in compiling.items():
            try:
                rows.append(measured(work, compiled.result(0)))
            except (TimeoutError, RuntimeError) as problem:  # no time, or no memory
                said = " ".join(str(problem).split())[:200]
                left_out.append(f"{work.name}: {type(problem).__name__} {said}")
                continue
            print(rows[-1], flush=True)
            write(out / "speeds.csv", csv_text(shared(rows)))
        memory = jax.devices()[0].memory_stats() or {}
        known = {
            "left_out": left_out,
            "load_average": [round(x, 1) for x in (before, os.getloadavg()[0])],
            "peak_memory_gb": round(memory.get("peak_bytes_in_use", 0) / 1e9, 3),
            "driver": driver(),
            "device": device(),
            "versions": versions() | {"jaxlib": version("jaxlib")},
        }
        write(out / "speeds.json", text(known))
        sys.stdout.flush()
        os._exit(0)  # do not wait for what is still being compiled


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = Parser(prog="_speeds.py", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    parser.add_argument(
        "--seconds", type=float, default=90, help="all that it may take"
    )
    parser.add_argument("--small", action="store_true", help="small sizes")
    args = parser.parse_args(argv)
    use_compilation_cache()
    speeds(args.out, SMALL if args.small else LARGE, args.seconds)


if __name__ == "__main__":
    main()
