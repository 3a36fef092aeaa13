"""Devices of the machine, and how a training is spread over them."""

import glob
import os
import tempfile
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

#: The environment variable that says where to keep compiled programs: FOLDER, 0 or off.
CACHE = "CRL_MINI_COMPILATION_CACHE"
#: Variables that say how many threads XLA has on CPUs: the first one counts.
THREADS = "PJRT_NPROC", "NPROC"
#: What the driver of a GPU of NVIDIA's shows of it.
GPUS = "/dev/nvidia[0-9]*"
HELP = (
    "; JAX does not see this machine's GPU. In Colab: Runtime > Disconnect and delete "
    "runtime, then run the set-up first. Elsewhere: pip install 'jax[cuda13]'"
)


def use_compilation_cache() -> str | None:
    """Keep compiled programs in a folder, where the next process finds them.

    The folder is JAX's own setting, if there is one; else what `CACHE` says; else
    crl_mini/jax in the user's cache folder. Returns the folder, or None if programs
    are not kept: the cache is turned off, or nothing can be written there.
    """
    if jax.config.jax_compilation_cache_dir:
        return jax.config.jax_compilation_cache_dir
    told = os.environ.get(CACHE, "")
    if told.lower() in ("0", "off"):
        return None
    try:
        folder = Path(told or os.environ.get("XDG_CACHE_HOME") or "~/.cache")
        folder = (folder if told else folder / "crl_mini" / "jax").expanduser()
        folder.mkdir(0o700, parents=True, exist_ok=True)  # what lies there is executed
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder.absolute()))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return jax.config.jax_compilation_cache_dir


def memory_gib() -> float:
    """Physical memory in GiB (NaN if the system does not report it)."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return float("nan")


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def device() -> str:
    """The number and kind of the devices in use, in words.

    On CPUs also XLA's threads, where the environment sets their number: with another
    one the last digits differ, and after many updates the whole run.
    """
    if jax.default_backend() == "cpu":
        given = (os.environ.get(name, "") for name in THREADS)
        threads = [f" ({_counted(int(n), 'thread')})" for n in given if n.isdecimal()]
        return "".join([_counted(usable_cores(), "CPU core"), *threads[:1]])
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def peak_memory_gib() -> float | None:
    """Most memory that this process has had on its first device; None for CPUs."""
    known = jax.local_devices()[0].memory_stats() or {}
    peak = known.get("peak_bytes_in_use")
    return None if peak is None else round(peak / 2**30, 2)


def unseen() -> str:
    """What to do where JAX does not see a GPU of this machine; empty elsewhere."""
    chosen = jax.config.jax_platforms == "cpu" or jax.default_backend() != "cpu"
    return "" if chosen or not glob.glob(GPUS) else HELP


def spread(batch):
    """The batch with its rows split over all devices; an update still sees all rows.

    An update is written for one device. XLA splits its work like the rows, and adds the
    communication that the B x B logits and the mean gradients need.
    """
    if jax.device_count() == 1:
        return batch
    return jax.lax.with_sharding_constraint(batch, over_devices("rows"))


def over_devices(*names: str) -> NamedSharding:
    """Sharding over all devices of all processes: full copies, or split ``"rows"``."""
    mesh = Mesh(jax.devices(), ("rows",))  # XLA derives the sharding of results from it
    return NamedSharding(mesh, PartitionSpec(*names))


def start_processes() -> None:
    """Join the other processes of the training.

    JAX finds them on SLURM and similar systems. Elsewhere each process needs the
    variables JAX_COORDINATOR_ADDRESS (host:port of the first one), JAX_NUM_PROCESSES
    and JAX_PROCESS_ID. The first process writes the folder of the run; all must see it.
    """
    names = {"coordinator_address": str, "num_processes": int, "process_id": int}
    given = {k: os.environ.get(f"JAX_{k.upper()}") for k in names}
    jax.distributed.initialize(**{k: names[k](v) for k, v in given.items() if v})


def everywhere(tree):
    """A copy of all arrays on every device of all processes."""
    if jax.device_count() == 1:
        return tree
    return jax.jit(lambda x: x, out_shardings=over_devices())(tree)


def together(message: str) -> None:
    """Wait for all processes; ``AssertionError`` if one has another message."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(message)


CHUNK = 256  # rows that are copied at a time


def with_room(x: np.ndarray, n: int) -> jax.Array:
    """The array on the device, with room for n rows of which it fills the first.

    It is copied a few rows at a time, so that little of it is in memory twice. Memory
    that nobody can write to is used as it is, without a copy, where the array needs no
    more room.
    """
    dtype = jax.dtypes.canonicalize_dtype(x.dtype)
    if n == len(x) and dtype == x.dtype and _read_only(x):
        return jax.device_put(x, may_alias=True)
    kept = jnp.zeros((n, *x.shape[1:]), dtype)
    for i in range(0, len(x), CHUNK):
        rows = x[i : i + CHUNK]
        kept = put_rows(kept, i + jnp.arange(len(rows)), rows)
    return kept


def put_rows(old: jax.Array, at: jax.Array, new) -> jax.Array:
    """The array with `new` rows at the places `at`, in the memory of the `old` one.

    It waits for the result: otherwise JAX would still read `new` when its owner writes
    to it again.
    """
    return jax.block_until_ready(_set_rows(old, at, new))


@partial(jax.jit, donate_argnums=0)
def _set_rows(old, at, new):
    return old.at[at].set(new)


def _read_only(x: np.ndarray) -> bool:
    """Can nobody write to this memory, not through an array that it views either?"""
    while isinstance(x, np.ndarray) and not x.flags.writeable:
        x = x.base
    return x is None
