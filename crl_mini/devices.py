"""Devices of the machine, and how a training is spread over them."""

import os

import jax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec


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
    """The number and kind of the devices in use, in words."""
    if jax.default_backend() == "cpu":
        return f"{usable_cores()} CPU core{'s' * (usable_cores() > 1)}"
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


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
