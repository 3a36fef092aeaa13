"""What is installed, on which machine, and how long things take here."""

import platform
import sys
import textwrap
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from crl_mini.agents import CRL, CRLConfig
from crl_mini.devices import (
    CACHE,
    memory_gib,
    unseen,
    usable_cores,
    use_compilation_cache,
)
from crl_mini.replay import Batch
from crl_mini.runs.presets import PRESETS

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "gymnasium", "anywidget")

#: Work measured once, in units of the updates that `updates_per_second` counts.
JOBS = {
    "train --preset cpu, one maze and seed": PRESETS["cpu"].steps,
}


def _median_seconds(step, seconds: float) -> float:
    """Median time of `step()`, repeated for about that many seconds."""
    step()  # compiles
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def matmul_gflops(n: int = 1024, seconds: float = 0.5) -> float:
    """Billions of float32 operations a second in n x n matrix products."""
    x = jnp.ones((n, n))
    product = jax.jit(jnp.matmul)
    return (
        2e-9
        * n**3
        / _median_seconds(lambda: product(x, x).block_until_ready(), seconds)
    )


def updates_per_second(batch_size: int = 256, seconds: float = 1.5) -> float:
    """CRL updates (critic and actor) a second on 4-dimensional states."""
    s_space, a_space = spaces.Box(-1, 1, (4,)), spaces.Box(-1, 1, (2,))
    config = CRLConfig(batch_size=batch_size)
    agent = CRL.create(config, s_space, a_space, key=jax.random.key(0))
    s = jax.random.normal(jax.random.key(1), (batch_size, 4))
    batch = Batch(s=s, a=jnp.tanh(s[:, :2]), g=s[::-1])

    def step():
        nonlocal agent
        agent, metrics = agent.update(batch)
        jax.block_until_ready(metrics)

    return 1 / _median_seconds(step, seconds)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _installed(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} (missing)"


def _cache() -> str:
    """Where compiled programs are kept, and how large they are together."""
    folder = use_compilation_cache()
    if folder is None:
        return f"compiled programs are not kept ({CACHE}=FOLDER keeps them)"
    sizes = [path.stat().st_size for path in Path(folder).glob("*")]
    return f"{folder}: {len(sizes):,} files, {sum(sizes) / 1e6:,.1f} MB"


def _facts(*rows: tuple[str, str]) -> str:
    """A line for each fact; long ones go on below."""
    below = f"\n{'':10}"
    return "\n".join(f"{k:10}{below.join(textwrap.wrap(v, 69))}" for k, v in rows)


def places() -> str:
    """Which Python runs, and where compiled programs are kept."""
    return f"{'python':10}{sys.executable}\n{'cache':10}{_cache()}"


def report() -> str:
    """Measure for a few seconds and describe this machine, one fact a line."""
    devices = jax.devices()
    rate = updates_per_second()
    facts = _facts(
        ("crl_mini", f"{_installed('crl_mini')}, Python {platform.python_version()}"),
        ("packages", ", ".join(_installed(name) for name in PACKAGES)),
        ("system", f"{platform.system()} {platform.machine()}"),
        (
            "device",
            f"{len(devices)} x {devices[0].device_kind} ({jax.default_backend()})"
            f"{unseen()}",
        ),
        ("cores", f"{usable_cores()} usable"),
        ("memory", f"{memory_gib():.1f} GiB"),
        ("matmul", f"{matmul_gflops():,.0f} GFLOP/s (float32, 1024 x 1024)"),
        ("CRL", f"{rate:,.0f} updates/s (batch 256, two hidden layers of 256)"),
    )
    jobs = [(job, _duration(updates / rate)) for job, updates in JOBS.items()]
    return "\n".join(
        [
            facts,
            "",
            "What runs here, and about how long it takes:",
            *(f"  {job:40}{duration}" for job, duration in jobs),
        ]
    )
