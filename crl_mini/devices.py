"""Devices: what the machine has, and how a training is spread over it."""

import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def memory_gib() -> float:
    """Physical memory in GiB (NaN where the system does not tell)."""
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
    """What the numbers were computed on."""
    if jax.default_backend() == "cpu":
        return f"{usable_cores()} CPU core{'s' * (usable_cores() > 1)}"
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def spread(batch):
    """Rows split over all devices; every row still sees the whole batch.

    An update is written for one device. XLA splits its work as the rows are split, and
    lets the devices exchange what the B x B logits and the mean gradients need.
    """
    if jax.device_count() == 1:
        return batch
    return jax.lax.with_sharding_constraint(batch, over_devices("rows"))


def over_devices(*names: str) -> NamedSharding:
    """How arrays lie on all devices of all processes: whole copies, or split rows."""
    mesh = Mesh(jax.devices(), ("rows",))  # the compiler spreads what follows from it
    return NamedSharding(mesh, PartitionSpec(*names))


def start_processes() -> None:
    """Join the other processes of the training: on SLURM and the like, or as told.

    Elsewhere each process needs JAX_COORDINATOR_ADDRESS (host:port of the first one),
    JAX_NUM_PROCESSES and JAX_PROCESS_ID. The first one writes the folder of the run;
    all must see it.
    """
    names = {"coordinator_address": str, "num_processes": int, "process_id": int}
    told = {k: os.environ.get(f"JAX_{k.upper()}") for k in names}
    jax.distributed.initialize(**{k: names[k](v) for k, v in told.items() if v})


def everywhere(tree):
    """A copy of all arrays on every device, of all processes."""
    if jax.device_count() == 1:
        return tree
    return jax.jit(lambda x: x, out_shardings=over_devices())(tree)


def together(what: str) -> None:
    """Wait for all processes; ``AssertionError`` where one is told something else."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


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
